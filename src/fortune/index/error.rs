//! Why an index must not be used.

use std::io;
use std::path::PathBuf;

/// Why an index must not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It could not be opened or read.
    #[error("cannot read the index {}: {source}; check its permissions", .path.display())]
    Read {
        /// The index.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a FIFO, a device.
    #[error("the index {} is no regular file; move it away", .0.display())]
    NotRegular(PathBuf),
    /// The cookie file was changed since.
    #[error("the index {} is older than its cookie file; make it anew with `small-services strfile`", .0.display())]
    Stale(PathBuf),
    /// It is shorter than its header says.
    #[error("the index {} is cut short; make it anew with `small-services strfile`", .0.display())]
    Cut(PathBuf),
    /// Neither version 1 nor 2.
    #[error("the index {} is of the unknown version {version}; make it anew with `small-services strfile`", .path.display())]
    Version {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It contradicts itself or its cookie file.
    #[error("the index {} does not fit its cookie file; make it anew with `small-services strfile`", .0.display())]
    Misfit(PathBuf),
}
