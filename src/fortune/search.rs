//! Where collections lie: fortune(6)'s directories, and what a name without a slash stands for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::sources::Source;

/// The distributions' directories.
const DIRECTORIES: &[&str] = &[
    "/usr/share/games/fortunes",
    "/usr/share/fortune",
    "/usr/share/fortunes",
    "/usr/local/share/games/fortunes",
    "/usr/local/share/fortune",
    "/usr/local/share/fortunes",
];
/// Where a directory of fortunes keeps the offensive ones.
const OFFENSIVE: &str = "off";
/// The operand that stands for the standard collections.
const ALL: &str = "all";
/// What a name ends in that stands for the offensive collection of that name, as fortune-mod has it.
const OFFENSIVE_SUFFIX: &str = "-o";

/// Which of the standard collections to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those that offend nobody.
    Decent,
    /// The offensive ones.
    Offensive,
    /// All of them.
    Both,
}

/// The directories in which collections are looked for, and files that are collections.
#[derive(Debug)]
pub(crate) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// Those of an option, or of `FORTUNE_PATH`, with a colon between two of them; or the distributions'.
    pub(crate) fn new(option: Option<&OsStr>) -> Self {
        let set = option.map(OsStr::to_owned).or_else(|| env::var_os("FORTUNE_PATH")).filter(|path| !path.is_empty());
        Self(match set {
            Some(path) => env::split_paths(&path).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => DIRECTORIES.iter().map(PathBuf::from).collect(),
        })
    }

    /// What the operands stand for, in their order; `None` if the host has no collections, and they are asked for.
    pub(crate) fn resolve(&self, sources: Vec<Source>, kind: Kind) -> Option<Vec<Source>> {
        let mut resolved = Vec::new();
        for Source { percent, paths } in sources {
            let all_offensive = |path: &PathBuf| without_suffix(path).is_some_and(|name| name == ALL);
            if paths.iter().any(|path| path == ALL || all_offensive(path)) {
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

    /// The directories and files of the standard collections that there are. Where one has a subdirectory for the language of the
    /// locale, that takes its place, as fortune-mod does it.
    pub(super) fn standard(&self, kind: Kind) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for directory in &self.0 {
            if kind != Kind::Offensive {
                let languages =
                    languages(&locale().to_string_lossy()).into_iter().map(|language| directory.join(language));
                directories.extend(languages.chain([directory.clone()]).find(|path| path.is_dir()));
                directories.extend([directory.clone()].into_iter().filter(|path| path.is_file()));
            }
            if kind != Kind::Decent {
                directories.extend([directory.join(OFFENSIVE)].into_iter().filter(|path| path.is_dir()));
            }
        }
        directories
    }

    /// A name that begins with neither `/`, `./` nor `../` is first looked for in the directories, and one that ends in `-o` then
    /// among their offensive collections.
    fn locate(&self, path: PathBuf) -> PathBuf {
        let explicit =
            [&b"/"[..], b"./", b"../"].iter().any(|start| path.as_os_str().as_encoded_bytes().starts_with(start));
        if explicit {
            return path;
        }
        let named =
            |place: &PathBuf| if place.ends_with(&path) && place.is_file() { place.clone() } else { place.join(&path) };
        let offensive = |place: &PathBuf| Some(place.join(OFFENSIVE).join(without_suffix(&path)?));
        let places = self.0.iter().map(named).chain(self.0.iter().filter_map(offensive));
        places.into_iter().find(|place| place.exists()).unwrap_or(path)
    }

    /// The directories with a colon between two of them.
    pub(super) fn display(&self) -> String {
        env::join_paths(&self.0).unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The name of an offensive collection without its suffix.
fn without_suffix(path: &Path) -> Option<&OsStr> {
    let name = path.as_os_str().as_bytes().strip_suffix(OFFENSIVE_SUFFIX.as_bytes())?;
    (!name.is_empty()).then(|| OsStr::from_bytes(name))
}

/// The locale's name as locale(7) finds it, such as `de_DE.UTF-8`.
pub(super) fn locale() -> OsString {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os);
    set.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
}

/// The names that a directory for the locale's language may have: `de_DE` or `de`; none for the locale C.
pub(crate) fn languages(locale: &str) -> Vec<String> {
    let territory = locale.split(['.', '@']).next().unwrap_or_default();
    let language = territory.split('_').next().unwrap_or_default();
    // Only letters: a name out of the environment must not lead elsewhere.
    let name = |name: &str| name.len() > 1 && name.chars().all(|it| it.is_ascii_alphabetic() || it == '_');
    [territory, language].into_iter().filter(|it| name(it) && *it != "POSIX").map(str::to_owned).collect()
}

/// Whether the locale's character set is UTF-8.
pub(super) fn locale_is_utf_8() -> bool {
    let locale = locale().to_string_lossy().to_ascii_lowercase();
    [".utf-8", ".utf8"].iter().any(|it| locale.contains(it))
}

/// Whether a directory is of the distributions' collections: what is installed there is for everybody to read.
pub(super) fn is_of_the_host(directory: &Path) -> bool {
    DIRECTORIES.iter().any(|known| directory.starts_with(known))
}
