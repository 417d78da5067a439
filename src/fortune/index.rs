//! strfile(1)'s index of a cookie file: the offset of each text, so that one can be read without the others.
//!
//! The index is untrusted. Its offsets are only hints: the cookie file itself shows whether a text begins at an offset, and where
//! it ends. Only the header tells the delimiter and whether the texts are in rot13. So the header is trusted even if the index is
//! older than its file, which any copy can cause.

mod error;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hunker::{Rule, Syscall};

use super::cookie::{BYTE_ORDER_MARK, Format};
use super::layout::{COMMENTS, Header, LONGEST_HEADER, Misfit, ORDERED, RANDOM, ROTATED};
use crate::file::open_regular;
use crate::numbers::FILE;

pub use crate::file::Version;
pub use error::IndexError;

/// How much of a cookie file is read at a time: most texts need one read.
const WINDOW: usize = if cfg!(fuzzing) { 16 } else { 4096 };
/// The longest delimiter line: the delimiter, CR and LF.
const DELIMITER_LINE: usize = 3;
/// BSD's strfile counts delimiter lines before the first text as a part of it. No text begins after more octets of them than
/// this.
const SKIPPED: usize = 64;

/// The result of reading a text at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Found {
    /// A whole text.
    Text,
    /// A text that is longer than the limit, which is dropped.
    TooLong,
}

/// An open index.
#[derive(Debug)]
pub struct Index {
    offsets: Offsets,
    header: Header,
    /// The length of the cookie file when the index was opened.
    cookie_length: u64,
}

/// The offsets of the texts.
#[derive(Debug)]
enum Offsets {
    /// They are in this file, and take no memory.
    Stored(File),
    /// They were found by a scan of the cookie file.
    Scanned(Vec<u64>),
}

impl Index {
    /// Opens the index of the cookie file with this version.
    ///
    /// # Errors
    ///
    /// One of [`IndexError`].
    pub fn open(path: &Path, cookie: &Version) -> Result<Self, IndexError> {
        match Self::look(path, cookie)? {
            (index, None) => Ok(index),
            (_, Some(doubt)) => Err(doubt),
        }
    }

    /// Opens an index. If the header is valid, a mistake in the rest is returned with the index.
    pub(super) fn look(path: &Path, cookie: &Version) -> Result<(Self, Option<IndexError>), IndexError> {
        let unreadable = |source| IndexError::Read { path: path.to_owned(), source };
        let (file, version) = open_regular(path).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => IndexError::NotRegular(path.to_owned()),
            _ => unreadable(error),
        })?;
        let mut start = [0; LONGEST_HEADER];
        let length = read_up_to(&file, &mut start, 0).map_err(unreadable)?;
        let misfit = |misfit| match misfit {
            Misfit::Version(version) => IndexError::Version { path: path.to_owned(), version },
            Misfit::Cut => IndexError::Cut(path.to_owned()),
            Misfit::Contradictory => IndexError::Misfit(path.to_owned()),
        };
        let (header, doubt) = Header::parse(&start[..length], version.length).map_err(misfit)?;
        let index = Self { offsets: Offsets::Stored(file), header, cookie_length: cookie.length };
        let doubt = if version.modified < cookie.modified {
            Some(IndexError::Stale(path.to_owned()))
        } else if let Some(doubt) = doubt {
            Some(misfit(doubt))
        } else {
            (!index.fits().map_err(unreadable)?).then(|| IndexError::Misfit(path.to_owned()))
        };
        Ok((index, doubt))
    }

    /// An index in memory, with the offsets that a scan of the cookie file found.
    ///
    /// # Errors
    ///
    /// `InvalidData` for too many offsets.
    pub(super) fn scanned(offsets: Vec<u64>, format: Format, rotated: bool, cookie_length: u64) -> io::Result<Self> {
        let texts =
            u32::try_from(offsets.len()).map_err(|_| io::Error::new(ErrorKind::InvalidData, "too many texts"))?;
        let flags = if rotated { ROTATED } else { 0 } | if format.comments { COMMENTS } else { 0 };
        let header = Header::scanned(texts, flags, format.delimiter);
        Ok(Self { offsets: Offsets::Scanned(offsets), header, cookie_length })
    }

    /// Whether its offsets were found by a scan of the cookie file.
    pub(super) fn is_scanned(&self) -> bool {
        matches!(self.offsets, Offsets::Scanned(_))
    }

    /// Whether the length of the cookie file matches the index.
    fn fits(&self) -> io::Result<bool> {
        if u64::from(self.len()) > self.cookie_length || (!self.is_empty() && self.header.longest > self.cookie_length)
        {
            return Ok(false);
        }
        let end = self.offset(self.len())?;
        // Only Debian's `strfile -r` shuffles the end with the texts. BSD's leaves out the last delimiter line.
        let random = self.header.flags & RANDOM != 0 && end < self.cookie_length;
        Ok(random || end == self.cookie_length || end.checked_add(2) == Some(self.cookie_length))
    }

    /// The number of texts.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.header.texts
    }

    /// Whether it has no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The character that stands alone on the lines between the texts.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.header.delimiter
    }

    /// The format of the cookie file.
    #[must_use]
    pub fn format(&self) -> Format {
        Format { delimiter: self.delimiter(), comments: self.header.flags & COMMENTS != 0 }
    }

    /// Whether the texts are in rot13.
    #[must_use]
    pub fn is_rotated(&self) -> bool {
        self.header.flags & ROTATED != 0
    }

    /// Whether the order of the index differs from that of the cookie file.
    #[must_use]
    pub fn is_reordered(&self) -> bool {
        self.header.flags & (RANDOM | ORDERED) != 0
    }

    /// Reads the `number`-th text, from 0, into `into`: its lines as in the file, without comments. A text longer than `limit`
    /// octets is not read to its end.
    ///
    /// # Errors
    ///
    /// The files'; `InvalidInput` for a number that the index does not have; `InvalidData` if no text begins at the offset, or
    /// one with NUL octets. After an error, the index must not be used any more.
    pub fn text(&self, cookie: &File, number: u32, limit: usize, into: &mut Vec<u8>) -> io::Result<Found> {
        let found = self.whole_text(cookie, number, limit, into)?;
        if self.format().comments {
            *into = self.format().without_comments(into);
        }
        Ok(found)
    }

    /// Like [`Self::text`], with comments.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub fn whole_text(&self, cookie: &File, number: u32, limit: usize, into: &mut Vec<u8>) -> io::Result<Found> {
        self.try_text(cookie, number, limit, into).map_err(|error| match error.kind() {
            // One of the two files has become shorter.
            ErrorKind::UnexpectedEof => no_text(),
            _ => error,
        })
    }

    fn try_text(&self, cookie: &File, number: u32, limit: usize, into: &mut Vec<u8>) -> io::Result<Found> {
        into.clear();
        if number >= self.len() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the index has fewer texts"));
        }
        let mut offset = self.offset(number)?;
        if offset == self.cookie_length && self.header.flags & RANDOM != 0 {
            // `strfile -r` exchanged this text with the end.
            offset = self.offset(self.len())?;
        }
        if offset >= self.cookie_length || !(self.is_scanned() || self.begins_at(cookie, offset)?) {
            return Err(no_text());
        }
        // A byte order mark belongs to the file, not to its first text.
        let mut mark = [0; BYTE_ORDER_MARK.len()];
        if offset == 0 && read_up_to(cookie, &mut mark, 0)? == mark.len() && mark == *BYTE_ORDER_MARK {
            offset = mark.len() as u64;
        }
        let (found, end) = self.read_text(cookie, offset, limit, into)?;
        if found == Found::Text && !self.is_reordered() && !self.follows(cookie, end, number + 1)? {
            return Err(no_text());
        }
        if into.is_empty() {
            return Err(no_text());
        }
        if into.contains(&0) {
            into.clear();
            return Err(io::Error::new(ErrorKind::InvalidData, "it contains NUL octets, so it is not a text"));
        }
        if found == Found::TooLong {
            into.clear();
        }
        Ok(found)
    }

    fn offset(&self, number: u32) -> io::Result<u64> {
        let file = match &self.offsets {
            Offsets::Stored(file) => file,
            Offsets::Scanned(offsets) => {
                return Ok(offsets.get(number as usize).copied().unwrap_or(self.cookie_length));
            }
        };
        let mut octets = [0; 8];
        let (place, width) = self.header.place(number);
        file.read_exact_at(&mut octets[..width], place)?;
        self.header
            .offset(&octets[..width])
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the index has an invalid offset"))
    }

    /// Whether a text can begin at an offset: at the start of the file, or after a delimiter line.
    fn begins_at(&self, cookie: &File, offset: u64) -> io::Result<bool> {
        // One octet more, for the end of the previous line.
        let mut before = [0; DELIMITER_LINE + 1];
        let at = offset.saturating_sub(before.len() as u64);
        let before = before.get_mut(..usize::try_from(offset - at).unwrap_or_default()).unwrap_or_default();
        if before.is_empty() {
            return Ok(true);
        }
        cookie.read_exact_at(before, at)?;
        let Some(line) = before.strip_suffix(b"\n") else { return Ok(false) };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(match line.strip_suffix(&[self.delimiter()]) {
            Some([]) => at == 0,
            Some([.., last]) => *last == b'\n',
            None => false,
        })
    }

    /// Whether only delimiter lines are between the end of a text and the next text or the end of the file.
    fn follows(&self, cookie: &File, end: u64, next: u32) -> io::Result<bool> {
        // The end in BSD's indexes may leave out the last delimiter line.
        let next = if next == self.len() { self.cookie_length } else { self.offset(next)? };
        let Some(length) = next.checked_sub(end).and_then(|length| usize::try_from(length).ok()) else {
            return Ok(false);
        };
        if length > SKIPPED * DELIMITER_LINE {
            return Ok(false);
        }
        let mut between = [0; SKIPPED * DELIMITER_LINE];
        let between = between.get_mut(..length).unwrap_or_default();
        cookie.read_exact_at(between, end)?;
        Ok(between.split_inclusive(|&octet| octet == b'\n').all(|line| self.separates(line)))
    }

    /// Reads from the offset to the next delimiter line or the end of the file, and returns the offset of the text's end.
    fn read_text(&self, cookie: &File, offset: u64, limit: usize, into: &mut Vec<u8>) -> io::Result<(Found, u64)> {
        // A text with this many octets is longer than the limit, whatever follows.
        let max = limit.saturating_add(DELIMITER_LINE + 1 + SKIPPED);
        // The start of the text, and of the first line whose end was not found yet.
        let (mut start, mut line) = (0_usize, 0_usize);
        loop {
            let filled = into.len();
            let window = WINDOW.max(filled).min(max.saturating_sub(filled));
            into.resize(filled.saturating_add(window), 0);
            let place = offset.saturating_add(filled as u64);
            let read = read_up_to(cookie, into.get_mut(filled..).unwrap_or_default(), place)?;
            into.truncate(filled.saturating_add(read));
            let mut ended = read < window || into.len() >= max;
            while let Some(rest) = into.get(line..).filter(|rest| !rest.is_empty()) {
                let length = rest.iter().position(|&octet| octet == b'\n').map(|end| end + 1);
                if length.is_none() && !ended {
                    break;
                }
                let length = length.unwrap_or(rest.len());
                if !self.separates(rest.get(..length).unwrap_or_default()) {
                    line = line.saturating_add(length);
                } else if line > start {
                    into.truncate(line);
                    ended = true;
                } else {
                    line = line.saturating_add(length);
                    start = line;
                    if start > SKIPPED {
                        return Err(no_text());
                    }
                }
            }
            if ended {
                let end = offset.saturating_add(into.len() as u64);
                into.drain(..start.min(into.len()));
                return Ok((if into.len() > limit { Found::TooLong } else { Found::Text }, end));
            }
        }
    }

    fn separates(&self, line: &[u8]) -> bool {
        // CR is an ordinary character unless LF follows.
        let bare = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        bare == [self.delimiter()]
    }
}

fn no_text() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the index has an offset at which no text begins")
}

pub(crate) const READ_BY_INDEX: Rule = Rule::new(Syscall::PREAD64, &[FILE], "read a fortune by its index");

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
