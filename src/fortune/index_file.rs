//! The file beside a cookie file that should be its index, and how much of it is to be believed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::cookie::{Cookies, Format};
use super::index::{Index, IndexError, Version};

/// What lies beside a cookie file.
#[derive(Debug)]
pub enum IndexFile {
    /// No index.
    Missing,
    /// An index.
    Valid(Index),
    /// An index of which only the header is to be believed, and why.
    HeaderOnly(Index, IndexError),
    /// Nothing of which anything can be believed, and why.
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

    /// What separates the texts.
    #[must_use]
    pub fn format(&self) -> Format {
        self.header().map(Index::format).unwrap_or_default()
    }

    /// Whether the texts are in rot13.
    #[must_use]
    pub fn is_rotated(&self) -> bool {
        self.header().is_some_and(Index::is_rotated)
    }

    /// The index that a cookie file, open at its start, would have: found by a look at all of it.
    ///
    /// # Errors
    ///
    /// The file's own, and `InvalidData` where it holds no text, or too many.
    pub(crate) fn scan(&self, cookie: &File, length: u64) -> io::Result<Index> {
        // Of the texts only the places are wanted; and a comment is at a place like any other line.
        let mut cookies = Cookies::new(cookie, 0, Format { comments: false, ..self.format() });
        let mut offsets = Vec::new();
        while cookies.read_next()?.is_some() {
            offsets.push(cookies.offset());
        }
        Index::scanned(offsets, self.format(), self.is_rotated(), length)
    }
}

/// The index of a cookie file: `FILE.dat`.
pub(crate) fn path_beside(cookie: &Path) -> PathBuf {
    let mut path = OsString::from(cookie);
    path.push(".dat");
    path.into()
}
