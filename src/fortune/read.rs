//! Reading cookie files: all of their fortunes, or one by its index.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::cookie::Cookies;
use super::index::{Found, Index, IndexError};
use super::search::has_index;
use super::sources::{Group, Leaf, Source};
use super::text::{self, Eligible, Sendable};
use super::{Error, Shares, Sources};
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

/// How many fortunes are looked at by index for one that is eligible, before all are read.
const ATTEMPTS: usize = 100;
/// How many files are kept open with their indexes: fewer than the usual limit of descriptors allows.
const MOST_INDEXED: usize = 256;

/// Cookie files that all have an index which holds: any of their fortunes can be read without the others.
pub(super) struct Indexed {
    files: Vec<(File, Index)>,
    shares: Shares,
}

impl Indexed {
    /// Opens the files; `None` unless every one has an index.
    pub(super) fn open(sources: &Sources, eligible: Eligible) -> Result<Option<Self>, Error> {
        let (mut leaves, mut files) = (cookie_files(sources)?, Vec::new());
        if leaves.len() > MOST_INDEXED {
            return Ok(None);
        }
        for leaf in &mut leaves {
            let (file, index) = open(&leaf.path)?;
            match index {
                Ok(Some(index)) => {
                    leaf.fortunes = index.len() as usize;
                    files.push((file, index));
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    report::warning(&error.to_string());
                    return Ok(None);
                }
            }
        }
        if leaves.iter().all(|leaf| leaf.fortunes == 0) {
            return Ok(None);
        }
        Ok(Some(Self { files, shares: Shares::new(sources, leaves, eligible)? }))
    }

    /// The files, with the numbers of fortunes that their indexes list.
    pub(super) fn leaves(self) -> Vec<Leaf> {
        self.shares.leaves
    }

    /// One fortune by chance, and its file: `None` if an index does not hold, or no eligible fortune turns up soon.
    pub(super) fn choose(&self, random: &mut SmallRng, eligible: Eligible) -> Result<Option<(String, &Leaf)>, Error> {
        let mut raw = Vec::new();
        let first = self.shares.choose(random);
        let group = self.shares.leaves[first].group;
        for attempt in 0..ATTEMPTS {
            // Another one of the same group, whose share must not depend on how many of its fortunes are eligible.
            let chosen = match group {
                _ if attempt == 0 => first,
                Group::Alone(number) => number,
                _ => self.shares.choose_of(group, random),
            };
            let (leaf, (file, index)) = (&self.shares.leaves[chosen], &self.files[chosen]);
            match index.text(file, random.random_range(0..index.len()), eligible.longest_raw(), &mut raw) {
                Ok(Found::TooLong) => {}
                Ok(Found::Text) => {
                    if index.is_rotated() {
                        text::rotate(&mut raw);
                    }
                    if let Some(fortune) = eligible.sendable(&raw) {
                        return Ok(Some((fortune.text().into_owned(), leaf)));
                    }
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    let path = leaf.path.display();
                    report::warning(&format!("the index of {path} does not hold: {error}; reading the file"));
                    return Ok(None);
                }
                Err(error) => return Err(unreadable(&leaf.path, error)),
            }
        }
        Ok(None)
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
        read_file(&leaf.path, eligible, &mut |fortune| {
            fortunes += 1;
            take(number, leaf, fortune);
        })?;
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
    let (file, index) = open(path)?;
    let index = index.ok().flatten();
    let rotated = index.as_ref().is_some_and(Index::is_rotated);
    let format = index.as_ref().map(Index::format).unwrap_or_default();
    let mut cookies = Cookies::new(file, eligible.longest_raw(), format);
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
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() });
            }
            Err(source) => return Err(unreadable(path, source)),
        }
    }
}

/// Opens a cookie file, and its index if there is one, or says why that must not be used.
fn open(path: &Path) -> Result<(File, Result<Option<Index>, IndexError>), Error> {
    let file = open_regular(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => unreadable(path, error),
    })?;
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    let index = Index::beside(path, &metadata);
    Ok((file, index))
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}
