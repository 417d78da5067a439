//! The policy table: every system call that a service may make after the lock-down, with the reason.
//!
//! Plain data. `build.rs` reads this file too and compiles it to BPF programs, so that no process has to.

/// A service, as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Quote of the Day, RFC 865.
    Qotd,
    /// Echo, RFC 862.
    Echo,
    /// Daytime, RFC 867.
    Daytime,
    /// Discard, RFC 863.
    Discard,
    /// Character Generator, RFC 864.
    Chargen,
    /// Time, RFC 868.
    Time,
    /// Fortunes over HTTP and HTTPS.
    Lunchd,
}

/// What the service reads from and writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A connected stream socket on descriptors 0 and 1.
    Connection,
    /// A terminal, pipe or file on descriptor 0, another on descriptor 1.
    Filter,
    /// Listening sockets, for all clients. Descriptor 0 tells when to stop, descriptor 1 leads to the service manager.
    Listeners,
    /// The same, and sockets for datagrams.
    Sockets,
    /// Listening sockets, and files that are read again when they change, as far as Landlock leaves them readable.
    ListenersAndFiles,
    /// The same, and sockets for datagrams.
    SocketsAndFiles,
}

/// A system call and its number on each architecture that is served.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The name, as in its manual page in section 2.
    pub name: &'static str,
    /// The number on `x86_64`.
    pub x86_64: i64,
    /// The number on `aarch64`.
    pub aarch64: i64,
}

/// A pinned argument: the values that are allowed there (of the low 32 bits, all that the kernel reads of a descriptor or of
/// flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its position, from 0.
    pub position: u8,
    /// The least value.
    pub min: u32,
    /// The greatest; the same, for most.
    pub max: u32,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The services that may make the call.
    pub services: &'static [Service],
    /// With which peers.
    pub peers: &'static [Peer],
    /// The call.
    pub call: Call,
    /// Its pinned arguments, each at another position.
    pub arguments: &'static [Pin],
    /// Why the service needs it.
    pub reason: &'static str,
}

use Peer::{Connection, Filter, Listeners, ListenersAndFiles, Sockets, SocketsAndFiles};
use Service::{Chargen, Daytime, Discard, Echo, Lunchd, Qotd, Time};

const fn call(name: &'static str, x86_64: i64, aarch64: i64) -> Call {
    Call { name, x86_64, aarch64 }
}

const fn is(position: u8, value: u32) -> Pin {
    Pin { position, min: value, max: value }
}

const fn within(position: u8, min: u32, max: u32) -> Pin {
    Pin { position, min, max }
}

const fn allow(
    services: &'static [Service],
    peers: &'static [Peer],
    call: Call,
    arguments: &'static [Pin],
    reason: &'static str,
) -> Rule {
    Rule { services, peers, call, arguments, reason }
}

const ACCEPT4: Call = call("accept4", 288, 242);
const BRK: Call = call("brk", 12, 214);
const CLOCK_GETTIME: Call = call("clock_gettime", 228, 113);
const CLOSE: Call = call("close", 3, 57);
const EPOLL_CTL: Call = call("epoll_ctl", 233, 21);
const EPOLL_PWAIT: Call = call("epoll_pwait", 281, 22);
/// On aarch64, the C library makes it an `epoll_pwait`.
const EPOLL_WAIT: Call = call("epoll_wait", 232, 22);
const EXIT_GROUP: Call = call("exit_group", 231, 94);
const FCNTL: Call = call("fcntl", 72, 25);
const FSTAT: Call = call("fstat", 5, 80);
const GETDENTS64: Call = call("getdents64", 217, 61);
const GETRANDOM: Call = call("getrandom", 318, 278);
const OPENAT: Call = call("openat", 257, 56);
const PPOLL: Call = call("ppoll", 271, 73);
const PREAD64: Call = call("pread64", 17, 67);
const READ: Call = call("read", 0, 63);
const RECVFROM: Call = call("recvfrom", 45, 207);
const RECVMMSG: Call = call("recvmmsg", 299, 243);
const SENDMMSG: Call = call("sendmmsg", 307, 269);
const SENDTO: Call = call("sendto", 44, 206);
const SETSOCKOPT: Call = call("setsockopt", 54, 208);
const SHUTDOWN: Call = call("shutdown", 48, 210);
const WRITE: Call = call("write", 1, 64);

/// Every service that there is.
pub const SERVICES: &[Service] = &[Qotd, Echo, Daytime, Discard, Chargen, Time, Lunchd];
/// Those of the RFCs.
const SMALL: &[Service] = &[Qotd, Echo, Daytime, Discard, Chargen, Time];
/// Those with files that are read again.
const FOLLOWING: &[Service] = &[Qotd, Daytime, Lunchd];
/// Those of them that look for changes, and list directories.
const WATCHING: &[Service] = &[Qotd, Lunchd];
/// Those that send one reply and close.
const REPLYING: &[Service] = &[Qotd, Daytime, Time];
/// Those that go on for as long as the client likes.
const STREAMING: &[Service] = &[Echo, Discard, Chargen];
/// Every kind of peer that there is.
pub const PEERS: &[Peer] = &[Connection, Filter, Listeners, Sockets, ListenersAndFiles, SocketsAndFiles];
/// One process for all clients.
const ALL: &[Peer] = &[Listeners, Sockets, ListenersAndFiles, SocketsAndFiles];
/// The same in a debug build, and nobody in what is installed. (`build.rs` is built as the programs are.)
const DEBUGGED: &[Peer] = if cfg!(debug_assertions) { ALL } else { &[] };
/// The same, with datagrams.
const DATAGRAMS: &[Peer] = &[Sockets, SocketsAndFiles];
/// The same, with files.
const FILES: &[Peer] = &[ListenersAndFiles, SocketsAndFiles];
/// The same, without files.
const NO_FILES: &[Peer] = &[Listeners, Sockets];

// The numbers of descriptors in one process for all clients. Where the table tells kinds of descriptors apart, it is by
// number: src/serve/descriptors.rs puts each where it belongs, and leaves no number below `FIRST_FREE` free.

/// The event loop's.
pub const EVENTS: u32 = 3;
/// The first of those that are for datagram sockets and for nothing else.
pub const FIRST_DATAGRAMS: u32 = 4;
/// The last of them.
pub const LAST_DATAGRAMS: u32 = 11;
/// From here on: listening sockets, connections and files.
pub const FIRST_FREE: u32 = LAST_DATAGRAMS + 1;

const INPUT: Pin = is(0, 0);
const OUTPUT: Pin = is(0, 1);
const LOG: Pin = is(0, 2);
const EVENT_LOOP: Pin = is(0, EVENTS);
/// A descriptor that sends and receives nothing but datagrams of an IP network: sendmmsg(2) and recvmmsg(2) take addresses
/// and descriptors in memory, where no filter sees them, and a Unix-domain socket would pass these on.
const DATAGRAM_SOCKET: Pin = within(0, FIRST_DATAGRAMS, LAST_DATAGRAMS);
/// Not one of those that have a meaning by their number.
const STREAM: Pin = within(0, FIRST_FREE, u32::MAX);
/// The same: a file or directory that was opened after the numbers below were taken.
const FILE: Pin = STREAM;
/// lunchd's event loop: what waits, what wakes it, and what registers with it, as tokio opens them. Nothing is open below them
/// but 0 to 2 then (src/web/mod.rs).
const RUNTIME: Pin = within(0, EVENTS, EVENTS + 2);
/// What wakes it, an eventfd.
const WAKER: Pin = is(0, EVENTS + 1);
/// `CLOCK_REALTIME` and `CLOCK_MONOTONIC`. Other clocks tell how busy other processes are, whoever they belong to.
const CLOCKS: Pin = within(0, 0, 1);
const SHUT_WR: Pin = is(1, 1);
const SOL_SOCKET: Pin = is(1, 1);
const SO_SNDBUF: Pin = is(2, 7);
const SO_RCVBUF: Pin = is(2, 8);
/// `SOCK_NONBLOCK | SOCK_CLOEXEC`.
const NONBLOCK_CLOEXEC: Pin = is(3, 0x8_0800);
// Of ppoll(2), which takes descriptors in memory, how many. It tells whether they are ready, and does nothing with them.
const NO_DESCRIPTORS: Pin = is(1, 0);
const ONE_DESCRIPTOR: Pin = is(1, 1);
/// A time limit, which is in memory too.
const SOME_TIME: Pin = within(2, 1, u32::MAX);
/// No time limit.
const FOR_EVER: Pin = is(2, 0);
/// No other signals are blocked meanwhile.
const KEEP_SIGNALS: Pin = is(3, 0);
const F_GETFD: Pin = is(1, 1);
const AT_FDCWD: Pin = is(0, 0xffff_ff9c);
/// `O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC`, the same number on both architectures.
const READ_ONLY: Pin = is(2, 0x8_0900);
const NO_FLAGS: Pin = is(3, 0);
const MSG_PEEK: Pin = is(3, 0x2);
/// Drop in the kernel, copy nothing.
const MSG_TRUNC: Pin = is(3, 0x20);
const MSG_TRUNC_DONTWAIT: Pin = is(3, 0x60);
/// Drop in the kernel, and go on until the end, the time limit or the length given.
const MSG_TRUNC_WAITALL: Pin = is(3, 0x120);
const MSG_DONTWAIT: Pin = is(3, 0x40);
const MSG_NOSIGNAL: Pin = is(3, 0x4000);
const MSG_NOSIGNAL_MORE: Pin = is(3, 0xc000);
/// The length of the address to send to: none, so that it goes where the socket is connected.
const NO_ADDRESS: Pin = is(5, 0);

/// The table. Whatever is not in it kills the process.
#[rustfmt::skip]
pub const TABLE: &[Rule] = &[
    // One connection, or a filter.
    allow(REPLYING,   &[Connection], WRITE,    &[OUTPUT], "send the reply"),
    allow(REPLYING,   &[Connection], SHUTDOWN, &[OUTPUT, SHUT_WR], "say that the reply is complete"),
    allow(REPLYING,   &[Connection], RECVFROM, &[INPUT, MSG_TRUNC_WAITALL], "drop what the client sent: closing over it would reset the reply"),
    allow(REPLYING,   &[Filter],     WRITE,    &[OUTPUT], "print the reply"),
    allow(&[Qotd],    &[Filter],     PPOLL,    &[NO_DESCRIPTORS, SOME_TIME, KEEP_SIGNALS], "let a person read it (-w)"),
    allow(&[Echo],    &[Connection, Filter], READ,  &[INPUT], "take what arrives"),
    allow(&[Echo],    &[Connection, Filter], WRITE, &[OUTPUT], "send it back"),
    allow(&[Discard], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC], "drop what arrives"),
    allow(&[Discard], &[Filter],     READ,     &[INPUT], "drop what arrives"),
    allow(&[Chargen], &[Connection, Filter], WRITE, &[OUTPUT], "send the characters"),
    allow(&[Chargen], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC_DONTWAIT], "drop what arrives meanwhile"),
    allow(SMALL,      &[Filter],     PPOLL,    &[ONE_DESCRIPTOR, FOR_EVER, KEEP_SIGNALS], "wait for a descriptor that somebody has made non-blocking"),

    // Sockets for all clients.
    allow(SMALL,      ALL, EPOLL_PWAIT, &[EVENT_LOOP], "wait for clients"),
    allow(SMALL,      ALL, EPOLL_CTL,   &[EVENT_LOOP], "wait for one more client, or for what it can do next"),
    allow(SMALL,      ALL, ACCEPT4,     &[STREAM, NONBLOCK_CLOEXEC], "take a connection"),
    allow(SMALL,      ALL, CLOSE,       &[STREAM], "end a connection, or be done with a file"),
    allow(SMALL,      ALL, RECVFROM,    &[STREAM, MSG_TRUNC], "drop what was sent, or what has been sent back"),
    allow(REPLYING,   ALL, SENDTO,      &[STREAM, MSG_NOSIGNAL_MORE, NO_ADDRESS], "send the reply"),
    allow(REPLYING,   ALL, SHUTDOWN,    &[STREAM, SHUT_WR], "say that the reply is complete"),
    allow(&[Echo],    ALL, RECVFROM,    &[STREAM, MSG_PEEK], "look at what arrives: what cannot be sent back yet stays in the kernel"),
    allow(&[Echo, Chargen], ALL, SENDTO, &[STREAM, MSG_NOSIGNAL, NO_ADDRESS], "send it back; send the characters"),
    allow(STREAMING,  ALL, SETSOCKOPT,  &[STREAM, SOL_SOCKET, SO_RCVBUF], "take the large buffers from a connection, when there are many"),
    allow(STREAMING,  ALL, SETSOCKOPT,  &[STREAM, SOL_SOCKET, SO_SNDBUF], "take the large buffers from a connection, when there are many"),
    allow(SMALL,      DATAGRAMS, RECVMMSG, &[DATAGRAM_SOCKET, MSG_DONTWAIT], "take datagrams"),
    allow(&[Qotd, Daytime, Time, Echo, Chargen], DATAGRAMS, SENDMMSG, &[DATAGRAM_SOCKET, MSG_DONTWAIT], "answer datagrams"),
    allow(SMALL,      NO_FILES, READ,   &[INPUT], "learn that it is time to stop"),
    allow(SMALL,      ALL, WRITE,       &[OUTPUT], "tell the service manager: ready, alive, stopping"),
    allow(SMALL,      ALL, CLOCK_GETTIME, &[CLOCKS], "tell the time where the vDSO cannot"),
    allow(SMALL,      ALL, BRK,         &[], "keep a record of one more connection, or the rest of a long reply"),

    // Files that are read again: fortunes when they change, a time zone, and a certificate. Where they may lie is Landlock's part, which sees
    // openat only: no other call may take a path. (statx and newfstatat take one whatever their flags are.)
    allow(FOLLOWING,  FILES, OPENAT, &[AT_FDCWD, READ_ONLY], "open a file to read it, or a directory to list it"),
    allow(FOLLOWING,  FILES, FSTAT, &[FILE], "see what was opened, and whether it was changed"),
    allow(WATCHING,   FILES, GETDENTS64, &[FILE], "list a directory"),
    allow(FOLLOWING,  FILES, READ, &[INPUT], "learn that it is time to stop, or to read again"),
    allow(FOLLOWING,  FILES, READ, &[FILE], "read a file"),
    allow(WATCHING,   FILES, PREAD64, &[FILE], "read a fortune by its index"),

    // The web, with one thread.
    allow(&[Lunchd],  &[ListenersAndFiles], EPOLL_WAIT,  &[RUNTIME], "wait for clients, time limits and signals"),
    allow(&[Lunchd],  &[ListenersAndFiles], EPOLL_CTL,   &[RUNTIME], "wait for one more client"),
    allow(&[Lunchd],  &[ListenersAndFiles], ACCEPT4,     &[STREAM, NONBLOCK_CLOEXEC], "take a connection"),
    allow(&[Lunchd],  &[ListenersAndFiles], CLOSE,       &[STREAM], "end a connection, or be done with a file"),
    allow(&[Lunchd],  &[ListenersAndFiles], RECVFROM,    &[STREAM, NO_FLAGS], "read what a client sent"),
    allow(&[Lunchd],  &[ListenersAndFiles], SENDTO,      &[STREAM, MSG_NOSIGNAL, NO_ADDRESS], "answer"),
    allow(&[Lunchd],  &[ListenersAndFiles], SENDTO,      &[STREAM, MSG_NOSIGNAL_MORE, NO_ADDRESS], "answer for the last time: the end follows in the same segment"),
    allow(&[Lunchd],  &[ListenersAndFiles], SHUTDOWN,    &[STREAM, SHUT_WR], "say that the answer is complete"),
    allow(&[Lunchd],  &[ListenersAndFiles], WRITE,       &[WAKER], "wake the event loop for an earlier time limit"),
    allow(&[Lunchd],  &[ListenersAndFiles], READ,        &[WAKER], "start that count over, should it be full"),
    allow(&[Lunchd],  &[ListenersAndFiles], WRITE,       &[OUTPUT], "tell the service manager: ready, alive, stopping"),
    allow(&[Lunchd],  &[ListenersAndFiles], GETRANDOM,   &[], "draw the keys of a TLS connection"),
    allow(&[Lunchd],  &[ListenersAndFiles], CLOCK_GETTIME, &[CLOCKS], "tell the time where the vDSO cannot"),
    allow(&[Lunchd],  &[ListenersAndFiles], BRK,         &[], "keep a connection's state"),

    allow(SERVICES,   DEBUGGED, FCNTL,   &[F_GETFD], "assert that a descriptor is open, as the standard library does before it closes one"),
    allow(SERVICES,   PEERS, WRITE,      &[LOG], "say on the log what failed"),
    allow(SERVICES,   PEERS, EXIT_GROUP, &[], "end"),
];

/// The services, each with the peers that it can have.
pub fn combinations() -> impl Iterator<Item = (Service, Peer)> {
    SERVICES.iter().flat_map(|&service| PEERS.iter().map(move |&peer| (service, peer))).filter(|pair| match pair {
        (Lunchd, peer) => *peer == ListenersAndFiles,
        (service, ListenersAndFiles | SocketsAndFiles) => FOLLOWING.contains(service),
        _ => true,
    })
}

/// The lines of the table that hold for one service and peer: none for a pair that is no combination.
pub fn rules(service: Service, peer: Peer) -> impl Iterator<Item = &'static Rule> {
    let combines = combinations().any(|pair| pair == (service, peer));
    TABLE.iter().filter(move |rule| combines && rule.services.contains(&service) && rule.peers.contains(&peer))
}
