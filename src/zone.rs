//! Time zones, from the host's zone files.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{env, fs};

use jiff::tz::TimeZone;

use crate::file::open_regular;

const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";
/// In octets; the largest in use have a few thousand.
const LARGEST_ZONE: u64 = 1024 * 1024;

/// Why there is no time zone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no zone's.
    #[error("the time zone {setting}={name} is unknown: {source}; use a name in {ZONES}, or UTC0")]
    Unknown {
        /// Where the name stands: `TZ`, or an option.
        setting: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The host's time zone file cannot be used.
    #[error("cannot read the time zone in {LOCALTIME}: {0}; link it to a file in {ZONES}, or set TZ")]
    Local(io::Error),
}

/// The host's time zone: that of TZ, else of /etc/localtime; UTC where the host says nothing, as in C.
///
/// # Errors
///
/// [`Error`], where it says something that is no zone.
pub(crate) fn local() -> Result<TimeZone, Error> {
    match env::var_os("TZ") {
        Some(name) => named("TZ", &name.to_string_lossy()),
        None => match read(Path::new(LOCALTIME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TimeZone::UTC),
            other => other.map_err(Error::Local),
        },
    }
}

/// The directory of the zones that [`local`] may be some day, if it can become another one: TZ holds for as long as the process
/// lives. Not the directory of `/etc/localtime`: that is a link, and much else is there.
pub(crate) fn may_change_in() -> Option<PathBuf> {
    if env::var_os("TZ").is_some() {
        return None;
    }
    let local = fs::canonicalize(LOCALTIME).unwrap_or_default();
    let zones = local.ancestors().find(|path| path.ends_with("zoneinfo")).unwrap_or(Path::new(ZONES));
    zones.is_dir().then(|| zones.to_owned())
}

/// A zone as TZ names it (tzset(3)): a name, a path, or a rule such as CET-1CEST.
///
/// # Errors
///
/// [`Error::Unknown`].
pub(crate) fn named(setting: &'static str, name: &str) -> Result<TimeZone, Error> {
    let bare = name.trim_start_matches(':');
    if matches!(bare, "" | "UTC") {
        return Ok(TimeZone::UTC); // also on a host without zone files
    }
    let zone = read(&Path::new(ZONES).join(bare)).or_else(|error| TimeZone::posix(bare).map_err(|_| error));
    zone.map_err(|source| Error::Unknown { setting, name: name.to_owned(), source })
}

/// Reads a zone file; an empty one is UTC, as in C: it is what systemd mounts a zone over, and stays when there is none any
/// more. Nothing that is too large to be one, and no device or FIFO, whatever the name is.
fn read(path: &Path) -> io::Result<TimeZone> {
    let mut file = Vec::new();
    open_regular(path)?.0.take(LARGEST_ZONE).read_to_end(&mut file)?;
    if file.is_empty() { Ok(TimeZone::UTC) } else { parse(&file) }
}

/// A zone file's content (RFC 9636).
pub(crate) fn parse(file: &[u8]) -> io::Result<TimeZone> {
    TimeZone::tzif("Local", file).map_err(io::Error::other)
}
