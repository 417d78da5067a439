//! Descriptor 0, which nothing in the program owns.

use std::io;
use std::os::fd::BorrowedFd;

use tokio::io::{Interest, unix::AsyncFd};

/// Registers descriptor 0, a signalfd, with the current runtime.
///
/// Nothing in the program owns or closes that descriptor.
#[allow(deprecated)] // the replacement came with tokio 1.54, which Debian does not have yet
pub(crate) fn watch_signals() -> io::Result<AsyncFd<BorrowedFd<'static>>> {
    AsyncFd::with_interest(rustix::stdio::stdin(), Interest::READABLE)
}
