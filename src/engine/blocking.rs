//! Blocking calls on descriptors 0 and 1, for a filter or a process that serves one connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use hunker::{Pin, Rule, Syscall};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr, write};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::stdio::stdout;

use crate::policy::Io;

/// Why a connection could not be served, if the client is not the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Setting the socket's limits failed.
    #[error("cannot set limits on the connection: {0}; check what descriptor 0 is")]
    Prepare(io::Error),
    /// Memory is short; the size of the reservation is in bytes.
    #[error("cannot reserve {0} bytes of memory; raise MemoryMax=, LimitAS= or `ulimit -v`")]
    Memory(usize),
    /// Reading failed.
    #[error("cannot read the input: {0}; check what descriptor 0 is")]
    Read(io::Error),
    /// Writing failed.
    #[error("cannot write the reply: {0}; check what descriptor 1 is")]
    Write(io::Error),
}

/// The client of a process for one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its address, if known; `None` over a Unix-domain socket.
    pub(super) from: Option<SocketAddr>,
    /// Whether it uses a Unix-domain socket.
    pub(super) is_local: bool,
}

// ppoll(2) takes its descriptors in memory, which seccomp cannot inspect, so only their number is pinned. The call reports their
// readiness and does nothing else with them.
pub(super) const ONE_DESCRIPTOR: Pin = Pin::is(1, 1);
/// No time limit.
const FOR_EVER: Pin = Pin::is(2, 0);
/// Leaves the signal mask unchanged.
pub(super) const KEEP_SIGNALS: Pin = Pin::is(3, 0);

/// Lets a filter wait for a descriptor that does not block.
pub(super) const WAIT: &[Rule] =
    &[Rule::new(Syscall::PPOLL, &[ONE_DESCRIPTOR, FOR_EVER, KEEP_SIGNALS], "wait for a non-blocking descriptor")];

/// Limits the time that a call on the connection waits for the client to `idle`. TCP connections inherit the limit from their
/// listener.
pub(super) fn limit_time(socket: impl AsFd, idle: Duration) -> Result<(), Errno> {
    set_socket_timeout(&socket, Timeout::Recv, Some(idle))?;
    set_socket_timeout(&socket, Timeout::Send, Some(idle))
}

/// Reserves memory without touching it.
pub(super) fn reserve(octets: usize) -> Result<Vec<u8>, Error> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(octets).map_err(|_| Error::Memory(octets))?;
    Ok(memory)
}

/// Writes all of `octets`. Returns `false` if the client takes no more.
pub(super) fn write_all(mut octets: &[u8], io: Io) -> Result<bool, Error> {
    while !octets.is_empty() {
        match patiently(io, stdout(), PollFlags::OUT, || write(stdout(), octets)) {
            Ok(count) => octets = &octets[count..],
            Err(errno) => return client_left(errno).map(|()| false).map_err(Error::Write),
        }
    }
    Ok(true)
}

/// Repeats an interrupted call. In a filter, also waits where the call would block, and then repeats it.
///
/// Whether a filter's descriptors block is up to anyone who shares them, because the flag belongs to the open file, not the
/// process. A connection's descriptors block, so there `EAGAIN` means that the client's time is up.
pub(super) fn patiently<T>(
    io: Io,
    descriptor: BorrowedFd<'static>,
    event: PollFlags,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match retry_on_intr(&mut call) {
            Err(Errno::AGAIN) if io == Io::Filter => {
                retry_on_intr(|| poll(&mut [PollFd::from_borrowed_fd(descriptor, event)], None))?;
            }
            outcome => return outcome,
        }
    }
}

/// A client that leaves or times out is no error: it has received a prefix of its reply.
pub(super) fn client_left(errno: Errno) -> io::Result<()> {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::TIMEDOUT | Errno::AGAIN => Ok(()),
        other => Err(other.into()),
    }
}
