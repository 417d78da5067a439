//! What a hijacked process can still do with the calls and descriptors that it has: all of it, and what it means.

use super::Io;
use Io::{Connection, Filter, Listeners, ListenersAndFiles, Sockets, SocketsAndFiles};
use small_services::services::{self, Kind};

/// Which services, by the names of their programs.
pub type Services = fn(&str) -> bool;

/// Kinds of descriptors with a name for all of them; or a name that is itself the kind.
pub type Kinds = (&'static str, &'static [&'static str]);

/// What the process of a service can do.
pub struct Reach {
    pub peers: &'static [Io],
    pub services: Services,
    pub call: &'static str,
    /// With which arguments, in words; nothing for those that the service itself would choose.
    pub how: &'static str,
    /// On which descriptors; else with which paths, clocks and the like.
    pub on: &'static [Kinds],
    /// So that an attacker can do this.
    pub means: &'static str,
}

/// The kinds of processes, and what each is called.
pub const PROCESSES: &[(&[Io], &str)] = &[
    (ANY, "any process"),
    (ONE, "a process for one connection"),
    (FILTER, "a filter"),
    (CALLED, "a process for one connection or a filter"),
    (ALL, "one process for all"),
    (DATAGRAMS, "one process for all, with UDP"),
    (FILES, "one process for all that reads its files again"),
];

const ANY: &[Io] = &[Connection, Filter, Listeners, Sockets, ListenersAndFiles, SocketsAndFiles];
const ONE: &[Io] = &[Connection];
const FILTER: &[Io] = &[Filter];
const CALLED: &[Io] = &[Connection, Filter];
const ALL: &[Io] = &[Listeners, Sockets, ListenersAndFiles, SocketsAndFiles];
const DATAGRAMS: &[Io] = &[Sockets, SocketsAndFiles];
const FILES: &[Io] = &[ListenersAndFiles, SocketsAndFiles];

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

    may(ALL, EVERY, plain("accept4"), &[LISTENING], "takes the service's clients: who connects to its sockets, and nobody else"),
    may(ALL, EVERY, plain("recvfrom"), &[CONNECTIONS], "takes or drops what any client of this process says"),
    may(ALL, SENDING, plain("sendto"), &[CONNECTIONS], "says to any client of this process what it likes"),
    may(ALL, SENDING, ("sendto", "to an address of no length"), &[CONNECTIONS], "does the same: where a connection leads cannot be changed"),
    may(ALL, REPLYING_OR_WEB, plain("shutdown"), &[CONNECTIONS], "tells any client of this process that nothing follows"),
    may(ALL, REPLYING_OR_WEB, plain("shutdown"), &[LISTENING], "changes nothing: who listens sends nothing that could end"),
    may(ALL, EVERY, plain("close"), &[CONNECTIONS, LISTENING], "ends connections, or serves no more; what comes then waits in the kernel"),
    may(ALL, STREAMING, plain("setsockopt"), &[CONNECTIONS, LISTENING], "has the kernel buffer more for each connection, up to `net.core.rmem_max` and `wmem_max`; a unit's `MemoryMax=` counts it, and ends the process. A listening socket keeps its sizes until the next process sets them"),
    may(ALL, EVERY, plain("read"), &[("the signals", &[])], "is told to stop, and does not: the manager kills it after `TimeoutStopSec=`"),
    may(ALL, EVERY, plain("write"), &[("the service manager", &[])], "says of its own unit what sd_notify(3) knows: that it is ready and alive, any line of status, that stopping takes longer; `systemctl kill --signal=KILL` does not ask it"),
    may(ALL, EVERY, plain("write"), &[OUTPUTS], "does there, where it was not started by a manager that is to be told, what it does on its log"),
    may(ALL, LUNCHD, plain("write"), &[("what wakes the event loop", &[])], "wakes itself"),
    may(ALL, SMALL, plain("epoll_pwait"), &[("the event loop", &[])], "waits, if it likes for ever: a unit's `WatchdogSec=` ends that"),
    may(ALL, LUNCHD, plain("epoll_wait"), &[("the event loop", &[])], "waits, if it likes for ever: a unit's `WatchdogSec=` ends that"),
    may(ALL, EVERY, ("epoll_ctl", "to wait with it"), &[("the event loop", &[])], "waits for what it has"),
    may(ALL, EVERY, ("epoll_ctl", "to wait for it"), &[SYSTEM, READY, CONNECTIONS, LISTENING], "learns when one of them can be read or written, and no more"),
    may(ALL, LUNCHD, ("epoll_ctl", "to wait for it"), &[("what wakes the event loop", &[])], "the same"),
    may(ALL, EVERY, plain("clock_gettime"), &[("the time of day", &[]), ("the time since the start", &[])], "knows the time; not how long other processes run, which other clocks would tell"),
    may(ALL, EVERY, plain("brk"), &[("memory", &[])], "takes memory, until a unit's `MemoryMax=` ends the process"),
    may(ALL, LUNCHD, plain("getrandom"), &[("random octets", &[])], "takes some: there are always enough"),

    may(DATAGRAMS, SMALL, plain("recvmmsg"), &[UDP], "takes the datagrams that come to the service"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "to any host"), &[UDP], "sends datagrams anywhere, to services of this host too, from the service's port"),
    may(DATAGRAMS, SENDING, ("sendmmsg", "from another address of the host's"), &[UDP], "does so from whatever address the host has"),
    may(DATAGRAMS, SMALL, ("epoll_ctl", "to wait for it"), &[UDP], "learns when a datagram comes"),

    may(FILES, EVERY, plain("openat"), &[("a file that it follows", &[]), ("a directory that it follows", &[])], "opens what is beneath the directories of its fortunes, of lunchd's certificate and key, of time zones or of sessions, to read it: Landlock refuses other paths, and the policy to write"),
    may(FILES, WATCHING, plain("getdents64"), &[("an open directory", &[])], "lists these directories"),
    may(FILES, EVERY, plain("read"), &[("an open file", &[])], "reads these files"),
    may(FILES, BY_INDEX, plain("pread64"), &[("an open file", &[])], "does the same"),
    may(FILES, EVERY, plain("read"), &[CONNECTIONS], "takes what any client of this process says"),
    may(FILES, EVERY, plain("close"), &[("an open file", &[]), ("an open directory", &[])], "is done with them"),
    may(FILES, EVERY, plain("fstat"), &[("an open file", &[]), ("an open directory", &[]), CONNECTIONS, LISTENING], "learns the size, the mode, the owner and the times of what it has open"),
];

/// What seccomp alone would not stop either: Landlock does.
pub const BY_LANDLOCK: &[Reach] = &[may(
    FILES,
    EVERY,
    plain("openat"),
    &[("a file elsewhere", &[]), ("a directory elsewhere", &[])],
    "opens any file to read it",
)];
