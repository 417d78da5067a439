//! Who owns a descriptor.

use std::io;
use std::os::fd::BorrowedFd;

use tokio::io::{Interest, unix::AsyncFd};

/// Registers descriptor 0, a signalfd, with the runtime that is entered.
///
/// Nothing in the program owns that descriptor, and nothing closes it.
#[allow(deprecated)] // what takes its place came with tokio 1.54, which Debian has not yet
pub(crate) fn watch_signals() -> io::Result<AsyncFd<BorrowedFd<'static>>> {
    AsyncFd::with_interest(rustix::stdio::stdin(), Interest::READABLE)
}
