//! Reading cookie files: all of their fortunes, or one by its index.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::fs::FileType;

use super::cookie::Cookies;
use super::index::{self, Index, IndexError};
use super::sources::{Group, Leaf, Source};
use super::text::{self, Eligible, Sendable};
use super::{Error, Sources};
use crate::file::{self, Version, open_regular};
use crate::report;

/// How often a file is read that is written to each time, and how long its writer has in between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A choice among fortunes that go by one at a time: the n-th replaces the one chosen so far with probability 1/n.
#[derive(Default)]
pub(super) struct Choice {
    offered: u64,
    pub(super) chosen: String,
}

impl Choice {
    pub(super) fn offer(&mut self, fortune: &Sendable<'_>, random: &mut SmallRng) {
        self.offered += 1;
        if random.random_range(0..self.offered) == 0 {
            self.chosen = fortune.text().into_owned();
        }
    }
}

/// The cookie files that the sources stand for, not opened yet.
pub(super) fn cookie_files(sources: &Sources) -> Result<Vec<Leaf>, Error> {
    let mut leaves = Vec::new();
    for (source, Source { percent, paths }) in sources.list.iter().enumerate() {
        for path in paths {
            let group = percent.map_or(Group::Rest, |_| Group::Source(source));
            let leaf = Leaf { source, group, ..Leaf::default() };
            match file::list(path).map_err(|error| unreadable(path, error))? {
                Some(entries) => {
                    let files = files_of(path, &entries, sources.indexed_only)?.into_iter();
                    leaves.extend(files.map(|file| Leaf { path: file, directory: Some(path.clone()), ..leaf.clone() }));
                }
                None => leaves.push(Leaf { path: path.clone(), ..leaf }),
            }
        }
    }
    if sources.equal {
        leaves.iter_mut().enumerate().for_each(|(number, leaf)| leaf.group = Group::Alone(number));
    }
    Ok(leaves)
}

/// Hands every eligible fortune to `take`, with the number and the file that it comes from, and returns the files.
pub(super) fn read(
    sources: &Sources,
    eligible: Eligible,
    mut take: impl FnMut(usize, &Leaf, Sendable<'_>),
) -> Result<Vec<Leaf>, Error> {
    let mut leaves = cookie_files(sources)?;
    if leaves.is_empty() {
        return Err(Error::NoCookieFile { names: names(sources.list.iter()) });
    }
    for (number, leaf) in leaves.iter_mut().enumerate() {
        let mut fortunes = 0;
        let outcome = read_file(&leaf.path, eligible, &mut |fortune| {
            fortunes += 1;
            take(number, leaf, fortune);
        });
        leaf.is_usable(outcome)?;
        leaf.fortunes = fortunes;
    }
    if leaves.iter().all(|leaf| leaf.fortunes == 0) {
        return Err(nothing_eligible(sources.list.iter(), eligible));
    }
    Ok(leaves)
}

/// Reads again what was written to meanwhile, a few times: its writer is mostly done by then. For a process that has a client or a
/// reader waiting; one that has fortunes already waits for the files to settle.
pub(super) fn patiently<T>(mut read: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..ATTEMPTS {
        match read() {
            Err(Error::Changed(_)) => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    read()
}

pub(super) fn nothing_eligible<'a>(sources: impl Iterator<Item = &'a Source>, eligible: Eligible) -> Error {
    Error::NothingEligible { names: names(sources), longest: eligible.longest }
}

fn names<'a>(sources: impl Iterator<Item = &'a Source>) -> String {
    let names: Vec<_> = sources.flat_map(|source| &source.paths).map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// The cookie files of a directory, by name: the order of the day must not depend on the host's file system. Directories
/// inside it, hidden files and fortune(6)'s companions of a cookie file are none.
fn files_of(
    directory: &Path,
    entries: &BTreeMap<OsString, FileType>,
    indexed_only: bool,
) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for (name, kind) in entries {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let indexed = entries.contains_key(index::path_beside(Path::new(name)).as_os_str());
        if hidden || companion_of(name).is_some() || (indexed_only && !indexed) {
            continue;
        }
        let path = directory.join(name);
        let is_directory = match kind {
            // What it leads to; or the file system does not say what it is.
            FileType::Symlink | FileType::Unknown => match file::is_directory(&path) {
                Err(error) if file::is_shortage(&error) => return Err(unreadable(&path, error)),
                answer => answer.unwrap_or(false),
            },
            kind => kind.is_dir(),
        };
        if !is_directory {
            files.push(path);
        }
    }
    Ok(files)
}

/// The cookie file whose companion this is in fortune(6): its `.dat` or `.pos` index, or the `.u8` link to it.
pub(super) fn companion_of(name: &OsStr) -> Option<&OsStr> {
    let name = Path::new(name);
    name.file_stem().filter(|_| matches!(name.extension().and_then(OsStr::to_str), Some("dat" | "pos" | "u8")))
}

fn read_file(path: &Path, eligible: Eligible, take: &mut impl FnMut(Sendable<'_>)) -> Result<(), Error> {
    let opened = open(path)?;
    let index = opened.index.as_ref().ok().and_then(Option::as_ref);
    let rotated = index.is_some_and(Index::is_rotated);
    let format = index.map(Index::format).unwrap_or_default();
    let mut cookies = Cookies::new(&opened.file, eligible.longest_raw(), format);
    let mut plain = Vec::new();
    loop {
        match cookies.read_next() {
            Ok(Some(mut raw)) => {
                if rotated {
                    raw.clone_into(&mut plain);
                    text::rotate(&mut plain);
                    raw = &plain;
                }
                if let Some(fortune) = eligible.sendable(raw) {
                    take(fortune);
                }
            }
            Ok(None) if opened.is_unchanged() => return Ok(()),
            Ok(None) => return Err(Error::Changed(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() });
            }
            Err(source) => return Err(unreadable(path, source)),
        }
    }
}

/// A cookie file, and its index if there is one, or why that must not be used.
pub(super) struct Opened<I> {
    pub(super) file: File,
    pub(super) version: Version,
    pub(super) index: I,
}

impl<I> Opened<I> {
    /// Whether the file still holds what it held when it was opened, wherever its path leads by now.
    pub(super) fn is_unchanged(&self) -> bool {
        Version::of(&self.file).is_ok_and(|version| version.has_content_of(&self.version))
    }
}

impl Leaf {
    /// What was found in a directory and cannot be read is left out, and the log says so; what was named has to be there.
    /// Nothing is left out because the process is short of descriptors or memory.
    pub(super) fn is_usable<T>(&self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Err(error) if error.is_shortage() => Err(error),
            Err(error @ (Error::Read { .. } | Error::NotACookieFile { .. })) if self.directory.is_some() => {
                report::warning(&format!("{error}; going on without it"));
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

/// Opens a cookie file and its index.
pub(super) fn open(path: &Path) -> Result<Opened<Result<Option<Index>, IndexError>>, Error> {
    let (file, version) = open_regular(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => unreadable(path, error),
    })?;
    let index = Index::beside(path, &version).and_then(|index| match index {
        // What it says of the whole file is believed only if its offsets hold.
        Some(index) if !index.is_plain() && !index.holds(&file) => Err(IndexError::Misfit(index::path_beside(path))),
        index => Ok(index),
    });
    match index {
        // Without its index a file may mean something else.
        Err(IndexError::Read { path, source }) if file::is_shortage(&source) => Err(unreadable(&path, source)),
        index => Ok(Opened { file, version, index }),
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_is_read_again_a_few_times() {
        let read = |changes: u32| {
            let mut times = 0;
            let outcome = patiently(|| {
                times += 1;
                if times > changes { Ok(times) } else { Err(Error::Changed("cookies".into())) }
            });
            (outcome.ok(), times)
        };
        assert_eq!(read(0), (Some(1), 1));
        assert_eq!(read(ATTEMPTS - 1), (Some(ATTEMPTS), ATTEMPTS));
        assert_eq!(read(ATTEMPTS), (None, ATTEMPTS));
        let mut times = 0;
        let other = patiently(|| -> Result<(), Error> {
            times += 1;
            Err(unreadable(Path::new("cookies"), ErrorKind::NotFound.into()))
        });
        assert!(matches!(other, Err(Error::Read { .. })) && times == 1, "waiting does not help");
    }
}
