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
    /// Sockets for all clients. Descriptor 0 tells when to stop, descriptor 1 leads to the service manager.
    Sockets,
    /// The same, and files that are read again when they change, as far as Landlock leaves them readable.
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

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The services that may make the call.
    pub services: &'static [Service],
    /// With which peers.
    pub peers: &'static [Peer],
    /// The call.
    pub call: Call,
    /// Its pinned arguments: position from 0, and the only value allowed there (the low 32 bits, all that the kernel
    /// reads of a descriptor or of flags).
    pub arguments: &'static [(u8, u32)],
    /// Why the service needs it.
    pub reason: &'static str,
}

use Peer::{Connection, Filter, Sockets, SocketsAndFiles};
use Service::{Chargen, Daytime, Discard, Echo, Lunchd, Qotd, Time};

const fn call(name: &'static str, x86_64: i64, aarch64: i64) -> Call {
    Call { name, x86_64, aarch64 }
}

const fn allow(
    services: &'static [Service],
    peers: &'static [Peer],
    call: Call,
    arguments: &'static [(u8, u32)],
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
const FSTAT: Call = call("fstat", 5, 80);
const GETDENTS64: Call = call("getdents64", 217, 61);
const GETRANDOM: Call = call("getrandom", 318, 278);
const NANOSLEEP: Call = call("nanosleep", 35, 101);
const OPENAT: Call = call("openat", 257, 56);
const PREAD64: Call = call("pread64", 17, 67);
const READ: Call = call("read", 0, 63);
const RECVFROM: Call = call("recvfrom", 45, 207);
const RECVMMSG: Call = call("recvmmsg", 299, 243);
const SENDMMSG: Call = call("sendmmsg", 307, 269);
const SENDTO: Call = call("sendto", 44, 206);
const SHUTDOWN: Call = call("shutdown", 48, 210);
const WRITE: Call = call("write", 1, 64);

/// Every service that there is.
pub const SERVICES: &[Service] = &[Qotd, Echo, Daytime, Discard, Chargen, Time, Lunchd];
/// Those of the RFCs.
const SMALL: &[Service] = &[Qotd, Echo, Daytime, Discard, Chargen, Time];
/// Those with files that are read again.
const FOLLOWING: &[Service] = &[Qotd, Lunchd];
/// Those that send one reply and close.
const REPLYING: &[Service] = &[Qotd, Daytime, Time];
/// Every kind of peer that there is.
pub const PEERS: &[Peer] = &[Connection, Filter, Sockets, SocketsAndFiles];
/// One process for all clients.
const ALL: &[Peer] = &[Sockets, SocketsAndFiles];

const INPUT: (u8, u32) = (0, 0);
const OUTPUT: (u8, u32) = (0, 1);
const LOG: (u8, u32) = (0, 2);
/// What wakes lunchd's event loop, an eventfd: src/web/mod.rs sees to its number.
const EVENT_LOOP: (u8, u32) = (0, 4);
const SHUT_WR: (u8, u32) = (1, 1);
/// `SOCK_NONBLOCK | SOCK_CLOEXEC`.
const NONBLOCK_CLOEXEC: (u8, u32) = (3, 0x8_0800);
const AT_FDCWD: (u8, u32) = (0, 0xffff_ff9c);
/// `O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC`, the same number on both architectures.
const READ_ONLY: (u8, u32) = (2, 0x8_0900);
const NO_FLAGS: (u8, u32) = (3, 0);
const MSG_PEEK: (u8, u32) = (3, 0x2);
/// Drop in the kernel, copy nothing.
const MSG_TRUNC: (u8, u32) = (3, 0x20);
const MSG_TRUNC_DONTWAIT: (u8, u32) = (3, 0x60);
/// Drop in the kernel, and go on until the end, the time limit or the length given.
const MSG_TRUNC_WAITALL: (u8, u32) = (3, 0x120);
const MSG_DONTWAIT: (u8, u32) = (3, 0x40);
const MSG_NOSIGNAL: (u8, u32) = (3, 0x4000);
const MSG_NOSIGNAL_MORE: (u8, u32) = (3, 0xc000);

/// The table. Whatever is not in it kills the process.
#[rustfmt::skip]
pub const TABLE: &[Rule] = &[
    // One connection, or a filter.
    allow(REPLYING,   &[Connection], WRITE,    &[OUTPUT], "send the reply"),
    allow(REPLYING,   &[Connection], SHUTDOWN, &[OUTPUT, SHUT_WR], "say that the reply is complete"),
    allow(REPLYING,   &[Connection], RECVFROM, &[INPUT, MSG_TRUNC_WAITALL], "drop what the client sent: closing over it would reset the reply"),
    allow(REPLYING,   &[Filter],     WRITE,    &[OUTPUT], "print the reply"),
    allow(&[Qotd],    &[Filter],     NANOSLEEP, &[], "let a person read it (-w)"),
    allow(&[Echo],    &[Connection, Filter], READ,  &[INPUT], "take what arrives"),
    allow(&[Echo],    &[Connection, Filter], WRITE, &[OUTPUT], "send it back"),
    allow(&[Discard], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC], "drop what arrives"),
    allow(&[Discard], &[Filter],     READ,     &[INPUT], "drop what arrives"),
    allow(&[Chargen], &[Connection, Filter], WRITE, &[OUTPUT], "send the characters"),
    allow(&[Chargen], &[Connection], RECVFROM, &[INPUT, MSG_TRUNC_DONTWAIT], "drop what arrives meanwhile"),

    // Sockets for all clients.
    allow(SMALL,      ALL, EPOLL_PWAIT, &[], "wait for clients"),
    allow(SMALL,      ALL, EPOLL_CTL,   &[], "wait for one more client, or for what it can do next"),
    allow(SMALL,      ALL, ACCEPT4,     &[NONBLOCK_CLOEXEC], "take a connection"),
    allow(SMALL,      ALL, CLOSE,       &[], "end a connection"),
    allow(SMALL,      ALL, RECVMMSG,    &[MSG_DONTWAIT], "take datagrams"),
    allow(SMALL,      ALL, RECVFROM,    &[MSG_TRUNC], "drop what was sent, or what has been sent back"),
    allow(REPLYING,   ALL, SENDTO,      &[MSG_NOSIGNAL_MORE], "send the reply"),
    allow(REPLYING,   ALL, SHUTDOWN,    &[SHUT_WR], "say that the reply is complete"),
    allow(&[Echo],    ALL, RECVFROM,    &[MSG_PEEK], "look at what arrives: what cannot be sent back yet stays in the kernel"),
    allow(&[Echo, Chargen], ALL, SENDTO, &[MSG_NOSIGNAL], "send it back; send the characters"),
    allow(&[Qotd, Daytime, Time, Echo, Chargen], ALL, SENDMMSG, &[MSG_DONTWAIT], "answer datagrams"),
    allow(SMALL,      &[Sockets], READ, &[INPUT], "learn that it is time to stop"),
    allow(SMALL,      ALL, WRITE,       &[OUTPUT], "tell the service manager: ready, alive, stopping"),
    allow(SMALL,      ALL, CLOCK_GETTIME, &[], "tell the time where the vDSO cannot"),
    allow(SMALL,      ALL, BRK,         &[], "keep a record of one more connection, or the rest of a long reply"),

    // Files that are read again: fortunes when they change, and a certificate. Where they may lie is Landlock's part, which sees
    // openat only: no other call may take a path. (statx and newfstatat take one whatever their flags are.)
    allow(FOLLOWING,  &[SocketsAndFiles], OPENAT, &[AT_FDCWD, READ_ONLY], "open a file to read it, or a directory to list it"),
    allow(FOLLOWING,  &[SocketsAndFiles], FSTAT, &[], "see what was opened, and whether it was changed"),
    allow(FOLLOWING,  &[SocketsAndFiles], GETDENTS64, &[], "list a directory"),
    allow(FOLLOWING,  &[SocketsAndFiles], READ, &[], "read a file; learn that it is time to stop, or to read again"),
    allow(FOLLOWING,  &[SocketsAndFiles], PREAD64, &[], "read a fortune by its index"),

    // The web, with one thread.
    allow(&[Lunchd],  &[SocketsAndFiles], EPOLL_WAIT,  &[], "wait for clients, time limits and signals"),
    allow(&[Lunchd],  &[SocketsAndFiles], EPOLL_CTL,   &[], "wait for one more client"),
    allow(&[Lunchd],  &[SocketsAndFiles], ACCEPT4,     &[NONBLOCK_CLOEXEC], "take a connection"),
    allow(&[Lunchd],  &[SocketsAndFiles], CLOSE,       &[], "end a connection"),
    allow(&[Lunchd],  &[SocketsAndFiles], RECVFROM,    &[NO_FLAGS], "read what a client sent"),
    allow(&[Lunchd],  &[SocketsAndFiles], SENDTO,      &[MSG_NOSIGNAL], "answer"),
    allow(&[Lunchd],  &[SocketsAndFiles], SHUTDOWN,    &[SHUT_WR], "say that the answer is complete"),
    allow(&[Lunchd],  &[SocketsAndFiles], WRITE,       &[EVENT_LOOP], "wake the event loop for an earlier time limit"),
    allow(&[Lunchd],  &[SocketsAndFiles], WRITE,       &[OUTPUT], "tell the service manager: ready, alive, stopping"),
    allow(&[Lunchd],  &[SocketsAndFiles], GETRANDOM,   &[], "draw the keys of a TLS connection"),
    allow(&[Lunchd],  &[SocketsAndFiles], CLOCK_GETTIME, &[], "tell the time where the vDSO cannot"),
    allow(&[Lunchd],  &[SocketsAndFiles], BRK,         &[], "keep a connection's state"),

    allow(SERVICES,   PEERS, WRITE,      &[LOG], "say on the log what failed"),
    allow(SERVICES,   PEERS, EXIT_GROUP, &[], "end"),
];

/// The services, each with the peers that it can have.
pub fn combinations() -> impl Iterator<Item = (Service, Peer)> {
    SERVICES.iter().flat_map(|&service| PEERS.iter().map(move |&peer| (service, peer))).filter(|pair| match pair {
        (Lunchd, peer) => *peer == SocketsAndFiles,
        (service, SocketsAndFiles) => FOLLOWING.contains(service),
        _ => true,
    })
}

/// The lines of the table that hold for one service and peer: none for a pair that is no combination.
pub fn rules(service: Service, peer: Peer) -> impl Iterator<Item = &'static Rule> {
    let combines = combinations().any(|pair| pair == (service, peer));
    TABLE.iter().filter(move |rule| combines && rule.services.contains(&service) && rule.peers.contains(&peer))
}
