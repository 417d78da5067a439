//! Files of the host that a service reads before the lock-down.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file, and nothing else: opening a FIFO would wait for its writer, and opening a device may act on it or
/// never come to an end.
///
/// # Errors
///
/// What the system says; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    // O_NONBLOCK: should the file have become a FIFO since, opening it must not wait either.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}
