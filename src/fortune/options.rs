//! The options that say which fortunes to choose from, and how: those of fortune(6), and more.

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
    /// Under the name `fortune`, instead of the host's.
    ///
    /// `all` are those of the host, where a name is looked for first; `all-o`, `NAME-o` are offensive ones.
    ///
    /// Those in the reader's language come first (`LC_ALL`, `LC_MESSAGES`, `LANGUAGE`, `LANG`).
    ///
    /// N% is the share of what follows; the others share the rest by their number of fortunes.
    #[arg(value_name = "[N%] FILE|DIR|all")]
    sources: Vec<OsString>,

    /// Give all files the same share, however many fortunes they hold
    #[arg(short, long, conflicts_with_all = ["daily", "shuffle"])]
    equal: bool,

    /// The host's fortunes, the offensive ones too
    #[arg(short, long)]
    all: bool,

    /// The host's offensive fortunes only; has no effect on FILE or DIR
    #[arg(short, long, overrides_with = "all")]
    offensive: bool,

    /// Short fortunes only
    #[arg(short, long, overrides_with = "long")]
    short: bool,

    /// Long fortunes only
    #[arg(short, long, overrides_with = "short")]
    long: bool,

    /// The longest fortune that is a short one, in characters
    #[arg(short = 'n', value_name = "LENGTH", default_value_t = SHORT)]
    length: usize,

    /// Where the host's fortunes are [default: `FORTUNE_PATH`, or where distributions have them]
    #[arg(long, value_name = "DIR|FILE[:...]")]
    fortune_path: Option<OsString>,

    /// The longest reply, in octets as sent; 0 for no limit (but a datagram's own) [default: 511]
    ///
    /// Under the name `fortune`, the default is 1 MiB.
    #[arg(long, value_name = "OCTETS")]
    max_length: Option<usize>,

    /// Which characters may be in a fortune [default: utf-8]
    ///
    /// Under the name `fortune`, the default is the locale's.
    #[arg(long, value_enum)]
    charset: Option<Charset>,

    /// The same as --charset utf-8, whatever the locale
    #[arg(short, conflicts_with = "charset")]
    untranslated: bool,

    /// The same fortune all day, on every host with the same collection; none again before all were shown
    #[arg(long, conflicts_with_all = ["shuffle", "seed"])]
    daily: bool,

    /// With one process for all clients: none again before all were sent
    #[arg(long)]
    shuffle: bool,

    /// With --daily: the time zone in which a day begins
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "daily")]
    zone: Zone,

    /// With --daily: another order for another key
    #[arg(long, value_name = "TEXT", default_value = "", requires = "daily")]
    key: String,

    /// The same choices each time that the program is started with this number
    ///
    /// That holds for the same version and options, files and indexes, and way of serving.
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
    /// All of Unicode, in UTF-8
    #[value(name = "utf-8")]
    Utf8,
    /// Printing ASCII only, as RFC 865 recommends
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
    /// Where to read from; `None` for the built-in collection.
    ///
    /// # Errors
    ///
    /// [`Error::Sources`], and [`Error::NoneInstalled`] where the host's collections are wanted and there is none.
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

    /// Which texts to choose from.
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

    /// In which order.
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
