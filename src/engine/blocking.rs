//! Descriptors 0 and 1, in a process for one connection or a filter: calls that wait.

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

/// Why a connection could not be served, where that is not the client's doing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limits could not be set on the socket.
    #[error("cannot prepare the connection: {0}; its time and its buffers would have no limit")]
    Prepare(io::Error),
    /// There is not enough memory.
    #[error(
        "cannot reserve {0} octets of memory; raise the limits that the program was started with (RLIMIT_AS, MemoryMax=)"
    )]
    Memory(usize),
    /// Reading failed.
    #[error("cannot read the input: {0}; check what descriptor 0 is")]
    Read(io::Error),
    /// Writing failed.
    #[error("cannot write the reply: {0}; check what descriptor 1 is")]
    Write(io::Error),
}

/// Whom a process for one connection serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its address; none over a Unix-domain socket.
    pub(super) from: Option<SocketAddr>,
    /// Whether that is what it uses.
    pub(super) is_local: bool,
}

// Of ppoll(2), which takes descriptors in memory, how many. It tells whether they are ready, and does nothing with them.
pub(super) const ONE_DESCRIPTOR: Pin = Pin::is(1, 1);
/// No time limit.
const FOR_EVER: Pin = Pin::is(2, 0);
/// No other signals are blocked meanwhile.
pub(super) const KEEP_SIGNALS: Pin = Pin::is(3, 0);

/// A filter's descriptor that does not block.
pub(super) const WAIT: &[Rule] =
    &[Rule::new(Syscall::PPOLL, &[ONE_DESCRIPTOR, FOR_EVER, KEEP_SIGNALS], "wait for a non-blocking descriptor")];

/// No call on the connection waits longer than `idle` for the client. Of a listener, its TCP connections have that too.
pub(super) fn limit_time(socket: impl AsFd, idle: Duration) -> Result<(), Errno> {
    set_socket_timeout(&socket, Timeout::Recv, Some(idle))?;
    set_socket_timeout(&socket, Timeout::Send, Some(idle))
}

/// Memory that is promised and not touched yet.
pub(super) fn reserve(octets: usize) -> Result<Vec<u8>, Error> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(octets).map_err(|_| Error::Memory(octets))?;
    Ok(memory)
}

/// Writes all of `octets`, or tells by `false` that the client takes no more of them.
pub(super) fn write_all(mut octets: &[u8], io: Io) -> Result<bool, Error> {
    while !octets.is_empty() {
        match patiently(io, stdout(), PollFlags::OUT, || write(stdout(), octets)) {
            Ok(count) => octets = &octets[count..],
            Err(errno) => return client_left(errno).map(|()| false).map_err(Error::Write),
        }
    }
    Ok(true)
}

/// Makes a call again that was interrupted, and in a filter also one that would have had to wait, once it need not.
///
/// Whether a filter's descriptors block is up to whoever shares them: the flag belongs to the open file, not to the process.
/// A connection's block, so there the same answer is the end of the client's time.
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

/// A client that went away, or let the time limit pass, is no error: what it has is a prefix of what it would have got.
pub(super) fn client_left(errno: Errno) -> io::Result<()> {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::TIMEDOUT | Errno::AGAIN => Ok(()),
        other => Err(other.into()),
    }
}
