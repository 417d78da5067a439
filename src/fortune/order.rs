//! The order of fortunes: random, one per day, or shuffled.

use std::hash::Hasher;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use siphasher::sip128::{Hasher128, SipHasher13};

/// The order of fortunes.
pub enum Order {
    /// Each is chosen at random, with the same probability.
    Random(SmallRng),
    /// One per day, without repetition until all were shown. It depends only on the date, the key and the number of fortunes, so
    /// hosts with the same collection and key show the same fortune.
    Daily(TimeZone, Key),
    /// Random, without repetition until all were shown. The number counts the fortunes so far.
    Shuffled(Key, u64),
}

/// Selects a permutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64, u64);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(text.as_bytes());
        let hash = hasher.finish128();
        Self(hash.h1, hash.h2)
    }
}

impl Order {
    /// Seeds the random state anew: a new process has a copy of its parent's state.
    pub(super) fn reseed(&mut self, seed: u64) {
        if let Self::Random(random) = self {
            *random = SmallRng::seed_from_u64(seed);
        }
    }

    /// The index of the next fortune among `count`, which is not 0.
    pub(super) fn next(&mut self, count: usize) -> usize {
        let count_64 = count as u64;
        let index = match self {
            Self::Random(random) => random.random_range(0..count_64),
            Self::Daily(zone, key) => key.permuted(day(&Timestamp::now(), zone), count_64),
            Self::Shuffled(key, turn) => {
                let index = key.permuted(*turn, count_64);
                *turn = turn.wrapping_add(1);
                index
            }
        };
        usize::try_from(index).unwrap_or_default()
    }
}

/// The days from 1970-01-01 to the current date in the zone; 0 for earlier dates.
fn day(now: &Timestamp, zone: &TimeZone) -> u64 {
    const SECONDS_PER_DAY: i64 = 86_400;
    let local = now.as_second() + i64::from(zone.to_offset(*now).seconds());
    u64::try_from(local.div_euclid(SECONDS_PER_DAY)).unwrap_or_default()
}

impl Key {
    /// The `turn`-th index of a sequence in which each of `count` indexes occurs once, then each once in another order, and so
    /// on.
    ///
    /// A Feistel network permutes the numbers with as many bits as `count`, rounded up to an even number. A result from `count`
    /// on is permuted again until it is below `count`, so that the result is a permutation.
    fn permuted(self, turn: u64, count: u64) -> u64 {
        let (cycle, mut number) = (turn / count, turn % count);
        let half = (u64::BITS - (count - 1).leading_zeros()).div_ceil(2).max(1);
        loop {
            number = self.feistel(cycle, number, half);
            if number < count {
                return number;
            }
        }
    }

    fn feistel(self, cycle: u64, number: u64, half: u32) -> u64 {
        const ROUNDS: u64 = 8;
        let mask = (1 << half) - 1;
        let (mut left, mut right) = (number >> half, number & mask);
        for round in 0..ROUNDS {
            let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
            for part in [cycle, round, right] {
                hasher.write(&part.to_le_bytes());
            }
            (left, right) = (right, left ^ (hasher.finish128().h1 & mask));
        }
        left << half | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_comes_once_before_any_comes_again() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 100, 459, 1000] {
            for cycle in 0..3 {
                let order: Vec<_> =
                    (cycle * count..(cycle + 1) * count).map(|turn| Key::from("").permuted(turn, count)).collect();
                assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..count).collect(), "{count}");
            }
        }
    }

    #[test]
    fn cycles_and_keys_have_orders_of_their_own() {
        let order = |key: &str, cycle: u64| -> Vec<_> {
            (cycle * 100..(cycle + 1) * 100).map(|turn| Key::from(key).permuted(turn, 100)).collect()
        };
        let orders: BTreeSet<_> = ["", "a", "b"].iter().flat_map(|key| (0..3).map(|cycle| order(key, cycle))).collect();
        assert_eq!(orders.len(), 9);
    }

    #[test]
    fn every_position_is_taken_about_equally_often() {
        // Over many keys, the first of ten is each of them about as often.
        const KEYS: u32 = 10_000;
        let mut counts = [0_u32; 10];
        for key in 0..KEYS {
            counts[usize::try_from(Key::from(key.to_string().as_str()).permuted(0, 10)).expect("below 10")] += 1;
        }
        let expected = f64::from(KEYS) / 10.0;
        let chi_squared: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        assert!(chi_squared < 27.9, "{chi_squared} for {counts:?}"); // the 99.9th percentile at 9 degrees of freedom
    }

    #[test]
    fn it_is_the_same_on_every_host_and_in_every_version() {
        let order: Vec<_> = (0..8).map(|turn| Key::from("example").permuted(turn, 459)).collect();
        assert_eq!(
            order,
            [442, 31, 58, 129, 195, 133, 97, 324],
            "changing this changes the fortune of the day of every host"
        );
    }

    #[test]
    fn the_day_changes_at_midnight_of_the_zone() {
        let tokyo = TimeZone::posix("JST-9").expect("a zone");
        let at = |time: &str, zone: &TimeZone| day(&time.parse().expect("a time"), zone);
        assert_eq!(at("1970-01-01T23:59:59Z", &TimeZone::UTC), 0);
        assert_eq!(at("1970-01-02T00:00:00Z", &TimeZone::UTC), 1);
        assert_eq!(at("1970-01-01T14:59:59Z", &tokyo), 0);
        assert_eq!(at("1970-01-01T15:00:00Z", &tokyo), 1);
        assert_eq!(at("1960-01-01T00:00:00Z", &TimeZone::UTC), 0);
    }
}
