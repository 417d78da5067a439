//! Reading cookie files: all of their fortunes, or one by its index.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::cookie::Cookies;
use super::index::{Found, Index, IndexError};
use super::sources::{Leaf, Source};
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

/// From how many octets on the log says that an index would help.
const LARGE: u64 = 64 << 20;

/// One fortune by chance with the help of strfile(1)'s indexes, without reading the files: `None` unless every file has one
/// that holds, and an eligible fortune turns up soon.
pub(super) fn by_index(sources: &Sources, random: &mut SmallRng, eligible: Eligible) -> Result<Option<String>, Error> {
    let mut files = Vec::new();
    let mut leaves = Vec::new();
    for (source, Source { path, .. }) in sources.list.iter().enumerate() {
        for path in cookie_files(path)? {
            let (file, index) = open(&path)?;
            let index = match index {
                Ok(Some(index)) => index,
                Ok(None) => return say_no_index(sources, &path).map(|()| None),
                Err(error) => {
                    report::warning(&error.to_string());
                    return Ok(None);
                }
            };
            leaves.push(Leaf { source, fortunes: index.len() as usize });
            files.push((path, file, index));
        }
    }
    if leaves.iter().all(|leaf| leaf.fortunes == 0) {
        return Ok(None);
    }
    let shares = Shares::new(sources, &leaves, eligible)?;
    let mut raw = Vec::new();
    for _ in 0..ATTEMPTS {
        let (path, file, index) = &files[shares.choose(random)];
        match index.text(file, random.random_range(0..index.len()), eligible.longest_raw(), &mut raw) {
            Ok(Found::TooLong) => {}
            Ok(Found::Text) => {
                if index.is_rotated() {
                    text::rotate(&mut raw);
                }
                if let Some(fortune) = eligible.sendable(&raw) {
                    return Ok(Some(fortune.text().into_owned()));
                }
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                report::warning(&format!("the index of {} does not hold: {error}; reading the file", path.display()));
                return Ok(None);
            }
            Err(error) => return Err(unreadable(path, error)),
        }
    }
    Ok(None)
}

/// Says that everything is read for the lack of one index, where that takes long.
fn say_no_index(sources: &Sources, without: &Path) -> Result<(), Error> {
    let mut octets = 0;
    for source in &sources.list {
        octets += cookie_files(&source.path)?
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|it| it.len())
            .sum::<u64>();
    }
    if octets >= LARGE {
        report::notice(&format!(
            "{path} has no index, so {mebibytes} MiB are read to choose one fortune; make one with \
             `small-services strfile {path}`",
            path = without.display(),
            mebibytes = octets >> 20,
        ));
    }
    Ok(())
}

/// The cookie files that a source stands for.
fn cookie_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    // Opened only once it is known to be no FIFO and no device.
    let kind = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if kind.is_dir() { files_of(path) } else { Ok(vec![path.to_owned()]) }
}

/// Hands every eligible fortune to `take`, with the index of its file, and returns the files.
pub(super) fn read(
    sources: &[Source],
    eligible: Eligible,
    mut take: impl FnMut(usize, Sendable<'_>),
) -> Result<Vec<Leaf>, Error> {
    let mut leaves = Vec::new();
    for (source, Source { path, .. }) in sources.iter().enumerate() {
        for file in cookie_files(path)? {
            let mut fortunes = 0;
            read_file(&file, eligible, &mut |fortune| {
                fortunes += 1;
                take(leaves.len(), fortune);
            })?;
            leaves.push(Leaf { source, fortunes });
        }
    }
    if leaves.iter().all(|leaf| leaf.fortunes == 0) {
        let paths: Vec<_> = sources.iter().map(|source| source.path.clone()).collect();
        return Err(nothing_eligible(&paths, eligible));
    }
    Ok(leaves)
}

pub(super) fn nothing_eligible(paths: &[PathBuf], eligible: Eligible) -> Error {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
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
