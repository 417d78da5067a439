//! What a service says of itself.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::file::Readable;
use crate::log;
use crate::policy::Extra;

/// A service: its options, what it prepares, and how it reports an error.
///
/// The runtime starts it and locks it down; an engine reads and writes. The service itself touches neither a socket nor the
/// service manager. The [crate's page](crate) has a whole one.
pub trait Service {
    /// The options and operands that only this service has.
    type Options: clap::Args + Default + fmt::Debug;

    /// Why it cannot be prepared: one sentence that names the thing and the next step. [`Infallible`](std::convert::Infallible)
    /// for a service that always can.
    type Error: std::error::Error + 'static;

    /// The program's name, as on the command line and in the log.
    const NAME: &'static str;

    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// How long a client may be idle before its connection is closed, in seconds, unless `--idle-timeout` says otherwise. A
    /// request has to be complete within this time.
    const IDLE_TIMEOUT: u16;

    /// Whether `--listen IP:PORT` means UDP as well as TCP.
    const UDP_UNASKED: bool = true;

    /// Whether the program prints a reply even if nobody reads from it: input from `/dev/null` and output to a socket, such as
    /// the journal's. Else that is a service that was started instead of its socket, and an error.
    const PRINTS_UNATTENDED: bool = false;

    /// The exit code for a mistake on the command line.
    const USAGE_ERROR: u8 = 2;

    /// The system calls that it makes after the lock-down and no engine makes for it.
    const EXTRA: Extra = Extra::NONE;

    /// Prints what the options ask for instead of a reply, if they do, and returns the exit code. Called only where nothing of it
    /// can reach a client.
    ///
    /// # Errors
    ///
    /// When it cannot be printed.
    fn print(_options: &Self::Options) -> Result<Option<u8>, Self::Error> {
        Ok(None)
    }

    /// How many octets a second a TCP connection is sent at most; 0 is no limit. For a service that goes on sending:
    /// [`StreamOptions`] has the option for it.
    fn max_rate(_options: &Self::Options) -> u32 {
        0
    }

    /// Does everything that needs the outside world, before the lock-down.
    ///
    /// # Errors
    ///
    /// When the service could not serve a client. Nothing has been sent then; the message goes to the log.
    fn prepare(options: &Self::Options, run: Run) -> Result<Behavior, Self::Error>;

    /// Reports an error of its own on the log, and returns the exit code.
    #[must_use]
    fn report(error: &Self::Error) -> u8 {
        log::error(&error.to_string());
        1
    }
}

/// What the program was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// To print once, on a terminal, into a pipe or a file.
    Print,
    /// To serve one connection.
    One,
    /// To serve every client until it is told to stop.
    Daemon,
}

impl Run {
    /// How lines end.
    #[must_use]
    pub fn line_end(self) -> LineEnd {
        if self == Self::Print { LineEnd::Lf } else { LineEnd::CrLf }
    }
}

/// What is done with a connection or a datagram. The list is closed: for each there is an engine, which makes the system calls.
pub enum Behavior {
    /// A connection gets a reply and is closed, and so does a datagram get one. What a client sends is dropped.
    Reply(Box<dyn Reply>),
    /// A connection gets an answer to the line that it sends, and is closed. A datagram gets an answer to what is in it.
    Answer(Box<dyn Answer>),
    /// Everything is sent back, in order, until the client has sent everything. A datagram is sent back.
    Echo,
    /// Everything is dropped, until the client has sent everything.
    Discard,
    /// A connection gets a pattern over and over, until the client closes it. A datagram gets a part of the pattern, of random
    /// length (RFC 864).
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

/// The files that a reply or an answer is made from, if there are any.
pub trait Files {
    /// The directories that have to stay readable after the lock-down, while all clients are served.
    fn readable(&self) -> Vec<Readable> {
        Vec::new()
    }

    /// How many descriptors of files it keeps open, at most while it reads them again.
    fn descriptors(&self) -> usize {
        0
    }

    /// Reads its files again, since the program was told to (SIGHUP). If that fails, it goes on with what it has, and says so on
    /// the log.
    fn reload(&mut self) {}

    /// What a daemon tells its service manager of them, such as `fortunes: 437, read 2026-11-26 18:00:03 UTC`: one line without `;`.
    fn status(&self) -> Option<String> {
        None
    }

    /// Takes another random state, if it has any: this is a new process, which goes on with a copy of another one's.
    fn reseed(&mut self, _seed: u64) {}
}

/// A reply, composed afresh for each client.
pub trait Reply: Files {
    /// Appends the reply to `octets`; its lines end with `line_end`.
    ///
    /// For one connection this is before the lock-down. In a daemon it is after it: it opens nothing but files beneath the
    /// [readable](Files::readable) directories.
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>);

    /// How long a reply may become, in octets: so much memory is reserved before the lock-down.
    fn longest(&self) -> usize;

    /// How long to stay after the reply, which is `octets`, is printed.
    fn pause(&self, _octets: &[u8]) -> Duration {
        Duration::ZERO
    }
}

/// An answer to one request.
pub trait Answer: Files {
    /// How long a request may be, in octets, without its line end. A longer one is not answered.
    fn limit(&self) -> usize;

    /// Appends the answer to `octets`; its lines end with `line_end`. `request` is what came before the first line end, or, without
    /// one, before the client had sent everything: any octets at all. `from` is unknown on a terminal and for a Unix-domain socket.
    ///
    /// This is after the lock-down: it opens no file. What it needs is read when it is prepared, and [again](Files::reload).
    fn answer(&mut self, request: &[u8], from: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>);

    /// How long an answer may become, in octets: so much memory is reserved before the lock-down.
    fn longest(&self) -> usize;
}

/// Octets that are sent over and over.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// One period of it. Not empty.
    pub period: Vec<u8>,
    /// A datagram gets so many octets of it at most, and no more than a period.
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
    /// Its octets.
    #[must_use]
    pub fn octets(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    /// Appends a text whose lines end with LF so that they end like this.
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

/// For services that have only the options of all services.
#[derive(clap::Args, Debug, Default)]
pub struct NoOptions {}

/// For services that go on sending. `MAX_RATE` is what `--max-rate` is by default.
#[derive(clap::Args, Debug, Default)]
pub struct StreamOptions<const MAX_RATE: u32> {
    /// The limit. (No default of clap's: that is one for all `MAX_RATE` of a program.)
    #[arg(long, value_name = "OCTETS", value_parser = rate, help = rate_help(MAX_RATE))]
    #[arg(long_help = format!("{}\n\n{}", rate_help(MAX_RATE), TCP_ONLY))]
    max_rate: Option<u32>,
}

impl<const MAX_RATE: u32> StreamOptions<MAX_RATE> {
    /// In octets a second; 0 is no limit.
    #[must_use]
    pub fn max_rate(&self) -> u32 {
        self.max_rate.unwrap_or(MAX_RATE)
    }
}

const TCP_ONLY: &str = "The kernel keeps it for TCP. Over a Unix-domain socket and into a pipe, there is no limit.";

fn rate_help(default: u32) -> String {
    format!("Maximum octets per second sent on a connection (0: no limit) [default: {default}]")
}

fn rate(text: &str) -> Result<u32, &'static str> {
    // A segment may have 64 KiB: at a lower rate, that is more than a quarter of a minute.
    const LOWEST: u32 = 4096;
    match text.parse() {
        Ok(rate) if rate == 0 || rate >= LOWEST => Ok(rate),
        _ => Err("write a number from 4096 on, since slower clients would seem to be idle, or 0 for no limit"),
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
