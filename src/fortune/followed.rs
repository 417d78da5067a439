//! Files that are read again when they change: what a process for all clients chooses from.

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

/// Files, and what was read of them.
pub(super) struct Followed {
    sources: Sources,
    eligible: Eligible,
    order: Order,
    collection: Collection,
    watch: Watch,
    /// When the files were read last.
    read: Timestamp,
    /// Whether the log says already that they cannot be read for want of descriptors or memory.
    short: bool,
}

enum Collection {
    /// Open files: none of their texts is in memory but the last that was chosen.
    Open { indexed: Indexed, last: Fortune },
    /// All texts, and how the files share them. Never empty.
    Read { texts: Texts, shares: Shares },
    /// What was chosen last, until the files can be read again.
    Last(Fortune),
}

impl Followed {
    /// All fortunes of these cookie files and directories, again and again: their text is kept in memory, or, if all have an
    /// index and the order is by chance, the files are kept open.
    pub(super) fn open(sources: Sources, mut order: Order, eligible: Eligible) -> Result<Self, Error> {
        let watch = Watch::new(watched(&sources)?)?;
        let collection = with_retries(|| Collection::open(&sources, &mut order, eligible))?;
        Ok(Self { sources, eligible, order, collection, watch, read: Timestamp::now(), short: false })
    }

    /// The directories of the files, to be asked for before anything is chosen.
    pub(super) fn directories(&self) -> Vec<Readable> {
        // What was found in a directory and has nothing to send is nothing that has to be read again.
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

    /// Reads the files again. If that fails, the fortunes remain that there were, and the log says so.
    pub(super) fn reload(&mut self) {
        match self.read_again() {
            Ok(collection) => {
                self.short = false;
                self.collection = collection;
                self.read = Timestamp::now();
                log::notice("the fortunes were read again");
            }
            Err(error) if error.is_shortage() => report_shortage(&mut self.short, &error),
            Err(error) => log::error(&format!("{error}; going on with the fortunes that were read before")),
        }
    }

    /// Reads them again, and remembers what they are now, unless that has to be tried once more.
    fn read_again(&mut self) -> Result<Collection, Error> {
        // What is there before they are read: a change from then on is another one.
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

    /// The maximum number of open descriptors, which is reached while the files are read again.
    pub(super) fn descriptors(&self) -> usize {
        if let Collection::Open { indexed, .. } = &self.collection { 2 * indexed.descriptors() } else { 0 }
    }

    /// How many there are and when they were read.
    pub(super) fn status(&self) -> String {
        let count = match &self.collection {
            Collection::Open { indexed, .. } => indexed.files().iter().map(|file| file.fortunes).sum(),
            Collection::Read { texts, .. } => texts.len(),
            Collection::Last(_) => 1,
        };
        format!("fortunes: {count}, read {}", self.read.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }

    /// How long a fortune may be, whatever the files come to hold.
    pub(super) fn longest(&self) -> usize {
        self.eligible.longest
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.order.reseed(seed);
    }

    /// The next in order.
    pub(super) fn choose(&mut self) -> Chosen<'_> {
        if self.watch.is_over(Instant::now()) {
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

    /// Takes another fortune from open files; where their indexes do not help any more, they are read.
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
            // What is being written is read when that is done. What is whole until then is the last one.
            Ok(Draw::Changed) => return,
            Ok(Draw::BadIndex(_) | Draw::NoneSoon(_)) => Collection::read(&self.sources, self.eligible),
            Err(error) => Err(error),
        };
        self.collection = match read {
            Ok(collection) => {
                self.read = Timestamp::now();
                collection
            }
            Err(error) if error.is_shortage() => return report_shortage(&mut self.short, &error),
            Err(error) => {
                log::error(&format!("{error}; going on with the last fortune until the files change"));
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

    /// The files that it is from.
    fn files(&self) -> &[CookieFile] {
        match self {
            Self::Open { indexed, .. } => indexed.files(),
            Self::Read { shares, .. } => &shares.files,
            Self::Last(_) => &[],
        }
    }
}

/// Says so once, however often it is tried until there is enough.
fn report_shortage(short: &mut bool, error: &Error) {
    if !mem::replace(short, true) {
        log::error(&format!("{error}; going on with the fortunes that were read before until there is enough"));
    }
}

/// What there is to watch of the sources: directories, files and their indexes.
fn watched(sources: &Sources) -> Result<Vec<PathBuf>, Error> {
    let files = cookie_files(sources)?.into_iter().flat_map(|file| [index_file::path_beside(&file.path), file.path]);
    Ok(sources.paths().cloned().chain(files).collect())
}
