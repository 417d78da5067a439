//! What fortune(6) prints instead of one fortune: the list of its files (`-f`), and all fortunes that match (`-m`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::files::CookieFile;
use super::memory::{BUILT_IN_NAME, all_built_in};
use super::pattern::Pattern;
use super::read::read;
use super::shares::probabilities;
use super::sources::Sources;
use super::text::Eligible;
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
    let files = read(sources, eligible, |_, _, _| {})?;
    let all: Vec<(&CookieFile, f64)> = files.iter().zip(probabilities(sources, &files)).collect();
    // The files of a directory follow each other.
    for files in
        all.chunk_by(|(a, _), (b, _)| a.source == b.source && a.directory == b.directory && a.directory.is_some())
    {
        if let [(CookieFile { directory: Some(directory), .. }, _), ..] = files {
            line(to, "", files.iter().map(|(_, probability)| probability).sum(), directory)?;
            for (file, probability) in files {
                line(to, "    ", *probability, file.name())?;
            }
        } else {
            for (file, probability) in files {
                line(to, "", *probability, file.name())?;
            }
        }
    }
    Ok(())
}

fn line(to: &mut impl Write, indent: &str, probability: f64, path: &Path) -> Result<(), Error> {
    writeln!(to, "{indent}{:5.2}% {}", 100.0 * probability, printable(path)).map_err(Error::Print)
}

/// A file's name as it can be printed: anyone who made the file must not control the terminal with it.
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
        read(sources, eligible, |_, file, fortune| take(file.name(), &fortune.text()))?;
    } else {
        let eligible = all_built_in().filter_map(|text| eligible.sendable(text.as_bytes()));
        eligible.for_each(|fortune| take(Path::new(BUILT_IN_NAME), &fortune.text()));
    }
    printed.and_then(|()| fortunes.flush()).map_err(Error::Print)?;
    Ok(file.is_some())
}
