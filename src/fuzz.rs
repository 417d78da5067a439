//! Entry points of the fuzz targets to internal parsers of files, variables and output.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::net::SocketAddr;

use jiff::Timestamp;

use crate::fortune::IndexFile;
use crate::fortune::index::{Index, Version};
use crate::fortune::locale::languages_of;
use crate::fortune::search::{Kind, SearchPath};
use crate::fortune::{Source, parse_sources};
use crate::{doctor, log, protocol, sd_notify, strfile, zone};

/// Parses `NOTIFY_SOCKET`.
///
/// # Errors
///
/// If it is not a socket's name.
pub fn notify_socket(name: &OsStr) -> io::Result<SocketAddr> {
    sd_notify::address(name)
}

/// Resolves operands with a `FORTUNE_PATH`.
#[must_use]
pub fn collections(path: &OsStr, operands: &[OsString]) -> Option<Vec<Source>> {
    SearchPath::new(Some(path)).resolve(parse_sources(operands).ok()?, Kind::Both)
}

/// The names of directories for the locales in `LC_ALL` or `LANGUAGE`.
#[must_use]
pub fn languages(locale: &str) -> Vec<String> {
    languages_of(locale)
}

/// Checks a value of `TZ`.
///
/// # Errors
///
/// The sentence for the log.
pub fn zone(name: &str) -> Result<(), String> {
    zone::named("TZ", name).map(drop).map_err(|error| error.to_string())
}

/// A text as it is logged.
#[must_use]
pub fn message(text: &str) -> String {
    log::one_line(text)
}

/// What `daytime` sends in a format, with the zone file `file`, at a second since 1970; `None` if it refuses.
#[must_use]
pub fn daytime(file: &[u8], format: &str, second: i64) -> Option<String> {
    let zone = zone::parse(file).ok()?;
    protocol::daytime::line(format, zone, Timestamp::from_second(second).ok()?).ok()
}

/// What `doctor` prints for output of systemctl or systemd-analyze, or a table of /proc/net.
#[must_use]
pub fn doctor(text: &str) -> String {
    doctor::summarize(text)
}

/// The index that `strfile` writes for a cookie file.
///
/// # Errors
///
/// If it is not a cookie file.
pub fn strfile(cookies: &File, delimiter: u8, ordered: bool, ignore_case: bool) -> io::Result<Vec<u8>> {
    strfile::index(cookies, delimiter, ordered, ignore_case)
}

/// The index that a scan of a cookie file gives, with only the header of `index`.
///
/// # Errors
///
/// If it is not a cookie file.
pub fn scanned(mut cookies: &File, index: Index) -> io::Result<Index> {
    cookies.rewind()?;
    IndexFile::Valid(index).scan(cookies, Version::of(cookies)?.length)
}
