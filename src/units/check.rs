//! Checks the options of `small-services units`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ours;
use crate::executable::{self, Unfit};
use crate::services;

/// The directories that the units hide, and those that daemons' units make inaccessible. The Makefile also reads this file.
const PATHS: &str = include_str!("../../units/templates/paths");
/// The maximum length of a name, so that an instance's name fits systemd's 255 bytes.
const MAX_NAME: usize = 100;

/// Why no units were made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "'{0}' is not a valid name for units; use at most {MAX_NAME} letters, digits and - _ . and begin with a letter or digit"
    )]
    Name(String),
    #[error("{0} is a unit of small-services; choose another --name")]
    Ours(String),
    #[error("the unit {unit} already exists in {}; choose another --name, or use --force", directory.display())]
    Known { unit: String, directory: PathBuf },
    #[error(
        "port {port} belongs to {unit}; choose another --port, or change the program of {unit} with `systemctl edit`"
    )]
    Port { port: u16, unit: String },
    #[error("{} already listens on port {port}; choose another --port, or use --force", unit.display())]
    Taken { port: u16, unit: PathBuf },
    #[error("--udp requires the daemon; remove --mode connection")]
    Udp,
    #[error("'{}' is not an absolute path below / without . and ..; write the full path", .0.display())]
    Relative(PathBuf),
    #[error("'{}' contains a character with a special meaning in units; choose a path of letters, digits and + , - . / @ _ ~", .0.display())]
    Path(PathBuf),
    #[error("the units hide {directory} from the program, and with it {}; move it elsewhere, such as below /usr/local", path.display())]
    Hidden { directory: &'static str, path: PathBuf },
    #[error("cannot find {}: {source}; check the path, or use --force", path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("{} {unfit}; {}, or use --force", path.display(), advice(unfit))]
    Program { path: PathBuf, unfit: Unfit },
    #[error("'{}' contains a control character or a backslash; remove it", .0.escape_debug())]
    Text(String),
    #[error("{} already exists with other content; use --force to replace it", .0.display())]
    There(PathBuf),
    #[error("cannot write {}: {source}; check that the directory exists and that you may write to it", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot print the units: {0}; check standard output")]
    Print(io::Error),
}

pub(super) fn name(name: &str) -> Result<(), Error> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
    if begins_well && name.bytes().all(good) && name.len() <= MAX_NAME {
        Ok(())
    } else {
        Err(Error::Name(name.to_owned()))
    }
}

/// Checks that a unit's name is not one of small-services.
pub(super) fn unit(name: &str) -> Result<(), Error> {
    if ours::files().iter().any(|(ours, _)| ours == name) { Err(Error::Ours(name.to_owned())) } else { Ok(()) }
}

/// Checks that the port does not belong to a service of the table.
pub(super) fn port(name: &str, port: u16) -> Result<(), Error> {
    let row = services::all().find(|row| row.port == port && row.unit != name);
    row.map_or(Ok(()), |row| Err(Error::Port { port, unit: format!("{}.socket", row.unit) }))
}

/// Checks that a path can stand in a unit.
pub(super) fn path(path: &Path) -> Result<&str, Error> {
    let Some(text) = path.to_str().filter(|_| is_plain(path.as_os_str())) else {
        return Err(Error::Path(path.to_owned()));
    };
    // Checks the text: `Path` skips components `.`.
    if !text.starts_with('/') || text.trim_matches('/').is_empty() || text.split('/').any(|it| matches!(it, "." | ".."))
    {
        return Err(Error::Relative(path.to_owned()));
    }
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut hidden = directories("hidden");
    hidden
        .find(|directory| path.starts_with(directory) || real.starts_with(directory))
        .map_or(Ok(text), |directory| Err(Error::Hidden { directory, path: path.to_owned() }))
}

/// Whether a path has only characters without a special meaning in units, shells and super-servers, as in the Makefile.
pub(super) fn is_plain(path: &OsStr) -> bool {
    path.as_bytes().iter().all(|octet| octet.is_ascii_alphanumeric() || b"+,-./@_~".contains(octet)) && !path.is_empty()
}

pub(super) fn file(path: &Path) -> Result<(), Error> {
    path.metadata().map(drop).map_err(|source| Error::Missing { path: path.to_owned(), source })
}

/// Checks that the units can start a program.
pub(super) fn program(path: &Path) -> Result<(), Error> {
    executable::unfit(path).map_or(Ok(()), |unfit| Err(Error::Program { path: path.to_owned(), unfit }))
}

fn advice(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Missing(_) => "check the path",
        Unfit::NotAFile => "name the program's file",
        Unfit::Closed => "run `chmod 755` on it",
        Unfit::Dynamic => "link it statically, for example with `-C target-feature=+crt-static`",
        Unfit::Script => "name a compiled program",
    }
}

/// Checks a description or an argument.
pub(super) fn text(text: &str) -> Result<(), Error> {
    if text.chars().any(|it| it.is_control() || it == '\\') { Err(Error::Text(text.to_owned())) } else { Ok(()) }
}

/// The value of `InaccessiblePaths=` for a daemon: without the directories that hold these files.
pub(super) fn inaccessible_except(files: &[&str]) -> String {
    let holds = |directory: &str| {
        files.iter().map(Path::new).any(|file| {
            file.starts_with(directory) || file.canonicalize().is_ok_and(|real| real.starts_with(directory))
        })
    };
    let closed: Vec<_> = directories("closed").filter(|it| !holds(it)).map(|it| format!("-{it}")).collect();
    closed.join(" ")
}

fn directories(which: &str) -> impl Iterator<Item = &'static str> {
    let line = PATHS.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_default();
    line.split_whitespace()
}
