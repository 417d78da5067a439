//! The traits that a service implements.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::file::Readable;
use crate::log;
use crate::policy::Extra;

/// A service: its options, its preparation, and its error reports.
///
/// The runtime starts it and locks it down; an engine reads and writes. The service itself uses neither sockets nor the service
/// manager. The [crate's page](crate) has a complete example.
pub trait Service {
    /// The options and operands that only this service has.
    type Options: clap::Args + Default + fmt::Debug;

    /// Why the preparation failed: one sentence that names the thing and the next step. Use
    /// [`Infallible`](std::convert::Infallible) if it cannot fail.
    type Error: std::error::Error + 'static;

    /// The program's name, as on the command line and in the log.
    const NAME: &'static str;

    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// After how many seconds without activity a connection is closed; `--idle-timeout` overrides it. A request must be complete
    /// within this time.
    const IDLE_TIMEOUT: u16;

    /// Whether `--listen IP:PORT` means UDP as well as TCP.
    const UDP_BY_DEFAULT: bool = true;

    /// Whether the program prints a reply when its input is `/dev/null` and its output a socket, such as the journal's. By
    /// default this is an error: a service unit was started instead of its socket unit.
    const PRINTS_UNATTENDED: bool = false;

    /// The exit code for a mistake on the command line.
    const USAGE_ERROR: u8 = 2;

    /// The system calls that the service itself makes after the lock-down, in addition to those of its engine.
    const EXTRA: Extra = Extra::NONE;

    /// Prints what the options request instead of a reply, and returns the exit code; `None` if they request nothing. Called only
    /// where the output cannot reach a client.
    ///
    /// # Errors
    ///
    /// If it cannot be printed.
    fn print(_options: &Self::Options) -> Result<Option<u8>, Self::Error> {
        Ok(None)
    }

    /// The maximum number of octets sent per second on a TCP connection; 0 is no limit. A service that sends without end gets the
    /// option for it from [`StreamOptions`].
    fn max_rate(_options: &Self::Options) -> u32 {
        0
    }

    /// Does everything that needs the outside world, before the lock-down.
    ///
    /// # Errors
    ///
    /// If the service cannot serve clients. The message goes to the log, and nothing to the client.
    fn prepare(options: &Self::Options, run: Run) -> Result<Behavior, Self::Error>;

    /// Logs an error of the service, and returns the exit code.
    #[must_use]
    fn report(error: &Self::Error) -> u8 {
        log::error(&error.to_string());
        1
    }
}

/// How the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It prints one reply to a terminal, a pipe or a file.
    Print,
    /// It serves one connection.
    One,
    /// It serves all clients until it is stopped.
    Daemon,
}

impl Run {
    /// The line ends of the output.
    #[must_use]
    pub fn line_end(self) -> LineEnd {
        if self == Self::Print { LineEnd::Lf } else { LineEnd::CrLf }
    }
}

/// How a connection or a datagram is served. Each behavior has an engine, which makes the system calls.
pub enum Behavior {
    /// Sends a reply and closes the connection; replies to each datagram. Drops what a client sends.
    Reply(Box<dyn Reply>),
    /// Reads one line, sends an answer to it and closes the connection; answers the content of each datagram.
    Answer(Box<dyn Answer>),
    /// Sends everything back, in order, until the client ends its side of the connection; sends each datagram back.
    Echo,
    /// Drops everything, until the client ends its side of the connection.
    Discard,
    /// Sends a pattern repeatedly, until the client closes the connection; answers a datagram with a part of the pattern of
    /// random length (RFC 864).
    Repeat(Pattern),
}

impl Behavior {
    /// See [`Files::readable`].
    pub(crate) fn readable(&self) -> Vec<Readable> {
        match self {
            Self::Reply(reply) => reply.readable(),
            Self::Answer(answer) => answer.readable(),
            Self::Echo | Self::Discard | Self::Repeat(_) => Vec::new(),
        }
    }

    /// See [`Files::descriptors`].
    pub(crate) fn descriptors(&self) -> usize {
        match self {
            Self::Reply(reply) => reply.descriptors(),
            Self::Answer(answer) => answer.descriptors(),
            Self::Echo | Self::Discard | Self::Repeat(_) => 0,
        }
    }

    /// See [`Files::reload`].
    pub(crate) fn reload(&mut self) {
        match self {
            Self::Reply(reply) => reply.reload(),
            Self::Answer(answer) => answer.reload(),
            Self::Echo | Self::Discard | Self::Repeat(_) => {}
        }
    }

    /// See [`Files::status`].
    pub(crate) fn status(&self) -> Option<String> {
        match self {
            Self::Reply(reply) => reply.status(),
            Self::Answer(answer) => answer.status(),
            Self::Echo | Self::Discard | Self::Repeat(_) => None,
        }
    }

    /// See [`Files::reseed`].
    pub(crate) fn reseed(&mut self, seed: u64) {
        match self {
            Self::Reply(reply) => reply.reseed(seed),
            Self::Answer(answer) => answer.reseed(seed),
            Self::Echo | Self::Discard | Self::Repeat(_) => {}
        }
    }
}

/// The files that a reply or an answer is made from, if any.
pub trait Files {
    /// The directories that a daemon must be able to read after the lock-down.
    fn readable(&self) -> Vec<Readable> {
        Vec::new()
    }

    /// The maximum number of descriptors of files that it keeps open, including during a reload.
    fn descriptors(&self) -> usize {
        0
    }

    /// Reloads its files (SIGHUP). If this fails, it keeps what it has, and logs the error.
    fn reload(&mut self) {}

    /// A part of the status line, such as `fortunes: 437, read 2026-11-26 18:00:03 UTC`. It contains no newline and no `;`.
    fn status(&self) -> Option<String> {
        None
    }

    /// Seeds its random state anew, if it has any: a new process has a copy of its parent's state.
    fn reseed(&mut self, _seed: u64) {}
}

/// A reply, composed anew for each client.
pub trait Reply: Files {
    /// Appends the reply to `octets`; its lines end with `line_end`.
    ///
    /// For one connection, this happens before the lock-down. In a daemon, it happens after the lock-down: only files beneath the
    /// [readable](Files::readable) directories can be opened.
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>);

    /// The maximum length of a reply in octets. This much memory is reserved before the lock-down.
    fn longest(&self) -> usize;

    /// How long the program waits after it has printed a reply.
    fn pause(&self, _octets: &[u8]) -> Duration {
        Duration::ZERO
    }
}

/// An answer to one request.
pub trait Answer: Files {
    /// The maximum length of a request in octets, without its line end. Longer requests are not answered.
    fn limit(&self) -> usize;

    /// Appends the answer to `octets`; its lines end with `line_end`. `request` is what precedes the first line end or, without
    /// one, the end of the client's data. It may contain any octets. `from` is `None` on a terminal and for a Unix-domain socket.
    ///
    /// This happens after the lock-down, so it cannot open files. What it needs is read in the preparation and on
    /// [reload](Files::reload).
    fn answer(&mut self, request: &[u8], from: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>);

    /// The maximum length of an answer in octets. This much memory is reserved before the lock-down.
    fn longest(&self) -> usize;
}

/// Octets that are sent repeatedly.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// One period of the pattern; not empty.
    pub period: Vec<u8>,
    /// The maximum number of octets in a datagram; at most one period is sent.
    pub longest_datagram: usize,
}

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// On terminals, and in pipes and files.
    Lf,
    /// In datagrams and over connections.
    CrLf,
}

impl LineEnd {
    /// The octets on the wire.
    #[must_use]
    pub fn octets(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    /// Appends a text, with its LF line ends converted to this kind.
    pub fn append(self, text: &str, octets: &mut Vec<u8>) {
        for line in text.split_inclusive('\n') {
            let bare = line.strip_suffix('\n');
            octets.extend_from_slice(bare.unwrap_or(line).as_bytes());
            if bare.is_some() {
                octets.extend_from_slice(self.octets());
            }
        }
    }
}

/// The options of a service that has none of its own.
#[derive(clap::Args, Debug, Default)]
pub struct NoOptions {}

/// The options of a service that sends without end. `MAX_RATE` is the default of `--max-rate`.
#[derive(clap::Args, Debug, Default)]
pub struct StreamOptions<const MAX_RATE: u32> {
    /// The limit. clap's own default would be the same for every `MAX_RATE` in a program.
    #[arg(long, value_name = "OCTETS", value_parser = rate, help = rate_help(MAX_RATE))]
    #[arg(long_help = format!("{}\n\n{}", rate_help(MAX_RATE), TCP_ONLY))]
    max_rate: Option<u32>,
}

impl<const MAX_RATE: u32> StreamOptions<MAX_RATE> {
    /// The maximum rate in octets per second; 0 is no limit.
    #[must_use]
    pub fn max_rate(&self) -> u32 {
        self.max_rate.unwrap_or(MAX_RATE)
    }
}

const TCP_ONLY: &str = "The kernel enforces the limit for TCP. It does not apply to Unix-domain sockets and pipes.";

fn rate_help(default: u32) -> String {
    format!("Maximum number of octets sent per second on a connection; 0 is no limit [default: {default}]")
}

fn rate(text: &str) -> Result<u32, &'static str> {
    // A segment may have 64 KiB: at a lower rate, one would take more than 16 seconds.
    const LOWEST: u32 = 4096;
    match text.parse() {
        Ok(rate) if rate == 0 || rate >= LOWEST => Ok(rate),
        _ => Err("write 4096 or more, or 0 for no limit; at lower rates, clients would appear idle"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_own_rate() {
        use clap::Parser;

        #[derive(Parser)]
        struct Line<const MAX_RATE: u32> {
            #[command(flatten)]
            options: StreamOptions<MAX_RATE>,
        }
        fn rate<const MAX_RATE: u32>(line: &[&str]) -> u32 {
            let line = Line::<MAX_RATE>::try_parse_from([&["stream"], line].concat());
            line.expect("a rate").options.max_rate()
        }
        assert_eq!((rate::<0>(&[]), rate::<65_536>(&[])), (0, 65_536));
        assert_eq!((rate::<0>(&["--max-rate", "4096"]), rate::<65_536>(&["--max-rate", "0"])), (4096, 0));
    }

    #[test]
    fn lines_end_as_the_other_side_expects() {
        let appended = |line_end: LineEnd| {
            let mut octets = Vec::new();
            line_end.append("one\n\nthree", &mut octets);
            String::from_utf8(octets)
        };
        assert_eq!(appended(LineEnd::Lf).as_deref(), Ok("one\n\nthree"));
        assert_eq!(appended(LineEnd::CrLf).as_deref(), Ok("one\r\n\r\nthree"));
    }
}
