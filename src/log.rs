//! The log: messages go to the journal, syslog or the terminal, and never to a client.
//!
//! After [`open`], descriptor 2 is the log, also after the lock-down.

use std::env;
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hunker::{Rule, Syscall};
use rustix::fs::{FileType, Stat, fstat};
use rustix::io::ioctl_fionbio;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::stdio::{dup2_stderr, stderr, stdin, stdout};

use crate::numbers;
use crate::sys;

/// The socket that every syslog daemon, journald included, listens on.
const SYSLOG: &str = "/dev/log";
/// journald's, for records with fields (systemd.journal-fields(7)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The facility of system daemons, as syslog(3) encodes it.
const FACILITY_DAEMON: u8 = 3 << 3;

/// The longest message, in octets.
const LONGEST: usize = 1000;

/// What every program needs, to say why it ends.
pub(crate) const RULES: &[Rule] = &[Rule::new(Syscall::WRITE, &[numbers::LOG], "write to the log")];

static LOG: OnceLock<Log> = OnceLock::new();
/// Whether descriptor 2 is a socket for records with fields.
static HAS_FIELDS: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Log {
    form: Form,
    /// The program's name.
    name: &'static str,
    /// The number of the process, read while getpid(2) is allowed.
    pid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Descriptor 2 is a stream to journald, which reads a priority prefix (sd-daemon(3)).
    Journal,
    /// Descriptor 2 was the client. It is now a datagram socket to the syslog daemon, or leads nowhere without one.
    Syslog,
    /// Descriptor 2 is a terminal, pipe or file.
    Plain,
}

/// The priority of a message, numbered as in syslog(3).
#[derive(Clone, Copy)]
enum Priority {
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

/// Limits a warning that clients can cause repeatedly: it is logged once a minute, with the number of suppressed ones.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Repeated {
    last: Option<Instant>,
    left_out: u64,
}

impl Repeated {
    const INTERVAL: Duration = Duration::from_secs(60);

    pub fn warning(&mut self, now: Instant, message: &str) {
        if let Some(message) = self.due(now, message) {
            warning(&message);
        }
    }

    fn due(&mut self, now: Instant, message: &str) -> Option<String> {
        if self.last.is_some_and(|last| now < last + Self::INTERVAL) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(match std::mem::take(&mut self.left_out) {
            0 => message.to_owned(),
            count => format!("{message} ({count} more suppressed)"),
        })
    }
}

/// Detects where messages go. If a super-server connected descriptor 2 to the client, it is replaced. From here on, panics are
/// logged like other errors.
pub fn open(name: &'static str) {
    let form = match fstat(stderr()) {
        Ok(stat) if is_socket(&stat) => socket_form(&stat),
        _ => Form::Plain,
    };
    LOG.get_or_init(|| Log { form, name, pid: std::process::id() });
    std::panic::set_hook(Box::new(|panic| error(&format!("this is a defect, please report it: {panic}"))));
}

fn socket_form(log: &Stat) -> Form {
    // Check for the client first: whatever the environment says, a connection is not a log. A service manager passes it as
    // descriptor 3.
    let passed = sys::stat_first_passed();
    let same = |other: rustix::io::Result<Stat>| other.is_ok_and(|stat| same_file(&stat, log));
    let is_client = same(fstat(stdin())) || same(fstat(stdout())) || same(passed) || !is_local(stderr());
    if !is_client {
        let journal = env::var("JOURNAL_STREAM").is_ok_and(|it| it == format!("{}:{}", log.st_dev, log.st_ino));
        return if journal { Form::Journal } else { Form::Plain };
    }
    let syslog = UnixDatagram::unbound().and_then(|socket| socket.connect(SYSLOG).map(|()| socket));
    let replaced = match syslog {
        Ok(socket) => dup2_stderr(socket).is_ok(),
        Err(_) => false,
    };
    if !replaced {
        silence();
    }
    Form::Syslog
}

/// Whether it is a Unix-domain socket: the journal's, or one of a pair that a program reads.
fn is_local(descriptor: impl AsFd) -> bool {
    socket_domain(descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX)
}

/// Discards messages, where there is no log: they must not go to the client.
fn silence() {
    let null = OpenOptions::new().write(true).open("/dev/null");
    if null.is_ok_and(|null| dup2_stderr(null).is_ok()) {
        return;
    }
    sys::replace_standard_error();
}

/// Whether two descriptors are the same socket or file.
pub(crate) fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

pub(crate) fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_socket()
}

/// Makes journald's native socket descriptor 2, unless descriptor 2 is a terminal or a pipe: later messages may have fields.
/// (Under systemd, descriptors 1 and 2 are the same socket, so the form is syslog's.) It does not wait for journald: records that
/// journald does not accept are lost.
pub(crate) fn enable_fields() {
    let form = LOG.get().map_or(Form::Plain, |log| log.form);
    if form == Form::Plain {
        return;
    }
    let connected = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(JOURNAL)?;
        socket.set_nonblocking(true)?;
        dup2_stderr(socket).map_err(Into::into)
    });
    match connected {
        Ok(()) => HAS_FIELDS.store(true, Ordering::Relaxed),
        // The host may only have a syslog daemon.
        Err(_) if form == Form::Syslog => {
            // Clients must not be able to stall the program through a syslog daemon that hangs.
            let _ = ioctl_fionbio(stderr(), true);
        }
        Err(error) => {
            warning(&format!("cannot reach the journal at {JOURNAL}: {error}; connections are logged without fields"));
        }
    }
}

/// Logs a record, with fields if the log is the journal. Returns whether the log accepted it.
pub(crate) fn record(message: &str, fields: &[(&str, &str)]) -> bool {
    write(Priority::Notice, message, fields)
}

/// Logs why the program failed.
pub fn error(message: &str) {
    write(Priority::Error, message, &[]);
}

/// Logs an error without the program's name in front, on a terminal.
pub fn bare_error(message: &str) {
    write_as("", Priority::Error, message, &[]);
}

/// Logs a problem with which the program continues.
pub fn warning(message: &str) {
    write(Priority::Warning, message, &[]);
}

/// Logs what every client causes again. The units suppress it (`LogLevelMax=`).
pub fn info(message: &str) {
    write(Priority::Info, message, &[]);
}

/// Logs a normal but significant event.
pub fn notice(message: &str) {
    write(Priority::Notice, message, &[]);
}

/// Writes one line with one system call, so that lines of two processes do not mix. Returns whether the log accepted it.
fn write(priority: Priority, message: &str, fields: &[(&str, &str)]) -> bool {
    let prefix = LOG.get().map_or_else(String::new, |log| format!("{}: ", log.name));
    write_as(&prefix, priority, message, fields)
}

fn write_as(prefix: &str, priority: Priority, message: &str, fields: &[(&str, &str)]) -> bool {
    let Log { form, name, pid } = *LOG.get().unwrap_or(&Log { form: Form::Plain, name: "", pid: 0 });
    let priority = priority as u8;
    let line = if HAS_FIELDS.load(Ordering::Relaxed) {
        let priority = priority.to_string();
        fielded(&[&[("MESSAGE", message), ("PRIORITY", &priority), ("SYSLOG_IDENTIFIER", name)], fields].concat())
    } else {
        let message = one_line(message);
        match form {
            Form::Journal => format!("<{priority}>{message}\n"),
            Form::Syslog => format!("<{}>{name}[{}]: {message}", FACILITY_DAEMON | priority, pid),
            Form::Plain => format!("{prefix}{message}\n"),
        }
    };
    rustix::io::write(stderr(), line.as_bytes()).is_ok()
}

/// A record in journald's form. A line end would begin another field: no value has one.
fn fielded(fields: &[(&str, &str)]) -> String {
    let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}\n", one_line(value))).collect();
    lines.concat()
}

/// Makes a message one line. It may quote a file's name or an argument, so line ends and control characters are escaped. It stays
/// short enough for one syslog datagram, and for a pipe that nobody reads.
pub(crate) fn one_line(message: &str) -> String {
    let mut line = String::new();
    for part in message.trim_end().chars() {
        if line.len() > LONGEST {
            return line + " […]";
        }
        push_escaped(&mut line, part);
    }
    line
}

/// A text with its control characters escaped, line ends included.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    text.chars().for_each(|part| push_escaped(&mut escaped, part));
    escaped
}

fn push_escaped(to: &mut String, part: char) {
    if part.is_control() { to.extend(part.escape_default()) } else { to.push(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_cause_again_and_again_is_said_once_a_minute() {
        let (mut repeated, start) = (Repeated::default(), Instant::now());
        let mut said = |seconds| repeated.due(start + Duration::from_secs(seconds), "no more");
        assert_eq!(said(0).as_deref(), Some("no more"));
        assert_eq!((said(0), said(30), said(59)), (None, None, None));
        assert_eq!(said(60).as_deref(), Some("no more (3 more suppressed)"));
        assert_eq!(said(61), None);
        assert_eq!(said(3600).as_deref(), Some("no more (1 more suppressed)"));
        assert_eq!(said(7200).as_deref(), Some("no more"));
    }

    #[test]
    fn no_value_forges_a_field() {
        let record = fielded(&[("MESSAGE", "one\nRESULT=served"), ("SOURCE", "192.0.2.1\nPRIORITY=0\n\0")]);
        assert_eq!(record, "MESSAGE=one\\nRESULT=served\nSOURCE=192.0.2.1\\nPRIORITY=0\\n\\u{0}\n");
    }

    #[test]
    fn a_message_stays_one_line_of_printable_characters() {
        assert!(one_line(&"x".repeat(100_000)).len() < 1100);
        assert_eq!(one_line("no file \"a\nb\x1b[31m\" – über\n"), "no file \"a\\nb\\u{1b}[31m\" – über");
    }
}
