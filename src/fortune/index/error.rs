//! Why an index cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It could not be opened or read.
    #[error("cannot read the index {}: {source}; check its permissions", .path.display())]
    Read {
        /// The index.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A directory, a FIFO or a device.
    #[error("the index {} is not a regular file; remove it", .0.display())]
    NotRegular(PathBuf),
    /// The cookie file has changed since.
    #[error("the index {} is older than its cookie file; rebuild it with `small-services strfile`", .0.display())]
    Stale(PathBuf),
    /// It is shorter than its header says.
    #[error("the index {} is cut short; rebuild it with `small-services strfile`", .0.display())]
    Cut(PathBuf),
    /// Neither version 1 nor 2.
    #[error("the index {} has the unknown version {version}; rebuild it with `small-services strfile`", .path.display())]
    Version {
        /// The index.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It contradicts itself or its cookie file.
    #[error("the index {} does not match its cookie file; rebuild it with `small-services strfile`", .0.display())]
    Misfit(PathBuf),
}
