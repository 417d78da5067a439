//! A collection of fortunes, and the choice of one.

use std::path::Path;

use super::cookie::{Cookies, Format};
use super::dialect::Dialect;
use super::draw::draw_one;
use super::error::Error;
use super::followed::Followed;
use super::memory::{BUILT_IN_NAME, Chosen, Fortune, Texts, all_built_in, built_in, built_in_len};
use super::options::Options;
use super::order::Order;
use super::reasons::Reasons;
use super::text::{Eligible, LONGEST_REPLY, Length};
use crate::file::Readable;
use crate::service::Run;

/// A collection to choose from.
pub struct Fortunes(Collection);

enum Collection {
    /// A chosen fortune, for a process that serves one client.
    One(Fortune),
    /// All built-in fortunes.
    BuiltIn(Order),
    /// Texts from the program itself. Never empty.
    Held(Texts, Order),
    /// Files that are reloaded when they change.
    Followed(Box<Followed>),
}

impl Fortunes {
    /// Opens the collection that the options select.
    ///
    /// # Errors
    ///
    /// One of [`Error`], naming the file or directory.
    pub fn open(options: &Options, dialect: Dialect, run: Run) -> Result<Self, Error> {
        let (order, eligible) = (options.order()?, options.eligible(dialect));
        match (options.sources(dialect)?, order) {
            (None, order) => Self::built_in(order, eligible),
            (Some(sources), Order::Random(mut random)) if run != Run::Daemon => {
                Ok(Self(Collection::One(draw_one(&sources, &mut random, eligible)?)))
            }
            (Some(sources), order) => {
                Ok(Self(Collection::Followed(Box::new(Followed::open(sources, order, eligible)?))))
            }
        }
    }

    /// The eligible built-in fortunes.
    fn built_in(order: Order, eligible: Eligible) -> Result<Self, Error> {
        if eligible.longest >= LONGEST_REPLY && eligible.length == Length::Any {
            return Ok(Self(Collection::BuiltIn(order))); // build.rs checked that all are eligible
        }
        let each = |take: &mut dyn FnMut(&[u8])| all_built_in().for_each(|text| take(text.as_bytes()));
        Self::eligible_of("the built-in collection", each, order, eligible)
    }

    /// The eligible fortunes of a cookie file that is part of the program.
    ///
    /// # Errors
    ///
    /// [`Error::NothingEligible`].
    pub fn held(name: &str, cookies: &[u8], order: Order, eligible: Eligible) -> Result<Self, Error> {
        // It is in memory: the only possible error is a NUL octet, which ends it.
        let each = |take: &mut dyn FnMut(&[u8])| {
            let mut cookies = Cookies::new(cookies, usize::MAX, Format::default());
            while let Ok(Some(raw)) = cookies.read_next() {
                take(raw);
            }
        };
        Self::eligible_of(name, each, order, eligible)
    }

    /// The eligible fortunes among the texts of `each`.
    fn eligible_of(
        name: &str,
        each: impl Fn(&mut dyn FnMut(&[u8])),
        order: Order,
        eligible: Eligible,
    ) -> Result<Self, Error> {
        let mut texts = Texts::default();
        each(&mut |raw| eligible.sendable(raw).iter().for_each(|text| texts.push(&text.text())));
        if texts.len() == 0 {
            let mut reasons = Reasons::new(eligible);
            each(&mut |raw| reasons.count(raw));
            return Err(Error::NothingEligible { names: name.to_owned(), reasons: Box::new(reasons) });
        }
        Ok(Self(Collection::Held(texts, order)))
    }

    /// The directories of the files that are reloaded when they change.
    #[must_use]
    pub fn directories(&self) -> Vec<Readable> {
        if let Collection::Followed(followed) = &self.0 { followed.directories() } else { Vec::new() }
    }

    /// Reloads the files. If this fails, it keeps the previous fortunes and logs the error.
    pub fn reload(&mut self) {
        if let Collection::Followed(followed) = &mut self.0 {
            followed.reload();
        }
    }

    /// The number of fortunes and when they were last read, for the status line. Of a file with an index, it counts those in the index.
    #[must_use]
    pub fn status(&self) -> String {
        let built_in = |count: usize| format!("fortunes: {count}, built in");
        match &self.0 {
            Collection::One(_) => "fortunes: 1".to_owned(),
            Collection::BuiltIn(_) => built_in(built_in_len()),
            Collection::Held(texts, _) => built_in(texts.len()),
            Collection::Followed(followed) => followed.status(),
        }
    }

    /// The maximum number of open descriptors, which is reached during a reload.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        if let Collection::Followed(followed) = &self.0 { followed.descriptors() } else { 0 }
    }

    /// The maximum length of a fortune, in octets with LF line ends.
    #[must_use]
    pub fn longest(&self) -> usize {
        match &self.0 {
            Collection::One(fortune) => fortune.text.len(),
            Collection::BuiltIn(_) => all_built_in().map(str::len).max().unwrap_or(0),
            Collection::Held(texts, _) => texts.longest(),
            Collection::Followed(followed) => followed.longest(),
        }
    }

    /// Seeds the random state anew, if the order is random.
    pub fn reseed(&mut self, seed: u64) {
        match &mut self.0 {
            Collection::One(_) => {}
            Collection::BuiltIn(order) | Collection::Held(_, order) => order.reseed(seed),
            Collection::Followed(followed) => followed.reseed(seed),
        }
    }

    /// Chooses the next fortune.
    pub fn choose(&mut self) -> Chosen<'_> {
        let text = match &mut self.0 {
            Collection::One(fortune) => return fortune.chosen(),
            Collection::Followed(followed) => return followed.choose(),
            Collection::BuiltIn(order) => built_in(order.next(built_in_len())),
            Collection::Held(texts, order) => texts.get(order.next(texts.len())),
        };
        Chosen { text, file: Path::new(BUILT_IN_NAME) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::{Sources, parse};
    use super::super::{index_file, layout};
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    use std::fs;

    /// Draws 100,000 times from four files, all but the first in a directory, and compares how often each file came with its
    /// probability.
    fn assert_shares(operands: &[&str], equal: bool, expected: [f64; 4]) {
        for indexed in [&[][..], &FILES] {
            assert_shares_with(operands, equal, indexed, expected);
        }
    }

    const FILES: [&str; 4] = ["a", "dir/b", "dir/c", "dir/d"];

    /// The same where these have an index.
    fn assert_shares_with(operands: &[&str], equal: bool, indexed: &[&str], expected: [f64; 4]) {
        const DRAWS: u32 = 100_000;
        let folder = std::env::temp_dir().join(format!(
            "small-services-shares-{}-{equal}-{}-{}",
            std::process::id(),
            indexed.len(),
            operands.len()
        ));
        fs::create_dir_all(folder.join("dir")).expect("a folder");
        for (file, fortunes) in FILES.into_iter().zip([5, 6, 1, 3]) {
            let mut texts: Vec<_> = (0..fortunes).map(|_| format!("{}\n", &file[file.len() - 1..])).collect();
            if fortunes == 5 {
                // These cannot be sent, and must not change anything.
                texts.extend((0..1000).map(|_| "\u{7}\n".to_owned()));
            }
            fs::write(folder.join(file), texts.join("%\n")).expect("a file");
            if indexed.contains(&file) {
                // Texts and delimiter lines have two octets each.
                let mut index = layout::header(u32::try_from(texts.len()).expect("few"), 2, 2, 0, b'%');
                (0..=texts.len()).for_each(|text| {
                    let offset = (4 * text).min(4 * texts.len() - 2);
                    index.extend(u32::try_from(offset).expect("few").to_be_bytes());
                });
                fs::write(index_file::path_beside(&folder.join(file)), index).expect("an index");
            }
        }
        let operands: Vec<_> =
            operands.iter().map(|it| it.replace("F/", &format!("{}/", folder.display())).into()).collect();
        let list = parse(&operands).expect("shares that hold");
        let sources = || Sources { list: list.clone(), equal, indexed_only: false };
        let mut random = SmallRng::seed_from_u64(865);
        let mut all = Followed::open(sources(), Order::Random(random.clone()), Eligible::RFC_865).expect("fortunes");
        for streaming in [false, true] {
            // Reading the files anew for each draw is slow, and needs fewer for the same certainty.
            let draws = if streaming { DRAWS / 20 } else { DRAWS };
            let mut counts = [0_u32; 4];
            for _ in 0..draws {
                let chosen = if streaming {
                    let mut random = SmallRng::seed_from_u64(random.random());
                    draw_one(&sources(), &mut random, Eligible::RFC_865).expect("a fortune").text
                } else {
                    all.choose().text.to_owned()
                };
                counts[usize::from(chosen.as_bytes()[0] - b'a')] += 1;
            }
            let chi_squared: f64 = counts
                .iter()
                .zip(expected)
                .filter(|(_, share)| *share > 0.0)
                .map(|(&n, share)| (f64::from(n) - share * f64::from(draws)).powi(2) / (share * f64::from(draws)))
                .sum();
            // 16.3: the 99.9th percentile at 3 degrees of freedom. The seeds are fixed.
            assert!(chi_squared < 16.3, "{chi_squared} for {counts:?} of {operands:?}");
            assert!(counts.iter().zip(expected).all(|(&n, share)| (n == 0) == (share == 0.0)), "{counts:?}");
        }
        fs::remove_dir_all(folder).expect("it is there");
    }

    #[test]
    fn files_are_chosen_by_their_shares() {
        assert_shares(&["F/a", "F/dir"], false, [5.0 / 15.0, 6.0 / 15.0, 1.0 / 15.0, 3.0 / 15.0]);
        assert_shares(&["F/a", "F/dir"], true, [0.5, 0.5 / 3.0, 0.5 / 3.0, 0.5 / 3.0]);
        assert_shares(&["20%", "F/a", "F/dir"], false, [0.2, 0.48, 0.08, 0.24]);
        assert_shares(&["0%", "F/a", "100%", "F/dir"], false, [0.0, 0.6, 0.1, 0.3]);
        assert_shares(&["90%", "F/dir/c", "F/a", "F/dir/d", "0%F/dir/b"], false, [0.0625, 0.0, 0.9, 0.0375]);
    }

    #[test]
    fn files_without_an_index_have_their_shares_beside_those_with_one() {
        let expected = [5.0 / 15.0, 6.0 / 15.0, 1.0 / 15.0, 3.0 / 15.0];
        assert_shares_with(&["F/a", "F/dir"], false, &["dir/b", "dir/c", "dir/d"], expected);
        assert_shares_with(&["20%", "F/a", "F/dir"], false, &["dir/d"], [0.2, 0.48, 0.08, 0.24]);
    }
}
