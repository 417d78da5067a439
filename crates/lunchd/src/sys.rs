//! What the compiler cannot check: who owns a descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use tokio::io::{Interest, unix::AsyncFd};

/// Registers descriptor 0, a signalfd, with the runtime that is entered.
pub(crate) fn watch_signals() -> io::Result<AsyncFd<BorrowedFd<'static>>> {
    // SAFETY: nothing in the program owns descriptor 0, and nothing closes it.
    Ok(unsafe { AsyncFd::register_with_interest(rustix::stdio::stdin(), Interest::READABLE) }?)
}
