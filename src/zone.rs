//! Time zones from the host's zone files.

use std::io;
use std::path::{Path, PathBuf};
use std::{env, fs};

use jiff::tz::TimeZone;

use crate::file;

const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";
/// In bytes; the largest in use have a few thousand.
const LARGEST_ZONE: usize = 1024 * 1024;
/// When the clock changes under a rule that does not say it, such as CET-1CEST. POSIX leaves this to the system; C libraries use
/// this rule.
const DEFAULT_RULE: &str = ",M3.2.0,M11.1.0";

/// Why a time zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is unknown, or its zone file is unusable.
    #[error(
        "the time zone {setting}={name} cannot be used: {source}; use a name in {ZONES}, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
    )]
    Unknown {
        /// Where the name was set: `TZ`, or an option.
        setting: &'static str,
        /// The name.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// The host's time zone file cannot be used.
    #[error("cannot read the time zone in {LOCALTIME}: {0}; link it to a file in {ZONES}, or set TZ")]
    Local(io::Error),
}

/// The host's time zone: that of TZ, else of /etc/localtime, else UTC, as in C.
///
/// # Errors
///
/// [`Error`], if it is not a valid zone.
pub(crate) fn local() -> Result<TimeZone, Error> {
    match env::var_os("TZ") {
        Some(name) => named("TZ", &name.to_string_lossy()),
        None => match read(Path::new(LOCALTIME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TimeZone::UTC),
            other => other.map_err(Error::Local),
        },
    }
}

/// The directory of all zones, which a daemon must be able to read if the host's zone may change; `None` with TZ, which is fixed
/// for the life of the process. `/etc/localtime` is a link into it, beside much that needs no reader.
pub(crate) fn directory() -> Option<PathBuf> {
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

/// The zone of a rule.
fn rule(rule: &str) -> Option<TimeZone> {
    TimeZone::posix(rule).or_else(|_| TimeZone::posix(&format!("{rule}{DEFAULT_RULE}"))).ok()
}

/// Reads a zone file. An empty one is UTC, as in C: systemd mounts a zone over an empty file. Devices, FIFOs and files that are
/// too large are refused.
fn read(path: &Path) -> io::Result<TimeZone> {
    let file = file::read(path, LARGEST_ZONE)?;
    if file.is_empty() { Ok(TimeZone::UTC) } else { parse(&file) }
}

/// A zone file's content (RFC 9636).
pub(crate) fn parse(file: &[u8]) -> io::Result<TimeZone> {
    if counts_leap_seconds(file) {
        let reason = "it counts leap seconds, like the zones in `right/`, so the time would be half a minute wrong";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    TimeZone::tzif("Local", file).map_err(io::Error::other)
}

/// Whether its first or second part has a table of leap seconds.
fn counts_leap_seconds(file: &[u8]) -> bool {
    const HEADER: usize = 44;
    // The numbers of indicators (two kinds), leap seconds, transitions, types and octets of abbreviations, and the size of each
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

    /// A zone file of UTC, with these numbers of leap seconds in its two parts.
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
