//! One fortune by its index, without reading the others.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::index::{Found, Index};
use super::read::{Opened, Version, cookie_files, open, unreadable};
use super::sources::{Group, Leaf};
use super::text::{self, Eligible};
use super::{Error, Shares, Sources};
use crate::report;

/// How many fortunes are looked at by index for one that is eligible, before all are read.
const ATTEMPTS: usize = 100;
/// How many files are kept open with their indexes: fewer than the usual limit of descriptors allows.
const MOST_INDEXED: usize = 256;
/// From how many octets on the log says that an index would help.
const LARGE: u64 = 64 << 20;

/// Cookie files that all have an index which holds: any of their fortunes can be read without the others.
pub(super) struct Indexed {
    files: Vec<(File, Version, Index)>,
    shares: Shares,
}

impl Indexed {
    /// Opens the files; `None` unless every one has an index.
    pub(super) fn open(sources: &Sources, eligible: Eligible) -> Result<Option<Self>, Error> {
        let (mut leaves, mut files) = (cookie_files(sources)?, Vec::new());
        if leaves.len() > MOST_INDEXED {
            return Ok(None);
        }
        for number in 0..leaves.len() {
            let Opened { file, version, index } = open(&leaves[number].path)?;
            match index {
                Ok(Some(index)) => {
                    leaves[number].fortunes = index.len() as usize;
                    files.push((file, version, index));
                }
                Ok(None) => {
                    say_no_index(&leaves, &leaves[number].path);
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
        Ok(Some(Self { files, shares: Shares::new(sources, leaves, eligible)? }))
    }

    /// The files, with the numbers of fortunes that their indexes list.
    pub(super) fn leaves(self) -> Vec<Leaf> {
        self.shares.leaves
    }

    /// One fortune by chance, and its file: `None` if an index does not hold, or does no longer, or no eligible fortune turns up soon.
    pub(super) fn choose(&self, random: &mut SmallRng, eligible: Eligible) -> Result<Option<(String, &Leaf)>, Error> {
        let mut raw = Vec::new();
        let first = self.shares.choose(random);
        let group = self.shares.leaves[first].group;
        for attempt in 0..ATTEMPTS {
            // Another one of the same group, whose share must not depend on how many of its fortunes are eligible.
            let chosen = match group {
                _ if attempt == 0 => first,
                Group::Alone(number) => number,
                _ => self.shares.choose_of(group, random),
            };
            let (leaf, (file, version, index)) = (&self.shares.leaves[chosen], &self.files[chosen]);
            let found = index.text(file, random.random_range(0..index.len()), eligible.longest_raw(), &mut raw);
            if !version.is_of(file) {
                // Its index is older now.
                return Ok(None);
            }
            match found {
                Ok(Found::TooLong) => {}
                Ok(Found::Text) => {
                    if index.is_rotated() {
                        text::rotate(&mut raw);
                    }
                    if let Some(fortune) = eligible.sendable(&raw) {
                        return Ok(Some((fortune.text().into_owned(), leaf)));
                    }
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    let path = leaf.path.display();
                    report::warning(&format!("the index of {path} does not hold: {error}; reading the file"));
                    return Ok(None);
                }
                Err(error) => return Err(unreadable(&leaf.path, error)),
            }
        }
        Ok(None)
    }
}

/// Says that everything is read for the lack of one index, where that takes long.
fn say_no_index(leaves: &[Leaf], without: &Path) {
    let octets: u64 = leaves.iter().filter_map(|leaf| fs::metadata(&leaf.path).ok()).map(|it| it.len()).sum();
    if octets >= LARGE {
        report::notice(&format!(
            "{path} has no index, so {mebibytes} MiB are read to choose one fortune; make one with \
             `small-services strfile {path}`",
            path = without.display(),
            mebibytes = octets >> 20,
        ));
    }
}
