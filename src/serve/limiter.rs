//! How many replies datagrams draw: a forged source must get fewer octets than whoever forged it has sent.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many networks are told apart. Two that fall on the same place share its rate: memory is fixed, and nobody gets more.
const PLACES: usize = 8192;
/// A source that was silent may have so many replies at once, at most those of this time.
const BURST: Duration = Duration::from_secs(1);

/// Limits replies by the source's network, /24 or /56, and altogether.
pub(super) struct Limiter {
    start: Instant,
    hasher: RandomState,
    each: Rate,
    networks: Vec<Schedule>,
    all: Rate,
    total: Schedule,
}

/// Replies a second; `None` is no limit.
#[derive(Clone, Copy)]
struct Rate(Option<Duration>);

/// When the next reply would be due if replies came evenly, since the limiter's start (a token bucket, in the form of the
/// generic cell rate algorithm: the bucket is full while that moment is past, and empty when it is [`BURST`] ahead).
#[derive(Clone, Copy, Default)]
struct Schedule(Duration);

impl Limiter {
    /// Rates are in replies a second, 0 for no limit.
    pub(super) fn new(each: u32, total: u32, now: Instant) -> Self {
        Self {
            start: now,
            hasher: RandomState::new(),
            each: Rate::new(each),
            networks: vec![Schedule::default(); PLACES],
            all: Rate::new(total),
            total: Schedule::default(),
        }
    }

    /// Whether this source may have a reply now; counts it if so.
    pub(super) fn allows(&mut self, source: IpAddr, now: Instant) -> bool {
        let now = now.duration_since(self.start);
        let place = usize::try_from(self.hasher.hash_one(network(source)) % PLACES as u64).unwrap_or_default();
        let Some(network) = self.networks[place].after(self.each, now) else { return false };
        let Some(total) = self.total.after(self.all, now) else { return false };
        self.networks[place] = network;
        self.total = total;
        true
    }
}

impl Rate {
    fn new(per_second: u32) -> Self {
        Self((per_second > 0).then(|| Duration::from_secs(1) / per_second))
    }
}

impl Schedule {
    /// The schedule after one more reply at `now`, if that is allowed.
    fn after(self, rate: Rate, now: Duration) -> Option<Self> {
        let Some(interval) = rate.0 else { return Some(self) };
        let next = self.0.max(now) + interval;
        (next <= now + BURST.max(interval)).then_some(Self(next))
    }
}

/// The network that a forger could have any source of.
fn network(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8) | 1 << 63,
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 72).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_gets_its_rate_and_another_its_own() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, 0, start);
        let allowed =
            |limiter: &mut Limiter, from: &str, now| (0..1000).filter(|_| limiter.allows(source(from), now)).count();
        assert_eq!(allowed(&mut limiter, "192.0.2.1", start), 10);
        assert_eq!(allowed(&mut limiter, "192.0.2.200", start), 0, "the same /24");
        assert_eq!(
            allowed(&mut limiter, "::ffff:192.0.2.9", start),
            0,
            "the same /24 over a socket for both IP versions"
        );
        assert_eq!(allowed(&mut limiter, "192.0.3.1", start), 10, "another /24");
        assert_eq!(allowed(&mut limiter, "2001:db8::1", start), 10);
        assert_eq!(allowed(&mut limiter, "2001:db8:0:ff::1", start), 0, "the same /56");
        assert_eq!(allowed(&mut limiter, "2001:db8:0:100::1", start), 10, "another /56");
        assert_eq!(allowed(&mut limiter, "192.0.2.1", start + Duration::from_millis(500)), 5);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", start + Duration::from_hours(1)), 10, "a burst of one second");
    }

    #[test]
    fn all_networks_together_get_the_total() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, 100, start);
        let allowed = (0..=255).filter(|n| limiter.allows(source(&format!("10.0.{n}.1")), start)).count();
        assert_eq!(allowed, 100);
    }

    #[test]
    fn no_limit_is_none() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0, 0, start);
        assert!((0..10_000).all(|_| limiter.allows(source("192.0.2.1"), start)));
    }

    #[test]
    fn one_a_second_is_one_at_once() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1, 0, start);
        assert!(limiter.allows(source("192.0.2.1"), start));
        assert!(!limiter.allows(source("192.0.2.1"), start + Duration::from_millis(900)));
        assert!(limiter.allows(source("192.0.2.1"), start + Duration::from_secs(1)));
    }
}
