//! What is wrong with what the units of a program are to say, one sentence each.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ours;
use crate::executable::{self, Unfit};
use crate::services;

/// What the units hide, and what they close: the Makefile reads it too.
const PATHS: &str = include_str!("../../units/templates/paths");
/// The longest name that leaves room for an instance's in systemd's 255 octets.
const MAX_NAME: usize = 100;

/// Why no units were made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "'{0}' is no name for units; choose one of up to {MAX_NAME} letters, digits and - _ . that begins with a letter or digit"
    )]
    Name(String),
    #[error("{0} is a unit of small-services itself; choose another --name")]
    Ours(String),
    #[error("{unit} is a unit already, in {}; choose another --name, or --force", directory.display())]
    Known { unit: String, directory: PathBuf },
    #[error("port {port} is that of {unit}; choose another --port, or give {unit} another program by `systemctl edit`")]
    Port { port: u16, unit: String },
    #[error("{} listens on port {port} already; choose another --port, or --force", unit.display())]
    Taken { port: u16, unit: PathBuf },
    #[error("--udp takes one service for all connections; leave --mode connection out")]
    Udp,
    #[error("'{}' is no absolute path below / without . and ..; write the whole path", .0.display())]
    Relative(PathBuf),
    #[error("'{}' has a character in it that units read in a way of their own; choose a path of letters, digits and + , - . / @ _ ~", .0.display())]
    Path(PathBuf),
    #[error("the units hide {directory} from every service, and so {}; keep it elsewhere, below /usr/local say", path.display())]
    Hidden { directory: &'static str, path: PathBuf },
    #[error("{} cannot be found: {source}; put it there first, or say --force", path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("{} {unfit}; {}, or say --force", path.display(), advice(unfit))]
    Program { path: PathBuf, unfit: Unfit },
    #[error("'{}' has a control character or a backslash in it; leave it out", .0.escape_debug())]
    Text(String),
    #[error("{} is there already, and says something else; --force replaces it", .0.display())]
    There(PathBuf),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot print the units: {0}")]
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

/// A unit of that name is not one of ours.
pub(super) fn unit(name: &str) -> Result<(), Error> {
    if ours::files().iter().any(|(ours, _)| ours == name) { Err(Error::Ours(name.to_owned())) } else { Ok(()) }
}

/// The port of a service in the table is that service's.
pub(super) fn port(name: &str, port: u16) -> Result<(), Error> {
    let row = services::all().find(|row| row.port == port && row.unit != name);
    row.map_or(Ok(()), |row| Err(Error::Port { port, unit: format!("{}.socket", row.unit) }))
}

/// A path as a unit takes it.
pub(super) fn path(path: &Path) -> Result<&str, Error> {
    let Some(text) = path.to_str().filter(|_| is_plain(path.as_os_str())) else {
        return Err(Error::Path(path.to_owned()));
    };
    // As they are written: `Path` leaves out a dot.
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

/// The characters that the Makefile takes as well: no unit, shell or super-server reads one of them in a way of its own.
pub(super) fn is_plain(path: &OsStr) -> bool {
    path.as_bytes().iter().all(|octet| octet.is_ascii_alphanumeric() || b"+,-./@_~".contains(octet)) && !path.is_empty()
}

pub(super) fn file(path: &Path) -> Result<(), Error> {
    path.metadata().map(drop).map_err(|source| Error::Missing { path: path.to_owned(), source })
}

/// A program that the units can start.
pub(super) fn program(path: &Path) -> Result<(), Error> {
    executable::unfit(path).map_or(Ok(()), |unfit| Err(Error::Program { path: path.to_owned(), unfit }))
}

fn advice(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Missing(_) => "put it there first",
        Unfit::Closed => "`chmod 755` it",
        Unfit::Dynamic => "link it statically, by `-C target-feature=+crt-static` say",
        Unfit::Script => "name a program",
    }
}

/// A text in a unit, or an argument.
pub(super) fn text(text: &str) -> Result<(), Error> {
    if text.chars().any(|it| it.is_control() || it == '\\') { Err(Error::Text(text.to_owned())) } else { Ok(()) }
}

/// What one service for all connections may not see, but for the directories that hold these files.
pub(super) fn closed_but_for(files: &[&str]) -> String {
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
