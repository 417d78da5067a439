//! Reads cookie files: all texts, or one by its index.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::cookie::Cookies;
use super::error::Error;
use super::files::{CookieFile, cookie_files, files_of};
use super::index::{Found, Index, IndexError};
use super::index_file::IndexFile;
use super::reasons::Reasons;
use super::shares::Shares;
use super::sources::Sources;
use super::text::{self, Eligible, LONGEST_TEXT, Sendable};
use crate::file::{self, Version, open_regular};

/// How often to read a file that changes meanwhile, and the pause between two attempts.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Passes every eligible fortune to `take`, with the number of its file and the file, and returns the files.
pub(super) fn read(
    sources: &Sources,
    eligible: Eligible,
    mut take: impl FnMut(usize, &CookieFile, Sendable<'_>),
) -> Result<Vec<CookieFile>, Error> {
    let mut files = cookie_files(sources)?;
    if files.is_empty() && !sources.indexed_only {
        return Err(Error::NoCookieFile { names: sources.names() });
    }
    for (number, file) in files.iter_mut().enumerate() {
        let mut fortunes = 0;
        let outcome = read_file(&file.path, eligible.longest_raw(), &mut |raw| {
            if let Some(fortune) = eligible.sendable(raw) {
                fortunes += 1;
                take(number, file, fortune);
            }
        });
        file.is_usable(outcome)?;
        file.fortunes = fortunes;
    }
    if files.iter().all(|file| file.fortunes == 0) {
        return Err(nothing_eligible(sources, eligible));
    }
    Ok(files)
}

/// The shares of the files, if any file has a share.
pub(super) fn share(sources: &Sources, files: Vec<CookieFile>, eligible: Eligible) -> Result<Shares, Error> {
    Shares::new(sources, files).ok_or_else(|| nothing_eligible(sources, eligible))
}

/// Reads everything again to count why nothing can be sent.
fn nothing_eligible(sources: &Sources, eligible: Eligible) -> Error {
    let mut reasons = Reasons::new(eligible);
    for path in sources.paths() {
        let mut files = vec![path.clone()];
        if let Ok(Some(entries)) = file::list(path) {
            let of = |indexed_only| files_of(path, &entries, indexed_only).unwrap_or_default();
            files = of(sources.indexed_only);
            of(false).iter().filter(|file| !files.contains(file)).for_each(|file| reasons.count_without_index(file));
        }
        for file in files {
            // Unreadable files were logged already.
            let longest = Eligible { longest: LONGEST_TEXT, ..eligible }.longest_raw();
            let _ = read_file(&file, longest, &mut |raw| reasons.count(raw));
        }
    }
    Error::NothingEligible { names: sources.names(), reasons: Box::new(reasons) }
}

/// Repeats a read a few times if files changed meanwhile: their writer is usually done by then. This is for a process with a
/// waiting client; one that already has fortunes waits until the files settle.
pub(super) fn with_retries<T>(mut read: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..ATTEMPTS {
        match read() {
            Err(Error::Changed(_)) => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    read()
}

/// Passes every text of a cookie file to `take`, without rot13; texts longer than `longest` octets are cut.
pub(super) fn read_file(path: &Path, longest: usize, take: &mut impl FnMut(&[u8])) -> Result<(), Error> {
    let opened = open(path)?;
    let rotated = opened.index.is_rotated();
    let mut cookies = Cookies::new(&opened.file, longest, opened.index.format());
    let mut plain = Vec::new();
    loop {
        match cookies.read_next() {
            Ok(Some(mut raw)) => {
                if rotated {
                    raw.clone_into(&mut plain);
                    text::rotate(&mut plain);
                    raw = &plain;
                }
                take(raw);
            }
            Ok(None) if opened.is_unchanged() => return Ok(()),
            Ok(None) => return Err(Error::Changed(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() });
            }
            Err(source) => return Err(Error::unreadable(path, source)),
        }
    }
}

/// An open cookie file and its index.
pub(super) struct Opened<I> {
    pub(super) file: File,
    pub(super) version: Version,
    pub(super) index: I,
}

impl<I> Opened<I> {
    /// Whether the content of the open file has not changed, even if its path leads elsewhere now.
    pub(super) fn is_unchanged(&self) -> bool {
        Version::of(&self.file).is_ok_and(|version| version.has_content_of(&self.version))
    }
}

impl Opened<IndexFile> {
    /// The file with its index, if the index is valid.
    pub(super) fn indexed(self) -> Option<Opened<Index>> {
        let IndexFile::Valid(index) = self.index else { return None };
        Some(Opened { file: self.file, version: self.version, index })
    }
}

impl Opened<Index> {
    /// The `number`-th text, if it is eligible.
    ///
    /// # Errors
    ///
    /// Those of [`Index::text`].
    pub(super) fn fortune<'a>(
        &self,
        number: u32,
        eligible: Eligible,
        raw: &'a mut Vec<u8>,
    ) -> io::Result<Option<Sendable<'a>>> {
        if self.index.text(&self.file, number, eligible.longest_raw(), raw)? == Found::TooLong {
            return Ok(None);
        }
        if self.index.is_rotated() {
            text::rotate(raw);
        }
        Ok(eligible.sendable(raw))
    }
}

/// Opens a cookie file and its index.
pub(super) fn open(path: &Path) -> Result<Opened<IndexFile>, Error> {
    let (file, version) = open_regular(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => Error::unreadable(path, error),
    })?;
    match IndexFile::beside(path, &version) {
        // Without its index, the file may be misread.
        IndexFile::Unusable(IndexError::Read { path, source }) if file::is_shortage(&source) => {
            Err(Error::unreadable(&path, source))
        }
        index => Ok(Opened { file, version, index }),
    }
}

/// Opens a cookie file whose index is unusable, and scans it for the offsets of its texts.
pub(super) fn scan(path: &Path) -> Result<Opened<Index>, Error> {
    let opened = open(path)?;
    let index = opened.index.scan(&opened.file, opened.version.length).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => Error::unreadable(path, error),
    })?;
    if opened.is_unchanged() {
        Ok(Opened { file: opened.file, version: opened.version, index })
    } else {
        Err(Error::Changed(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_is_read_again_a_few_times() {
        let read = |changes: u32| {
            let mut times = 0;
            let outcome = with_retries(|| {
                times += 1;
                if times > changes { Ok(times) } else { Err(Error::Changed("cookies".into())) }
            });
            (outcome.ok(), times)
        };
        assert_eq!(read(0), (Some(1), 1));
        assert_eq!(read(ATTEMPTS - 1), (Some(ATTEMPTS), ATTEMPTS));
        assert_eq!(read(ATTEMPTS), (None, ATTEMPTS));
        let mut times = 0;
        let other = with_retries(|| -> Result<(), Error> {
            times += 1;
            Err(Error::unreadable(Path::new("cookies"), ErrorKind::NotFound.into()))
        });
        assert!(matches!(other, Err(Error::Read { .. })) && times == 1, "waiting does not help");
    }
}
