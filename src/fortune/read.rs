//! Reading cookie files: all of their fortunes, or one by its index.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::cookie::Cookies;
use super::index::{self, Index, IndexError};
use super::search::has_index;
use super::sources::{Group, Leaf, Source};
use super::text::{self, Eligible, Sendable};
use super::{Error, Sources};
use crate::file::open_regular;
use crate::report;

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
            // Opened only once it is known to be no FIFO and no device.
            if fs::metadata(path).map_err(|error| unreadable(path, error))?.is_dir() {
                let files = files_of(path)?.into_iter().filter(|path| !sources.indexed_only || has_index(path));
                leaves.extend(files.map(|file| Leaf { path: file, directory: Some(path.clone()), ..leaf.clone() }));
            } else {
                leaves.push(Leaf { path: path.clone(), ..leaf });
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

pub(super) fn nothing_eligible<'a>(sources: impl Iterator<Item = &'a Source>, eligible: Eligible) -> Error {
    let names: Vec<_> = sources.flat_map(|source| &source.paths).map(|path| path.display().to_string()).collect();
    Error::NothingEligible { names: names.join(", "), longest: eligible.longest }
}

/// The cookie files of a directory, by name: the order of the day must not depend on the host's file system. Directories
/// inside it, hidden files and fortune(6)'s companions of a cookie file (`.dat` and `.pos` indexes, the `.u8` link to the
/// same file) are none.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = entries.map_err(|source| unreadable(directory, source))?;
    files.retain(|path| {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let companion = matches!(path.extension().and_then(OsStr::to_str), Some("dat" | "pos" | "u8"));
        !hidden && !companion && !path.is_dir()
    });
    files.sort_unstable();
    Ok(files)
}

fn read_file(path: &Path, eligible: Eligible, take: &mut impl FnMut(Sendable<'_>)) -> Result<(), Error> {
    let Opened { file, version, index } = open(path)?;
    let index = index.ok().flatten();
    let rotated = index.as_ref().is_some_and(Index::is_rotated);
    let format = index.as_ref().map(Index::format).unwrap_or_default();
    let mut cookies = Cookies::new(&file, eligible.longest_raw(), format);
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
            Ok(None) if version.is_of(&file) => return Ok(()),
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

impl Leaf {
    /// What was found in a directory and cannot be read is left out, and the log says so; what was named has to be there.
    pub(super) fn is_usable<T>(&self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Err(error @ (Error::Read { .. } | Error::NotACookieFile { .. })) if self.directory.is_some() => {
                report::warning(&format!("{error}; going on without it"));
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

/// What tells whether an open file was written to: its length and its times of change.
#[derive(PartialEq, Eq)]
pub(super) struct Version(u64, (i64, i64), (i64, i64));

impl Version {
    fn new(metadata: &Metadata) -> Self {
        Self(metadata.len(), (metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()))
    }

    /// Whether the file still is what it was.
    pub(super) fn is_of(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|metadata| *self == Self::new(&metadata))
    }
}

/// Opens a cookie file and its index.
pub(super) fn open(path: &Path) -> Result<Opened<Result<Option<Index>, IndexError>>, Error> {
    let file = open_regular(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => unreadable(path, error),
    })?;
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    let index = Index::beside(path, &metadata).and_then(|index| match index {
        // What it says of the whole file is believed only if its offsets hold.
        Some(index) if !index.is_plain() && !index.holds(&file) => Err(IndexError::Misfit(index::path_beside(path))),
        index => Ok(index),
    });
    Ok(Opened { file, version: Version::new(&metadata), index })
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}
