//! Quote of the Day, [RFC 865](https://www.rfc-editor.org/rfc/rfc865).

use std::ffi::OsString;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Error;
use crate::fortune::text::{Eligible, LONGEST_REPLY, LONGEST_TEXT};
use crate::fortune::{self, Fortunes, Key, Order, Sources};
use crate::random;
use crate::sandbox::policy;
use crate::service::{LineEnd, Replies, Reply, Service, Work};
use crate::zone;

/// Sends one fortune of fewer than 512 octets and closes; what the client sends is thrown away.
#[derive(Debug)]
pub enum Qotd {}

/// What `qotd` takes besides the options of all services.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Cookie files of fortune(6), or directories of them, instead of the built-in fortunes
    ///
    /// A percentage is the share of what follows; the others share the rest by their number of fortunes.
    #[arg(value_name = "[N%] FILE|DIR")]
    sources: Vec<OsString>,

    /// Give all files the same share, however many fortunes they hold
    #[arg(short, long, conflicts_with_all = ["daily", "shuffle"])]
    equal: bool,

    /// The longest reply, in octets as sent; 0 for no limit (over UDP, what fits into a datagram)
    #[arg(long, value_name = "OCTETS", default_value_t = LONGEST_REPLY)]
    max_length: usize,

    /// Which characters may be in a fortune
    #[arg(long, value_enum, default_value_t = Charset::Utf8)]
    charset: Charset,

    /// The same fortune all day, on every host with the same collection; none again before all were shown
    #[arg(long, conflicts_with = "shuffle")]
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
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            equal: false,
            max_length: LONGEST_REPLY,
            charset: Charset::Utf8,
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

impl Service for Qotd {
    type Options = Options;
    const NAME: &'static str = "qotd";
    const ABOUT: &'static str = "Quote of the Day (RFC 865): sends one fortune, then closes";
    const IDLE_TIMEOUT: u16 = 3;
    const POLICY: policy::Service = policy::Service::Qotd;

    fn prepare(options: &Options, replies: Replies) -> Result<Work, Error> {
        let longest = if options.max_length == 0 { LONGEST_TEXT } else { options.max_length.min(LONGEST_TEXT) };
        let eligible = Eligible { longest, ascii: options.charset == Charset::Ascii };
        let list = fortune::parse_sources(&options.sources).map_err(fortune::Error::from)?;
        if (options.daily || options.shuffle) && list.iter().any(|source| source.percent.is_some()) {
            return Err(fortune::Error::from(fortune::SourcesError::NotByChance).into());
        }
        let sources = Sources { list, equal: options.equal };
        let fortunes = match (options.order()?, replies) {
            (order, _) if sources.list.is_empty() => Fortunes::built_in(order, eligible)?,
            (Order::Random(random), Replies::One) => Fortunes::one_of(&sources, random, eligible)?,
            (order, _) => Fortunes::all_of(&sources, order, eligible)?,
        };
        Ok(Work::Reply(Box::new(fortunes)))
    }
}

impl Options {
    fn order(&self) -> Result<Order, fortune::Error> {
        if self.daily {
            return Ok(Order::Daily(zone::named("--zone", &self.zone.0)?, Key::from(self.key.as_str())));
        }
        let mut random = match self.seed {
            Some(seed) => SmallRng::seed_from_u64(seed),
            None => random::seeded().map_err(fortune::Error::Seed)?,
        };
        Ok(if self.shuffle {
            Order::Shuffled(Key::from(random.random::<u64>().to_string().as_str()), 0)
        } else {
            Order::Random(random)
        })
    }
}

impl Reply for Fortunes {
    fn compose(&mut self, line_end: LineEnd, octets: &mut Vec<u8>) {
        line_end.append(self.choose(), octets);
    }

    fn longest(&self) -> usize {
        // Every octet may be a line end, which takes two.
        2 * Fortunes::longest(self)
    }
}
