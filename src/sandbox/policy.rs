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
}

/// What the service reads from and writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A connected stream socket on descriptors 0 and 1.
    Connection,
    /// A terminal, pipe or file on descriptor 0, another on descriptor 1.
    Filter,
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

use Peer::{Connection, Filter};
use Service::{Daytime, Discard, Echo, Qotd};

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

const READ: Call = call("read", 0, 63);
const WRITE: Call = call("write", 1, 64);
const RECVFROM: Call = call("recvfrom", 45, 207);
const SHUTDOWN: Call = call("shutdown", 48, 210);
const EXIT_GROUP: Call = call("exit_group", 231, 94);

/// Every service that there is.
pub const SERVICES: &[Service] = &[Qotd, Echo, Daytime, Discard];
/// Every kind of peer that there is.
pub const PEERS: &[Peer] = &[Connection, Filter];

const INPUT: (u8, u32) = (0, 0);
const OUTPUT: (u8, u32) = (0, 1);
const LOG: (u8, u32) = (0, 2);
const SHUT_WR: (u8, u32) = (1, 1);
/// Drop in the kernel, copy nothing.
const MSG_TRUNC: (u8, u32) = (3, 0x20);
/// Drop in the kernel, and go on until the end, the time limit or the length given.
const MSG_TRUNC_WAITALL: (u8, u32) = (3, 0x120);

/// The table. Whatever is not in it kills the process.
#[rustfmt::skip]
pub const TABLE: &[Rule] = &[
    allow(&[Qotd, Daytime], &[Connection], WRITE,      &[OUTPUT], "send the reply"),
    allow(&[Qotd, Daytime], &[Connection], SHUTDOWN,   &[OUTPUT, SHUT_WR], "say that the reply is complete"),
    allow(&[Qotd, Daytime], &[Connection], RECVFROM,   &[INPUT, MSG_TRUNC_WAITALL], "drop what the client sent: closing over it would reset the reply"),
    allow(&[Qotd, Daytime], &[Filter],     WRITE,      &[OUTPUT], "print the reply"),
    allow(&[Echo],          PEERS,         READ,       &[INPUT], "take what arrives"),
    allow(&[Echo],          PEERS,         WRITE,      &[OUTPUT], "send it back"),
    allow(&[Discard],       &[Connection], RECVFROM,   &[INPUT, MSG_TRUNC], "drop what arrives"),
    allow(&[Discard],       &[Filter],     READ,       &[INPUT], "drop what arrives"),
    allow(SERVICES,         PEERS,         WRITE,      &[LOG], "say on the log what failed"),
    allow(SERVICES,         PEERS,         EXIT_GROUP, &[], "end"),
];

/// The lines of the table that hold for one service and peer.
pub fn rules(service: Service, peer: Peer) -> impl Iterator<Item = &'static Rule> {
    TABLE.iter().filter(move |rule| rule.services.contains(&service) && rule.peers.contains(&peer))
}
