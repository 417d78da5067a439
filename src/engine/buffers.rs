//! What the kernel may buffer for a connection. No process has this memory, and a client decides whether it is used: one that
//! sends and does not read, or that withholds acknowledgements, fills all of it. The control group pays for it
//! (`MemoryMax=`), so it is bounded for every way of starting; `units/` and docs/operating.md have the same numbers, and
//! tests/memory.rs the arithmetic.

use std::io;
use std::os::fd::BorrowedFd;

use hunker::{Pin, Rule, Syscall};

use super::descriptors::MAX_DATAGRAM_SOCKETS;
use crate::numbers::STREAM;
use crate::service::Behavior;
use crate::services::Kind;
use crate::sys;

/// The two buffers of a connection, in octets, as setsockopt(2) takes them. The kernel allows for twice as much, since it
/// counts its own records too (`SO_RCVBUF` in socket(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// For what the client sends.
    pub receive: u32,
    /// For what it has not acknowledged.
    pub send: u32,
}

/// For streams, when there are more than [`MAX_LARGE`].
pub(super) const SHRINK: &[Rule] = &[
    Rule::new(Syscall::SETSOCKOPT, &[STREAM, SOL_SOCKET, SO_RCVBUF], SMALLER),
    Rule::new(Syscall::SETSOCKOPT, &[STREAM, SOL_SOCKET, SO_SNDBUF], SMALLER),
];
const SMALLER: &str = "shrink a connection's buffers when there are many connections";
const SOL_SOCKET: Pin = Pin::is(1, 1);
const SO_SNDBUF: Pin = Pin::is(2, 7);
const SO_RCVBUF: Pin = Pin::is(2, 8);

impl Buffers {
    /// For replies, and lunchd's answers: what a client says meanwhile is dropped, and a long reply is sent bit by bit.
    pub const REPLY: Self = Self { receive: 32 * 1024, send: 32 * 1024 };
    /// For a stream at full speed (`make bench`, "a byte"): what Linux gives to everybody who asks (`net.core.rmem_max` and
    /// `wmem_max` in socket(7)).
    pub const STREAM: Self = Self { receive: 208 * 1024, send: 208 * 1024 };
    /// For one stream among many.
    pub const SMALL: Self = Self { receive: 32 * 1024, send: 48 * 1024 };

    /// The buffers that fit it, while there are few connections.
    #[must_use]
    pub fn of(behavior: &Behavior) -> Self {
        match behavior {
            Behavior::Reply(_) | Behavior::Answer(_) => Self::REPLY,
            Behavior::Echo | Behavior::Discard | Behavior::Repeat(_) => Self::STREAM,
        }
    }

    /// Those of a connection that is sent so many octets a second, 0 for no limit: no more than what is sent in a second. The rest
    /// would only wait there, and the client seem to be idle meanwhile.
    #[must_use]
    pub fn paced(self, max_rate: u32) -> Self {
        if max_rate == 0 { self } else { Self { send: self.send.min(max_rate), ..self } }
    }

    /// How much the kernel takes for a connection with these buffers, in octets, at most.
    #[must_use]
    pub const fn memory(self) -> usize {
        2 * (self.receive as usize + self.send as usize)
    }

    /// Gives a socket these buffers; those that a listening TCP socket accepts inherit them, and the greatest window that
    /// their clients are told.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_receive_buffer(socket, self.receive)?;
        sys::set_send_buffer(socket, self.send)
    }
}

/// Gives a connection, or a listener for all that it accepts, what a behavior takes. Once it is locked down, a process cannot
/// lift the limit on its rate.
pub(super) fn prepare(socket: BorrowedFd<'_>, behavior: &Behavior, max_rate: u32) -> io::Result<()> {
    Buffers::of(behavior).paced(max_rate).set(socket)?;
    if max_rate > 0 { sys::set_max_rate(socket, max_rate) } else { Ok(()) }
}

/// How much of a stream is handled at a time, in octets.
pub const CHUNK: usize = 256 * 1024;

/// How many connections of one process have the large buffers ([`Buffers::STREAM`]) at a time. Those that come while there are
/// so many get the small ones.
pub const MAX_LARGE: usize = 64;

/// How many octets of long replies one process keeps for all its clients together: those that do not read decide for how long.
pub const MAX_KEPT: usize = 64 * 1024 * 1024;

/// What a daemon takes for itself, its tables and batches of datagrams among it, in octets.
pub const PROGRAM: usize = 16 * 1024 * 1024;

/// What a keeper's process takes, the kernel's part of it included, in octets (`benches/run keeper`, "a process that waits").
pub const PROCESS: usize = 140 * 1024;

/// What a stream takes in a process of its own, in octets: the process, what the kernel buffers, and as much as it reads of that at
/// a time.
#[must_use]
pub const fn stream(buffers: Buffers) -> usize {
    let received = 2 * buffers.receive as usize;
    PROCESS + buffers.memory() + if received < CHUNK { received } else { CHUNK }
}

/// How much a daemon takes at most, in octets, with so many connections: of streams or of replies, in one process or each in its own.
#[must_use]
pub const fn daemon(connections: usize, kind: Kind, shared: bool) -> usize {
    let large = if connections < MAX_LARGE { connections } else { MAX_LARGE };
    let small = connections - large;
    let all = match (kind, shared) {
        (Kind::Stream, true) => large * Buffers::STREAM.memory() + small * Buffers::SMALL.memory(),
        (Kind::Stream, false) => large * stream(Buffers::STREAM) + small * stream(Buffers::SMALL),
        (Kind::Reply, true) => connections * Buffers::REPLY.memory() + MAX_KEPT,
        (Kind::Reply, false) => connections * (PROCESS + Buffers::REPLY.memory()) + MAX_KEPT,
    };
    all + PROGRAM
}

/// How many tasks a keeper takes at most: itself, its processes, those for datagrams, and one that its service manager starts to have
/// files read again.
#[must_use]
pub const fn tasks(connections: usize) -> usize {
    connections + MAX_DATAGRAM_SOCKETS + 2
}
