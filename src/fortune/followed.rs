//! A daemon's collection in files, which are reloaded when they change.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

use super::draw::{Draw, Indexed};
use super::error::Error;
use super::files::{CookieFile, companion_of, cookie_files};
use super::memory::{Chosen, Fortune, Texts};
use super::order::Order;
use super::read::{read, share, with_retries};
use super::shares::Shares;
use super::sources::Sources;
use super::text::Eligible;
use super::watch::Watch;
use super::{index_file, search};
use crate::file::{self, Readable};
use crate::log;

/// Files, and what was read from them.
pub(super) struct Followed {
    sources: Sources,
    eligible: Eligible,
    order: Order,
    collection: Collection,
    watch: Watch,
    /// When the files were last read.
    read: Timestamp,
    /// Whether a shortage of descriptors or memory was already logged.
    short: bool,
}

enum Collection {
    /// Open files, and the last fortune; no other text is in memory.
    Open { indexed: Indexed, last: Fortune },
    /// All texts, and the shares of the files. Never empty.
    Read { texts: Texts, shares: Shares },
    /// The last fortune, until the files can be read again.
    Last(Fortune),
}

impl Followed {
    /// Opens cookie files and directories. If the order is random and any file has an index, the files are kept open; otherwise
    /// all texts are kept in memory.
    pub(super) fn open(sources: Sources, mut order: Order, eligible: Eligible) -> Result<Self, Error> {
        let watch = Watch::new(watched(&sources)?)?;
        let collection = with_retries(|| Collection::open(&sources, &mut order, eligible))?;
        Ok(Self { sources, eligible, order, collection, watch, read: Timestamp::now(), short: false })
    }

    /// The directories of the files. Must be called before the first choice.
    pub(super) fn directories(&self) -> Vec<Readable> {
        // Files in directories without eligible fortunes need not be readable.
        let is_read = |file: &&CookieFile| file.fortunes > 0 || file.directory.is_none();
        let read = self.collection.files().iter().filter(is_read);
        let mut directories = file::directories_of(read.map(|file| file.path.as_path()));
        for path in self.sources.paths() {
            if file::is_directory(path).is_ok_and(|is| is) {
                directories.entry(path.canonicalize().unwrap_or_else(|_| path.clone())).or_default();
            }
        }
        let readable = |(directory, names): (PathBuf, BTreeSet<OsString>)| {
            if search::is_of_the_host(&directory) {
                return Readable::all(directory);
            }
            let is_read =
                |name: &OsStr| names.contains(name) || companion_of(name).is_some_and(|of| names.contains(of));
            Readable::new(directory, is_read)
        };
        directories.into_iter().map(readable).collect()
    }

    /// Reloads the files. If this fails, it keeps the previous fortunes and logs the error.
    pub(super) fn reload(&mut self) {
        match self.read_again() {
            Ok(collection) => {
                self.short = false;
                self.collection = collection;
                self.read = Timestamp::now();
                log::notice("reloaded the fortunes");
            }
            Err(error) if error.is_shortage() => report_shortage(&mut self.short, &error),
            Err(error) => log::error(&format!("{error}; continuing with the previous fortunes")),
        }
    }

    /// Reads the files again, and remembers their versions unless the attempt must be repeated.
    fn read_again(&mut self) -> Result<Collection, Error> {
        // The versions from before the read: a later change counts as a new one.
        match watched(&self.sources).and_then(Watch::new) {
            Ok(watch) => {
                let read = Collection::open(&self.sources, &mut self.order, self.eligible);
                if !read.as_ref().is_err_and(Error::is_shortage) {
                    self.watch = watch;
                }
                read
            }
            Err(error) => {
                if !error.is_shortage() {
                    self.watch.accept();
                }
                Err(error)
            }
        }
    }

    /// The maximum number of open descriptors, which is reached during a reload.
    pub(super) fn descriptors(&self) -> usize {
        if let Collection::Open { indexed, .. } = &self.collection { 2 * indexed.descriptors() } else { 0 }
    }

    /// The number of fortunes, and when they were last read.
    pub(super) fn status(&self) -> String {
        let count = match &self.collection {
            Collection::Open { indexed, .. } => indexed.files().iter().map(|file| file.fortunes).sum(),
            Collection::Read { texts, .. } => texts.len(),
            Collection::Last(_) => 1,
        };
        format!("fortunes: {count}, read {}", self.read.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }

    /// The maximum length of a fortune, even after a reload.
    pub(super) fn longest(&self) -> usize {
        self.eligible.longest
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.order.reseed(seed);
    }

    /// Chooses the next fortune.
    pub(super) fn choose(&mut self) -> Chosen<'_> {
        if self.watch.has_changed(Instant::now()) {
            self.reload();
        }
        self.draw();
        match &self.collection {
            Collection::Open { last, .. } | Collection::Last(last) => last.chosen(),
            Collection::Read { texts, shares } => {
                let number = match &mut self.order {
                    Order::Random(random) => shares.choose_fortune(random),
                    order => order.next(texts.len()),
                };
                Chosen { text: texts.get(number), file: shares.file(number).name() }
            }
        }
    }

    /// Draws the next fortune from open files. If their indexes cannot be used any more, reads all texts.
    fn draw(&mut self) {
        let (Collection::Open { indexed, last }, Order::Random(random)) = (&mut self.collection, &mut self.order)
        else {
            return;
        };
        let read = match indexed.choose(&self.sources, random, self.eligible) {
            Ok(Draw::Fortune(fortune)) => {
                *last = fortune;
                return;
            }
            // A file is being written: use the last fortune until that is done.
            Ok(Draw::Changed) => return,
            Ok(Draw::BadIndex(_) | Draw::NoneEligible(_)) => Collection::read(&self.sources, self.eligible),
            Err(error) => Err(error),
        };
        self.collection = match read {
            Ok(collection) => {
                self.read = Timestamp::now();
                collection
            }
            Err(error) if error.is_shortage() => return report_shortage(&mut self.short, &error),
            Err(error) => {
                log::error(&format!("{error}; continuing with the last fortune until the files change"));
                Collection::Last(mem::take(last))
            }
        };
    }
}

impl Collection {
    fn open(sources: &Sources, order: &mut Order, eligible: Eligible) -> Result<Self, Error> {
        if let Order::Random(random) = order {
            if let Some(mut indexed) = Indexed::open(sources, random, eligible, true)? {
                if let Draw::Fortune(last) = indexed.choose(sources, random, eligible)? {
                    return Ok(Self::Open { indexed, last });
                }
            }
        }
        Self::read(sources, eligible)
    }

    fn read(sources: &Sources, eligible: Eligible) -> Result<Self, Error> {
        let mut texts = Texts::default();
        let files = read(sources, eligible, |_, _, fortune| texts.push(&fortune.text()))?;
        let shares = share(sources, files, eligible)?;
        Ok(Self::Read { texts, shares })
    }

    /// The files of the collection.
    fn files(&self) -> &[CookieFile] {
        match self {
            Self::Open { indexed, .. } => indexed.files(),
            Self::Read { shares, .. } => &shares.files,
            Self::Last(_) => &[],
        }
    }
}

/// Logs a shortage once, however often the reload is repeated.
fn report_shortage(short: &mut bool, error: &Error) {
    if !mem::replace(short, true) {
        log::error(&format!("{error}; continuing with the previous fortunes until the shortage ends"));
    }
}

/// The paths to watch: directories, files and their indexes.
fn watched(sources: &Sources) -> Result<Vec<PathBuf>, Error> {
    let files = cookie_files(sources)?.into_iter().flat_map(|file| [index_file::path_beside(&file.path), file.path]);
    Ok(sources.paths().cloned().chain(files).collect())
}
