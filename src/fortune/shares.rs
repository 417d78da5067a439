//! How cookie files share the choice.

use std::ops::Range;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::reasons::nothing_eligible;
use super::sources::{self, Group, Leaf};
use super::text::Eligible;
use super::{Error, Sources};

/// How the cookie files share the choice.
pub(super) struct Shares {
    pub(super) leaves: Vec<Leaf>,
    /// Of each file, the probability that it or one before it is chosen.
    pub(super) cumulative: Vec<f64>,
    /// Of each file, the index of the fortune after its last.
    pub(super) ends: Vec<usize>,
}

impl Shares {
    pub(super) fn new(sources: &Sources, leaves: Vec<Leaf>, eligible: Eligible) -> Result<Self, Error> {
        let mut sum = 0.0;
        let probabilities = sources::probabilities(&sources.list, &leaves, sources.equal);
        let cumulative = probabilities.into_iter().map(|probability| {
            sum += probability;
            sum
        });
        let cumulative: Vec<f64> = cumulative.collect();
        if cumulative.last().is_none_or(|&all| all <= 0.0) {
            return Err(nothing_eligible(sources, eligible));
        }
        let ends = leaves.iter().scan(0, |end, leaf| {
            *end += leaf.fortunes;
            Some(*end)
        });
        let ends = ends.collect();
        Ok(Self { leaves, cumulative, ends })
    }

    /// The index of a file, by chance.
    pub(super) fn choose(&self, random: &mut SmallRng) -> usize {
        let all = self.cumulative.last().copied().unwrap_or_default();
        let point = random.random::<f64>() * all;
        // The last one that has a share, should rounding put the point at the very end.
        let last = self.cumulative.partition_point(|&sum| sum < all);
        self.cumulative.partition_point(|&sum| sum <= point).min(last)
    }

    /// The index of a file of a group that has a share, by chance.
    pub(super) fn choose_of(&self, group: Group, random: &mut SmallRng) -> usize {
        loop {
            let chosen = self.choose(random);
            if self.leaves[chosen].group == group {
                return chosen;
            }
        }
    }

    /// Whether a group has any fortune.
    pub(super) fn offer(&self, group: Group) -> bool {
        let had = |(number, leaf): (usize, &Leaf)| {
            let before = if number == 0 { 0.0 } else { self.cumulative[number - 1] };
            leaf.group == group && self.cumulative[number] > before
        };
        self.leaves.iter().enumerate().any(had)
    }

    /// The fortunes of a file, by their indexes.
    pub(super) fn fortunes(&self, file: usize) -> Range<usize> {
        let start = if file == 0 { 0 } else { self.ends[file - 1] };
        start..self.ends[file]
    }

    /// The file of a fortune.
    pub(super) fn leaf(&self, fortune: usize) -> &Leaf {
        &self.leaves[self.ends.partition_point(|&end| end <= fortune)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fortunes, Order, index, layout, parse_sources};
    use super::*;
    use rand::SeedableRng;
    use std::fs;

    /// Draws 100,000 times from files of so many fortunes, in a directory but for the first, and tests how often each file came
    /// against its probability.
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
                // Nobody hears these, and they must not change anything.
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
                fs::write(index::path_beside(&folder.join(file)), index).expect("an index");
            }
        }
        let operands: Vec<_> =
            operands.iter().map(|it| it.replace("F/", &format!("{}/", folder.display())).into()).collect();
        let list = parse_sources(&operands).expect("shares that hold");
        let sources = || Sources { list: list.clone(), equal, indexed_only: false };
        let mut random = SmallRng::seed_from_u64(865);
        let mut all = Fortunes::all_of(sources(), Order::Random(random.clone()), Eligible::RFC_865).expect("fortunes");
        for streaming in [false, true] {
            // Reading the files anew for each draw is slow, and needs fewer for the same certainty.
            let draws = if streaming { DRAWS / 20 } else { DRAWS };
            let mut counts = [0_u32; 4];
            for _ in 0..draws {
                let chosen = if streaming {
                    let seed = random.random();
                    let one = Fortunes::one_of(&sources(), SmallRng::seed_from_u64(seed), Eligible::RFC_865);
                    one.expect("a fortune").choose().text.into_owned()
                } else {
                    all.choose().text.into_owned()
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
