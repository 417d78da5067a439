//! Limits the octets that datagrams draw. All victims of a forger together get what the forger sent, plus a small budget for each
//! of their networks.
//!
//! A request without a payload takes 28 octets on the wire, and the quote in reply up to 539. A limit of exactly what was received
//! would answer an honest client one time in 19. So each network may draw its budget in addition every second.

use std::net::SocketAddr;
use std::time::Instant;

use super::network::{Network, Subnet};
use super::rates::{Bucket, Buckets, Rate};

/// The headers of IPv4 and UDP, in octets. IPv6 adds 20 to both request and reply.
pub(super) const HEADERS: usize = 28;

/// Limits how much replies exceed their requests, for each source's network (/24 or /56) and in total.
///
/// A reply costs its octets and its headers, minus the payload of its request. The request's headers are not subtracted: two
/// services that a forger turns against each other pay 28 octets for each turn, however long they talk, and so does an echo of any
/// length.
pub(super) struct Limiter {
    networks: Buckets,
    all: Rate,
    total: Bucket,
    /// Networks whose datagrams are not counted.
    exempt: Option<Vec<Subnet>>,
}

/// Who pays for a reply to a request that may be answered now.
#[derive(Clone, Copy)]
pub(super) enum Payer {
    /// The network, and the total.
    Network { bucket: usize, now: u64 },
    /// Nobody: the network is exempt.
    Nobody,
}

impl Limiter {
    /// Rates are in octets per second; 0 means no limit.
    pub(super) fn new(each: u32, total: u32, exempt: Option<Vec<Subnet>>, now: Instant) -> Self {
        Self { networks: Buckets::new(Rate(each), now), all: Rate(total), total: Bucket::default(), exempt }
    }

    /// Who pays for a reply to this source, or `None` if it gets none now.
    pub(super) fn payer(&self, source: SocketAddr, now: Instant) -> Option<Payer> {
        if let Some(exempt) = &self.exempt {
            if exempt.iter().any(|subnet| subnet.includes(source.ip())) {
                return Some(Payer::Nobody);
            }
        }
        let (bucket, now) = (self.bucket(source), self.networks.since_start(now));
        let pays = self.networks.have_some(bucket, now) && self.total.has_some(self.all, now);
        pays.then_some(Payer::Network { bucket, now })
    }

    /// Charges a reply to the network and to the total. Both lengths are those of payloads, in octets.
    pub(super) fn pay(&mut self, payer: Payer, request: usize, reply: usize) {
        let Payer::Network { bucket, now } = payer else { return };
        let price = u32::try_from((reply + HEADERS).saturating_sub(request)).unwrap_or(u32::MAX);
        self.networks.take(bucket, price, now);
        self.total.take(price, self.all, now);
    }

    fn bucket(&self, source: SocketAddr) -> usize {
        // The network in which a forger could use any source.
        self.networks.number(Network::of(source, 24, 56))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::limits::TOTAL;
    use super::*;

    const QUOTE: usize = 511;

    fn source(network: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, network, 1], 40_000))
    }

    /// The octets on the wire that a network draws with `count` requests at once, each answered with a reply.
    fn draw(limiter: &mut Limiter, from: SocketAddr, now: Instant, [count, request, reply]: [usize; 3]) -> usize {
        let mut drawn = 0;
        for _ in 0..count {
            if let Some(payer) = limiter.payer(from, now) {
                limiter.pay(payer, request, reply);
                drawn += reply + HEADERS;
            }
        }
        drawn
    }

    #[test]
    fn a_bucket_holds_a_second_s_octets_and_may_be_overdrawn_by_one_reply() {
        let start = Instant::now();
        let mut limiter = Limiter::new(540, 0, None, start);
        // One octet of 540 is left, which permits another reply.
        assert_eq!(draw(&mut limiter, source(2), start, [1000, 0, QUOTE]), 2 * 539);
        // Full again after two seconds, and no fuller after an hour.
        assert_eq!(draw(&mut limiter, source(2), start + Duration::from_millis(990), [1000, 0, QUOTE]), 0);
        assert_eq!(draw(&mut limiter, source(2), start + Duration::from_secs(1), [1000, 0, QUOTE]), 539);
        assert_eq!(draw(&mut limiter, source(2), start + Duration::from_hours(1), [1000, 0, QUOTE]), 2 * 539);
    }

    #[test]
    fn a_client_that_asks_once_a_second_is_always_answered() {
        let start = Instant::now();
        let mut limiter = Limiter::new(540, TOTAL, None, start);
        // Clients' clocks differ from the server's.
        let late = [0, 3, 0, 1, 4, 0];
        for (second, late) in (0..3600).zip(late.into_iter().cycle()) {
            let now = start + Duration::from_secs(second) + Duration::from_millis(late);
            assert_eq!(draw(&mut limiter, source(2), now, [1, 0, QUOTE]), 539, "after {second} s");
        }
    }

    #[test]
    fn over_time_a_network_draws_what_it_sent_and_its_rate() {
        for (request, reply) in [(0, QUOTE), (0, 4), (0, 26), (8, 100), (600, 512), (600, 600), (65_000, 65_000)] {
            let start = Instant::now();
            let mut limiter = Limiter::new(540, 0, None, start);
            let (mut sent, mut drawn) = (0, 0);
            for tick in 0..10_000_u64 {
                let now = start + Duration::from_millis(tick);
                sent += request;
                drawn += draw(&mut limiter, source(2), now, [1, request, reply]);
            }
            let overdrawn = (reply + HEADERS).saturating_sub(request);
            assert!(drawn <= sent + 540 * 11 + overdrawn, "{request} for {reply}: {drawn} for {sent}");
        }
    }

    #[test]
    fn an_echo_costs_its_headers_however_long_it_is() {
        let start = Instant::now();
        for length in [0, 1, 512, 65_507] {
            let mut limiter = Limiter::new(540, 0, None, start);
            let echoes = draw(&mut limiter, source(2), start, [1000, length, length]) / (length + HEADERS);
            assert_eq!(echoes, 540_usize.div_ceil(HEADERS), "{length} octets");
        }
    }

    #[test]
    fn a_request_saves_no_more_than_its_own_reply_costs() {
        let start = Instant::now();
        let mut limiter = Limiter::new(540, 0, None, start);
        assert_eq!(draw(&mut limiter, source(2), start, [100, 1000, 4]), 100 * 32, "they cost nothing");
        assert_eq!(draw(&mut limiter, source(2), start, [1000, 0, QUOTE]), 2 * 539, "and leave nothing");
    }

    #[test]
    fn each_network_has_its_own() {
        let start = Instant::now();
        let mut limiter = Limiter::new(540, 0, None, start);
        let other = (0..=255).map(source).find(|&other| limiter.bucket(other) != limiter.bucket(source(2)));
        for network in [source(2), other.expect("another bucket")] {
            assert_eq!(draw(&mut limiter, network, start, [1000, 0, QUOTE]), 2 * 539);
        }
        let neighbour = "[::ffff:192.0.2.200]:50000".parse().expect("an address");
        assert_eq!(draw(&mut limiter, neighbour, start, [1000, 0, QUOTE]), 0, "the same network, asked over IPv6");
    }

    #[test]
    fn all_networks_together_get_the_total() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0, 10_000, None, start);
        let mut drawn =
            (0..=255).map(|network| draw(&mut limiter, source(network), start, [1, 0, QUOTE])).sum::<usize>();
        assert_eq!(drawn, 10_000_usize.div_ceil(539) * 539);
        drawn = (0..=255).map(|network| draw(&mut limiter, source(network), start, [1, 600, QUOTE])).sum();
        assert_eq!(drawn, 0, "not even to those who sent more");
    }

    #[test]
    fn two_hundred_forged_networks_leave_the_total_to_others() {
        let start = Instant::now();
        let mut limiter = Limiter::new(540, TOTAL, None, start);
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            for network in 0..200_u32 {
                let forged = SocketAddr::from(((0x0a00_0000 + (network << 8)).to_be_bytes(), 40_000));
                draw(&mut limiter, forged, now, [20, 0, QUOTE]);
            }
            assert!(limiter.total.has_some(limiter.all, limiter.networks.since_start(now)), "after {second} s");
        }
    }

    #[test]
    fn exempt_networks_are_not_counted_and_leave_the_rest_as_it_was() {
        let start = Instant::now();
        let exempt = ["192.0.2.0/24", "2001:db8::7"].map(|subnet| subnet.parse().expect("a network"));
        let mut limiter = Limiter::new(540, 1080, Some(exempt.to_vec()), start);
        for probe in ["192.0.2.1:40000", "[::ffff:192.0.2.9]:40000", "[2001:db8::7]:40000"] {
            let probe = probe.parse().expect("an address");
            assert_eq!(draw(&mut limiter, probe, start, [1000, 0, QUOTE]), 1000 * 539, "{probe}");
        }
        assert_eq!(draw(&mut limiter, source(3), start, [1000, 0, QUOTE]), 2 * 539, "somebody else");
        while limiter.total.has_some(limiter.all, 0) {
            limiter.total.take(1, limiter.all, 0);
        }
        let neighbour = "[2001:db8::8]:40000".parse().expect("an address");
        assert_eq!(draw(&mut limiter, neighbour, start, [1, 0, QUOTE]), 0, "the total is used up");
        assert_eq!(draw(&mut limiter, source(2), start, [1, 0, QUOTE]), 539, "for others");
    }

    #[test]
    fn no_limit_is_none() {
        let start = Instant::now();
        let mut limiter = Limiter::new(0, 0, None, start);
        assert_eq!(draw(&mut limiter, source(2), start, [10_000, 0, QUOTE]), 10_000 * 539);
    }

    #[test]
    fn a_low_rate_answers_all_the_same_only_later() {
        let start = Instant::now();
        let mut limiter = Limiter::new(1, 0, None, start);
        assert_eq!(draw(&mut limiter, source(2), start, [10, 0, 4]), 32);
        assert_eq!(draw(&mut limiter, source(2), start + Duration::from_secs(31), [10, 0, 4]), 0);
        assert_eq!(draw(&mut limiter, source(2), start + Duration::from_secs(32), [10, 0, 4]), 32);
    }
}
