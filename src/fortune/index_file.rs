//! The index beside a cookie file, and which part of it can be trusted.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::cookie::{Cookies, Format};
use super::index::{Index, IndexError, Version};

/// The index beside a cookie file.
#[derive(Debug)]
pub enum IndexFile {
    /// There is no index.
    Missing,
    /// A valid index.
    Valid(Index),
    /// An index of which only the header can be trusted, and why.
    HeaderOnly(Index, IndexError),
    /// An index of which nothing can be trusted, and why.
    Unusable(IndexError),
}

impl IndexFile {
    /// Opens the index beside a cookie file, `FILE.dat`.
    #[must_use]
    pub fn beside(cookie: &Path, version: &Version) -> Self {
        match Index::look(&path_beside(cookie), version) {
            Err(IndexError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unusable(error),
            Ok((index, Some(doubt))) => Self::HeaderOnly(index, doubt),
            Ok((index, None)) => Self::Valid(index),
        }
    }

    fn header(&self) -> Option<&Index> {
        match self {
            Self::Valid(index) | Self::HeaderOnly(index, _) => Some(index),
            Self::Missing | Self::Unusable(_) => None,
        }
    }

    /// The format of the cookie file.
    #[must_use]
    pub fn format(&self) -> Format {
        self.header().map(Index::format).unwrap_or_default()
    }

    /// Whether the texts are in rot13.
    #[must_use]
    pub fn is_rotated(&self) -> bool {
        self.header().is_some_and(Index::is_rotated)
    }

    /// The right index of a cookie file, which must be open at its start: found by a scan of the whole file.
    ///
    /// # Errors
    ///
    /// The file's; `InvalidData` if it is not a text file, or has too many texts.
    pub(crate) fn scan(&self, cookie: &File, length: u64) -> io::Result<Index> {
        // Only the offsets of the texts are needed, and comments are part of a text here.
        let mut cookies = Cookies::new(cookie, 0, Format { comments: false, ..self.format() });
        let mut offsets = Vec::new();
        while cookies.read_next()?.is_some() {
            offsets.push(cookies.offset());
        }
        Index::scanned(offsets, self.format(), self.is_rotated(), length)
    }
}

/// The path of a cookie file's index: `FILE.dat`.
pub(crate) fn path_beside(cookie: &Path) -> PathBuf {
    let mut path = OsString::from(cookie);
    path.push(".dat");
    path.into()
}
