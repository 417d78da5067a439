//! One of many connections: calls that never wait, and what a connection waits for instead.

use hunker::Pin;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

/// What a connection waits for now.
pub(super) enum Next {
    /// For the client, to send or to read; it has done something since the last time.
    Active(EventFlags),
    /// For the client, and its time runs.
    Waiting(EventFlags),
    /// For the client to close, which it does at once if it is like most: worth a look a little later, before the event loop
    /// is troubled with it.
    Closing,
    /// For nothing: it is over.
    Over,
    /// For nothing: there is no memory for its reply.
    Failed,
}

/// The length of the address to send to: none, so that it goes where the socket is connected.
pub(super) const NO_ADDRESS: Pin = Pin::is(5, 0);

/// `None` if the call would have to wait.
pub(super) fn taken<T>(outcome: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
