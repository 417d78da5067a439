//! Finds collections: fortune(6)'s directories, and names that are relative to them.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::locale::languages;
use super::sources::Source;
use crate::file;

/// The directories of collections in distributions. docs/fortunes.md lists them too.
pub const DIRECTORIES: &[&str] = &[
    // Debian, Slackware, OpenMandriva.
    "/usr/share/games/fortunes",
    // Fedora, RHEL, the BSDs.
    "/usr/share/games/fortune",
    // Arch, Gentoo, Alpine, openSUSE.
    "/usr/share/fortune",
    // Void.
    "/usr/share/fortunes",
    // Installed by hand, or by FreeBSD's ports.
    "/usr/local/share/games/fortunes",
    "/usr/local/share/games/fortune",
    "/usr/local/share/fortune",
    "/usr/local/share/fortunes",
    // NixOS, and Nix elsewhere.
    "/run/current-system/sw/share/games/fortunes",
    "/nix/var/nix/profiles/default/share/games/fortunes",
];
/// The subdirectory of offensive fortunes.
const OFFENSIVE: &str = "off";
/// The operand that stands for the standard collections.
const ALL: &str = "all";
/// The suffix that selects the offensive collection of a name, as in fortune-mod.
const OFFENSIVE_SUFFIX: &str = "-o";

/// Which standard collections to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that are not offensive.
    Decent,
    /// The offensive ones.
    Offensive,
    /// All of them.
    Both,
}

/// The directories to search for collections, and files that are collections.
#[derive(Debug)]
pub(crate) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// The paths in an option or in `FORTUNE_PATH`, separated by colons, or else the distributions'.
    pub(crate) fn new(option: Option<&OsStr>) -> Self {
        let set = option.map(OsStr::to_owned).or_else(|| env::var_os("FORTUNE_PATH")).filter(|path| !path.is_empty());
        Self(match set {
            Some(path) => env::split_paths(&path).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => DIRECTORIES.iter().map(PathBuf::from).collect(),
        })
    }

    /// Resolves the operands, in their order; `None` if they include the host's collections, but it has none.
    pub(crate) fn resolve(&self, sources: Vec<Source>, kind: Kind) -> Option<Vec<Source>> {
        let mut resolved = Vec::new();
        for Source { percent, paths } in sources {
            let all_offensive = |path: &PathBuf| without_suffix(path).is_some_and(|name| name == ALL);
            if paths.iter().any(|path| path.as_os_str() == ALL || all_offensive(path)) {
                let all = self.standard(if paths.iter().any(all_offensive) { Kind::Offensive } else { kind });
                if all.is_empty() {
                    return None;
                }
                match percent {
                    Some(_) => resolved.push(Source { percent, paths: all }),
                    None => resolved.extend(all.into_iter().map(Source::new)),
                }
            } else {
                resolved.push(Source { percent, paths: paths.into_iter().map(|path| self.locate(path)).collect() });
            }
        }
        Some(resolved)
    }

    /// The existing directories and files of the standard collections, each once even if links lead to it. As in fortune-mod, a
    /// subdirectory for a language of the reader replaces its directory, also for offensive collections.
    pub(super) fn standard(&self, kind: Kind) -> Vec<PathBuf> {
        let languages = languages();
        let (mut directories, mut known) = (Vec::new(), Vec::new());
        for directory in &self.0 {
            let decent = (kind != Kind::Offensive).then(|| directory.clone());
            let offensive = (kind != Kind::Decent).then(|| directory.join(OFFENSIVE));
            for directory in [decent, offensive].into_iter().flatten() {
                let directory = in_language(&directory, &languages).unwrap_or(directory);
                let leads_to = directory.canonicalize().ok();
                // FORTUNE_PATH may name files.
                let leads_to = leads_to.filter(|it| (it.is_dir() || it.is_file()) && !known.contains(it));
                if let Some(leads_to) = leads_to {
                    known.push(leads_to);
                    directories.push(directory);
                }
            }
        }
        directories
    }

    /// Finds a name that does not begin with `/`, `./` or `../`. It is searched for in the directories, first in the languages
    /// of the reader; a name that ends in `-o` then among the offensive collections.
    fn locate(&self, path: PathBuf) -> PathBuf {
        let explicit =
            [&b"/"[..], b"./", b"../"].iter().any(|start| path.as_os_str().as_encoded_bytes().starts_with(start));
        if explicit {
            return path;
        }
        let named = |place: PathBuf| if place.ends_with(&path) && place.is_file() { place } else { place.join(&path) };
        let languages = languages().into_iter().map(Some);
        let found = languages.chain([None]).find_map(|language| {
            let within = |directory: PathBuf| language.iter().fold(directory, |directory, it| directory.join(it));
            let decent = self.0.iter().map(|directory| named(within(directory.clone())));
            let offensive = self
                .0
                .iter()
                .filter_map(|directory| Some(within(directory.join(OFFENSIVE)).join(without_suffix(&path)?)));
            decent.chain(offensive).find(|it| it.exists())
        });
        found.unwrap_or(path)
    }

    /// The directories, separated by colons.
    pub(super) fn display(&self) -> String {
        env::join_paths(&self.0).unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The subdirectory for the first language that has files.
fn in_language(directory: &Path, languages: &[String]) -> Option<PathBuf> {
    let holds_files = |path: &PathBuf| {
        let entries = file::list(path).ok().flatten();
        entries.is_some_and(|entries| entries.values().any(|kind| !kind.is_dir()))
    };
    languages.iter().map(|language| directory.join(language)).find(holds_files)
}

/// The name of an offensive collection without its suffix.
fn without_suffix(path: &Path) -> Option<&OsStr> {
    let name = path.as_os_str().as_bytes().strip_suffix(OFFENSIVE_SUFFIX.as_bytes())?;
    (!name.is_empty()).then(|| OsStr::from_bytes(name))
}

/// Whether a directory belongs to the distributions' collections, where every user may read all files.
pub(super) fn is_of_the_host(directory: &Path) -> bool {
    DIRECTORIES.iter().any(|known| directory.starts_with(known))
}
