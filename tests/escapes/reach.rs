//! What a hijacked process can still do with its calls and descriptors: all of it, and its meaning.

use super::Io;
use Io::{
    Connection, Datagrams, DatagramsAndFiles, Filter, Keeper, KeeperAndFiles, Listeners, ListenersAndFiles, Sockets,
    SocketsAndFiles,
};
use small_services::services::{self, Kind};

/// A set of services, by the names of their programs.
pub type Services = fn(&str) -> bool;

/// Kinds of descriptors with a common name; or a name that is itself the kind.
pub type Kinds = (&'static str, &'static [&'static str]);

/// What the process of a service can do.
pub struct Reach {
    pub peers: &'static [Io],
    pub services: Services,
    pub call: &'static str,
    /// The arguments, in words; empty for those that the service itself would use.
    pub how: &'static str,
    /// The descriptors; else the paths, clocks and the like.
    pub on: &'static [Kinds],
    /// What an attacker can do with it.
    pub means: &'static str,
}

/// The kinds of processes, and their names on the page.
pub const PROCESSES: &[(&[Io], &str)] = &[
    (ANY, "any process"),
    (ONE, "a per-connection process"),
    (FILTER, "a filter"),
    (CALLED, "a per-connection process or a filter"),
    (DAEMONS, "a shared process or the keeper"),
    (ALL, "a shared process"),
    (KEEPERS, "the keeper"),
    (KEEPER_WITH_FILES, "the keeper, with files"),
    (DATAGRAMS, "a process that answers datagrams: a shared one, the keeper's, and the keeper itself"),
    (WITH_UDP, "a shared process with UDP"),
    (ALONE, "the keeper's process for datagrams"),
    (FILES, "a process that reads files again: a shared one, the keeper, and the keeper's for datagrams"),
    (ALL_WITH_FILES, "a shared process that reads files again"),
];

const ANY: &[Io] = &Io::ALL;
const ONE: &[Io] = &[Connection];
const FILTER: &[Io] = &[Filter];
const CALLED: &[Io] = &[Connection, Filter];
const DAEMONS: &[Io] = &[Listeners, Sockets, ListenersAndFiles, SocketsAndFiles, Keeper, KeeperAndFiles];
const ALL: &[Io] = &[Listeners, Sockets, ListenersAndFiles, SocketsAndFiles];
const KEEPERS: &[Io] = &[Keeper, KeeperAndFiles];
const KEEPER_WITH_FILES: &[Io] = &[KeeperAndFiles];
const DATAGRAMS: &[Io] = &[Sockets, SocketsAndFiles, Keeper, KeeperAndFiles, Datagrams, DatagramsAndFiles];
const WITH_UDP: &[Io] = &[Sockets, SocketsAndFiles];
const ALONE: &[Io] = &[Datagrams, DatagramsAndFiles];
const FILES: &[Io] = &[ListenersAndFiles, SocketsAndFiles, KeeperAndFiles, DatagramsAndFiles];
const ALL_WITH_FILES: &[Io] = &[ListenersAndFiles, SocketsAndFiles];

const EVERY: Services = |_| true;
const SMALL: Services = |name| name != "lunchd";
/// A reply, or an answer.
const REPLYING: Services = |name| is(name, Kind::Reply) || ANSWERING(name);
/// Those that answer a request.
const ANSWERING: Services = |name| name == "finger";
const REPLYING_OR_WEB: Services = |name| REPLYING(name) || name == "lunchd";
const READING: Services = |name| ["echo", "discard", "finger"].contains(&name);
const SENDING: Services = |name| name != "discard";
/// Those that list directories.
const WATCHING: Services = |name| ["qotd", "systat", "lunchd"].contains(&name);
/// Those that read cookie files.
const BY_INDEX: Services = |name| ["qotd", "lunchd"].contains(&name);
const STREAMING: Services = |name| is(name, Kind::Stream);
const ECHO: Services = |name| name == "echo";
const DROPPING: Services = |name| SMALL(name) && name != "echo";
const LUNCHD: Services = |name| name == "lunchd";

fn is(name: &str, kind: Kind) -> bool {
    services::all().any(|row| row.program == name && row.kind == kind)
}

const ITS_CONNECTION: Kinds =
    ("its connection", &["the connection over TCP", "the connection over a Unix-domain socket"]);
const TCP: Kinds = ("a connection over TCP", &[]);
const UNIX: Kinds = ("a connection over a Unix-domain socket", &[]);
const CONNECTIONS: Kinds = ("a connection", &["a connection over TCP", "a connection over a Unix-domain socket"]);
const LISTENING: Kinds = ("a listening socket", &["a listening TCP socket", "a listening Unix-domain socket"]);
const INPUTS: Kinds =
    ("its input", &["a terminal as input", "a pipe as input", "a file as input", "a socket as input"]);
const OUTPUTS: Kinds =
    ("a terminal, pipe or file as output", &["a terminal as output", "a pipe as output", "a file as output"]);
const LOGS: Kinds = ("a terminal, pipe or file as log", &["a terminal as log", "a pipe as log", "a file as log"]);
const READY: Kinds = (
    "a terminal or pipe as output or log",
    &["a terminal as log", "a pipe as log", "a terminal as output", "a pipe as output"],
);
const SYSTEM: Kinds = (
    "the signals, the service manager, the journal, syslog",
    &["the signals", "the service manager", "the journal", "syslog"],
);
const UDP: Kinds = ("a UDP socket", &[]);
const EVERYTHING: Kinds = (
    "all that it has open except files",
    &[
        "the signals",
        "the service manager",
        "the journal",
        "syslog",
        "a terminal as log",
        "a pipe as log",
        "a file as log",
        "a terminal as output",
        "a pipe as output",
        "a file as output",
        "the event loop",
        "a number that is kept",
        "a UDP socket",
        "a listening TCP socket",
        "a listening Unix-domain socket",
        "a connection over TCP",
        "a connection over a Unix-domain socket",
        "a Landlock ruleset",
    ],
);
const KEPT: Kinds = ("a number that is kept", &[]);
const RULESET: Kinds = ("a Landlock ruleset", &[]);
const PROCESS: Kinds = ("the process", &[]);
const MADE: Kinds = ("a process that it made", &[]);
const OPEN: Kinds = ("an open file or directory", &["an open file", "an open directory"]);
const TIMES: &[Kinds] = &[("the time of day", &[]), ("the time since the start", &[])];

const fn may(
    peers: &'static [Io],
    services: Services,
    (call, how): (&'static str, &'static str),
    on: &'static [Kinds],
    means: &'static str,
) -> Reach {
    Reach { peers, services, call, how, on, means }
}

const fn plain(call: &'static str) -> (&'static str, &'static str) {
    (call, "")
}

const TERMINAL: &str = "writes anything there, on a terminal also control sequences";

#[rustfmt::skip]
pub const LIST: &[Reach] = &[
    may(ANY, EVERY, plain("write"), &[("the journal", &[])], "writes lines of any priority, which the journal records for this unit"),
    may(ANY, EVERY, plain("write"), &[("syslog", &[])], "writes lines in the name of any program, since a line contains this name itself (journald also records the process)"),
    may(ANY, EVERY, plain("write"), &[LOGS], TERMINAL),
    may(ANY, EVERY, plain("exit_group"), &[("the process", &[])], "exits with any exit code"),

    may(ONE, ECHO, plain("read"), &[ITS_CONNECTION], "reads from this client"),
    may(ONE, DROPPING, plain("recvfrom"), &[ITS_CONNECTION], "discards this client's input, or reads it over a Unix-domain socket"),
    may(ONE, SENDING, plain("write"), &[ITS_CONNECTION], "sends anything to this client"),
    may(ONE, REPLYING, plain("shutdown"), &[ITS_CONNECTION], "marks the end of the reply to this client"),

    may(ONE, ANSWERING, plain("ppoll"), &[ITS_CONNECTION, LOGS, ("the journal", &[]), ("syslog", &[])], "learns when one of them becomes readable or writable, and nothing else"),
    may(CALLED, ANSWERING, plain("clock_gettime"), &[("the time of day", &[]), ("the time since the start", &[])], "reads the time"),
    may(CALLED, ANSWERING, plain("brk"), &[("memory", &[])], "allocates memory until a limit ends the process"),

    may(FILTER, READING, plain("read"), &[INPUTS], "reads the filter's input"),
    may(FILTER, SENDING, plain("write"), &[OUTPUTS, ("a socket as output", &[])], TERMINAL),
    may(FILTER, REPLYING, plain("ppoll"), &[("a while", &[])], "waits"),
    may(FILTER, SMALL, plain("ppoll"), &[INPUTS, OUTPUTS, ("a socket as output", &[]), LOGS, ("the journal", &[]), ("syslog", &[])], "learns when one of them becomes readable or writable, and nothing else"),

    may(DAEMONS, EVERY, plain("accept4"), &[LISTENING], "accepts connections to the sockets of this service, and no others"),
    may(DAEMONS, REPLYING_OR_WEB, plain("shutdown"), &[CONNECTIONS], "marks the end of the reply to any client of this process"),
    may(DAEMONS, REPLYING_OR_WEB, plain("shutdown"), &[LISTENING], "has no effect: a listening socket sends nothing"),
    may(DAEMONS, EVERY, plain("close"), &[CONNECTIONS, LISTENING], "closes connections, or stops serving; new connections then wait in the kernel"),
    may(DAEMONS, STREAMING, plain("setsockopt"), &[CONNECTIONS, LISTENING], "enlarges the kernel's buffers for each connection, up to `net.core.rmem_max` and `wmem_max`; a unit's `MemoryMax=` counts them, and ends the process. A listening socket keeps its sizes until the next process sets them"),
    may(DAEMONS, EVERY, plain("read"), &[("the signals", &[])], "ignores the signal to stop; the service manager kills the process after `TimeoutStopSec=`"),
    may(DAEMONS, EVERY, plain("write"), &[("the service manager", &[])], "reports about its own unit what sd_notify(3) allows: that it is ready and alive, any status line, that stopping takes longer; `systemctl kill --signal=KILL` ends it all the same"),
    may(DAEMONS, EVERY, plain("write"), &[OUTPUTS], "writes there as on its log, if there is no service manager to notify"),
    may(DAEMONS, SMALL, plain("epoll_pwait"), &[("the event loop", &[])], "waits, possibly for ever; a unit's `WatchdogSec=` ends that"),
    may(DAEMONS, EVERY, ("epoll_ctl", "to wait with it"), &[("the event loop", &[])], "waits for its own descriptors"),
    may(DAEMONS, EVERY, ("epoll_ctl", "to wait for it"), &[SYSTEM, READY, CONNECTIONS, LISTENING], "learns when one of them becomes readable or writable, and nothing else"),
    may(DAEMONS, EVERY, plain("brk"), &[("memory", &[])], "allocates memory until a unit's `MemoryMax=` ends the process"),

    may(ALL, EVERY, plain("recvfrom"), &[CONNECTIONS], "reads or discards the input of any client of this process"),
    may(ALL, SENDING, plain("sendto"), &[CONNECTIONS], "sends anything to any client of this process"),
    may(ALL, SENDING, ("sendto", "to an address of no length"), &[CONNECTIONS], "does the same: the peer of a connection cannot be changed"),
    may(ALL, LUNCHD, plain("write"), &[("what wakes the event loop", &[])], "wakes itself"),
    may(ALL, LUNCHD, plain("epoll_wait"), &[("the event loop", &[])], "waits, possibly for ever; a unit's `WatchdogSec=` ends that"),
    may(ALL, LUNCHD, ("epoll_ctl", "to wait for it"), &[("what wakes the event loop", &[])], "the same"),
    may(ALL, EVERY, plain("clock_gettime"), TIMES, "reads the time, but not the clocks that show how long other processes run"),
    may(ALL, LUNCHD, plain("getrandom"), &[("random octets", &[])], "reads some; the supply is unlimited"),

    may(KEEPERS, EVERY, ("dup3", "onto descriptor 0"), &[CONNECTIONS, LISTENING, UDP, KEPT, RULESET], "moves a descriptor to where its processes read, and reads from it; new clients then share the keeper's process"),
    may(KEEPERS, EVERY, ("dup3", "onto descriptor 1"), &[CONNECTIONS, LISTENING, UDP, KEPT, RULESET], "moves a descriptor to where its processes write, and writes to it"),
    may(KEEPERS, EVERY, plain("read"), &[CONNECTIONS, UDP], "reads from it: at once if it reads files again, else after moving it to descriptor 0"),
    may(KEEPERS, DROPPING, plain("recvfrom"), &[CONNECTIONS, UDP], "the same, or discards the input"),
    may(KEEPERS, EVERY, plain("recvmmsg"), &[CONNECTIONS], "the same; also receives a descriptor that a local client passes over a Unix-domain socket"),
    may(KEEPERS, EVERY, plain("write"), &[CONNECTIONS], "sends anything to the client, after moving the connection to descriptor 1"),
    may(KEEPERS, SENDING, plain("sendmmsg"), &[CONNECTIONS], "the same, with the connection on descriptor 0"),
    may(KEEPERS, SENDING, ("sendmmsg", "to another service"), &[TCP], "the same: the peer of a connection cannot be changed"),
    may(KEEPERS, SENDING, ("sendmmsg", "to any host"), &[TCP], "the same"),
    may(KEEPERS, SENDING, ("sendmmsg", "from another address of the host's"), &[TCP], "the same"),
    may(KEEPERS, SENDING, ("sendmmsg", "with a descriptor"), &[UNIX], "passes its descriptors to a local client that accepts them, also new connections of other clients"),
    may(KEEPERS, REPLYING, plain("shutdown"), &[("the service manager", &[]), ("the journal", &[])], "stops writing there"),
    may(KEEPERS, EVERY, ("setsockopt", "to lift its time limits"), &[CONNECTIONS, LISTENING, UDP], "removes a client's time limits; the client can still be evicted when another one needs the slot"),
    may(KEEPERS, EVERY, plain("clone"), &[("a process", &[])], "forks processes with its own rights, up to `TasksMax=`"),
    may(KEEPERS, EVERY, plain("kill"), &[MADE], "ends its own processes, and no others if the kernel's Landlock has scopes"),
    may(KEEPERS, EVERY, plain("wait4"), &[MADE], "learns how the process ended"),
    may(KEEPERS, EVERY, plain("clock_gettime"), TIMES, "reads the time"),
    may(KEEPERS, EVERY, plain("clock_gettime"), &[("the processor time of a process that it made", &[]), ("another process's processor time", &[])], "learns the processor time of any process of the host, by its number"),
    may(KEEPERS, EVERY, plain("prctl"), &[PROCESS], "ends when its parent ends"),
    may(KEEPERS, EVERY, plain("getppid"), &[PROCESS], "learns its parent's number"),
    may(KEEPERS, EVERY, plain("close_range"), &[("all from descriptor 3 on", &[])], "stops serving"),
    may(KEEPERS, EVERY, plain("close"), &[RULESET], "loses the ruleset for its processes: their lock-down then fails, and they end"),
    may(KEEPERS, EVERY, plain("landlock_restrict_self"), &[RULESET], "loses rights"),
    may(KEEPERS, EVERY, ("prlimit64", "to forbid itself processes"), &[PROCESS], "loses this right"),
    may(KEEPERS, EVERY, plain("seccomp"), &[PROCESS], "loses calls: a further filter can only remove some"),
    may(KEEPERS, ANSWERING, plain("ppoll"), &[EVERYTHING], "learns when one of them becomes readable or writable, and nothing else"),
    may(KEEPERS, EVERY, ("epoll_ctl", "to wait for it"), &[UDP], "learns when a datagram arrives"),

    may(KEEPER_WITH_FILES, EVERY, ("dup3", "onto descriptor 0"), &[OPEN], "reads from it what it may read anyway"),
    may(KEEPER_WITH_FILES, EVERY, ("dup3", "onto descriptor 1"), &[OPEN], "cannot write to it, because it is open for reading only"),
    may(KEEPER_WITH_FILES, EVERY, plain("fstat"), &[CONNECTIONS, LISTENING, RULESET], "learns the mode, owner and times of what it has open"),
    may(KEEPER_WITH_FILES, ANSWERING, plain("ppoll"), &[OPEN], "learns that they are readable"),

    may(DATAGRAMS, SMALL, plain("recvmmsg"), &[UDP], "receives the service's datagrams"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "to any host"), &[UDP], "sends datagrams to any address, also to services of this host, from the service's port"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "from another address of the host's"), &[UDP], "does so from any address of the host"),
    may(WITH_UDP, SMALL, ("epoll_ctl", "to wait for it"), &[UDP], "learns when a datagram arrives"),
    may(ALONE, EVERY, plain("clock_gettime"), TIMES, "reads the time"),
    may(ALONE, SENDING, plain("brk"), &[("memory", &[])], "allocates memory until a unit's `MemoryMax=` ends the process"),

    may(FILES, EVERY, plain("openat"), &[("a file that it follows", &[]), ("a directory that it follows", &[])], "opens for reading what is beneath the directories of its fortunes, of lunchd's certificate and key, of time zones or of sessions; Landlock refuses other paths, and the policy refuses to open for writing"),
    may(FILES, WATCHING, plain("getdents64"), &[("an open directory", &[])], "lists these directories"),
    may(FILES, EVERY, plain("read"), &[("an open file", &[])], "reads these files"),
    may(FILES, BY_INDEX, plain("pread64"), &[("an open file", &[])], "does the same"),
    may(FILES, EVERY, plain("close"), &[OPEN], "closes them"),
    may(FILES, EVERY, plain("fstat"), &[OPEN], "learns the size, mode, owner and times of what it has open"),
    may(ALL_WITH_FILES, EVERY, plain("read"), &[CONNECTIONS], "reads from any client of this process"),
    may(ALL_WITH_FILES, EVERY, plain("fstat"), &[CONNECTIONS, LISTENING], "learns their mode, owner and times"),
];

/// What seccomp alone would not stop either: Landlock does.
pub const BY_LANDLOCK: &[Reach] = &[
    may(
        FILES,
        EVERY,
        plain("openat"),
        &[("a file elsewhere", &[]), ("a directory elsewhere", &[])],
        "opens any file for reading",
    ),
    may(KEEPERS, EVERY, plain("kill"), &[("another process", &[])], "ends any process of the same user"),
];
