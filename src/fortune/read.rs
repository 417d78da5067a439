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
use super::index::{self, Beside, Index, IndexError};
use super::reasons::nothing_eligible;
use super::sources::{Group, Leaf, Source};
use super::text::{self, Eligible, Sendable};
use super::{Error, Sources};
use crate::file::{self, Version, open_regular};
use crate::log;

/// How often a file is read that is written to each time, and how long its writer has in between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A choice among fortunes that go by one at a time: the n-th replaces the one chosen so far with probability 1/n.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) offered: usize,
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
    if leaves.is_empty() && !sources.indexed_only {
        return Err(Error::NoCookieFile { names: names(sources.list.iter()) });
    }
    for (number, leaf) in leaves.iter_mut().enumerate() {
        let mut fortunes = 0;
        let outcome = read_file(&leaf.path, eligible.longest_raw(), &mut |raw| {
            if let Some(fortune) = eligible.sendable(raw) {
                fortunes += 1;
                take(number, leaf, fortune);
            }
        });
        leaf.is_usable(outcome)?;
        leaf.fortunes = fortunes;
    }
    if leaves.iter().all(|leaf| leaf.fortunes == 0) {
        return Err(nothing_eligible(sources, eligible));
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

fn names<'a>(sources: impl Iterator<Item = &'a Source>) -> String {
    let names: Vec<_> = sources.flat_map(|source| &source.paths).map(|path| path.display().to_string()).collect();
    names.join(", ")
}

/// The cookie files of a directory, by name: the order of the day must not depend on the host's file system. Directories
/// inside it, hidden files, what others leave behind and fortune(6)'s companions of a cookie file are none.
pub(super) fn files_of(
    directory: &Path,
    entries: &BTreeMap<OsString, FileType>,
    indexed_only: bool,
) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for (name, kind) in entries {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let indexed = entries.contains_key(index::path_beside(Path::new(name)).as_os_str());
        if hidden || is_leftover(name) || companion_of(name).is_some() || (indexed_only && !indexed) {
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

/// What editors and package managers leave beside a file, and what is there to be read by people. Named, it is a cookie file
/// like any other.
fn is_leftover(name: &OsStr) -> bool {
    const EXTENSIONS: &[&str] = &[
        "bak",
        "old",
        "orig",
        "rej",
        "save",
        "swo",
        "swp",
        "tmp", // of editors
        "dpkg-backup",
        "dpkg-bak",
        "dpkg-dist",
        "dpkg-new",
        "dpkg-old",
        "dpkg-remove",
        "dpkg-tmp",
        "ucf-dist",
        "ucf-new",
        "ucf-old",
        "rpmnew",
        "rpmorig",
        "rpmsave",
        "pacnew",
        "pacorig",
        "pacsave",
        "apk-new",
    ];
    let octets = name.as_encoded_bytes();
    let readme = octets.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"readme"))
        && octets.get(6).is_none_or(|next| !next.is_ascii_alphanumeric());
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    let left = extension.is_some_and(|it| EXTENSIONS.iter().any(|known| it.eq_ignore_ascii_case(known)));
    readme || left || octets.ends_with(b"~") || octets.starts_with(b"#") && octets.ends_with(b"#")
}

/// The cookie file whose companion this is in fortune(6): its `.dat` or `.pos` index, or the `.u8` link to it.
pub(super) fn companion_of(name: &OsStr) -> Option<&OsStr> {
    let name = Path::new(name);
    name.file_stem().filter(|_| matches!(name.extension().and_then(OsStr::to_str), Some("dat" | "pos" | "u8")))
}

/// Hands every text of a cookie file to `take`, in plain letters; of those that are longer, the beginning.
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
            Err(source) => return Err(unreadable(path, source)),
        }
    }
}

/// A cookie file, and its index.
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
                log::warning(&format!("{error}; going on without it"));
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

/// Opens a cookie file and its index.
pub(super) fn open(path: &Path) -> Result<Opened<Beside>, Error> {
    let (file, version) = open_regular(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
        _ => unreadable(path, error),
    })?;
    match Index::beside(path, &version) {
        // Without its index a file may mean something else.
        Beside::Bad(IndexError::Read { path, source }) if file::is_shortage(&source) => Err(unreadable(&path, source)),
        index => Ok(Opened { file, version, index }),
    }
}

/// Looks at all of a cookie file: where its texts begin, its index cannot be believed.
pub(super) fn scan(path: &Path) -> Result<Opened<Index>, Error> {
    let opened = open(path)?;
    let index =
        Index::scan(&opened.file, opened.version.length, &opened.index).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Error::NotACookieFile { path: path.to_owned(), reason: error.to_string() },
            _ => unreadable(path, error),
        })?;
    if opened.is_unchanged() {
        Ok(Opened { file: opened.file, version: opened.version, index })
    } else {
        Err(Error::Changed(path.to_owned()))
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
