//! Active Users, [RFC 866](https://www.rfc-editor.org/rfc/rfc866).

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::file::{self, Readable};
use crate::log;
use crate::policy::{Extra, LIST};
use crate::service::{Behavior, Files, LineEnd, Reply, Run, Service};
use crate::services::{self, Row};

/// Sends a line for each session of a logged-in user, and closes. Drops what the client sends.
#[derive(Debug)]
pub enum Systat {}

/// The options that only `systat` has.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Send the text of FILE instead of the list of active users
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

/// logind's files, one per session.
const SESSIONS: &str = "/run/systemd/sessions";
/// utmp(5), if logind knows no session.
const UTMP: &str = "/run/utmp";
/// The maximum length of a reply in octets: a datagram of this length is not fragmented over Ethernet. Longer lists are cut.
const LONGEST: usize = 1_400;
/// In bytes: a session's file, and utmp.
const LARGEST_SESSION: usize = 16 * 1024;
const LARGEST_UTMP: usize = 1024 * 1024;
/// The reply without any session. An empty one would look like a failure.
const NOBODY: &str = "nobody is logged in\n";
/// The maximum number of sessions to read, which is more than fits in a reply.
const MAX_SESSIONS: usize = 1024;
/// The minimum time between two reads of the sessions, for any number of clients.
const FRESH: Duration = Duration::from_secs(1);

/// Why the active users cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither of the two records exists.
    #[error(
        "cannot list the active users: neither {SESSIONS} nor {UTMP} exists; make one visible to the unit \
         (BindReadOnlyPaths=), or use --text FILE"
    )]
    NoRecord,
    /// The record of the sessions could not be read.
    #[error("cannot read {}: {source}; check its permissions, or use --text FILE", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text could not be read.
    #[error("cannot read the text in {}: {source}; name a readable file of at most {LONGEST} octets, counting two for each line end", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

const ROW: Row = services::row("systat");

impl Service for Systat {
    type Options = Options;
    type Error = Error;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    const UDP_BY_DEFAULT: bool = ROW.udp;
    const EXTRA: Extra = Extra { files: &[LIST], ..Extra::NONE };

    fn prepare(options: &Options, _: Run) -> Result<Behavior, Error> {
        let users = match &options.text {
            Some(path) => {
                let because = |source| Error::Text { path: path.clone(), source };
                let text = file::read(path, LONGEST).map_err(because)?;
                let list = printable(&String::from_utf8_lossy(&text));
                // Over connections, each line end is two octets.
                if list.len() + list.matches('\n').count() > LONGEST {
                    return Err(because(io::ErrorKind::FileTooLarge.into()));
                }
                Users { list, ..Users::default() }
            }
            None => Users::of(Records::find()?)?,
        };
        Ok(Behavior::Reply(Box::new(users)))
    }
}

/// The records of logged-in users that exist.
#[derive(Clone, Copy, Debug)]
struct Records {
    sessions: bool,
    utmp: bool,
}

impl Records {
    fn find() -> Result<Self, Error> {
        let found =
            Self { sessions: file::is_directory(Path::new(SESSIONS)).unwrap_or(false), utmp: Path::new(UTMP).exists() };
        if found.sessions || found.utmp { Ok(found) } else { Err(Error::NoRecord) }
    }

    /// The list, one line per session. systemd creates logind's directory even if logind does not run, so utmp is read if it is
    /// empty.
    fn read(self) -> Result<String, Error> {
        let because = |path: &'static str| move |source| Error::Read { path: path.into(), source };
        let mut list = String::new();
        if self.sessions {
            list = sessions(Path::new(SESSIONS)).map_err(because(SESSIONS))?;
        }
        if list.is_empty() && self.utmp {
            match file::read(Path::new(UTMP), LARGEST_UTMP) {
                Ok(records) => list = logins(&records),
                Err(_) if self.sessions => {}
                Err(source) => return Err(because(UTMP)(source)),
            }
        }
        Ok(if list.is_empty() { NOBODY.to_owned() } else { list })
    }
}

/// The sessions that logind knows.
fn sessions(directory: &Path) -> io::Result<String> {
    let mut list = String::new();
    for name in file::list(directory)?.unwrap_or_default().into_keys().take(MAX_SESSIONS) {
        // A session that has just ended is no error, nor is a session's FIFO.
        if let Ok(session) = file::read(&directory.join(name), LARGEST_SESSION) {
            add_session(&String::from_utf8_lossy(&session), &mut list);
        }
    }
    Ok(list)
}

/// Adds a user's session that has not ended: the user, and the terminal or seat, if any.
fn add_session(session: &str, list: &mut String) {
    let value = |key| session.lines().find_map(|line| line.split_once('=').filter(|(name, _)| *name == key));
    let value = |key| value(key).map(|(_, value)| value).filter(|value| !value.is_empty());
    let of_a_user = value("CLASS").is_some_and(|class| class.starts_with("user"));
    if let Some(user) = value("USER").filter(|_| of_a_user && value("STATE") != Some("closing")) {
        add(user, value("TTY").or(value("SEAT")), list);
    }
}

/// The sessions in the records of utmp(5).
fn logins(records: &[u8]) -> String {
    const RECORD: usize = size_of::<libc::utmpx>(); // longer on aarch64
    const USER_PROCESS: i16 = 7;
    let mut list = String::new();
    for record in records.chunks_exact(RECORD) {
        let text = |from: usize, length: usize| {
            let field = record[from..][..length].split(|&octet| octet == 0).next().unwrap_or_default();
            String::from_utf8_lossy(field).into_owned()
        };
        let (line, user) = (text(8, 32), text(44, 32));
        if record[..2] == USER_PROCESS.to_ne_bytes() && !user.is_empty() {
            add(&user, Some(&line).filter(|line| !line.is_empty()).map(String::as_str), &mut list);
        }
    }
    list
}

fn add(user: &str, line: Option<&str>, list: &mut String) {
    let (user, line) = (one_word(user), line.map(one_word));
    let _ = match line {
        Some(line) => writeln!(list, "{user:<16} {line}"),
        None => writeln!(list, "{user}"),
    };
}

/// A name as one word of printing characters.
fn one_word(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Removes what RFC 866 does not allow: all but printing characters, line ends and the space.
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || matches!(c, ' ' | '\n')).collect()
}

/// A text, or a list that is refreshed.
#[derive(Default)]
struct Users {
    records: Option<Records>,
    read: Option<Instant>,
    list: String,
    failures: log::Repeated,
}

impl Users {
    fn of(records: Records) -> Result<Self, Error> {
        Ok(Self { records: Some(records), read: Some(Instant::now()), list: records.read()?, ..Self::default() })
    }

    fn refresh(&mut self) {
        let Some(records) = self.records else { return };
        if self.read.is_some_and(|read| read.elapsed() < FRESH) {
            return;
        }
        self.read = Some(Instant::now());
        match records.read() {
            Ok(list) => self.list = list,
            Err(error) => {
                let message = format!("{error}; continuing with the previous list");
                self.failures.warning(Instant::now(), &message);
            }
        }
    }
}

impl Files for Users {
    fn readable(&self) -> Vec<Readable> {
        let Some(records) = self.records else { return Vec::new() };
        let paths = [records.sessions.then_some(SESSIONS), records.utmp.then_some(UTMP)];
        paths.into_iter().flatten().map(|path| Readable::all(path.into())).collect()
    }

    fn descriptors(&self) -> usize {
        2 // the directory and a file in it
    }
}

impl Reply for Users {
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>) {
        self.refresh();
        for line in self.list.split_inclusive('\n') {
            // Whole lines only.
            if octets.len() + line.len() + line_end.octets().len() > LONGEST {
                return;
            }
            line_end.append(line, octets);
        }
    }

    fn longest(&self) -> usize {
        LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(session: &str) -> String {
        let mut list = String::new();
        add_session(session, &mut list);
        list
    }

    #[test]
    fn a_session_of_a_user_is_one_line_and_others_are_none() {
        let session = "UID=1000\nUSER=alice\nACTIVE=1\nSTATE=active\nTYPE=tty\nCLASS=user\nSEAT=seat0\nTTY=tty2\n";
        assert_eq!(line_of(session), "alice            tty2\n");
        assert_eq!(line_of(&session.replace("TTY=tty2\n", "")), "alice            seat0\n");
        assert_eq!(line_of(&session.replace("TTY=tty2\n", "").replace("SEAT=seat0\n", "")), "alice\n");
        assert_eq!(line_of(&session.replace("CLASS=user", "CLASS=user-early")), "alice            tty2\n");
        assert_eq!(line_of(&session.replace("alice", "a\u{1b}[31m b")), "a?[31m?b         tty2\n");
        for other in ["CLASS=greeter", "CLASS=manager", "CLASS=background"] {
            assert_eq!(line_of(&session.replace("CLASS=user", other)), "");
        }
        assert_eq!(line_of(&session.replace("STATE=active", "STATE=closing")), "");
        assert_eq!(line_of(""), "");
    }

    #[test]
    fn a_record_of_utmp_is_one_line_if_somebody_is_logged_in() {
        let record = |kind: i16, user: &str, line: &str| {
            let mut record = vec![0; size_of::<libc::utmpx>()];
            record[..2].copy_from_slice(&kind.to_ne_bytes());
            record[8..][..line.len()].copy_from_slice(line.as_bytes());
            record[44..][..user.len()].copy_from_slice(user.as_bytes());
            record
        };
        let records =
            [record(2, "reboot", "~"), record(7, "bob", "pts/0"), record(8, "", "pts/1"), vec![7, 0]].concat();
        assert_eq!(logins(&records), "bob              pts/0\n");
        assert_eq!(logins(b""), "");
    }

    #[test]
    fn a_list_is_cut_between_two_lines() {
        let mut users = Users { list: "alice\n".repeat(1000), ..Users::default() };
        let mut octets = Vec::new();
        users.compose(LineEnd::CrLf, &mut octets);
        assert!(octets.len() <= LONGEST && octets.ends_with(b"alice\r\n"), "{}", octets.len());
        assert_eq!(octets.len() % "alice\r\n".len(), 0);
    }
}
