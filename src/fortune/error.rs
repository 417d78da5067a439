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
        /// The system's error.
        source: io::Error,
    },
    /// A file that is not a cookie file: binary, or a device, a FIFO or a socket.
    #[error("{} is not a cookie file: {reason}; name a text file with `%` lines between its fortunes", .path.display())]
    NotACookieFile {
        /// The file.
        path: PathBuf,
        /// Why it is not a cookie file.
        reason: String,
    },
    /// The directories have no cookie file.
    #[error(
        "there is no cookie file in {names}; install a collection there (Debian: `apt install fortunes`), or name another \
         file or directory"
    )]
    NoCookieFile {
        /// The directories.
        names: String,
    },
    /// All files could be read, but no text is eligible.
    #[error("no fortune to send in {names}: {reasons}; add other fortunes, or change the limit that excludes these")]
    NothingEligible {
        /// The files and directories.
        names: String,
        /// Why the texts were excluded.
        reasons: Box<Reasons>,
    },
    /// The kernel returned no random bytes.
    #[error("cannot get a random seed: {0}; allow the system call getrandom")]
    Seed(io::Error),
    /// The percentages.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// There is no standard collection.
    #[error(
        "no fortunes in {directories}; install a collection (Debian: `apt install fortunes`), or name a file or directory"
    )]
    NoneInstalled {
        /// The searched directories.
        directories: String,
    },
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// An option that only prints was given to a service.
    #[error("-f, -m, -c and -w do not apply to a service; remove them")]
    OnlyPrinted,
    /// A file was written to while it was read.
    #[error("{} changed while it was read; try again when it is complete", .0.display())]
    Changed(PathBuf),
    /// A listing could not be printed.
    #[error("cannot print: {0}; check standard output and standard error")]
    Print(io::Error),
    /// `--zone` names no time zone.
    #[error(transparent)]
    Zone(#[from] zone::Error),
}

impl Error {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// Whether the error is not the files', but the process is out of descriptors or memory.
    pub(super) fn is_shortage(&self) -> bool {
        matches!(self, Self::Read { source, .. } if file::is_shortage(source))
    }
}
