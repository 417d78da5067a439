//! `small-services strfile` and `unstr`: fortune(6)'s strfile(1) and unstr(1).
//!
//! The options, the summary and the indexes are those of Debian's programs; `-C` is BSD's. There are three differences. Debian's
//! `strfile -r` may put the end of the file in a text's place; here the end stays last. Debian 12's `unstr` calls every index
//! corrupted; this one works as its manual says. Debian's programs follow a link to the output file; these refuse it.

mod alphabet;
mod output;
mod table;

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::file::{Version, open_regular};
use crate::fortune::index::{Found, Index, IndexError};
use crate::fortune::index_file::path_beside;
use crate::fortune::layout::{COMMENTS, ORDERED, RANDOM, ROTATED};
use crate::fortune::printable;
use crate::random;
use alphabet::Alphabet;
use output::{Output, Target};
use table::Table;

/// The minimum size of a cookie file, in bytes, for a progress bar.
const LARGE: u64 = 64 << 20;
const BUFFER: usize = 256 << 10;

/// Why no index was written, or nothing was printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The cookie file could not be read.
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read {
        /// The cookie file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cookie file is something else.
    #[error("{} is not a cookie file: {reason}; name a text file with delimiter lines between its texts", .path.display())]
    NotACookieFile {
        /// The file.
        path: PathBuf,
        /// Why it is not a cookie file.
        reason: String,
    },
    /// unstr(1) was given a name with an extension, which names an index, and its cookie file does not exist.
    #[error(
        "cannot find {}, the cookie file of the index {}: No such file or directory; name a cookie file without an extension, \
         or its index", .cookie.display(), .index.display()
    )]
    NoCookieFile {
        /// The cookie file.
        cookie: PathBuf,
        /// The index.
        index: PathBuf,
    },
    /// The result could not be written.
    #[error("cannot write {}: {source}; check the path, its permissions and the free space", .path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cookie file and the output are the same file.
    #[error("{} is the cookie file itself; name another output", .0.display())]
    Same(PathBuf),
    /// The output is a link, whose owner decides where it leads.
    #[error("{} is a symbolic link; name its target, or remove it", .0.display())]
    Link(PathBuf),
    /// The index must not be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index is in the file's order, and the delimiter does not change.
    #[error("nothing to do: {} is in the order of its file; create it with `strfile -o`, or change the delimiter with -c", .0.display())]
    InOrder(PathBuf),
    /// The index has offsets at which no text begins.
    #[error("cannot use the index {}: {source}; rebuild it with `small-services strfile`", .path.display())]
    Text {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The kernel returned no random bytes.
    #[error("cannot get a random seed: {0}; allow the system call getrandom")]
    Seed(io::Error),
}

/// The command line of strfile(1).
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is an option of strfile(1)
pub(crate) struct Strfile {
    /// Delimiter: the character that stands alone on a line between two texts
    #[arg(short, value_name = "C", default_value = "%", value_parser = delimiter)]
    c: u8,
    /// Mark lines that begin with two delimiters as comments, which are not printed
    #[arg(short = 'C')]
    comments: bool,
    /// Ignore case when ordering the texts
    #[arg(short)]
    i: bool,
    /// Order the texts alphabetically, from the first letter or digit of each
    #[arg(short)]
    o: bool,
    /// Put the texts in random order
    #[arg(short)]
    r: bool,
    /// Print no summary
    #[arg(short)]
    s: bool,
    /// Mark the texts as rot13
    #[arg(short)]
    x: bool,
    /// Cookie file
    source: PathBuf,
    /// Index to write, which must not be a symbolic link [default: SOURCE.dat]
    output: Option<PathBuf>,
}

/// The command line of unstr(1).
#[derive(Args, Debug)]
pub(crate) struct Unstr {
    /// Delimiter to print on the lines between the texts [default: that of the index]
    #[arg(short, value_name = "C", value_parser = delimiter)]
    c: Option<u8>,
    /// Index, or the cookie file if its index is SOURCE.dat
    #[arg(value_name = "SOURCE[.dat]")]
    source: PathBuf,
    /// File to write, which must not be a symbolic link [default: standard output]
    output: Option<PathBuf>,
}

/// Parses a delimiter: one ASCII character that can stand on a line.
fn delimiter(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        &[octet] if octet.is_ascii() && !matches!(octet, b'\0' | b'\n' | b'\r') => Ok(octet),
        _ => Err("the delimiter must be one ASCII character"),
    }
}

impl Strfile {
    /// Creates the index.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let path = self.output.clone().unwrap_or_else(|| path_beside(&self.source));
        let (file, version) = open(&self.source)?;
        let target = Target::find(&path, &version)?;
        let bar =
            progress(version.length, version.length, "{bar:40} {binary_bytes} of {binary_total_bytes}, {eta} left");
        let alphabet = self.o.then(|| Alphabet::new(self.c, self.i));
        let reader = BufReader::with_capacity(BUFFER, &file);
        let mut table = Table::read(reader, self.c, alphabet, |position| bar.set_position(position))
            .map_err(|source| misread(&self.source, source))?;
        bar.finish_and_clear();
        // As in Debian's strfile, -o overrides -r.
        let order = if self.o {
            let steps = alphabet::steps(table.texts.len());
            let bar = progress(version.length, steps, "{bar:40} {percent} % in order, {eta} left");
            table
                .order(&file, self.c, self.i, |done| bar.set_position(done))
                .map_err(|source| misread(&self.source, source))?;
            bar.finish_and_clear();
            ORDERED
        } else if self.r {
            table.shuffle(&mut random::seeded().map_err(Error::Seed)?);
            RANDOM
        } else {
            0
        };
        let flags = order | if self.x { ROTATED } else { 0 } | if self.comments { COMMENTS } else { 0 };
        Output::to_file(&target)
            .and_then(|mut output| {
                table.write(&mut output, flags, self.c)?;
                output.finish()
            })
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        if self.s { Ok(()) } else { print(&summary(&path, &table)) }
    }
}

impl Unstr {
    /// Prints the texts.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let (cookie, index_path) = match self.source.extension() {
            Some(_) => (self.source.with_extension(""), self.source.clone()),
            None => (self.source.clone(), path_beside(&self.source)),
        };
        let (file, version) = open(&cookie).map_err(|error| match error {
            Error::Read { source, .. } if source.kind() == ErrorKind::NotFound && self.source != cookie => {
                Error::NoCookieFile { cookie: cookie.clone(), index: index_path.clone() }
            }
            other => other,
        })?;
        let target = self.output.as_deref().map(|path| Target::find(path, &version)).transpose()?;
        let index = Index::open(&index_path, &version)?;
        if self.c.is_none() && !index.is_reordered() {
            return Err(Error::InOrder(index_path));
        }
        let path = self.output.as_deref().unwrap_or(Path::new("standard output"));
        let unwritten = |source| Error::Write { path: path.to_owned(), source };
        let mut output = target.as_ref().map_or_else(|| Ok(Output::standard()), Output::to_file).map_err(unwritten)?;
        let mut text = Vec::new();
        for number in 0..index.len() {
            let unusable = |source| Error::Text { path: index_path.clone(), source };
            let longest = usize::try_from(version.length).unwrap_or(usize::MAX);
            if index.whole_text(&file, number, longest, &mut text).map_err(unusable)? == Found::TooLong {
                return Err(misread(&cookie, io::Error::other("it grew while it was read")));
            }
            // Without a line end, the delimiter would join the last line.
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.extend([self.c.unwrap_or(index.delimiter()), b'\n']);
            output.write_all(&text).map_err(unwritten)?;
        }
        output.finish().map_err(unwritten)
    }
}

/// The index of a cookie file, in the file's order or alphabetically.
pub(crate) fn index(file: &File, delimiter: u8, ordered: bool, ignore_case: bool) -> io::Result<Vec<u8>> {
    let alphabet = ordered.then(|| Alphabet::new(delimiter, ignore_case));
    let mut table = Table::read(BufReader::new(file), delimiter, alphabet, |_| ())?;
    if ordered {
        table.order(file, delimiter, ignore_case, |_| ())?;
    }
    let mut octets = Vec::new();
    table.write(&mut octets, if ordered { ORDERED } else { 0 }, delimiter)?;
    Ok(octets)
}

/// Opens a cookie file.
fn open(path: &Path) -> Result<(File, Version), Error> {
    open_regular(path).map_err(|source| misread(path, source))
}

fn misread(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            Error::NotACookieFile { path: path.to_owned(), reason: source.to_string() }
        }
        _ => Error::Read { path: path.to_owned(), source },
    }
}

/// A progress bar for a large file on a terminal; otherwise a hidden one.
fn progress(length: u64, steps: u64, template: &str) -> ProgressBar {
    if length < LARGE || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The summary, as Debian's strfile prints it.
fn summary(path: &Path, table: &Table) -> String {
    let octets = |length| format!("{length} byte{}", if length == 1 { "" } else { "s" });
    let texts = match table.texts.len() {
        0 => "There was no string\n".to_owned(),
        1 => "There was 1 string\n".to_owned(),
        many => format!("There were {many} strings\n"),
    };
    let lengths = format!("Longest string: {}\nShortest string: {}\n", octets(table.longest), octets(table.shortest));
    format!("\"{}\" created\n{texts}{}", printable(path), if table.texts.is_empty() { "" } else { &lengths })
}

fn print(text: &str) -> Result<(), Error> {
    let printed = io::stdout().write_all(text.as_bytes());
    printed.map_err(|source| Error::Write { path: PathBuf::from("standard output"), source })
}
