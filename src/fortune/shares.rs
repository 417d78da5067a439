//! The probabilities of cookie files.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::files::{CookieFile, Group};
use super::sources::Sources;

/// Cookie files with their probabilities.
pub(super) struct Shares {
    pub(super) files: Vec<CookieFile>,
    /// For each file, the probability of it and all files before it.
    cumulative: Vec<f64>,
    /// For each file, the index of the fortune after its last one.
    ends: Vec<usize>,
}

impl Shares {
    /// `None` if no file has a share.
    pub(super) fn new(sources: &Sources, files: Vec<CookieFile>) -> Option<Self> {
        let mut sum = 0.0;
        let probabilities = probabilities(sources, &files);
        let cumulative = probabilities.into_iter().map(|probability| {
            sum += probability;
            sum
        });
        let cumulative: Vec<f64> = cumulative.collect();
        if cumulative.last().is_none_or(|&all| all <= 0.0) {
            return None;
        }
        let ends = files.iter().scan(0, |end, file| {
            *end += file.fortunes;
            Some(*end)
        });
        let ends = ends.collect();
        Some(Self { files, cumulative, ends })
    }

    /// The index of a random file.
    pub(super) fn choose(&self, random: &mut SmallRng) -> usize {
        let all = self.cumulative.last().copied().unwrap_or_default();
        let point = random.random::<f64>() * all;
        // The last file with a share, in case rounding puts the point at the very end.
        let last = self.cumulative.partition_point(|&sum| sum < all);
        self.cumulative.partition_point(|&sum| sum <= point).min(last)
    }

    /// The index of a random file of a group with a share.
    pub(super) fn choose_of(&self, group: Group, random: &mut SmallRng) -> usize {
        loop {
            let chosen = self.choose(random);
            if self.files[chosen].group == group {
                return chosen;
            }
        }
    }

    /// Whether a group has a share.
    pub(super) fn offer(&self, group: Group) -> bool {
        let had = |(number, file): (usize, &CookieFile)| {
            let before = if number == 0 { 0.0 } else { self.cumulative[number - 1] };
            file.group == group && self.cumulative[number] > before
        };
        self.files.iter().enumerate().any(had)
    }

    /// The index of a random fortune. All fortunes of a file have the same probability.
    pub(super) fn choose_fortune(&self, random: &mut SmallRng) -> usize {
        let file = self.choose(random);
        let start = if file == 0 { 0 } else { self.ends[file - 1] };
        random.random_range(start..self.ends[file])
    }

    /// The file of a fortune.
    pub(super) fn file(&self, fortune: usize) -> &CookieFile {
        &self.files[self.ends.partition_point(|&end| end <= fortune)]
    }
}

/// The probability of each file. Sources without a percentage divide the rest by their number of fortunes, and so do the files
/// of a directory. With `equal`, all sources without a percentage have the same share, and so have all files of a directory.
/// The share of a source without fortunes is divided among the others in proportion to theirs, so that the sum is 1, or 0
/// without any fortune.
#[allow(clippy::cast_precision_loss)] // of numbers of fortunes, far below 2^52
pub(super) fn probabilities(sources: &Sources, files: &[CookieFile]) -> Vec<f64> {
    let Sources { list, equal, .. } = sources;
    let weight = |fortunes: usize| if *equal { f64::from(u8::from(fortunes > 0)) } else { fortunes as f64 };
    let weights: Vec<f64> = files.iter().map(|file| weight(file.fortunes)).collect();
    let mut inside = vec![0.0; list.len()];
    for (file, weight) in files.iter().zip(&weights) {
        inside[file.source] += weight;
    }
    let share_weight = |index: usize| if *equal { f64::from(u8::from(inside[index] > 0.0)) } else { inside[index] };
    let given: u32 = list.iter().filter_map(|source| source.percent).map(u32::from).sum();
    let left = f64::from(100 - given.min(100)) / 100.0;
    let rest: f64 = (0..list.len()).filter(|&index| list[index].percent.is_none()).map(share_weight).sum();
    let probability = |(file, weight): (&CookieFile, &f64)| {
        let share = match list[file.source].percent {
            Some(percent) => f64::from(percent) / 100.0,
            None => left * share_weight(file.source) / rest,
        };
        if *weight > 0.0 { share * weight / inside[file.source] } else { 0.0 }
    };
    let mut probabilities: Vec<f64> = files.iter().zip(&weights).map(probability).collect();
    let all: f64 = probabilities.iter().sum();
    if all > 0.0 {
        for probability in &mut probabilities {
            *probability /= all;
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::super::sources::parse;
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn probabilities_are_those_of_fortune_6() {
        let shares = |operands: &[&str], files: &[(usize, usize)], equal| {
            let operands: Vec<_> = operands.iter().map(OsString::from).collect();
            let list = parse(&operands).expect("shares that hold");
            let sources = Sources { list, equal, indexed_only: false };
            let files: Vec<_> = files
                .iter()
                .map(|&(source, fortunes)| CookieFile { source, fortunes, ..CookieFile::default() })
                .collect();
            let percent = |probability: f64| format!("{:.2}", probability * 100.0);
            probabilities(&sources, &files).into_iter().map(percent).collect::<Vec<_>>()
        };
        assert_eq!(shares(&["a", "b"], &[(0, 3), (1, 6)], false), ["33.33", "66.67"]);
        assert_eq!(shares(&["a", "b"], &[(0, 3), (1, 6)], true), ["50.00", "50.00"]);
        assert_eq!(shares(&["30%", "a", "b", "c"], &[(0, 3), (1, 6), (2, 1)], false), ["30.00", "60.00", "10.00"]);
        // A directory of three files, and one file of 20 %.
        let files = [(0, 6), (0, 1), (0, 3), (1, 1)];
        assert_eq!(shares(&["dir", "20%", "c"], &files, false), ["48.00", "8.00", "24.00", "20.00"]);
        assert_eq!(shares(&["dir", "20%", "c"], &files, true), ["26.67", "26.67", "26.67", "20.00"]);
        // Files without a fortune take no part.
        assert_eq!(shares(&["a", "b", "c"], &[(0, 0), (1, 1), (2, 3)], true), ["0.00", "50.00", "50.00"]);
        // Nor do those with a percentage, and what was left for none.
        assert_eq!(shares(&["60%", "a", "40%", "b"], &[(0, 0), (1, 9)], false), ["0.00", "100.00"]);
        assert_eq!(shares(&["50%a", "20%b", "c"], &[(0, 0), (1, 9), (2, 1)], false), ["0.00", "40.00", "60.00"]);
        assert_eq!(shares(&["50%a", "20%b", "c"], &[(0, 1), (1, 1), (2, 0)], false), ["71.43", "28.57", "0.00"]);
        assert_eq!(shares(&["0%a", "b"], &[(0, 1), (1, 0)], false), ["0.00", "0.00"]);
    }
}
