//! What the fuzz targets read with: readers of files, variables and requests that are nobody else's business.

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

/// `NOTIFY_SOCKET`.
///
/// # Errors
///
/// If it names no socket.
pub fn notify_socket(name: &OsStr) -> io::Result<SocketAddr> {
    sd_notify::address(name)
}

/// What operands stand for with a `FORTUNE_PATH`.
#[must_use]
pub fn collections(path: &OsStr, operands: &[OsString]) -> Option<Vec<Source>> {
    SearchPath::new(Some(path)).resolve(parse_sources(operands).ok()?, Kind::Both)
}

/// `LC_ALL`, `LANGUAGE`: the directories that locales may have.
#[must_use]
pub fn languages(locale: &str) -> Vec<String> {
    languages_of(locale)
}

/// `TZ`: whether it names a zone.
///
/// # Errors
///
/// The sentence for the log.
pub fn zone(name: &str) -> Result<(), String> {
    zone::named("TZ", name).map(drop).map_err(|error| error.to_string())
}

/// What a quoted name or variable looks like on the log.
#[must_use]
pub fn message(text: &str) -> String {
    log::one_line(text)
}

/// What `daytime` sends in a format, where `file` is the time zone's, at a second since 1970; `None` if it refuses to.
#[must_use]
pub fn daytime(file: &[u8], format: &str, second: i64) -> Option<String> {
    let zone = zone::parse(file).ok()?;
    protocol::daytime::line(format, zone, Timestamp::from_second(second).ok()?).ok()
}

/// What `doctor` shows of an answer of systemctl's or systemd-analyze's, or of a table in /proc/net.
#[must_use]
pub fn doctor(text: &str) -> String {
    doctor::understood(text)
}

/// What `strfile` writes for a cookie file.
///
/// # Errors
///
/// If it is none.
pub fn strfile(cookies: &File, delimiter: u8, ordered: bool, ignore_case: bool) -> io::Result<Vec<u8>> {
    strfile::index(cookies, delimiter, ordered, ignore_case)
}

/// What a look at a whole cookie file finds where only the header of its index is believed.
///
/// # Errors
///
/// If it is none.
pub fn scanned(mut cookies: &File, index: Index) -> io::Result<Index> {
    cookies.rewind()?;
    IndexFile::Valid(index).scan(cookies, Version::of(cookies)?.length)
}
