//! One fortune by its index, without reading the others.

use std::io::ErrorKind;
use std::path::Path;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::index::{Found, Index};
use super::read::{Opened, cookie_files, open, unreadable};
use super::sources::{Group, Leaf};
use super::text::{self, Eligible};
use super::{Error, Shares, Sources};
use crate::{file, report};

/// How many fortunes are looked at by index for one that is eligible, before all are read.
const ATTEMPTS: usize = 100;
/// How many files are kept open with their indexes: fewer than the usual limit of descriptors allows.
const MOST_KEPT: usize = 256;
/// From how many octets on the log says that an index would help.
const LARGE: u64 = 64 << 20;

/// Cookie files that all have an index: any of their fortunes can be read without the others.
pub(super) struct Indexed {
    /// Empty if they are opened anew for each fortune.
    kept: Vec<Opened<Index>>,
    shares: Shares,
}

/// What came of a draw.
pub(super) enum Draw<'a> {
    /// A fortune, and its file.
    Fortune(String, &'a Leaf),
    /// Those of this group that were looked at are not eligible.
    NoneSoon(Group),
    /// An index does not hold.
    Misfit,
    /// A file has changed since.
    Changed,
}

impl Indexed {
    /// Opens the files, and keeps them open if they are to be read again and again; `None` unless every one has an index,
    /// and every source with a percentage has something to send, as far as that can be seen soon.
    pub(super) fn open(
        sources: &Sources,
        eligible: Eligible,
        random: &mut SmallRng,
        keep: bool,
    ) -> Result<Option<Self>, Error> {
        let (mut leaves, mut kept, mut unusable) = (Vec::new(), Vec::new(), Vec::new());
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
            match index {
                Ok(Some(index)) => {
                    leaves.push(Leaf { fortunes: index.len() as usize, ..leaf.clone() });
                    if keep {
                        kept.push(Opened { file, version, index });
                    }
                }
                Ok(None) => {
                    say_no_index(&found, &leaf.path);
                    return Ok(None);
                }
                Err(error) => {
                    report::warning(&error.to_string());
                    return Ok(None);
                }
            }
        }
        if leaves.iter().all(|leaf| leaf.fortunes == 0) {
            return Ok(None);
        }
        let indexed = Self { kept, shares: Shares::new(sources, leaves, eligible)? };
        for group in sources.list.iter().enumerate().filter(|(_, source)| source.percent.is_some_and(|it| it > 0)) {
            let group = Group::Source(group.0);
            if !sources.equal && !matches!(indexed.draw(group, None, random, eligible)?, Draw::Fortune(..)) {
                return Ok(None);
            }
        }
        for (leaf, error) in unusable {
            leaf.is_usable(Err::<(), _>(error))?;
        }
        Ok(Some(indexed))
    }

    /// The files, with the numbers of fortunes that their indexes list.
    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.shares.leaves
    }

    /// How many descriptors it keeps.
    pub(super) fn descriptors(&self) -> usize {
        2 * self.kept.len()
    }

    /// One fortune by chance.
    pub(super) fn choose(&self, random: &mut SmallRng, eligible: Eligible) -> Result<Draw<'_>, Error> {
        let first = self.shares.choose(random);
        self.draw(self.shares.leaves[first].group, Some(first), random, eligible)
    }

    /// One fortune of a group by chance, from a certain file if that has an eligible one. Others are of the same group, whose
    /// share must not depend on how many of its fortunes are eligible.
    fn draw(
        &self,
        group: Group,
        first: Option<usize>,
        random: &mut SmallRng,
        eligible: Eligible,
    ) -> Result<Draw<'_>, Error> {
        let mut raw = Vec::new();
        for attempt in 0..ATTEMPTS {
            let chosen = match (group, first) {
                (_, Some(first)) if attempt == 0 => first,
                (Group::Alone(_), Some(only)) => only,
                _ => self.shares.choose_of(group, random),
            };
            let leaf = &self.shares.leaves[chosen];
            let anew;
            let opened = if let Some(kept) = self.kept.get(chosen) {
                kept
            } else {
                let Opened { file, version, index } = open(&leaf.path)?;
                let Ok(Some(index)) = index else { return Ok(Draw::Changed) };
                if index.len() as usize != leaf.fortunes {
                    return Ok(Draw::Changed);
                }
                anew = Opened { file, version, index };
                &anew
            };
            let index = &opened.index;
            let found = index.text(&opened.file, random.random_range(0..index.len()), eligible.longest_raw(), &mut raw);
            if !opened.is_unchanged() {
                return Ok(Draw::Changed);
            }
            match found {
                Ok(Found::TooLong) => {}
                Ok(Found::Text) => {
                    if index.is_rotated() {
                        text::rotate(&mut raw);
                    }
                    if let Some(fortune) = eligible.sendable(&raw) {
                        return Ok(Draw::Fortune(fortune.text().into_owned(), leaf));
                    }
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    let path = leaf.path.display();
                    report::warning(&format!("the index of {path} does not hold: {error}; reading the file"));
                    return Ok(Draw::Misfit);
                }
                Err(error) => return Err(unreadable(&leaf.path, error)),
            }
        }
        Ok(Draw::NoneSoon(group))
    }
}

/// Says that everything is read for the lack of one index, where that takes long.
fn say_no_index(leaves: &[Leaf], without: &Path) {
    let octets: u64 = leaves.iter().filter_map(|leaf| file::look(&leaf.path).ok()).map(|it| it.length).sum();
    if octets >= LARGE {
        report::notice(&format!(
            "{path} has no index, so {mebibytes} MiB are read to choose one fortune; make one with \
             `small-services strfile {path}`",
            path = without.display(),
            mebibytes = octets >> 20,
        ));
    }
}
