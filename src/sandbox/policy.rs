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
const GETDENTS64: Call = call("getdents64", 217, 61);
const GETRANDOM: Call = call("getrandom", 318, 278);
const NANOSLEEP: Call = call("nanosleep", 35, 101);
const NEWFSTATAT: Call = call("newfstatat", 262, 79);
const OPENAT: Call = call("openat", 257, 56);
const PREAD64: Call = call("pread64", 17, 67);
const READ: Call = call("read", 0, 63);
const RECVFROM: Call = call("recvfrom", 45, 207);
const RECVMMSG: Call = call("recvmmsg", 299, 243);
const RESTART_SYSCALL: Call = call("restart_syscall", 219, 128);
const SENDMMSG: Call = call("sendmmsg", 307, 269);
const SENDTO: Call = call("sendto", 44, 206);
const SETSOCKOPT: Call = call("setsockopt", 54, 208);
const SHUTDOWN: Call = call("shutdown", 48, 210);
const STATX: Call = call("statx", 332, 291);
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
/// The same, with datagrams.
const DATAGRAMS: &[Peer] = &[Sockets, SocketsAndFiles];
/// The same, with files.
const FILES: &[Peer] = &[ListenersAndFiles, SocketsAndFiles];
/// The same, without files.
const NO_FILES: &[Peer] = &[Listeners, Sockets];

// The numbers of descriptors in one process for all clients. Where the table tells kinds of descriptors apart, it is by
// number: src/serve/descriptors.rs puts each where it belongs, and leaves no number below the last free.

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
/// What wakes lunchd's event loop, an eventfd: src/web/mod.rs sees to its number.
const WAKER: Pin = is(0, 4);
const SHUT_WR: Pin = is(1, 1);
const SOL_SOCKET: Pin = is(1, 1);
const SO_SNDBUF: Pin = is(2, 7);
const SO_RCVBUF: Pin = is(2, 8);
/// `SOCK_NONBLOCK | SOCK_CLOEXEC`.
const NONBLOCK_CLOEXEC: Pin = is(3, 0x8_0800);
const AT_FDCWD: Pin = is(0, 0xffff_ff9c);
/// `O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC`.
const READ_ONLY: Pin = is(2, 0x8_0900);
/// `O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC`.
const DIRECTORY: Pin = is(2, if cfg!(target_arch = "aarch64") { 0x8_4800 } else { 0x9_0800 });
const AT_EMPTY_PATH: u32 = 0x1000;
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
    allow(&[Qotd],    &[Filter],     NANOSLEEP, &[], "let a person read it (-w)"),
    allow(&[Qotd],    &[Filter],     RESTART_SYSCALL, &[], "go on waiting after Ctrl-Z and fg: the kernel makes this call of nanosleep"),
    allow(&[Echo],    &[Connection, Filter], READ,  &[INPUT], "take what arrives"),
    allow(&[Echo],    &[Connection, Filter], WRITE, &[OUTPUT], "send it back"),
    allow(&[Discard], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC], "drop what arrives"),
    allow(&[Discard], &[Filter],     READ,     &[INPUT], "drop what arrives"),
    allow(&[Chargen], &[Connection, Filter], WRITE, &[OUTPUT], "send the characters"),
    allow(&[Chargen], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC_DONTWAIT], "drop what arrives meanwhile"),

    // Sockets for all clients.
    allow(SMALL,      ALL, EPOLL_PWAIT, &[EVENT_LOOP], "wait for clients"),
    allow(SMALL,      ALL, EPOLL_CTL,   &[EVENT_LOOP], "wait for one more client, or for what it can do next"),
    allow(SMALL,      ALL, ACCEPT4,     &[STREAM, NONBLOCK_CLOEXEC], "take a connection"),
    allow(SMALL,      ALL, CLOSE,       &[STREAM], "end a connection"),
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
    allow(SMALL,      ALL, CLOCK_GETTIME, &[], "tell the time where the vDSO cannot"),
    allow(SMALL,      ALL, BRK,         &[], "keep a record of one more connection, or the rest of a long reply"),

    // Files that are read again: fortunes when they change, a time zone, and a certificate. Where they may lie is Landlock's part.
    allow(FOLLOWING,  FILES, STATX, &[AT_FDCWD, is(2, 0)], "see whether a file was changed"),
    allow(WATCHING,   FILES, STATX, &[is(2, AT_EMPTY_PATH)], "see whether an open file was changed"),
    allow(FOLLOWING,  FILES, OPENAT, &[AT_FDCWD, READ_ONLY], "open a file to read it"),
    allow(WATCHING,   FILES, OPENAT, &[AT_FDCWD, DIRECTORY], "open a directory to list it"),
    allow(WATCHING,   FILES, NEWFSTATAT, &[is(3, AT_EMPTY_PATH)], "learn how to read a directory"),
    allow(WATCHING,   FILES, GETDENTS64, &[], "list a directory"),
    allow(FOLLOWING,  FILES, READ, &[], "read a file; learn that it is time to stop, or to read again"),
    allow(WATCHING,   FILES, PREAD64, &[], "read a fortune by its index"),

    // The web, with one thread.
    allow(&[Lunchd],  &[ListenersAndFiles], EPOLL_WAIT,  &[], "wait for clients, time limits and signals"),
    allow(&[Lunchd],  &[ListenersAndFiles], EPOLL_CTL,   &[], "wait for one more client"),
    allow(&[Lunchd],  &[ListenersAndFiles], ACCEPT4,     &[NONBLOCK_CLOEXEC], "take a connection"),
    allow(&[Lunchd],  &[ListenersAndFiles], CLOSE,       &[], "end a connection"),
    allow(&[Lunchd],  &[ListenersAndFiles], RECVFROM,    &[NO_FLAGS], "read what a client sent"),
    allow(&[Lunchd],  &[ListenersAndFiles], SENDTO,      &[MSG_NOSIGNAL, NO_ADDRESS], "answer"),
    allow(&[Lunchd],  &[ListenersAndFiles], SHUTDOWN,    &[SHUT_WR], "say that the answer is complete"),
    allow(&[Lunchd],  &[ListenersAndFiles], WRITE,       &[WAKER], "wake the event loop for an earlier time limit"),
    allow(&[Lunchd],  &[ListenersAndFiles], WRITE,       &[OUTPUT], "tell the service manager: ready, alive, stopping"),
    allow(&[Lunchd],  &[ListenersAndFiles], GETRANDOM,   &[], "draw the keys of a TLS connection"),
    allow(&[Lunchd],  &[ListenersAndFiles], CLOCK_GETTIME, &[], "tell the time where the vDSO cannot"),
    allow(&[Lunchd],  &[ListenersAndFiles], BRK,         &[], "keep a connection's state"),

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
