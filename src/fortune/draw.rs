//! Draws a random fortune: a file by its share, then one of its texts by its index, without reading the others. Without an index,
//! all texts are read.

use std::io::ErrorKind;
use std::path::Path;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::error::Error;
use super::files::{CookieFile, Group, cookie_files};
use super::index::Index;
use super::index_file::IndexFile;
use super::memory::Fortune;
use super::read::{Opened, open, read, read_file, scan, share, with_retries};
use super::shares::Shares;
use super::sources::Sources;
use super::text::{Eligible, Sendable};
use crate::file::Version;
use crate::log;

/// How many fortunes are tried by index until one is eligible, before all are read.
const ATTEMPTS: usize = 100;
/// The maximum number of files that are kept open with their indexes: below the usual limit of descriptors.
const MAX_OPEN: usize = 256;
/// The minimum size of all files, in bytes, to recommend an index on the log.
const LARGE: u64 = 64 << 20;

/// Draws a fortune from cookie files and directories, by index if possible. Otherwise it is chosen while all are read, so that
/// only one fortune per file is kept in memory.
pub(super) fn draw_one(sources: &Sources, random: &mut SmallRng, eligible: Eligible) -> Result<Fortune, Error> {
    let mut wanted = None;
    if let Some(mut indexed) = Indexed::open(sources, random, eligible, false)? {
        match indexed.choose(sources, random, eligible)? {
            Draw::Fortune(fortune) => return Ok(fortune),
            Draw::NoneEligible(group) => wanted = Some(group),
            Draw::BadIndex(_) | Draw::Changed => {}
        }
    }
    let (mut chosen, files) = with_retries(|| {
        let mut chosen: Vec<Reservoir> = Vec::new();
        let files = read(sources, eligible, |number, _, fortune| {
            chosen.resize_with(chosen.len().max(number + 1), Reservoir::default);
            chosen[number].offer(&fortune, random);
        })?;
        Ok((chosen, files))
    })?;
    let shares = share(sources, files, eligible)?;
    // Use the group that was already chosen, if it has a share.
    let number = match wanted.filter(|&group| shares.offer(group)) {
        Some(group) => shares.choose_of(group, random),
        None => shares.choose(random),
    };
    Ok(Fortune { text: chosen.swap_remove(number).chosen, file: shares.files[number].name().to_owned() })
}

/// Cookie files whose fortunes can be read one by one.
pub(super) struct Indexed {
    /// The state of each file.
    states: Vec<State>,
    shares: Shares,
    /// Whether the files stay open.
    keep: bool,
}

/// The state of a file.
enum State {
    /// The file and its index are opened for each text.
    Closed,
    /// The file and its index are open.
    Open(Opened<Index>),
    /// The file has no valid index and was read: the number of its texts and of the eligible ones, and one of these.
    Read { texts: usize, eligible: usize, chosen: String },
}

/// The result of a draw.
pub(super) enum Draw {
    /// A fortune.
    Fortune(Fortune),
    /// None of the texts of this group that were tried is eligible.
    NoneEligible(Group),
    /// The index of the file with this number is wrong.
    BadIndex(usize),
    /// A file has changed.
    Changed,
}

/// Chooses one of a sequence of fortunes (reservoir sampling): the n-th replaces the one chosen so far with probability 1/n.
#[derive(Default)]
struct Reservoir {
    offered: usize,
    chosen: String,
}

impl Reservoir {
    fn offer(&mut self, fortune: &Sendable<'_>, random: &mut SmallRng) {
        self.offered += 1;
        if random.random_range(0..self.offered) == 0 {
            self.chosen = fortune.text().into_owned();
        }
    }
}

/// A file without a valid index.
struct Unindexed {
    /// Its number among the files that can be opened.
    number: usize,
    /// Its length in bytes.
    length: u64,
    index: IndexFile,
}

impl Indexed {
    /// Opens the files, and keeps them open with `keep`; `None` if no file has a valid index. Files without a valid index are
    /// read as a whole.
    pub(super) fn open(
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
        keep: bool,
    ) -> Result<Option<Self>, Error> {
        let (mut files, mut states, mut unusable, mut without) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let found = cookie_files(sources)?;
        if keep && found.len() > MAX_OPEN {
            return Ok(None);
        }
        for mut cookie_file in found {
            let Opened { file, version, index } = match open(&cookie_file.path) {
                Ok(opened) => opened,
                Err(error) if error.is_shortage() => return Err(error),
                Err(error) => {
                    unusable.push((cookie_file, error));
                    continue;
                }
            };
            let state = match index {
                IndexFile::Valid(index) => {
                    cookie_file.fortunes = index.len() as usize;
                    if keep { State::Open(Opened { file, version, index }) } else { State::Closed }
                }
                index => {
                    without.push(Unindexed { number: files.len(), length: version.length, index });
                    State::Closed
                }
            };
            files.push(cookie_file);
            states.push(state);
        }
        warn_without_index(&without, &files, keep);
        if without.len() == files.len() {
            return Ok(None);
        }
        for Unindexed { number, .. } in without {
            match State::without_index(&files[number].path, keep, eligible, random) {
                Ok((state, fortunes)) => (states[number], files[number].fortunes) = (state, fortunes),
                Err(error) if error.is_shortage() => return Err(error),
                Err(Error::Changed(_)) => return Ok(None),
                Err(error) => unusable.push((files[number].clone(), error)),
            }
        }
        if files.iter().all(|file| file.fortunes == 0) {
            return Ok(None);
        }
        for (file, error) in unusable {
            file.is_usable(Err::<(), _>(error))?;
        }
        let shares = share(sources, files, eligible)?;
        Ok(Some(Self { states, shares, keep }))
    }

    /// The files, with the numbers of fortunes in their indexes.
    pub(super) fn files(&self) -> &[CookieFile] {
        &self.shares.files
    }

    /// The number of open descriptors.
    pub(super) fn descriptors(&self) -> usize {
        2 * self.states.iter().filter(|state| matches!(state, State::Open(_))).count()
    }

    /// Draws a random fortune. A file whose index turns out to be wrong is scanned, and has its share by the number of texts
    /// that are found.
    pub(super) fn choose(
        &mut self,
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
    ) -> Result<Draw, Error> {
        let mut first = self.shares.choose(random);
        loop {
            match self.draw(first, random, eligible)? {
                Draw::BadIndex(number) if self.rescan(number, sources, random, eligible)? => {
                    // Draw from the same file again: otherwise its fortunes would hardly ever be chosen.
                    let empty = self.shares.files[number].fortunes == 0;
                    first = if empty { self.shares.choose(random) } else { number };
                }
                draw => return Ok(draw),
            }
        }
    }

    /// Draws a random fortune from a file, or else from its group: the group's share must not depend on how many of its
    /// fortunes are eligible.
    fn draw(&self, first: usize, random: &mut SmallRng, eligible: Eligible) -> Result<Draw, Error> {
        let group = self.shares.files[first].group;
        let mut raw = Vec::new();
        for attempt in 0..ATTEMPTS {
            let again = attempt > 0 && !matches!(group, Group::Alone(_));
            let number = if again { self.shares.choose_of(group, random) } else { first };
            let file = &self.shares.files[number];
            let fortune = |text| Ok(Draw::Fortune(Fortune { text, file: file.name().to_owned() }));
            let reopened;
            let opened = match &self.states[number] {
                State::Open(opened) => opened,
                State::Read { texts, eligible, chosen } => {
                    if random.random_range(0..*texts) < *eligible {
                        return fortune(chosen.clone());
                    }
                    continue;
                }
                State::Closed => match open(&file.path)?.indexed() {
                    Some(opened) if opened.index.len() as usize == file.fortunes => {
                        reopened = opened;
                        &reopened
                    }
                    _ => return Ok(Draw::Changed),
                },
            };
            let found = opened.fortune(random.random_range(0..opened.index.len()), eligible, &mut raw);
            if Version::of(&opened.file).ok() != Some(opened.version) {
                return Ok(Draw::Changed);
            }
            match found {
                Ok(Some(found)) => return fortune(found.text().into_owned()),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(Draw::BadIndex(number)),
                Err(error) => return Err(Error::unreadable(&file.path, error)),
            }
        }
        Ok(Draw::NoneEligible(group))
    }

    /// Scans a file whose index is wrong. Returns `false` if it was scanned before, or cannot be scanned.
    fn rescan(
        &mut self,
        number: usize,
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
    ) -> Result<bool, Error> {
        if matches!(&self.states[number], State::Open(opened) if opened.index.is_scanned()) {
            return Ok(false);
        }
        let mut files = self.shares.files.clone();
        let file = &mut files[number];
        let (state, fortunes) = match State::without_index(&file.path, self.keep, eligible, random) {
            Ok(found) => found,
            Err(error) if error.is_shortage() => return Err(error),
            Err(_) => return Ok(false),
        };
        if self.keep {
            let path = file.path.display();
            log::warning(&format!(
                "the index of {path} does not match it; rebuild it with `small-services strfile {path}`"
            ));
        }
        file.fortunes = fortunes;
        self.states[number] = state;
        self.shares = share(sources, files, eligible)?;
        Ok(true)
    }
}

impl State {
    /// The state of a file without a usable index, and the number of texts with a share in the choice: 0 if none is eligible. A
    /// daemon remembers their offsets; a process for a single fortune chooses at once, in bounded memory.
    fn without_index(
        path: &Path,
        keep: bool,
        eligible: Eligible,
        random: &mut SmallRng,
    ) -> Result<(Self, usize), Error> {
        if keep {
            let scanned = scan(path)?;
            let mut raw = Vec::new();
            let mut numbers = 0..scanned.index.len();
            let any = numbers.any(|number| matches!(scanned.fortune(number, eligible, &mut raw), Ok(Some(_))));
            let texts = if any { scanned.index.len() as usize } else { 0 };
            return Ok((Self::Open(scanned), texts));
        }
        let (mut texts, mut choice) = (0, Reservoir::default());
        read_file(path, eligible.longest_raw(), &mut |raw| {
            texts += 1;
            eligible.sendable(raw).iter().for_each(|fortune| choice.offer(fortune, random));
        })?;
        let fortunes = if choice.offered > 0 { texts } else { 0 };
        Ok((Self::Read { texts, eligible: choice.offered, chosen: choice.chosen }, fortunes))
    }
}

/// Logs which indexes cannot be used. A process for one fortune would repeat this for every client, so it logs it only for large
/// files, and for an unusable header, without which the file may be misread.
fn warn_without_index(without: &[Unindexed], files: &[CookieFile], keep: bool) {
    let octets: u64 = without.iter().map(|file| file.length).sum();
    let large = octets >= LARGE;
    let mut named = false;
    for Unindexed { number, index, .. } in without {
        match index {
            IndexFile::Unusable(error) => log::warning(&error.to_string()),
            IndexFile::HeaderOnly(_, error) if keep || large => log::warning(&error.to_string()),
            IndexFile::Missing if large && !named => {
                named = true;
                log::notice(&format!(
                    "{path} has no index, so {mebibytes} MiB are read to choose one fortune; create an index with \
                     `small-services strfile {path}`",
                    path = files[*number].path.display(),
                    mebibytes = octets >> 20,
                ));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_fortune_is_chosen_about_equally_often() {
        const DRAWS: u32 = 100_000;
        for size in [2_u32, 3, 10] {
            let mut counts = vec![0_u32; size as usize];
            for seed in 0..DRAWS.into() {
                let mut random = SmallRng::seed_from_u64(seed);
                let mut choice = Reservoir::default();
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
