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
    (ONE, "a process for one connection, made by a super-server or the keeper"),
    (FILTER, "a filter"),
    (CALLED, "a process for one connection or a filter"),
    (DAEMONS, "one process for all, or the keeper"),
    (ALL, "one process for all"),
    (KEEPERS, "the keeper"),
    (KEEPER_WITH_FILES, "the keeper, with files"),
    (DATAGRAMS, "one that answers datagrams: one process for all, the keeper's process for them, and the keeper"),
    (WITH_UDP, "one process for all, with UDP"),
    (ALONE, "the keeper's process for datagrams"),
    (FILES, "one that reads its files again: one process for all, the keeper, and its process for datagrams"),
    (ALL_WITH_FILES, "one process for all that reads its files again"),
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
    "all that it has open but files",
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

const TERMINAL: &str = "writes there what it likes: on a terminal also what steers it";

#[rustfmt::skip]
pub const LIST: &[Reach] = &[
    may(ANY, EVERY, plain("write"), &[("the journal", &[])], "writes lines of any priority, which the journal keeps as this unit's"),
    may(ANY, EVERY, plain("write"), &[("syslog", &[])], "writes lines in the name of any program, since a line says itself whose it is (journald notes the process too)"),
    may(ANY, EVERY, plain("write"), &[LOGS], TERMINAL),
    may(ANY, EVERY, plain("exit_group"), &[("the process", &[])], "ends, with any exit code"),

    may(ONE, ECHO, plain("read"), &[ITS_CONNECTION], "takes what this client says"),
    may(ONE, DROPPING, plain("recvfrom"), &[ITS_CONNECTION], "drops what this client says; takes it, over a Unix-domain socket"),
    may(ONE, SENDING, plain("write"), &[ITS_CONNECTION], "says to this client what it likes"),
    may(ONE, REPLYING, plain("shutdown"), &[ITS_CONNECTION], "tells this client that nothing follows"),

    may(ONE, ANSWERING, plain("ppoll"), &[ITS_CONNECTION, LOGS, ("the journal", &[]), ("syslog", &[])], "learns when one of them can be read or written, and no more"),
    may(CALLED, ANSWERING, plain("clock_gettime"), &[("the time of day", &[]), ("the time since the start", &[])], "knows the time"),
    may(CALLED, ANSWERING, plain("brk"), &[("memory", &[])], "takes memory, until a limit ends the process"),

    may(FILTER, READING, plain("read"), &[INPUTS], "takes what was meant for the filter"),
    may(FILTER, SENDING, plain("write"), &[OUTPUTS, ("a socket as output", &[])], TERMINAL),
    may(FILTER, REPLYING, plain("ppoll"), &[("a while", &[])], "waits"),
    may(FILTER, SMALL, plain("ppoll"), &[INPUTS, OUTPUTS, ("a socket as output", &[]), LOGS, ("the journal", &[]), ("syslog", &[])], "learns when one of them can be read or written, and no more"),

    may(DAEMONS, EVERY, plain("accept4"), &[LISTENING], "takes the service's clients: who connects to its sockets, and nobody else"),
    may(DAEMONS, REPLYING_OR_WEB, plain("shutdown"), &[CONNECTIONS], "tells any client of this process that nothing follows"),
    may(DAEMONS, REPLYING_OR_WEB, plain("shutdown"), &[LISTENING], "changes nothing: who listens sends nothing that could end"),
    may(DAEMONS, EVERY, plain("close"), &[CONNECTIONS, LISTENING], "ends connections, or serves no more; what comes then waits in the kernel"),
    may(DAEMONS, STREAMING, plain("setsockopt"), &[CONNECTIONS, LISTENING], "has the kernel buffer more for each connection, up to `net.core.rmem_max` and `wmem_max`; a unit's `MemoryMax=` counts it, and ends the process. A listening socket keeps its sizes until the next process sets them"),
    may(DAEMONS, EVERY, plain("read"), &[("the signals", &[])], "is told to stop, and does not: the manager kills it after `TimeoutStopSec=`"),
    may(DAEMONS, EVERY, plain("write"), &[("the service manager", &[])], "says of its own unit what sd_notify(3) knows: that it is ready and alive, any line of status, that stopping takes longer; `systemctl kill --signal=KILL` does not ask it"),
    may(DAEMONS, EVERY, plain("write"), &[OUTPUTS], "does there, where it was not started by a manager that is to be told, what it does on its log"),
    may(DAEMONS, SMALL, plain("epoll_pwait"), &[("the event loop", &[])], "waits, if it likes for ever: a unit's `WatchdogSec=` ends that"),
    may(DAEMONS, EVERY, ("epoll_ctl", "to wait with it"), &[("the event loop", &[])], "waits for what it has"),
    may(DAEMONS, EVERY, ("epoll_ctl", "to wait for it"), &[SYSTEM, READY, CONNECTIONS, LISTENING], "learns when one of them can be read or written, and no more"),
    may(DAEMONS, EVERY, plain("brk"), &[("memory", &[])], "takes memory, until a unit's `MemoryMax=` ends the process"),

    may(ALL, EVERY, plain("recvfrom"), &[CONNECTIONS], "takes or drops what any client of this process says"),
    may(ALL, SENDING, plain("sendto"), &[CONNECTIONS], "says to any client of this process what it likes"),
    may(ALL, SENDING, ("sendto", "to an address of no length"), &[CONNECTIONS], "does the same: where a connection leads cannot be changed"),
    may(ALL, LUNCHD, plain("write"), &[("what wakes the event loop", &[])], "wakes itself"),
    may(ALL, LUNCHD, plain("epoll_wait"), &[("the event loop", &[])], "waits, if it likes for ever: a unit's `WatchdogSec=` ends that"),
    may(ALL, LUNCHD, ("epoll_ctl", "to wait for it"), &[("what wakes the event loop", &[])], "the same"),
    may(ALL, EVERY, plain("clock_gettime"), TIMES, "knows the time; not how long other processes run, which other clocks would tell"),
    may(ALL, LUNCHD, plain("getrandom"), &[("random octets", &[])], "takes some: there are always enough"),

    may(KEEPERS, EVERY, ("dup3", "onto descriptor 0"), &[CONNECTIONS, LISTENING, UDP, KEPT, RULESET], "puts what it has where its processes read, and reads it itself: later clients no longer have their own processes"),
    may(KEEPERS, EVERY, ("dup3", "onto descriptor 1"), &[CONNECTIONS, LISTENING, UDP, KEPT, RULESET], "puts it where its processes write, and writes there itself"),
    may(KEEPERS, EVERY, plain("read"), &[CONNECTIONS, UDP], "takes what is said there, once it has put it on descriptor 0"),
    may(KEEPERS, DROPPING, plain("recvfrom"), &[CONNECTIONS, UDP], "the same, or drops it"),
    may(KEEPERS, EVERY, plain("recvmmsg"), &[CONNECTIONS], "the same; and takes a descriptor that a local client passes over a Unix-domain socket"),
    may(KEEPERS, EVERY, plain("write"), &[CONNECTIONS], "says to the client what it likes, once it has put the connection on descriptor 1"),
    may(KEEPERS, SENDING, plain("sendmmsg"), &[CONNECTIONS], "the same, with the connection on descriptor 0"),
    may(KEEPERS, SENDING, ("sendmmsg", "to another service"), &[TCP], "the same: where a connection leads cannot be changed"),
    may(KEEPERS, SENDING, ("sendmmsg", "to any host"), &[TCP], "the same"),
    may(KEEPERS, SENDING, ("sendmmsg", "from another address of the host's"), &[TCP], "the same"),
    may(KEEPERS, SENDING, ("sendmmsg", "with a descriptor"), &[UNIX], "passes what it has to a local client that takes it: new connections of others, too"),
    may(KEEPERS, REPLYING, plain("shutdown"), &[("the service manager", &[]), ("the journal", &[])], "says no more there"),
    may(KEEPERS, EVERY, ("setsockopt", "to lift its time limits"), &[CONNECTIONS, LISTENING, UDP], "lets a client take its time: the slot may be needed for another one, and then it is ended"),
    may(KEEPERS, EVERY, plain("clone"), &[("a process", &[])], "makes processes that may do what it may itself, as many as `TasksMax=` says"),
    may(KEEPERS, EVERY, plain("kill"), &[MADE], "ends what it has made. Others cannot be reached, where the kernel's Landlock has scopes"),
    may(KEEPERS, EVERY, plain("wait4"), &[MADE], "learns how it ended"),
    may(KEEPERS, EVERY, plain("clock_gettime"), TIMES, "knows the time"),
    may(KEEPERS, EVERY, plain("clock_gettime"), &[("the processor time of a process that it made", &[]), ("another process's processor time", &[])], "knows how long any process of the host has run on a processor, by its number"),
    may(KEEPERS, EVERY, plain("prctl"), &[PROCESS], "ends with the process that made it"),
    may(KEEPERS, EVERY, plain("getppid"), &[PROCESS], "knows the number of that"),
    may(KEEPERS, EVERY, plain("close_range"), &[("all from descriptor 3 on", &[])], "serves no more"),
    may(KEEPERS, EVERY, plain("close"), &[RULESET], "has no more processes with a Landlock domain of their own: their lock-down fails, and they end"),
    may(KEEPERS, EVERY, plain("landlock_restrict_self"), &[RULESET], "loses rights"),
    may(KEEPERS, EVERY, ("prlimit64", "to forbid itself processes"), &[PROCESS], "loses that one"),
    may(KEEPERS, EVERY, plain("seccomp"), &[PROCESS], "loses calls: filters add up"),
    may(KEEPERS, ANSWERING, plain("ppoll"), &[EVERYTHING], "learns when one of them can be read or written, and no more"),
    may(KEEPERS, EVERY, ("epoll_ctl", "to wait for it"), &[UDP], "learns when a datagram comes"),

    may(KEEPER_WITH_FILES, EVERY, ("dup3", "onto descriptor 0"), &[OPEN], "reads on from there what it may read anyhow"),
    may(KEEPER_WITH_FILES, EVERY, ("dup3", "onto descriptor 1"), &[OPEN], "writes nothing there: it was opened to read it"),
    may(KEEPER_WITH_FILES, EVERY, plain("fstat"), &[CONNECTIONS, LISTENING, RULESET], "learns the mode, the owner and the times of what it has open"),
    may(KEEPER_WITH_FILES, ANSWERING, plain("ppoll"), &[OPEN], "learns that they can be read"),

    may(DATAGRAMS, SMALL, plain("recvmmsg"), &[UDP], "takes the datagrams that come to the service"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "to any host"), &[UDP], "sends datagrams anywhere, to services of this host too, from the service's port"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "from another address of the host's"), &[UDP], "does so from whatever address the host has"),
    may(WITH_UDP, SMALL, ("epoll_ctl", "to wait for it"), &[UDP], "learns when a datagram comes"),
    may(ALONE, EVERY, plain("clock_gettime"), TIMES, "knows the time"),
    may(ALONE, SENDING, plain("brk"), &[("memory", &[])], "takes memory, until a unit's `MemoryMax=` ends the process"),

    may(FILES, EVERY, plain("openat"), &[("a file that it follows", &[]), ("a directory that it follows", &[])], "opens what is beneath the directories of its fortunes, of lunchd's certificate and key, of time zones or of sessions, to read it: Landlock refuses other paths, and the policy to write"),
    may(FILES, WATCHING, plain("getdents64"), &[("an open directory", &[])], "lists these directories"),
    may(FILES, EVERY, plain("read"), &[("an open file", &[])], "reads these files"),
    may(FILES, BY_INDEX, plain("pread64"), &[("an open file", &[])], "does the same"),
    may(FILES, EVERY, plain("close"), &[OPEN], "is done with them"),
    may(FILES, EVERY, plain("fstat"), &[OPEN], "learns the size, the mode, the owner and the times of what it has open"),
    may(ALL_WITH_FILES, EVERY, plain("read"), &[CONNECTIONS], "takes what any client of this process says"),
    may(ALL_WITH_FILES, EVERY, plain("fstat"), &[CONNECTIONS, LISTENING], "learns the mode, the owner and the times of these"),
];

/// What seccomp alone would not stop either: Landlock does.
pub const BY_LANDLOCK: &[Reach] = &[
    may(
        FILES,
        EVERY,
        plain("openat"),
        &[("a file elsewhere", &[]), ("a directory elsewhere", &[])],
        "opens any file to read it",
    ),
    may(KEEPERS, EVERY, plain("kill"), &[("another process", &[])], "ends any process of the same user"),
];
