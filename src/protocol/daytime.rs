//! Daytime, [RFC 867](https://www.rfc-editor.org/rfc/rfc867).

use std::path::PathBuf;
use std::str::FromStr;

use jiff::civil::date;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::file::Readable;
use crate::fortune::text::LONGEST_REPLY;
use crate::log;
use crate::service::{Behavior, Files, LineEnd, Reply, Run, Service};
use crate::services::{self, Row};
use crate::zone;

/// Sends the date and time as one line, and closes. Drops what the client sends.
#[derive(Debug)]
pub enum Daytime {}

/// The options that only `daytime` has.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Format of the time: ctime, rfc867, smtp, iso8601, nist-like, or a strftime(3) format with a `%`
    #[arg(long, value_name = "FORMAT", default_value = "ctime")]
    format: Format,

    /// Use Universal Time instead of the time zone of TZ or /etc/localtime
    #[arg(long)]
    utc: bool,
}

/// Why the time cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's time zone is invalid.
    #[error(transparent)]
    Zone(#[from] zone::Error),
    /// The time could not be written in the format.
    #[error("cannot write the time in this format: {0}; see strftime(3)")]
    Format(#[from] jiff::Error),
    /// The format yields what RFC 867 advises against.
    #[error(
        "the format must yield one line of printable ASCII of at most {LONGEST_REPLY} octets; remove %n, %t and the like, and \
         use a time zone whose abbreviations are letters"
    )]
    Unsendable,
    /// Neither a format's name nor a format.
    #[error("write ctime, rfc867, smtp, iso8601 or nist-like, or a strftime(3) format that contains `%`")]
    Unknown,
}

const ROW: Row = services::row("daytime");

impl Service for Daytime {
    type Options = Options;
    type Error = Error;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;

    fn prepare(options: &Options, run: Run) -> Result<Behavior, Error> {
        let zone = if options.utc { TimeZone::UTC } else { zone::local()? };
        // Tested in this zone, so that composing cannot fail while a client waits.
        options.format.line(&Timestamp::now().to_zoned(zone.clone()))?;
        let directory = (run == Run::Daemon && !options.utc).then(zone::directory).flatten();
        Ok(Behavior::Reply(Box::new(Clock { zone, directory, format: options.format.clone() })))
    }
}

struct Clock {
    zone: TimeZone,
    /// The directory of the host's zones, if the host's zone is used. Only there can it be reloaded after the lock-down.
    directory: Option<PathBuf>,
    format: Format,
}

impl Files for Clock {
    fn readable(&self) -> Vec<Readable> {
        // It holds only zones.
        self.directory.iter().cloned().map(Readable::all).collect()
    }

    /// The host may have another time zone now.
    fn reload(&mut self) {
        if self.directory.is_none() {
            return;
        }
        let read = zone::local().map_err(Error::from).and_then(|zone| {
            self.format.line(&Timestamp::now().to_zoned(zone.clone()))?;
            Ok(zone)
        });
        match read {
            Ok(zone) => {
                self.zone = zone;
                log::notice("reloaded the time zone");
            }
            Err(error) => log::error(&format!("{error}; continuing with the previous time zone")),
        }
    }
}

impl Reply for Clock {
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>) {
        let line = self.format.line(&Timestamp::now().to_zoned(self.zone.clone())).unwrap_or_default();
        line_end.append(&line, octets);
    }

    /// The length on a Wednesday in September, which has the longest names. This is an estimate: a zone's name may be longer in
    /// winter.
    fn longest(&self) -> usize {
        let long = date(2026, 9, 30).at(22, 22, 22, 0).to_zoned(self.zone.clone());
        let line = long.ok().and_then(|long| self.format.line(&long).ok());
        line.map_or(LONGEST_REPLY, |line| line.len() + 1)
    }
}

/// The format of inetd's own service.
const CTIME: &str = "%a %b %e %H:%M:%S %Y";

/// The format of the date and time.
#[derive(Clone, Debug)]
enum Format {
    /// A format of strftime(3), in the C locale.
    Strftime(String),
    /// The fields of NIST's time servers.
    NistLike,
}

impl Default for Format {
    fn default() -> Self {
        Self::Strftime(CTIME.to_owned())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let pattern = match name {
            "ctime" => CTIME,
            // The two examples of RFC 867.
            "rfc867" => "%A, %B %-d, %Y %H:%M:%S-%Z",
            "smtp" => "%d %^b %y %H:%M:%S %Z",
            "iso8601" => "%Y-%m-%dT%H:%M:%S%:z",
            "nist-like" => return Ok(Self::NistLike),
            _ if name.contains('%') => name,
            _ => return Err(Error::Unknown),
        };
        let format = Self::Strftime(pattern.to_owned());
        // A bad format is a mistake on the command line: report it before a client waits.
        format.line(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC))?;
        Ok(format)
    }
}

impl Format {
    /// The reply: the time in this format and a line end (LF).
    fn line(&self, now: &Zoned) -> Result<String, Error> {
        let line = match self {
            Self::Strftime(pattern) => strftime(pattern, now)?,
            Self::NistLike => nist_like(now)?,
        };
        // Checked each time: an abbreviation (%Z) in a zone file may be any characters, and changes with daylight saving time.
        let printing = line.is_ascii() && !line.contains(char::is_control) && !line.trim().is_empty();
        if printing && line.len() + "\r\n".len() <= LONGEST_REPLY { Ok(line + "\n") } else { Err(Error::Unsendable) }
    }
}

/// The reply in a format, given by name or pattern, at a time in a time zone.
pub(crate) fn line(format: &str, zone: TimeZone, at: Timestamp) -> Result<String, Error> {
    format.parse::<Format>()?.line(&at.to_zoned(zone))
}

fn strftime(pattern: &str, now: &Zoned) -> Result<String, jiff::Error> {
    let mut text = String::new();
    BrokenDownTime::from(now).format_with_config(&Config::new().custom(PosixCustom::new()), pattern, &mut text)?;
    Ok(text)
}

/// `JJJJJ YY-MM-DD HH:MM:SS TT L H D.D LABEL *`, always in UTC: the day as a Modified Julian Date; TT 50 while the host's
/// zone has daylight saving time and 00 otherwise; L 0, since no leap second is known ahead; H 1 ("may be off"), since the
/// clock's error is unknown; no milliseconds sent in advance.
fn nist_like(now: &Zoned) -> Result<String, jiff::Error> {
    const MJD_OF_UNIX_EPOCH: i64 = 40_587;
    const SECONDS_PER_DAY: i64 = 86_400;
    let day = now.timestamp().as_second().div_euclid(SECONDS_PER_DAY) + MJD_OF_UNIX_EPOCH;
    let daylight = if now.time_zone().to_offset_info(now.timestamp()).dst().is_dst() { "50" } else { "00" };
    let utc = strftime("%y-%m-%d %H:%M:%S", &now.with_time_zone(TimeZone::UTC))?;
    Ok(format!("{day:05} {utc} {daylight} 0 1 0.0 UTC(small-services) *"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, zone: &str) -> String {
        let now: Timestamp = "2026-07-04T01:35:07Z".parse().expect("a time");
        let zone = TimeZone::posix(zone).expect("a zone");
        format.parse::<Format>().expect("a format").line(&now.to_zoned(zone)).expect("a line")
    }

    #[test]
    fn each_format_has_its_documented_form() {
        assert_eq!(written("ctime", "UTC0"), "Sat Jul  4 01:35:07 2026\n");
        assert_eq!(written("rfc867", "EST5EDT,M3.2.0,M11.1.0"), "Friday, July 3, 2026 21:35:07-EDT\n");
        assert_eq!(written("smtp", "UTC0"), "04 JUL 26 01:35:07 UTC\n");
        assert_eq!(written("iso8601", "IST-5:30"), "2026-07-04T07:05:07+05:30\n");
        assert_eq!(written("%s %j %c", "UTC0"), "1783128907 185 Sat Jul  4 01:35:07 2026\n");
    }

    #[test]
    fn nist_like_is_utc_with_the_modified_julian_date() {
        assert_eq!(
            written("nist-like", "EST5EDT,M3.2.0,M11.1.0"),
            "61225 26-07-04 01:35:07 50 0 1 0.0 UTC(small-services) *\n"
        );
        assert!(written("nist-like", "UTC0").contains(" 00 0 1 "));
    }

    #[test]
    fn the_longest_reply_is_that_of_the_longest_names() {
        for (format, longest) in
            [("ctime", 26), ("rfc867", "Wednesday, September 30, 2026 22:22:22-UTC\r\n".len()), ("%d", 4)]
        {
            let clock = Clock { zone: TimeZone::UTC, directory: None, format: format.parse().expect("a format") };
            assert_eq!(clock.longest(), longest, "{format}");
        }
    }

    #[test]
    fn a_format_that_cannot_be_sent_is_refused_when_it_is_read() {
        assert!(matches!("rfc868".parse::<Format>(), Err(Error::Unknown)));
        assert!(matches!("%".parse::<Format>(), Err(Error::Format(_))));
        assert!(matches!("%EZ!".parse::<Format>(), Err(Error::Format(_))));
        for unsendable in ["a%tb", "%Y \x1b[31m", "%F%n%T", "%n", "%n%F", " %% ".repeat(200).as_str(), "%Y ü", " % "] {
            assert!(unsendable.parse::<Format>().is_err(), "{unsendable}");
        }
        assert!("%F".parse::<Format>().is_ok());
    }
}
