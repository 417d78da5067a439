//! Rates for each network: token buckets in the form of the generic cell rate algorithm.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use super::limits::Limits;
use super::network::Network;

/// The number of buckets. Networks with the same hash share a bucket, so memory is fixed and nobody gets more.
const BUCKETS: usize = 8192;
/// A full bucket holds what flows into it in this time.
const BURST: u64 = SECOND;
/// In nanoseconds, like all times here.
const SECOND: u64 = 1_000_000_000;

/// Units per second, octets or connections; 0 means no limit.
#[derive(Clone, Copy)]
pub(super) struct Rate(pub(super) u32);

impl Rate {
    /// Maximum number of new connections per second from one source, unless `--max-rate-per-source` overrides it. Each costs a
    /// keeper a process. With `--shared` there is no default limit: closing one at once costs three fifths of what serving
    /// it does, so there is little to win.
    const CONNECTIONS: u32 = 200;

    /// The rate of new connections from one source.
    pub(super) fn of_connections(limits: &Limits) -> Self {
        Self(limits.max_rate_per_source.unwrap_or(if limits.shared { 0 } else { Self::CONNECTIONS }))
    }
}

/// When everything taken is paid for, since the start of the program. The bucket is full if that time has passed, and empty if it
/// is [`BURST`] ahead.
///
/// Any reply may go while the bucket is not empty, because its length is known only once it is composed. A reply may overdraw the
/// bucket; no other goes until that is paid for.
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
    /// The value of each [`Bucket`]. The kernel supplies zeros: a page that no network uses is never touched, and a fork does not
    /// copy it.
    all: Vec<u64>,
}

impl Buckets {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let count = if rate.0 > 0 { BUCKETS } else { 1 };
        Self { start: now, hasher: RandomState::new(), rate, all: vec![0; count] }
    }

    /// The nanoseconds since the start.
    pub(super) fn since_start(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// The number of a network's bucket.
    pub(super) fn number(&self, network: Network) -> usize {
        usize::try_from(self.hasher.hash_one(network) % self.all.len() as u64).unwrap_or_default()
    }

    /// Counts a new connection of a source. Returns whether it may be served; clients of Unix-domain sockets always may.
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
