//! How much each network may have in a second: token buckets in the form of the generic cell rate algorithm.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use super::limits::Limits;
use super::network::Network;

/// How many buckets there are. Networks that fall on the same one share it: memory is fixed, and nobody gets more.
const BUCKETS: usize = 8192;
/// A full bucket holds what flows into it in this time.
const BURST: u64 = SECOND;
/// In nanoseconds, as all times here.
const SECOND: u64 = 1_000_000_000;

/// Units a second, octets or connections; 0 is no limit.
#[derive(Clone, Copy)]
pub(super) struct Rate(pub(super) u32);

impl Rate {
    /// How many new connections a second one source may make, unless `--max-rate-per-source` says otherwise. Each costs a keeper a
    /// process. With `--shared`, closing one at once costs three fifths of what serving it does: there is little to win.
    const CONNECTIONS: u32 = 200;

    /// Of one source's new connections.
    pub(super) fn of_connections(limits: &Limits) -> Self {
        Self(limits.max_rate_per_source.unwrap_or(if limits.shared { 0 } else { Self::CONNECTIONS }))
    }
}

/// When all that was taken is paid for, since the start of the program. The bucket is full if that moment is past, and empty if
/// it is [`BURST`] ahead.
///
/// Anything may go while there is something in it, since the length of a reply is known only once it is composed. It may overdraw
/// the bucket; then nothing goes before that is paid for.
#[derive(Clone, Copy, Default)]
pub(super) struct Bucket(u64);

impl Bucket {
    pub(super) fn has_some(self, rate: Rate, now: u64) -> bool {
        rate.0 == 0 || self.0 < now + BURST
    }

    pub(super) fn take(&mut self, units: u32, rate: Rate, now: u64) {
        if rate.0 > 0 {
            // Rounded up: a bucket holds no more than what flows into it.
            let price = (u64::from(units) * SECOND).div_ceil(rate.0.into());
            self.0 = self.0.max(now).saturating_add(price);
        }
    }
}

/// A bucket for each network.
pub(super) struct Buckets {
    start: Instant,
    hasher: RandomState,
    rate: Rate,
    /// What [`Bucket`] has. Zeros as the kernel gives them: the pages that no network falls on are touched by nobody, and no process
    /// that is made has a copy of them.
    all: Vec<u64>,
}

impl Buckets {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let count = if rate.0 > 0 { BUCKETS } else { 1 };
        Self { start: now, hasher: RandomState::new(), rate, all: vec![0; count] }
    }

    /// What is counted since the start.
    pub(super) fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// The number of a network's bucket.
    pub(super) fn number(&self, network: Network) -> usize {
        usize::try_from(self.hasher.hash_one(network) % self.all.len() as u64).unwrap_or_default()
    }

    /// Counts a new connection to its source, and tells whether that may have it. Clients of Unix-domain sockets may.
    pub(super) fn admit(&mut self, client: Option<SocketAddr>, now: Instant) -> bool {
        if self.rate.0 == 0 {
            return true;
        }
        let Some(client) = client else { return true };
        let (number, now) = (self.number(Network::of_source(client)), self.since_start(now));
        let any = self.have_some(number, now);
        if any {
            self.take(number, 1, now);
        }
        any
    }

    pub(super) fn have_some(&self, number: usize, now: u64) -> bool {
        Bucket(self.all[number]).has_some(self.rate, now)
    }

    pub(super) fn take(&mut self, number: usize, units: u32, now: u64) {
        let mut bucket = Bucket(self.all[number]);
        bucket.take(units, self.rate, now);
        self.all[number] = bucket.0;
    }
}
