//! What fortune(6) prints instead of one fortune: the list of its files (`-f`), and all fortunes that match (`-m`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::pattern::Pattern;
use super::read::read;
use super::sources::{self, Leaf};
use super::text::Eligible;
use super::{BUILT_IN_NAME, Collection, Error, Sources};
use crate::log::escaped;

/// Prints the files and directories that would be searched, each with the probability in percent that the fortune is from
/// there.
///
/// # Errors
///
/// One of [`Error`].
pub fn list(sources: Option<&Sources>, eligible: Eligible, to: &mut impl Write) -> Result<(), Error> {
    let Some(sources) = sources else {
        return line(to, "", 1.0, Path::new(BUILT_IN_NAME));
    };
    // With an index or without: what can be chosen counts, and not what an index lists.
    let leaves = read(sources, eligible, |_, _, _| {})?;
    let probabilities = sources::probabilities(&sources.list, &leaves, sources.equal);
    let all: Vec<(&Leaf, f64)> = leaves.iter().zip(probabilities).collect();
    // The files of a directory follow each other.
    for files in
        all.chunk_by(|(a, _), (b, _)| a.source == b.source && a.directory == b.directory && a.directory.is_some())
    {
        if let [(Leaf { directory: Some(directory), .. }, _), ..] = files {
            line(to, "", files.iter().map(|(_, probability)| probability).sum(), directory)?;
            for (leaf, probability) in files {
                line(to, "    ", *probability, leaf.name())?;
            }
        } else {
            for (leaf, probability) in files {
                line(to, "", *probability, leaf.name())?;
            }
        }
    }
    Ok(())
}

fn line(to: &mut impl Write, indent: &str, probability: f64, path: &Path) -> Result<(), Error> {
    writeln!(to, "{indent}{:5.2}% {}", 100.0 * probability, printable(path)).map_err(Error::Print)
}

/// A file's name as it can be printed: whoever made the file must not steer the terminal by it.
#[must_use]
pub fn printable(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Prints all fortunes that match, as a cookie file to `fortunes`, and before those of each file its name to `names`. Returns
/// whether there was any.
///
/// # Errors
///
/// One of [`Error`].
pub fn matching(
    sources: Option<&Sources>,
    eligible: Eligible,
    pattern: &Pattern,
    (fortunes, names): (&mut impl Write, &mut impl Write),
) -> Result<bool, Error> {
    let mut file: Option<PathBuf> = None;
    let mut print = |name: &Path, text: &str| -> io::Result<()> {
        if file.as_deref() != Some(name) {
            // In this order where both go to the same place.
            fortunes.flush()?;
            write!(names, "({})\n%\n", printable(name))?;
            names.flush()?;
            file = Some(name.to_owned());
        }
        writeln!(fortunes, "{text}%")
    };
    let mut printed = Ok(());
    let mut take = |name: &Path, text: &str| {
        if printed.is_ok() && pattern.is_match(text) {
            printed = print(name, text);
        }
    };
    if let Some(sources) = sources {
        read(sources, eligible, |_, leaf, fortune| take(leaf.name(), &fortune.text()))?;
    } else {
        let all = Collection::BuiltIn;
        let eligible = (0..all.len()).filter_map(|index| eligible.sendable(all.fortune(index).as_bytes()));
        eligible.for_each(|fortune| take(Path::new(BUILT_IN_NAME), &fortune.text()));
    }
    printed.and_then(|()| fortunes.flush()).map_err(Error::Print)?;
    Ok(file.is_some())
}
