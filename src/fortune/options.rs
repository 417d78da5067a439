//! The options that select fortunes, and their order: those of fortune(6), and more.

use std::ffi::OsString;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::dialect::Dialect;
use super::error::Error;
use super::locale;
use super::order::{Key, Order};
use super::search::{Kind, SearchPath};
use super::sources::{self, Sources};
use super::text::{Eligible, LONGEST_REPLY, LONGEST_TEXT, Length};
use crate::random;
use crate::zone;

/// fortune(6)'s limit between short and long fortunes, in characters.
const SHORT: usize = 160;

/// Which fortunes to choose from, and how.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is an option of fortune(6)
pub struct Options {
    /// Cookie files of fortune(6), or directories of them, instead of the built-in fortunes
    ///
    /// Under the name `fortune`, the default is the host's collections.
    ///
    /// `all` stands for the host's collections. Relative paths are first looked up among these.
    ///
    /// `all-o` and `NAME-o` stand for offensive collections.
    ///
    /// Collections in the reader's language are preferred (`LC_ALL`, `LC_MESSAGES`, `LANGUAGE`, `LANG`).
    ///
    /// N% is the share of the FILE or DIR after it. Others share the rest by their number of fortunes.
    #[arg(value_name = "[N%] FILE|DIR|all")]
    sources: Vec<OsString>,

    /// Give all files the same share, regardless of their number of fortunes
    #[arg(short, long, conflicts_with_all = ["daily", "shuffle"])]
    equal: bool,

    /// Use the host's fortunes, including the offensive ones
    #[arg(short, long)]
    all: bool,

    /// Use only the host's offensive fortunes; has no effect on FILE and DIR
    #[arg(short, long, overrides_with = "all")]
    offensive: bool,

    /// Use only short fortunes
    #[arg(short, long, overrides_with = "long")]
    short: bool,

    /// Use only long fortunes
    #[arg(short, long, overrides_with = "short")]
    long: bool,

    /// Maximum length of a short fortune, in characters
    #[arg(short = 'n', value_name = "LENGTH", default_value_t = SHORT)]
    length: usize,

    /// Search path of the host's fortunes [default: `FORTUNE_PATH`, or the distributions' directories]
    #[arg(long, value_name = "DIR|FILE[:...]")]
    fortune_path: Option<OsString>,

    /// Maximum length of a reply in octets as sent; 0 is no limit except that of a datagram [default: 511]
    ///
    /// Under the name `fortune`, the default is 1 MiB.
    #[arg(long, value_name = "OCTETS")]
    max_length: Option<usize>,

    /// Characters that a fortune may contain [default: utf-8]
    ///
    /// Under the name `fortune`, the default is the locale's character set.
    #[arg(long, value_enum)]
    charset: Option<Charset>,

    /// Same as --charset utf-8, regardless of the locale
    #[arg(short, conflicts_with = "charset")]
    untranslated: bool,

    /// One fortune per day, the same on all hosts with this collection; none repeats until all were sent
    #[arg(long, conflicts_with_all = ["shuffle", "seed"])]
    daily: bool,

    /// Send the fortunes of a daemon in random order; none repeats until all were sent
    #[arg(long)]
    shuffle: bool,

    /// Time zone in which a day begins, for --daily
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "daily")]
    zone: Zone,

    /// Key that determines the order, for --daily
    #[arg(long, value_name = "TEXT", default_value = "", requires = "daily")]
    key: String,

    /// Seed of the random choice: the same NUMBER gives the same fortunes after a restart
    ///
    /// This requires the same version, options, files, indexes and way to serve.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            equal: false,
            all: false,
            offensive: false,
            short: false,
            long: false,
            length: SHORT,
            fortune_path: None,
            max_length: None,
            charset: None,
            untranslated: false,
            daily: false,
            shuffle: false,
            zone: Zone::default(),
            key: String::new(),
            seed: None,
        }
    }
}

/// A character set.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    /// All of Unicode, encoded in UTF-8
    #[value(name = "utf-8")]
    Utf8,
    /// Only printable ASCII, as RFC 865 recommends
    Ascii,
}

/// A time zone by its name.
#[derive(Clone, Debug)]
struct Zone(String);

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl From<&str> for Zone {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl Options {
    /// The sources to choose from; `None` for the built-in collection.
    ///
    /// # Errors
    ///
    /// [`Error::Sources`], and [`Error::NoneInstalled`] if the host has no collections and they are asked for.
    pub fn sources(&self, dialect: Dialect) -> Result<Option<Sources>, Error> {
        let kind = match (self.all, self.offensive) {
            (_, true) => Kind::Offensive,
            (true, false) => Kind::Both,
            (false, false) => Kind::Decent,
        };
        let mut operands = self.sources.clone();
        let standard = dialect == Dialect::Fortune || kind != Kind::Decent || self.fortune_path.is_some();
        if operands.is_empty() && standard {
            operands.push("all".into());
        }
        if operands.is_empty() {
            return Ok(None);
        }
        let list = sources::parse(&operands)?;
        if (self.daily || self.shuffle) && list.iter().any(|source| source.percent.is_some()) {
            return Err(sources::Error::NotByChance.into());
        }
        let path = SearchPath::new(self.fortune_path.as_deref());
        let list = path.resolve(list, kind).ok_or_else(|| Error::NoneInstalled { directories: path.display() })?;
        Ok(Some(Sources { list, equal: self.equal, indexed_only: dialect == Dialect::Fortune }))
    }

    /// The texts to choose from.
    #[must_use]
    pub fn eligible(&self, dialect: Dialect) -> Eligible {
        let longest = match (self.max_length, dialect) {
            (None, Dialect::Service) => LONGEST_REPLY,
            (None | Some(0), _) => LONGEST_TEXT,
            (Some(longest), _) => longest.min(LONGEST_TEXT),
        };
        let ascii = match self.charset {
            Some(charset) => charset == Charset::Ascii,
            None => dialect == Dialect::Fortune && !self.untranslated && !locale::is_utf_8(),
        };
        let length = match (self.short, self.long) {
            (true, _) => Length::Short(self.length),
            (false, true) => Length::Long(self.length),
            (false, false) => Length::Any,
        };
        Eligible { longest, ascii, length }
    }

    /// The order of the fortunes.
    pub(super) fn order(&self) -> Result<Order, Error> {
        if self.daily {
            return Ok(Order::Daily(zone::named("--zone", &self.zone.0)?, Key::from(self.key.as_str())));
        }
        let mut random = match self.seed {
            Some(seed) => SmallRng::seed_from_u64(seed),
            None => random::seeded().map_err(Error::Seed)?,
        };
        Ok(if self.shuffle {
            Order::Shuffled(Key::from(random.random::<u64>().to_string().as_str()), 0)
        } else {
            Order::Random(random)
        })
    }
}
