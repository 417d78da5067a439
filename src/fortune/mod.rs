//! The fortune collection: the built-in one, or cookie files; and the choice of one fortune from it.

pub mod cookie;
pub mod index;
mod indexed;
pub(crate) mod layout;
pub(crate) mod locale;
mod options;
mod order;
mod pattern;
mod query;
mod read;
mod reasons;
pub(crate) mod search;
mod shares;
mod sources;
pub mod text;
mod watch;

pub(crate) use index::READ_BY_INDEX;
pub use options::{Manner, Options};
pub use order::{Key, Order};
pub use pattern::{Error as PatternError, Pattern, compile as compile_pattern};
pub use query::{list, matching, printable};
pub use reasons::Reasons;
pub use search::DIRECTORIES;
pub use sources::{Error as SourcesError, Source, parse as parse_sources};

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::file::{self, Readable};
use crate::log;
use crate::zone;
use indexed::{Draw, Indexed};
use read::{Choice, companion_of, cookie_files, patiently, read};
use shares::Shares;
use sources::Leaf;
use text::{Eligible, LONGEST_REPLY, Length};
use watch::Watch;

/// What the built-in collection is called.
const BUILT_IN_NAME: &str = "built-in";

/// The built-in fortunes, one after the other, as `build.rs` joined them.
static BUILT_IN: &str = include_str!(concat!(env!("OUT_DIR"), "/collection.txt"));
/// Where each of them ends, in octets.
static ENDS: &[u32] = include!(concat!(env!("OUT_DIR"), "/ends.rs"));

/// Why no fortune could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be opened or read.
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is no cookie file: binary, or a device, a FIFO or a socket.
    #[error("{} is not a cookie file: {reason}; name a text file with `%` lines between its fortunes", .path.display())]
    NotACookieFile {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The directories are empty.
    #[error(
        "there is no cookie file in {names}; install a collection there (Debian's package is `fortunes`), or name others"
    )]
    NoCookieFile {
        /// The directories.
        names: String,
    },
    /// Everything could be read, and there was nothing to send.
    #[error("no fortune to send in {names}: {reasons}; add others, or lift the limit that keeps these out")]
    NothingEligible {
        /// The files and directories.
        names: String,
        /// What the texts were left out for.
        reasons: Box<Reasons>,
    },
    /// The kernel gave no random octets.
    #[error("cannot draw a random seed: {0}; the kernel has to answer getrandom(2)")]
    Seed(io::Error),
    /// The percentages.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// There is no standard collection.
    #[error("no fortunes in {directories}; install a collection there, or name a file or directory")]
    NoneInstalled {
        /// Where they were looked for.
        directories: String,
    },
    /// The pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Asked of a service.
    #[error("-f, -m, -c and -w are for a terminal, not for a client; leave them out")]
    OnlyPrinted,
    /// Its writer has not finished.
    #[error("{} was changed while it was read; try again when it is complete", .0.display())]
    Changed(PathBuf),
    /// A listing could not be printed.
    #[error("cannot print: {0}; check what descriptors 1 and 2 are")]
    Print(io::Error),
    /// `--zone` names no time zone.
    #[error(transparent)]
    Zone(#[from] zone::Error),
}

impl Error {
    /// Whether the files are not to blame, but that the process has no descriptor or no memory left.
    fn is_shortage(&self) -> bool {
        matches!(self, Self::Read { source, .. } if file::is_shortage(source))
    }
}

/// A collection to choose from.
pub struct Fortunes {
    order: Order,
    collection: Collection,
    /// The files to read again when they change.
    files: Option<Files>,
}

/// Files that may change while fortunes are chosen from them.
struct Files {
    sources: Sources,
    eligible: Eligible,
    watch: Watch,
    /// Whether the log says already that they cannot be read for want of descriptors or memory.
    short: bool,
}

/// Where to read from, and how the choice is shared.
#[derive(Debug)]
pub struct Sources {
    /// The files and directories.
    pub list: Vec<Source>,
    /// Whether every file has the same share, however many fortunes it holds.
    pub equal: bool,
    /// Whether a directory's files without an index are left alone, as fortune(6) does it.
    pub indexed_only: bool,
}

/// A fortune, and what fortune(6) calls the file that it is from.
pub struct Chosen<'a> {
    /// With LF line ends.
    pub text: Cow<'a, str>,
    /// A file of a directory by its name, another by its path.
    pub file: Cow<'a, Path>,
}

impl Fortunes {
    /// Those that are built in, as far as they are eligible.
    ///
    /// # Errors
    ///
    /// [`Error::NothingEligible`].
    pub fn built_in(order: Order, eligible: Eligible) -> Result<Self, Error> {
        let all = Collection::BuiltIn;
        if eligible.longest >= LONGEST_REPLY && eligible.length == Length::Any {
            return Ok(Self { order, collection: all, files: None }); // which is what build.rs saw to
        }
        let mut some = Texts::default();
        (0..all.len())
            .filter_map(|index| eligible.sendable(all.fortune(index).as_bytes()))
            .for_each(|it| some.push(&it.text()));
        if some.ends.is_empty() {
            let mut reasons = Reasons::new(eligible);
            (0..all.len()).for_each(|index| reasons.count(all.fortune(index).as_bytes()));
            let names = "the built-in collection".to_owned();
            return Err(Error::NothingEligible { names, reasons: Box::new(reasons) });
        }
        Ok(Self { order, collection: Collection::Read(some, None), files: None })
    }

    /// All fortunes of a cookie file that the program itself holds.
    ///
    /// # Errors
    ///
    /// [`Error::NothingEligible`].
    pub fn held(name: &str, cookies: &[u8], order: Order, eligible: Eligible) -> Result<Self, Error> {
        // It is in memory: nothing fails but a file with NUL octets, which ends there.
        let each = |longest, take: &mut dyn FnMut(&[u8])| {
            let mut cookies = cookie::Cookies::new(cookies, longest, cookie::Format::default());
            while let Ok(Some(raw)) = cookies.read_next() {
                take(raw);
            }
        };
        let mut texts = Texts::default();
        each(eligible.longest_raw(), &mut |raw| {
            eligible.sendable(raw).iter().for_each(|text| texts.push(&text.text()));
        });
        if texts.ends.is_empty() {
            let mut reasons = Reasons::new(eligible);
            each(usize::MAX, &mut |raw| reasons.count(raw));
            return Err(Error::NothingEligible { names: name.to_owned(), reasons: Box::new(reasons) });
        }
        Ok(Self { order, collection: Collection::Read(texts, None), files: None })
    }

    /// One fortune by chance from these cookie files and directories. The choice is made while they are read, so that no more
    /// than one of each file has to be kept.
    ///
    /// # Errors
    ///
    /// One of [`Error`], naming the file or directory.
    pub fn one_of(sources: &Sources, mut random: SmallRng, eligible: Eligible) -> Result<Self, Error> {
        let mut wanted = None;
        if let Some(mut indexed) = Indexed::open(sources, &mut random, eligible, false)? {
            match indexed.choose(sources, &mut random, eligible)? {
                Draw::Fortune(fortune, leaf) => return Ok(Self::just(&fortune, leaf, random)),
                Draw::NoneSoon(group) => wanted = Some(group),
                Draw::Misfit(_) | Draw::Changed => {}
            }
        }
        let (choices, leaves) = patiently(|| {
            let mut choices: Vec<Choice> = Vec::new();
            let leaves = read(sources, eligible, |number, _, fortune| {
                choices.resize_with(choices.len().max(number + 1), Choice::default);
                choices[number].offer(&fortune, &mut random);
            })?;
            Ok((choices, leaves))
        })?;
        let shares = Shares::new(sources, leaves, eligible)?;
        // The group that was chosen already, if it has anything after all.
        let chosen = match wanted.filter(|&group| shares.offer(group)) {
            Some(group) => shares.choose_of(group, &mut random),
            None => shares.choose(&mut random),
        };
        Ok(Self::just(&choices[chosen].chosen, shares.leaves[chosen].clone(), random))
    }

    fn just(fortune: &str, leaf: Leaf, random: SmallRng) -> Self {
        Self { order: Order::Random(random), collection: Collection::just(fortune, leaf), files: None }
    }

    /// All fortunes of these cookie files and directories, again and again: their text is kept in memory, or, if all have an
    /// index and the order is by chance, the files are kept open. They are read again when they change.
    ///
    /// # Errors
    ///
    /// One of [`Error`], naming the file or directory.
    pub fn all_of(sources: Sources, mut order: Order, eligible: Eligible) -> Result<Self, Error> {
        let watch = Watch::new(watched(&sources)?)?;
        let collection = patiently(|| Collection::open(&sources, &mut order, eligible))?;
        Ok(Self { order, collection, files: Some(Files { sources, eligible, watch, short: false }) })
    }

    /// The directories of the files that are read again when they change.
    #[must_use]
    pub fn directories(&self) -> Vec<Readable> {
        let Some(files) = &self.files else { return Vec::new() };
        // What was found in a directory and has nothing to send is nothing that has to be read again.
        let is_read = |leaf: &&Leaf| leaf.fortunes > 0 || leaf.directory.is_none();
        let read = self.collection.leaves().iter().filter(is_read);
        let mut directories = file::directories_of(read.map(|leaf| leaf.path.as_path()));
        for path in files.sources.list.iter().flat_map(|source| &source.paths) {
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
    pub fn reload(&mut self) {
        let Some(files) = &mut self.files else { return };
        match files.read_again(&mut self.order) {
            Ok(collection) => {
                files.short = false;
                self.collection = collection;
                log::notice("the fortunes were read again");
            }
            Err(error) if error.is_shortage() => files.report_shortage(&error),
            Err(error) => log::error(&format!("{error}; going on with the fortunes that were read before")),
        }
    }

    /// How many descriptors it keeps open, at most while it reads its files again.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        if let Collection::Indexed { indexed, .. } = &self.collection { 2 * indexed.descriptors() } else { 0 }
    }

    /// How long a fortune may be, in octets with LF line ends.
    #[must_use]
    pub fn longest(&self) -> usize {
        match &self.files {
            Some(files) => files.eligible.longest,
            None => (0..self.collection.len()).map(|index| self.collection.fortune(index).len()).max().unwrap_or(0),
        }
    }

    /// The next in order.
    pub fn choose(&mut self) -> Chosen<'_> {
        if self.files.as_mut().is_some_and(|files| files.watch.is_over(Instant::now())) {
            self.reload();
        }
        if let Some(chosen) = self.choose_by_index() {
            return chosen;
        }
        let index = match (&mut self.order, &self.collection) {
            (Order::Random(random), Collection::Read(_, Some(shares))) => {
                let file = shares.choose(random);
                random.random_range(shares.fortunes(file))
            }
            (order, collection) => order.next(collection.len()),
        };
        let file = match &self.collection {
            Collection::Read(_, Some(shares)) => shares.leaf(index).name(),
            _ => Path::new(BUILT_IN_NAME),
        };
        Chosen { text: self.collection.fortune(index).into(), file: file.into() }
    }

    /// From open files; `None` if the collection is in memory, perhaps from now on.
    fn choose_by_index(&mut self) -> Option<Chosen<'static>> {
        let (Order::Random(random), Collection::Indexed { indexed, last }, Some(files)) =
            (&mut self.order, &mut self.collection, &mut self.files)
        else {
            return None;
        };
        let read = match indexed.choose(&files.sources, random, files.eligible) {
            Ok(Draw::Fortune(text, leaf)) => {
                *last = (text, leaf);
                return Some(last_chosen(last));
            }
            // What is being written is read when that is done. What is whole until then is the last one.
            Ok(Draw::Changed) => return Some(last_chosen(last)),
            Ok(Draw::Misfit(_) | Draw::NoneSoon(_)) => Collection::read(&files.sources, files.eligible),
            Err(error) => Err(error),
        };
        if let Some(error) = read.as_ref().err().filter(|error| error.is_shortage()) {
            files.report_shortage(error);
            return Some(last_chosen(last));
        }
        self.collection = read.unwrap_or_else(|error| {
            log::error(&format!("{error}; going on with the last fortune until the files change"));
            Collection::just(&last.0, last.1.clone())
        });
        None
    }
}

impl Files {
    /// Says so once, however often it is tried until there is enough.
    fn report_shortage(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.short, true) {
            log::error(&format!("{error}; going on with the fortunes that were read before until there is enough"));
        }
    }

    /// Reads them again, and remembers what they are now, unless that has to be tried once more.
    fn read_again(&mut self, order: &mut Order) -> Result<Collection, Error> {
        // What is there before they are read: a change from then on is another one.
        match watched(&self.sources).and_then(Watch::new) {
            Ok(watch) => {
                let read = Collection::open(&self.sources, order, self.eligible);
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
}

fn last_chosen((text, leaf): &(String, Leaf)) -> Chosen<'static> {
    Chosen { text: text.clone().into(), file: leaf.name().to_owned().into() }
}

/// What there is to watch of the sources: directories, files and their indexes.
fn watched(sources: &Sources) -> Result<Vec<PathBuf>, Error> {
    let leaves = cookie_files(sources)?.into_iter().flat_map(|leaf| [index::path_beside(&leaf.path), leaf.path]);
    Ok(sources.list.iter().flat_map(|source| source.paths.clone()).chain(leaves).collect())
}

/// Texts to choose from. Never empty.
enum Collection {
    BuiltIn,
    /// Open files: none of their texts is in memory but the last that was chosen.
    Indexed {
        indexed: Indexed,
        last: (String, Leaf),
    },
    /// How the files share the choice; without it, each fortune has the same probability.
    Read(Texts, Option<Shares>),
}

/// Texts one after the other, and where each of them ends, in octets.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }
}

impl Collection {
    fn open(sources: &Sources, order: &mut Order, eligible: Eligible) -> Result<Self, Error> {
        if let Order::Random(random) = order {
            if let Some(mut indexed) = Indexed::open(sources, random, eligible, true)? {
                if let Draw::Fortune(text, leaf) = indexed.choose(sources, random, eligible)? {
                    return Ok(Self::Indexed { indexed, last: (text, leaf) });
                }
            }
        }
        Self::read(sources, eligible)
    }

    fn just(fortune: &str, leaf: Leaf) -> Self {
        let mut one = Texts::default();
        one.push(fortune);
        Self::Read(one, Some(Shares { leaves: vec![leaf], cumulative: vec![1.0], ends: vec![1] }))
    }

    fn read(sources: &Sources, eligible: Eligible) -> Result<Self, Error> {
        let mut all = Texts::default();
        let leaves = read(sources, eligible, |_, _, fortune| all.push(&fortune.text()))?;
        Ok(Self::Read(all, Some(Shares::new(sources, leaves, eligible)?)))
    }

    /// The files that it was read from.
    fn leaves(&self) -> &[Leaf] {
        match self {
            Self::Indexed { indexed, .. } => indexed.leaves(),
            Self::Read(_, Some(shares)) => &shares.leaves,
            Self::BuiltIn | Self::Read(_, None) => &[],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::BuiltIn => ENDS.len(),
            Self::Indexed { .. } => 0,
            Self::Read(texts, _) => texts.ends.len(),
        }
    }

    fn end(&self, index: usize) -> usize {
        match self {
            Self::BuiltIn => ENDS[index] as usize,
            Self::Indexed { .. } => 0,
            Self::Read(texts, _) => texts.ends[index],
        }
    }

    fn fortune(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.end(index - 1) };
        let text = match self {
            Self::BuiltIn => BUILT_IN,
            Self::Indexed { .. } => "",
            Self::Read(texts, _) => &texts.text,
        };
        &text[start..self.end(index)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::HashSet;

    #[test]
    fn the_built_in_collection_is_large_distinct_and_sendable() {
        let all: Vec<_> = (0..ENDS.len()).map(|index| Collection::BuiltIn.fortune(index).to_owned()).collect();
        assert!(all.len() >= 300, "only {} fortunes", all.len());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "a fortune stands in data/ twice");
        for fortune in all {
            let sendable = Eligible::RFC_865.sendable(fortune.as_bytes()).expect("build.rs saw to that");
            assert!(sendable.text() == fortune && fortune.is_ascii());
        }
    }

    #[test]
    fn every_fortune_is_chosen_about_equally_often() {
        const DRAWS: u32 = 100_000;
        for size in [2_u32, 3, 10] {
            let mut counts = vec![0_u32; size as usize];
            for seed in 0..DRAWS.into() {
                let mut random = SmallRng::seed_from_u64(seed);
                let mut choice = Choice::default();
                for index in 0..size {
                    let text = format!("{index}\n");
                    choice.offer(&Eligible::RFC_865.sendable(text.as_bytes()).expect("a digit"), &mut random);
                }
                counts[choice.chosen.trim_end().parse::<usize>().expect("a number")] += 1;
            }
            let expected = f64::from(DRAWS) / f64::from(size);
            let chi_squared: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            // 27.9: the 99.9th percentile at 9 degrees of freedom, generous for fewer. The seeds are fixed.
            assert!(chi_squared < 27.9, "{chi_squared} for {counts:?}");
        }
    }
}
