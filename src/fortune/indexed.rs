//! One fortune by its index, without reading the others.

use std::io::ErrorKind;
use std::path::Path;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::index::{Beside, Found, Index};
use super::read::{Choice, Opened, cookie_files, open, read_file, scan, unreadable};
use super::sources::{Group, Leaf};
use super::text::{self, Eligible};
use super::{Error, Shares, Sources};
use crate::file::{self, Version};
use crate::log;

/// How many fortunes are looked at by index for one that is eligible, before all are read.
const ATTEMPTS: usize = 100;
/// How many files are kept open with their indexes: fewer than the usual limit of descriptors allows.
const MOST_KEPT: usize = 256;
/// From how many octets on the log says that an index would help.
const LARGE: u64 = 64 << 20;

/// Cookie files any of whose fortunes can be read without the others.
pub(super) struct Indexed {
    /// How that is done, for each file.
    ways: Vec<Way>,
    shares: Shares,
    /// Whether the files stay open, to be read again and again.
    keep: bool,
}

/// How a fortune of a file is found.
enum Way {
    /// The file and its index are opened anew for each.
    Anew,
    /// Both are open.
    Open(Opened<Index>),
    /// It has no index that holds, so it was read: of so many texts, so many are eligible, and this is one of them.
    Read { texts: usize, eligible: usize, chosen: String },
}

/// What came of a draw.
pub(super) enum Draw {
    /// A fortune, and its file.
    Fortune(String, Leaf),
    /// Those of this group that were looked at are not eligible.
    NoneSoon(Group),
    /// The index of the file with this number does not hold.
    Misfit(usize),
    /// A file has changed since.
    Changed,
}

impl Indexed {
    /// Opens the files, and keeps them open if they are to be read again and again; `None` if none has an index that holds. Where
    /// some have none, all of these is looked at, and nothing of the others.
    pub(super) fn open(
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
        keep: bool,
    ) -> Result<Option<Self>, Error> {
        let (mut leaves, mut ways, mut unusable, mut without) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let found = cookie_files(sources)?;
        if keep && found.len() > MOST_KEPT {
            return Ok(None);
        }
        for leaf in &found {
            let Opened { file, version, index } = match open(&leaf.path) {
                Ok(opened) => opened,
                Err(error) if error.is_shortage() => return Err(error),
                Err(error) => {
                    unusable.push((leaf, error));
                    continue;
                }
            };
            let fortunes = match index {
                Beside::Index(index) => {
                    let fortunes = index.len() as usize;
                    ways.push(if keep { Way::Open(Opened { file, version, index }) } else { Way::Anew });
                    fortunes
                }
                other => {
                    without.push((leaves.len(), leaf, other));
                    ways.push(Way::Anew);
                    0
                }
            };
            leaves.push(Leaf { fortunes, ..leaf.clone() });
        }
        say_without(&without, keep);
        if without.len() == leaves.len() {
            return Ok(None);
        }
        for (number, leaf, _) in without {
            match Way::without_index(&leaf.path, keep, eligible, random) {
                Ok((way, fortunes)) => (ways[number], leaves[number].fortunes) = (way, fortunes),
                Err(error) if error.is_shortage() => return Err(error),
                Err(Error::Changed(_)) => return Ok(None),
                Err(error) => unusable.push((leaf, error)),
            }
        }
        if leaves.iter().all(|leaf| leaf.fortunes == 0) {
            return Ok(None);
        }
        for (leaf, error) in unusable {
            leaf.is_usable(Err::<(), _>(error))?;
        }
        Ok(Some(Self { ways, shares: Shares::new(sources, leaves, eligible)?, keep }))
    }

    /// The files, with the numbers of fortunes that their indexes list.
    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.shares.leaves
    }

    /// How many descriptors it keeps.
    pub(super) fn descriptors(&self) -> usize {
        2 * self.ways.iter().filter(|way| matches!(way, Way::Open(_))).count()
    }

    /// One fortune by chance. A file whose index turns out not to hold is looked at as a whole, and has its share by what is
    /// found in it from then on.
    pub(super) fn choose(
        &mut self,
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
    ) -> Result<Draw, Error> {
        let mut first = self.shares.choose(random);
        loop {
            match self.draw(self.shares.leaves[first].group, first, random, eligible)? {
                Draw::Misfit(number) if self.mend(number, sources, random, eligible)? => {
                    // The same file again: if another were chosen now, this one's fortunes would hardly ever come.
                    let empty = self.shares.leaves[number].fortunes == 0;
                    first = if empty { self.shares.choose(random) } else { number };
                }
                draw => return Ok(draw),
            }
        }
    }

    /// `false` if that was done before, or cannot be done.
    fn mend(
        &mut self,
        number: usize,
        sources: &Sources,
        random: &mut SmallRng,
        eligible: Eligible,
    ) -> Result<bool, Error> {
        if matches!(&self.ways[number], Way::Open(opened) if opened.index.is_scanned()) {
            return Ok(false);
        }
        let mut leaves = self.shares.leaves.clone();
        let leaf = &mut leaves[number];
        let (way, fortunes) = match Way::without_index(&leaf.path, self.keep, eligible, random) {
            Ok(found) => found,
            Err(error) if error.is_shortage() => return Err(error),
            Err(_) => return Ok(false),
        };
        if self.keep {
            let path = leaf.path.display();
            log::warning(&format!(
                "the index of {path} does not hold; make it anew with `small-services strfile {path}`"
            ));
        }
        leaf.fortunes = fortunes;
        self.ways[number] = way;
        self.shares = Shares::new(sources, leaves, eligible)?;
        Ok(true)
    }

    /// One fortune of a group by chance, from a certain file if that has an eligible one. Others are of the same group, whose
    /// share must not depend on how many of its fortunes are eligible.
    fn draw(&self, group: Group, first: usize, random: &mut SmallRng, eligible: Eligible) -> Result<Draw, Error> {
        let mut raw = Vec::new();
        for attempt in 0..ATTEMPTS {
            let again = attempt > 0 && !matches!(group, Group::Alone(_));
            let chosen = if again { self.shares.choose_of(group, random) } else { first };
            let leaf = &self.shares.leaves[chosen];
            let anew;
            let (file, version, index) = match &self.ways[chosen] {
                Way::Open(Opened { file, version, index }) => (file, version, index),
                Way::Read { texts, eligible, chosen } => {
                    if random.random_range(0..*texts) < *eligible {
                        return Ok(Draw::Fortune(chosen.clone(), leaf.clone()));
                    }
                    continue;
                }
                Way::Anew => {
                    let Opened { file, version, index } = open(&leaf.path)?;
                    let Beside::Index(index) = index else { return Ok(Draw::Changed) };
                    if index.len() as usize != leaf.fortunes {
                        return Ok(Draw::Changed);
                    }
                    anew = Opened { file, version, index };
                    (&anew.file, &anew.version, &anew.index)
                }
            };
            let found = index.text(file, random.random_range(0..index.len()), eligible.longest_raw(), &mut raw);
            if Version::of(file).ok() != Some(*version) {
                return Ok(Draw::Changed);
            }
            match found {
                Ok(Found::TooLong) => {}
                Ok(Found::Text) => {
                    if index.is_rotated() {
                        text::rotate(&mut raw);
                    }
                    if let Some(fortune) = eligible.sendable(&raw) {
                        return Ok(Draw::Fortune(fortune.text().into_owned(), leaf.clone()));
                    }
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(Draw::Misfit(chosen)),
                Err(error) => return Err(unreadable(&leaf.path, error)),
            }
        }
        Ok(Draw::NoneSoon(group))
    }
}

impl Way {
    /// The way to a file whose index cannot be used, and how many texts have a share in the choice: none if none is eligible. One
    /// process for all remembers where they are; one for a single fortune chooses at once, in memory that does not grow.
    fn without_index(
        path: &Path,
        keep: bool,
        eligible: Eligible,
        random: &mut SmallRng,
    ) -> Result<(Self, usize), Error> {
        if keep {
            let scanned = scan(path)?;
            let texts = if any_eligible(&scanned, eligible) { scanned.index.len() as usize } else { 0 };
            return Ok((Self::Open(scanned), texts));
        }
        let (mut texts, mut choice) = (0, Choice::default());
        read_file(path, eligible.longest_raw(), &mut |raw| {
            texts += 1;
            eligible.sendable(raw).iter().for_each(|fortune| choice.offer(fortune, random));
        })?;
        let fortunes = if choice.offered > 0 { texts } else { 0 };
        Ok((Self::Read { texts, eligible: choice.offered, chosen: choice.chosen }, fortunes))
    }
}

/// Whether a file that was looked at has anything to send.
fn any_eligible(Opened { file, index, .. }: &Opened<Index>, eligible: Eligible) -> bool {
    let mut raw = Vec::new();
    (0..index.len()).any(|number| {
        let found = index.text(file, number, eligible.longest_raw(), &mut raw);
        if index.is_rotated() {
            text::rotate(&mut raw);
        }
        matches!(found, Ok(Found::Text)) && eligible.sendable(&raw).is_some()
    })
}

/// Says which indexes cannot be used. A process for one fortune says so only where it takes long, or where nothing tells any
/// more what the file means: it would say so again for every client.
fn say_without(files: &[(usize, &Leaf, Beside)], keep: bool) {
    let octets: u64 = files.iter().filter_map(|(_, leaf, _)| file::look(&leaf.path).ok()).map(|it| it.length).sum();
    let large = octets >= LARGE;
    let mut named = false;
    for (_, leaf, beside) in files {
        match beside {
            Beside::Bad(error) => log::warning(&error.to_string()),
            Beside::Header(_, error) if keep || large => log::warning(&error.to_string()),
            Beside::Nothing if large && !named => {
                named = true;
                log::notice(&format!(
                    "{path} has no index, so {mebibytes} MiB are read to choose one fortune; make one with \
                     `small-services strfile {path}`",
                    path = leaf.path.display(),
                    mebibytes = octets >> 20,
                ));
            }
            _ => {}
        }
    }
}
