//! One of many connections: calls that never block, and what the connection waits for instead.

use hunker::Pin;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

/// What a connection waits for now.
pub(super) enum Next {
    /// For the client to send or to read. It has been active since the last time.
    Active(EventFlags),
    /// For the client to send or to read. It has not been active, so its idle time continues.
    Waiting(EventFlags),
    /// For the client to close, which most do at once. So this is checked again shortly, before the event loop has to wait for it.
    Closing,
    /// For nothing: it is over.
    Over,
    /// For nothing: there is no memory for its reply.
    Failed,
}

/// The length of the destination address: 0, so that data goes only where the socket is connected.
pub(super) const NO_ADDRESS: Pin = Pin::is(5, 0);

/// `None` if the call would block or was interrupted.
pub(super) fn taken<T>(outcome: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
