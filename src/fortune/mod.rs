//! The fortune collection: the built-in one, or cookie files; and the choice of one fortune from it.

pub mod cookie;
pub mod text;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::fs::OFlags;
use rustix::rand::{GetRandomFlags, getrandom};

use cookie::Cookies;

/// The built-in fortunes, one after the other, as `build.rs` joined them.
static BUILT_IN: &str = include_str!(concat!(env!("OUT_DIR"), "/collection.txt"));
/// Where each of them ends, in octets.
static ENDS: &[u32] = include!(concat!(env!("OUT_DIR"), "/ends.rs"));

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
    /// Everything could be read, and there was nothing to send.
    #[error(
        "no fortune to send in {0}: all are empty, longer than {limit} octets, not UTF-8, or hold control characters; \
         add one that is not",
        limit = text::LONGEST_REPLY
    )]
    NothingEligible(String),
    /// The kernel gave no random octets.
    #[error("cannot draw a random seed: {0}; the kernel has to answer getrandom(2)")]
    Seed(io::Error),
}

/// Chooses one fortune, each with the same probability: from the built-in collection if `paths` is empty, else from the
/// cookie files named there and in the directories named there.
///
/// # Errors
///
/// One of [`Error`], naming the file or directory.
pub fn choose(paths: &[PathBuf]) -> Result<String, Error> {
    let mut random = seeded()?;
    if paths.is_empty() {
        return Ok(built_in(random.random_range(0..ENDS.len())).to_owned());
    }
    let mut choice = Choice { random, eligible: 0, chosen: String::new() };
    for path in paths {
        // Opened only once it is known to be no FIFO and no device.
        let kind = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if kind.is_dir() { choice.add_directory(path)? } else { choice.add_file(path)? }
    }
    if choice.eligible == 0 {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::NothingEligible(names.join(", ")));
    }
    Ok(choice.chosen)
}

/// The built-in fortune of that index.
fn built_in(index: usize) -> &'static str {
    let start = if index == 0 { 0 } else { ENDS[index - 1] as usize };
    &BUILT_IN[start..ENDS[index] as usize]
}

/// Only a choice of fortune hangs on this generator, so a small one will do; its seed is the kernel's all the same.
fn seeded() -> Result<SmallRng, Error> {
    let mut seed = <SmallRng as SeedableRng>::Seed::default();
    getrandom(&mut seed, GetRandomFlags::empty()).map_err(|errno| Error::Seed(errno.into()))?;
    Ok(SmallRng::from_seed(seed))
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Read { path: path.to_owned(), source }
}

/// A choice among fortunes that go by one at a time: the n-th replaces the one chosen so far with probability 1/n.
struct Choice {
    random: SmallRng,
    eligible: u64,
    chosen: String,
}

impl Choice {
    /// Adds the cookie files of a directory; directories inside it, hidden files and fortune(6)'s companions of a cookie
    /// file (`.dat` and `.pos` indexes, the `.u8` link to the same file) are none.
    fn add_directory(&mut self, directory: &Path) -> Result<(), Error> {
        let entries = fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
        for entry in entries {
            let path = entry.map_err(|source| unreadable(directory, source))?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            let companion = matches!(path.extension().and_then(OsStr::to_str), Some("dat" | "pos" | "u8"));
            if !hidden && !companion && !path.is_dir() {
                self.add_file(&path)?;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let mut cookies = Cookies::new(BufReader::new(open(path)?));
        let mut raw = Vec::new();
        loop {
            match cookies.read_next(&mut raw) {
                Ok(true) => self.add(&raw),
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() });
                }
                Err(source) => return Err(unreadable(path, source)),
            }
        }
    }

    fn add(&mut self, raw: &[u8]) {
        if let Some(fortune) = text::sendable(raw) {
            self.eligible += 1;
            if self.random.random_range(0..self.eligible) == 0 {
                self.chosen = fortune;
            }
        }
    }
}

/// Opens a regular file, and nothing else: opening a FIFO would wait for its writer, and opening a device may act on it.
fn open(path: &Path) -> Result<File, Error> {
    let kind = fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if !kind.is_file() {
        return Err(Error::NotACookieFile { path: path.to_owned(), reason: "it is no regular file".to_owned() });
    }
    // O_NONBLOCK: should the file have become a FIFO since, opening it must not wait either.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| unreadable(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_built_in_collection_is_large_distinct_and_sendable() {
        let all: Vec<_> = (0..ENDS.len()).map(built_in).collect();
        assert!(all.len() >= 300, "only {} fortunes", all.len());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "a fortune stands in data/ twice");
        for fortune in all {
            assert_eq!(text::sendable(fortune.as_bytes()).as_deref(), Some(fortune));
            assert!(fortune.is_ascii());
        }
    }

    #[test]
    fn every_fortune_is_chosen_about_equally_often() {
        const DRAWS: u32 = 100_000;
        for size in [2_u32, 3, 10] {
            let mut counts = vec![0_u32; size as usize];
            for seed in 0..DRAWS.into() {
                let mut choice = Choice { random: SmallRng::seed_from_u64(seed), eligible: 0, chosen: String::new() };
                (0..size).for_each(|index| choice.add(index.to_string().as_bytes()));
                counts[choice.chosen.trim().parse::<usize>().expect("a number")] += 1;
            }
            let expected = f64::from(DRAWS) / f64::from(size);
            let chi_squared: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            // 27.9: the 99.9th percentile at 9 degrees of freedom, generous for fewer. The seeds are fixed.
            assert!(chi_squared < 27.9, "{chi_squared} for {counts:?}");
        }
    }
}
