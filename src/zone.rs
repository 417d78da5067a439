//! Time zones, from the host's zone files.

use std::io;
use std::path::{Path, PathBuf};
use std::{env, fs};

use jiff::tz::TimeZone;

use crate::file;

const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";
/// In octets; the largest in use have a few thousand.
const LARGEST_ZONE: usize = 1024 * 1024;
/// When the clock changes where a rule such as CET-1CEST does not say it. POSIX leaves that to the system; this is what C
/// libraries take.
const DEFAULT_RULE: &str = ",M3.2.0,M11.1.0";

/// Why there is no time zone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no zone's, or that of one that will not do.
    #[error(
        "the time zone {setting}={name} cannot be used: {source}; use a name in {ZONES}, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
    )]
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
    let zone = read(&Path::new(ZONES).join(bare)).or_else(|error| rule(bare).ok_or(error));
    zone.map_err(|source| Error::Unknown { setting, name: name.to_owned(), source })
}

/// What a rule says.
fn rule(rule: &str) -> Option<TimeZone> {
    TimeZone::posix(rule).or_else(|_| TimeZone::posix(&format!("{rule}{DEFAULT_RULE}"))).ok()
}

/// Reads a zone file; an empty one is UTC, as in C: it is what systemd mounts a zone over, and stays when there is none any
/// more. Nothing that is too large to be one, and no device or FIFO, whatever the name is.
fn read(path: &Path) -> io::Result<TimeZone> {
    let file = file::read(path, LARGEST_ZONE)?;
    if file.is_empty() { Ok(TimeZone::UTC) } else { parse(&file) }
}

/// A zone file's content (RFC 9636).
pub(crate) fn parse(file: &[u8]) -> io::Result<TimeZone> {
    if counts_leap_seconds(file) {
        let reason = "it counts leap seconds, as the zones in `right/` do, so its time would be half a minute wrong";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    TimeZone::tzif("Local", file).map_err(io::Error::other)
}

/// Whether it has a table of leap seconds, in its first or its second part.
fn counts_leap_seconds(file: &[u8]) -> bool {
    const HEADER: usize = 44;
    // The numbers of indicators (two kinds), leap seconds, transitions, types, and octets of abbreviations; and what each takes
    // in the first part.
    const COUNTS: usize = 20;
    const SIZES: [usize; 6] = [1, 1, 8, 5, 6, 1];
    let counts = |part: &[u8]| -> Option<[usize; 6]> {
        let octets = part.strip_prefix(b"TZif").and(part.get(COUNTS..HEADER))?;
        let mut counts = [0; 6];
        for (count, octets) in counts.iter_mut().zip(octets.chunks_exact(4)) {
            *count = usize::try_from(u32::from_be_bytes(octets.try_into().ok()?)).ok()?;
        }
        Some(counts)
    };
    let Some(first) = counts(file) else { return false };
    let length =
        first.iter().zip(SIZES).try_fold(HEADER, |sum, (&count, size)| sum.checked_add(count.checked_mul(size)?));
    let second = length.and_then(|length| counts(file.get(length..)?));
    first[2] > 0 || second.is_some_and(|second| second[2] > 0)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The offset from UTC in January and in July, in hours.
    fn offsets(zone: &TimeZone) -> [i32; 2] {
        ["2026-01-15T12:00:00Z", "2026-07-15T12:00:00Z"].map(|time| {
            let time: Timestamp = time.parse().expect("a time");
            zone.to_offset(time).seconds() / 3600
        })
    }

    #[test]
    fn a_rule_that_does_not_say_when_the_clock_changes_has_the_default_rule() {
        for (name, expected) in
            [("CET-1CEST", [1, 2]), ("EST5EDT", [-5, -4]), ("NZST-12NZDT", [12, 13]), ("<-03>3<-02>", [-3, -2])]
        {
            assert_eq!(rule(name).map(|zone| offsets(&zone)), Some(expected), "{name}");
        }
        // On these days of March it is summer in America already, and in Europe not yet.
        let march: Timestamp = "2026-03-20T12:00:00Z".parse().expect("a time");
        for (name, hours) in [("CET-1CEST", 2), ("CET-1CEST,M3.5.0,M10.5.0/3", 1)] {
            assert_eq!(rule(name).expect("a rule").to_offset(march).seconds(), hours * 3600, "{name}");
        }
        assert_eq!(rule("CET-1").map(|zone| offsets(&zone)), Some([1, 1]));
        for none in
            ["", "CET", "Europe/Berlin", "CET-1CEST,", "CET-1CEST,M3", "CET-1CEST,M3.2.0", "1", ",M3.2.0,M11.1.0"]
        {
            assert!(rule(none).is_none(), "{none}");
        }
    }

    /// A zone file of so many leap seconds in either part; nothing else is in it but UTC.
    fn zone_file(leap_seconds: [u32; 2]) -> Vec<u8> {
        let part = |number: u32, width: usize| {
            let mut part = b"TZif2".to_vec();
            part.extend([0; 15]);
            for count in [0, 0, number, 0, 1, 4_u32] {
                part.extend(count.to_be_bytes());
            }
            part.extend([0; 6]);
            part.extend(b"UTC\0");
            for second in 1..=number {
                part.extend(vec![0; width - 4]);
                part.extend((second * 100_000_000).to_be_bytes());
                part.extend(second.to_be_bytes());
            }
            part
        };
        [part(leap_seconds[0], 4), part(leap_seconds[1], 8), b"\nUTC0\n".to_vec()].concat()
    }

    #[test]
    fn a_zone_file_that_counts_leap_seconds_is_refused() {
        assert_eq!(offsets(&parse(&zone_file([0, 0])).expect("a zone")), [0, 0]);
        for leap_seconds in [[27, 27], [0, 27], [1, 0]] {
            let error = parse(&zone_file(leap_seconds)).expect_err("leap seconds").to_string();
            assert!(error.contains("leap seconds") && error.contains("right/"), "{error}");
        }
        // However it is cut, nothing is read beyond its end.
        let file = zone_file([3, 3]);
        for length in 0..file.len() {
            assert!(parse(&file[..length]).is_err());
        }
        let mut most = file;
        most[20..44].fill(0xff);
        assert!(parse(&most).is_err());
    }
}
