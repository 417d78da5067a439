//! Limits on what the kernel buffers for a connection. This memory belongs to no process, and a client decides how much of it is
//! used: one that sends without reading, or withholds acknowledgements, fills all of it. It is charged to the control group
//! (`MemoryMax=`), so it is bounded however the program is started. `units/` and docs/operating.md have the same numbers, and
//! tests/memory.rs has the arithmetic.

use std::io;
use std::os::fd::BorrowedFd;

use hunker::{Pin, Rule, Syscall};

use super::descriptors::MAX_DATAGRAM_SOCKETS;
use crate::numbers::STREAM;
use crate::service::Behavior;
use crate::services::Kind;
use crate::sys;

/// The sizes of a connection's two buffers in bytes, as setsockopt(2) takes them. The kernel allows twice as much, because it also
/// counts its own records (`SO_RCVBUF` in socket(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// For data from the client.
    pub receive: u32,
    /// For data that the client has not acknowledged.
    pub send: u32,
}

/// The calls that shrink the buffers of streams beyond [`MAX_LARGE`].
pub(super) const SHRINK: &[Rule] = &[
    Rule::new(Syscall::SETSOCKOPT, &[STREAM, SOL_SOCKET, SO_RCVBUF], SMALLER),
    Rule::new(Syscall::SETSOCKOPT, &[STREAM, SOL_SOCKET, SO_SNDBUF], SMALLER),
];
const SMALLER: &str = "shrink a connection's buffers when there are many connections";
const SOL_SOCKET: Pin = Pin::is(1, 1);
const SO_SNDBUF: Pin = Pin::is(2, 7);
const SO_RCVBUF: Pin = Pin::is(2, 8);

impl Buffers {
    /// For replies and for lunchd. Input is discarded, and a long reply is sent in parts.
    pub const REPLY: Self = Self { receive: 32 * 1024, send: 32 * 1024 };
    /// For a stream at full speed (`make bench`, "a byte"). Linux grants this much to any program (`net.core.rmem_max` and
    /// `wmem_max` in socket(7)).
    pub const STREAM: Self = Self { receive: 208 * 1024, send: 208 * 1024 };
    /// For a stream beyond [`MAX_LARGE`].
    pub const SMALL: Self = Self { receive: 32 * 1024, send: 48 * 1024 };

    /// The buffers for a behavior while there are few connections.
    #[must_use]
    pub fn of(behavior: &Behavior) -> Self {
        match behavior {
            Behavior::Reply(_) | Behavior::Answer(_) => Self::REPLY,
            Behavior::Echo | Behavior::Discard | Behavior::Repeat(_) => Self::STREAM,
        }
    }

    /// Limits the send buffer to what a connection is sent in one second. `max_rate` is in octets per second; 0 means no limit. A
    /// larger buffer would only make the client seem idle while it drains.
    #[must_use]
    pub fn paced(self, max_rate: u32) -> Self {
        if max_rate == 0 { self } else { Self { send: self.send.min(max_rate), ..self } }
    }

    /// The maximum memory that the kernel uses for a connection with these buffers, in bytes.
    #[must_use]
    pub const fn memory(self) -> usize {
        2 * (self.receive as usize + self.send as usize)
    }

    /// Sets these buffers on a socket. Connections inherit them from a listening TCP socket, and with them the maximum window
    /// advertised to their clients.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn set(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_receive_buffer(socket, self.receive)?;
        sys::set_send_buffer(socket, self.send)
    }
}

/// Prepares a connection, or a listener for all its connections, for a behavior. A process that is locked down cannot lift the rate
/// limit.
pub(super) fn prepare(socket: BorrowedFd<'_>, behavior: &Behavior, max_rate: u32) -> io::Result<()> {
    Buffers::of(behavior).paced(max_rate).set(socket)?;
    if max_rate > 0 { sys::set_max_rate(socket, max_rate) } else { Ok(()) }
}

/// How much of a stream is handled at a time, in bytes.
pub const CHUNK: usize = 256 * 1024;

/// Maximum number of connections of one daemon with large buffers ([`Buffers::STREAM`]). Any more get [`Buffers::SMALL`].
pub const MAX_LARGE: usize = 64;

/// Maximum memory for unsent replies to all clients together, in bytes. Clients that do not read decide how long it is held.
pub const MAX_KEPT: usize = 64 * 1024 * 1024;

/// The memory of a daemon itself in bytes, including its tables and batches of datagrams.
pub const PROGRAM: usize = 16 * 1024 * 1024;

/// The memory of one of a keeper's processes in bytes, including the kernel's part (`benches/run keeper`, "a process that waits").
pub const PROCESS: usize = 140 * 1024;

/// The memory of a stream with its own process, in bytes: the process, the kernel's buffers, and what the process reads of them at
/// a time.
#[must_use]
pub const fn stream(buffers: Buffers) -> usize {
    let received = 2 * buffers.receive as usize;
    PROCESS + buffers.memory() + if received < CHUNK { received } else { CHUNK }
}

/// The maximum memory of a daemon with `connections` connections, in bytes: streams or replies, in one process or in one each.
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

/// The maximum number of a keeper's tasks: itself, its processes for connections and datagrams, and one that its service manager
/// starts to reload files.
#[must_use]
pub const fn tasks(connections: usize) -> usize {
    connections + MAX_DATAGRAM_SOCKETS + 2
}
