//! The queries of fortune(6): the list of files (`-f`), and all fortunes that match a pattern (`-m`).

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

/// Prints the files and directories to choose from, each with its probability in percent.
///
/// # Errors
///
/// One of [`Error`].
pub fn list(sources: Option<&Sources>, eligible: Eligible, to: &mut impl Write) -> Result<(), Error> {
    let Some(sources) = sources else {
        return line(to, "", 1.0, Path::new(BUILT_IN_NAME));
    };
    // Count the eligible fortunes, not the entries of an index.
    let files = read(sources, eligible, |_, _, _| {})?;
    let all: Vec<(&CookieFile, f64)> = files.iter().zip(probabilities(sources, &files)).collect();
    // The files of a directory are consecutive.
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

/// A file's name for the terminal, with control characters escaped: its creator must not control the terminal.
#[must_use]
pub fn printable(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Prints all matching fortunes to `fortunes`, as a cookie file, and the name of each file to `names`, before its fortunes.
/// Returns whether any fortune matched.
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
            // Keep the order if both lead to the same file.
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
