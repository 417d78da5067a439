//! What a protocol tells the rest of the house about itself.

use std::fmt;
use std::time::Duration;

use crate::file::Readable;
use crate::fortune::text::LONGEST_REPLY;
use crate::log;
use crate::policy::Rules;
use crate::runtime::Error;

/// One RFC service: its arguments, its preparation and its policy.
pub trait Service {
    /// The options and operands that only this service has.
    type Options: clap::Args + Default + fmt::Debug;

    /// The program's name, as on the command line and in the log.
    const NAME: &'static str;

    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// How long a client may neither read, send nor close before it is let go, in seconds, unless `--idle-timeout` says
    /// otherwise.
    const IDLE_TIMEOUT: u16;

    /// Whether `--listen IP:PORT` means UDP as well as TCP.
    const UDP_UNASKED: bool = true;

    /// Whether it is no mistake if nobody is there to read from, and the output is a socket.
    const NEEDS_NOBODY: bool = false;

    /// The system calls that it makes after the lock-down: those of what serves it, and its own.
    const RULES: Rules;

    /// Prints what the options ask for instead of a reply, if they do, and returns the exit code. Only for a program that
    /// is a filter: nothing of it is for a client.
    ///
    /// # Errors
    ///
    /// When it cannot be printed.
    fn print(_options: &Self::Options) -> Result<Option<u8>, Error> {
        Ok(None)
    }

    /// Does everything that needs the outside world, before the lock-down.
    ///
    /// # Errors
    ///
    /// When the service could not answer a client: nothing was sent then, and the message goes to the log.
    fn prepare(options: &Self::Options, replies: Replies) -> Result<Work, Error>;

    /// Puts the sentence for an error on the log, and returns the exit code: 2 for a mistake on the command line, 1 for all
    /// else.
    #[must_use]
    fn report(error: &Error) -> u8 {
        if let Error::Arguments(error) = error {
            return error.report(Self::NAME);
        }
        log::error(&error.to_string());
        1
    }
}

/// How often a reply will be composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// Once, to be printed on a terminal, into a pipe or a file.
    Printed,
    /// For the one connection that the program was started for.
    One,
    /// For every client, until the program is told to stop.
    Many,
}

/// What is left to do once everything is prepared.
pub enum Work {
    /// Send a reply, then end.
    Reply(Box<dyn Reply>),
    /// Send back what arrives, in order, until the client has sent everything.
    Echo,
    /// Drop what arrives until the client has sent everything.
    Discard,
    /// Send lines of characters until the client closes (RFC 864).
    Characters,
}

impl Work {
    /// The directories of files that are read again when they change.
    pub(crate) fn directories(&self) -> Vec<Readable> {
        if let Self::Reply(reply) = self { reply.directories() } else { Vec::new() }
    }

    /// How many descriptors of files it keeps open.
    pub(crate) fn descriptors(&self) -> usize {
        if let Self::Reply(reply) = self { reply.descriptors() } else { 0 }
    }
}

/// A reply, composed afresh for each client.
pub trait Reply {
    /// Appends the reply to `octets`; its lines end with `line_end`.
    ///
    /// Called after the lock-down: it opens nothing but files beneath its [directories](Reply::directories).
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>);

    /// The directories of files that are read again when they change, while all clients are served.
    fn directories(&self) -> Vec<Readable> {
        Vec::new()
    }

    /// How many descriptors of its files it keeps open, at most while it reads them again.
    fn descriptors(&self) -> usize {
        0
    }

    /// Reads its files again.
    fn reload(&mut self) {}

    /// How long to stay after the reply, which is `octets`, is printed.
    fn pause(&self, _octets: &[u8]) -> Duration {
        Duration::ZERO
    }

    /// How long a reply may become, in octets: so much memory is reserved before the lock-down.
    fn longest(&self) -> usize {
        LONGEST_REPLY
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
