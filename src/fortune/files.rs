//! Finds the cookie files of the sources.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::error::Error;
use super::index_file::path_beside;
use super::sources::{Source, Sources};
use crate::file;
use crate::log;

/// A cookie file of one of the sources.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieFile {
    /// The index of its source.
    pub(super) source: usize,
    /// Its group, within which the probability is proportional to the number of fortunes.
    pub(super) group: Group,
    /// The directory in which it was found.
    pub(super) directory: Option<PathBuf>,
    pub(super) path: PathBuf,
    /// The number of fortunes that have a share in the choice.
    pub(super) fortunes: usize,
}

/// The files that share a probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Group {
    /// All files without a percentage.
    #[default]
    Rest,
    /// All files of the source with this index, which has a percentage.
    Source(usize),
    /// The file with this number alone, if all files have the same share.
    Alone(usize),
}

impl CookieFile {
    /// Its name as in fortune(6): the file name within a directory, otherwise the path.
    pub(super) fn name(&self) -> &Path {
        let name = self.directory.as_ref().and_then(|_| self.path.file_name());
        name.map_or(&self.path, Path::new)
    }

    /// Skips an unreadable file of a directory, with a warning. It is an error if the file was named itself, or if the process
    /// is out of descriptors or memory.
    pub(super) fn is_usable<T>(&self, outcome: Result<T, Error>) -> Result<Option<T>, Error> {
        match outcome {
            Err(error) if error.is_shortage() => Err(error),
            Err(error @ (Error::Read { .. } | Error::NotACookieFile { .. })) if self.directory.is_some() => {
                log::warning(&format!("{error}; continuing without it"));
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

/// The cookie files of the sources, not opened yet.
pub(super) fn cookie_files(sources: &Sources) -> Result<Vec<CookieFile>, Error> {
    let mut all = Vec::new();
    for (source, Source { percent, paths }) in sources.list.iter().enumerate() {
        for path in paths {
            let group = percent.map_or(Group::Rest, |_| Group::Source(source));
            let named = CookieFile { source, group, directory: None, path: path.clone(), fortunes: 0 };
            match file::list(path).map_err(|error| Error::unreadable(path, error))? {
                Some(entries) => {
                    let found = files_of(path, &entries, sources.indexed_only)?.into_iter();
                    let in_directory = |file| CookieFile { path: file, directory: Some(path.clone()), ..named.clone() };
                    all.extend(found.map(in_directory));
                }
                None => all.push(named),
            }
        }
    }
    if sources.equal {
        all.iter_mut().enumerate().for_each(|(number, file)| file.group = Group::Alone(number));
    }
    Ok(all)
}

/// The cookie files of a directory, sorted by name: the daily order must not depend on the host's file system. Subdirectories,
/// hidden files, leftovers of other programs and fortune(6)'s companions of a cookie file are skipped.
pub(super) fn files_of(
    directory: &Path,
    entries: &BTreeMap<OsString, FileType>,
    indexed_only: bool,
) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for (name, kind) in entries {
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let indexed = entries.contains_key(path_beside(Path::new(name)).as_os_str());
        if hidden || is_leftover(name) || companion_of(name).is_some() || (indexed_only && !indexed) {
            continue;
        }
        let path = directory.join(name);
        let is_directory = match kind {
            // Follows a link; also for file systems that do not report the type.
            FileType::Symlink | FileType::Unknown => match file::is_directory(&path) {
                Err(error) if file::is_shortage(&error) => return Err(Error::unreadable(&path, error)),
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

/// Whether a file is a leftover of an editor or a package manager, or a README. If it is named itself, it is a cookie file like
/// any other.
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

/// The cookie file of a companion in fortune(6): of a `.dat` or `.pos` index, or a `.u8` link.
pub(super) fn companion_of(name: &OsStr) -> Option<&OsStr> {
    let name = Path::new(name);
    name.file_stem().filter(|_| matches!(name.extension().and_then(OsStr::to_str), Some("dat" | "pos" | "u8")))
}
