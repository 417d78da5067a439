//! Quote of the Day, [RFC 865](https://www.rfc-editor.org/rfc/rfc865), and fortune(6).

use std::io;
use std::time::Duration;

use clap::ArgAction;

use crate::file::Readable;
use crate::fortune::{self, Chosen, Dialect, Fortunes, SourcesError};
use crate::log;
use crate::policy::{Extra, LIST};
use crate::service::{Behavior, Files, LineEnd, Reply, Run, Service};
use crate::services::{self, Row};

/// Sends one fortune of fewer than 512 octets, and closes. Drops what the client sends.
#[derive(Debug)]
pub enum Qotd {}

/// The same program under the name `fortune`. Like fortune(6), it uses the host's collections, fortunes of any length, and LF
/// line ends.
#[derive(Debug)]
pub enum Fortune {}

/// The options that only `qotd` has.
#[derive(clap::Args, Debug, Default)]
#[group(skip)]
#[allow(clippy::struct_excessive_bools)] // each is an option of fortune(6)
pub struct Options {
    #[command(flatten)]
    fortunes: fortune::Options,

    /// Print the files to choose from, each with its probability, instead of a fortune
    #[arg(short = 'f', long = "list")]
    list: bool,

    /// Print all fortunes that match a basic regular expression, as in grep(1), with their files
    #[arg(short = 'm', long = "match", value_name = "PATTERN")]
    pattern: Option<String>,

    /// Ignore case, for -m
    #[arg(short, long)]
    ignore_case: bool,

    /// Also print the file that the fortune comes from
    #[arg(short = 'c', long)]
    cookie_file: bool,

    /// Wait long enough to read the fortune: 1 second per 20 characters, at least 6 seconds
    #[arg(short, long)]
    wait: bool,

    /// Same as -V, for compatibility with fortune-mod
    #[arg(short = 'v', action = ArgAction::Version)]
    v: Option<bool>,
}

const ROW: Row = services::row("qotd");

impl Service for Qotd {
    type Options = Options;
    type Error = fortune::Error;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    const EXTRA: Extra = Extra { files: &[LIST, fortune::READ_BY_INDEX], ..Extra::NONE };

    fn print(options: &Options) -> Result<Option<u8>, fortune::Error> {
        ignore_broken_pipe(options.print(Dialect::Service))
    }

    fn prepare(options: &Options, run: Run) -> Result<Behavior, fortune::Error> {
        options.prepare(Dialect::Service, run)
    }
}

impl Service for Fortune {
    type Options = Options;
    type Error = fortune::Error;
    const NAME: &'static str = "fortune";
    const ABOUT: &'static str = "fortune(6): prints a random fortune";
    const IDLE_TIMEOUT: u16 = Qotd::IDLE_TIMEOUT;
    /// A unit or a job may print a fortune to any output.
    const PRINTS_UNATTENDED: bool = true;
    const USAGE_ERROR: u8 = 1;
    const EXTRA: Extra = Qotd::EXTRA;

    fn print(options: &Options) -> Result<Option<u8>, fortune::Error> {
        ignore_broken_pipe(options.print(Dialect::Fortune))
    }

    fn prepare(options: &Options, run: Run) -> Result<Behavior, fortune::Error> {
        options.prepare(Dialect::Fortune, run)
    }

    /// With fortune-mod's messages, where it has one.
    fn report(error: &fortune::Error) -> u8 {
        match fortune_mod_message(error) {
            Message::Bare(text) => log::bare_error(&text),
            Message::Named(text) => log::error(&text),
        }
        1
    }
}

/// A reader that closes the pipe early, such as head(1), is no error.
fn ignore_broken_pipe(printed: Result<Option<u8>, fortune::Error>) -> Result<Option<u8>, fortune::Error> {
    match printed {
        Err(fortune::Error::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(0)),
        printed => printed,
    }
}

/// A message of fortune-mod. Scripts expect some of them at the start of a line, without the program's name.
enum Message {
    Bare(String),
    Named(String),
}

fn fortune_mod_message(error: &fortune::Error) -> Message {
    let none = |why: String| Message::Bare(format!("No fortunes found{why}"));
    match error {
        fortune::Error::NoneInstalled { directories } | fortune::Error::NoCookieFile { names: directories } => {
            none(format!(" in {directories}; install a collection there, or name a file or directory"))
        }
        fortune::Error::NothingEligible { names, reasons } => {
            let locale = reasons.locale().map_or_else(String::new, |locale| format!("; {locale}"));
            none(format!(" in {names}: {reasons}{locale}"))
        }
        fortune::Error::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
            none(format!(": {}: No such file or directory", path.display()))
        }
        fortune::Error::Pattern(error) => Message::Bare(format!("bad pattern: {}", error.pattern)),
        fortune::Error::Sources(error) => match error {
            SourcesError::TooMuch(sum) => Message::Named(format!("probabilities sum to {sum}%!")),
            SourcesError::TooLittle(sum) => Message::Named(format!("no place to put residual probability ({sum}%)")),
            SourcesError::NothingLeft(_) => Message::Named("no probability left to put in residual files".to_owned()),
            SourcesError::NoFile(_) | SourcesError::Two(_) => {
                Message::Bare("percentages must precede files".to_owned())
            }
            SourcesError::NotWhole(percentage) => Message::Bare(format!("percentages must be integers: {percentage}")),
            SourcesError::NoPercentage(percentage) => Message::Bare(format!(
                "percentages must be <= 100: Overflow percentage detected at argument \"{percentage}\"!"
            )),
            SourcesError::NotByChance | SourcesError::Empty => Message::Named(error.to_string()),
        },
        other => Message::Named(other.to_string()),
    }
}

impl Options {
    /// Opens the collection.
    ///
    /// # Errors
    ///
    /// If there is none, or if an option only prints and cannot serve clients.
    #[doc(hidden)]
    pub fn fortunes(&self, dialect: Dialect, run: Run) -> Result<Fortunes, fortune::Error> {
        let printed = self.list || self.pattern.is_some() || self.cookie_file || self.wait;
        if printed && run != Run::Print {
            return Err(fortune::Error::OnlyPrinted);
        }
        Fortunes::open(&self.fortunes, dialect, run)
    }

    fn prepare(&self, dialect: Dialect, run: Run) -> Result<Behavior, fortune::Error> {
        let fortunes = self.fortunes(dialect, run)?;
        Ok(Behavior::Reply(Box::new(Quote { fortunes, dialect, cookie_file: self.cookie_file, wait: self.wait })))
    }

    fn print(&self, dialect: Dialect) -> Result<Option<u8>, fortune::Error> {
        if !self.list && self.pattern.is_none() {
            return Ok(None);
        }
        let (sources, eligible) = (self.fortunes.sources(dialect)?, self.fortunes.eligible(dialect));
        let Some(pattern) = &self.pattern else {
            match dialect {
                Dialect::Service => fortune::list(sources.as_ref(), eligible, &mut io::stdout().lock())?,
                Dialect::Fortune => fortune::list(sources.as_ref(), eligible, &mut io::stderr().lock())?,
            }
            return Ok(Some(0));
        };
        let pattern = fortune::compile_pattern(pattern, self.ignore_case, dialect)?;
        let to = (&mut io::stdout().lock(), &mut io::stderr().lock());
        let found = fortune::matching(sources.as_ref(), eligible, &pattern, to)?;
        // Like grep(1). fortune(6) returns the opposite.
        Ok(Some(u8::from(found == (dialect == Dialect::Fortune))))
    }
}

/// The reply: a new fortune each time.
struct Quote {
    fortunes: Fortunes,
    dialect: Dialect,
    cookie_file: bool,
    wait: bool,
}

impl Files for Quote {
    fn readable(&self) -> Vec<Readable> {
        self.fortunes.directories()
    }

    fn descriptors(&self) -> usize {
        self.fortunes.descriptors()
    }

    fn reload(&mut self) {
        self.fortunes.reload();
    }

    fn status(&self) -> Option<String> {
        Some(self.fortunes.status())
    }

    fn reseed(&mut self, seed: u64) {
        self.fortunes.reseed(seed);
    }
}

impl Reply for Quote {
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>) {
        let line_end = if self.dialect == Dialect::Fortune { LineEnd::Lf } else { line_end };
        let Chosen { text, file } = self.fortunes.choose();
        if self.cookie_file {
            line_end.append(&format!("({})\n%\n", fortune::printable(file)), octets);
        }
        line_end.append(text, octets);
    }

    fn longest(&self) -> usize {
        // Every octet may be a line end, which takes two.
        2 * self.fortunes.longest()
    }

    fn pause(&self, octets: &[u8]) -> Duration {
        const OCTETS_PER_SECOND: u64 = 20;
        const LEAST: u64 = 6;
        let seconds = if self.wait { LEAST.max(octets.len() as u64 / OCTETS_PER_SECOND) } else { 0 };
        Duration::from_secs(seconds)
    }
}
