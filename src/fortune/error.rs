//! Why no fortune could be chosen.

use std::io;
use std::path::{Path, PathBuf};

use super::pattern::Error as PatternError;
use super::reasons::Reasons;
use super::sources::Error as SourcesError;
use crate::{file, zone};

/// Why no fortune could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be opened or read.
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is no cookie file: binary, or a device, a FIFO or a socket.
    #[error("{} is not a cookie file: {reason}; name a text file with `%` lines between its fortunes", .path.display())]
    NotACookieFile {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The directories are empty.
    #[error(
        "there is no cookie file in {names}; install a collection there (Debian's package is `fortunes`), or name others"
    )]
    NoCookieFile {
        /// The directories.
        names: String,
    },
    /// Everything could be read, and there was nothing to send.
    #[error("no fortune to send in {names}: {reasons}; add others, or lift the limit that keeps these out")]
    NothingEligible {
        /// The files and directories.
        names: String,
        /// What the texts were left out for.
        reasons: Box<Reasons>,
    },
    /// The kernel gave no random octets.
    #[error("cannot draw a random seed: {0}; the kernel has to answer getrandom(2)")]
    Seed(io::Error),
    /// The percentages.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// There is no standard collection.
    #[error("no fortunes in {directories}; install a collection there, or name a file or directory")]
    NoneInstalled {
        /// Where they were looked for.
        directories: String,
    },
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Asked of a service.
    #[error("-f, -m, -c and -w are for a terminal, not for a client; leave them out")]
    OnlyPrinted,
    /// Its writer has not finished.
    #[error("{} was changed while it was read; try again when it is complete", .0.display())]
    Changed(PathBuf),
    /// A listing could not be printed.
    #[error("cannot print: {0}; check what descriptors 1 and 2 are")]
    Print(io::Error),
    /// `--zone` names no time zone.
    #[error(transparent)]
    Zone(#[from] zone::Error),
}

impl Error {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// Whether the files are not to blame, but the process has no descriptor or no memory left.
    pub(super) fn is_shortage(&self) -> bool {
        matches!(self, Self::Read { source, .. } if file::is_shortage(source))
    }
}
