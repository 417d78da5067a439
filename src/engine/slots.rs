//! Decides which clients get a process: limits in total, for each source, and on the rate of each source.
//!
//! When all slots are taken, a silent client is evicted. If none is silent, a source with many slots loses one to a source with
//! few. All other clients wait in the kernel.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::buffers::MAX_KEPT;
use super::network::Network;
use super::rates::{Buckets, Rate};
use crate::connections::{Ended, Outcome};

/// A client is silent once its process has not run for this long.
const SILENT: Duration = Duration::from_secs(1);
/// For each process that ends by itself, a client whose source has a slot may wait this much longer. In a burst, many end.
const MORE_PATIENCE: Duration = Duration::from_millis(10);

/// The running processes, each with its key.
///
/// A new process gets a copy of every page that its parent has touched, and the parent pays again for each page that it touches
/// next. So this uses as few pages as possible, and reserves nothing.
pub(super) struct Slots<K> {
    /// Oldest first. Most processes end soon, so searches start at the end.
    taken: VecDeque<Slot<K>>,
    sources: HashMap<Network, usize>,
    /// The memory of all replies, in bytes.
    kept: usize,
    max: usize,
    max_per_source: usize,
    rates: Buckets,
    /// Until when a client whose source has a slot may wait, if one has waited since a slot was last free.
    patience: Option<Instant>,
    /// Whether the system refused one more process. Then the slots count as full until a process ends.
    exhausted: bool,
}

pub(super) struct Slot<K> {
    process: K,
    /// The memory of its reply, in bytes.
    kept: usize,
    pub(super) client: Option<SocketAddr>,
    since: Instant,
    /// Whether the daemon has killed its process.
    pub(super) evicted: bool,
    /// Its process's processor time at the last look, if there was one, and since when that has not changed.
    ran: Option<Duration>,
    silent_since: Instant,
}

/// What happens to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<K> {
    /// It gets a process.
    Admit,
    /// It gets a process once this one has ended, which is to be killed for it.
    Evict(K),
    /// It waits until a process ends.
    Wait,
    /// It is refused, for this reason: its source has its maximum, connects too often, or has kept others waiting for long enough.
    Refuse(Outcome),
}

impl<K> Slot<K> {
    /// The log's record of its connection.
    pub(super) fn ended(&self, now: Instant) -> Ended {
        Ended { from: self.client, lasted: now.duration_since(self.since), octets: None }
    }

    fn source(&self) -> Network {
        source_of(self.client)
    }
}

/// All clients of Unix-domain sockets are one source.
fn source_of(client: Option<SocketAddr>) -> Network {
    client.map_or(Network::LOCAL, Network::of_source)
}

impl<K: Copy + Eq> Slots<K> {
    /// Allows `max` processes at a time, `max_per_source` of them for one source, which may connect `rate` times per second; a rate
    /// of 0 means no limit.
    pub(super) fn new(max: usize, max_per_source: usize, rate: Rate, now: Instant) -> Self {
        let rates = Buckets::new(rate, now);
        Self {
            taken: VecDeque::new(),
            sources: HashMap::new(),
            kept: 0,
            max,
            max_per_source,
            rates,
            patience: None,
            exhausted: false,
        }
    }

    /// Whether slots are scarce: a client may soon have to be evicted.
    pub(super) fn is_crowded(&self) -> bool {
        2 * self.taken.len() >= self.max || 2 * self.kept >= MAX_KEPT || self.exhausted
    }

    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= self.max || self.kept >= MAX_KEPT || self.exhausted && !self.taken.is_empty()
    }

    /// Records that the system refused one more process.
    pub(super) fn exhaust(&mut self) {
        self.exhausted = true;
    }

    /// Whether the system refused one more process. Then it is worth trying again.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether a client's source has its maximum, as far as is known.
    pub(super) fn has_its_share(&self, client: Option<SocketAddr>) -> bool {
        client.is_some() && self.held(source_of(client)) >= self.max_per_source
    }

    /// Until when a client may wait, if its time is limited.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.patience
    }

    /// All slots that are taken.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Slot<K>> {
        self.taken.iter()
    }

    /// The processes, youngest first.
    pub(super) fn processes(&self) -> impl Iterator<Item = K> {
        self.taken.iter().rev().map(|slot| slot.process)
    }

    /// Counts a new connection, and decides what happens to it.
    pub(super) fn ask(&mut self, client: Option<SocketAddr>, now: Instant) -> Verdict<K> {
        if !self.rates.admit(client, now) {
            return Verdict::Refuse(Outcome::RefusedRate);
        }
        if !self.is_full() {
            self.patience = None;
        }
        self.verdict(client, now)
    }

    /// Decides again for a client that was counted, and waits.
    pub(super) fn verdict(&mut self, client: Option<SocketAddr>, now: Instant) -> Verdict<K> {
        if self.has_its_share(client) {
            return Verdict::Refuse(Outcome::RefusedSource);
        }
        if !self.is_full() {
            return Verdict::Admit;
        }
        let sites = self.sites();
        if let Some(process) = self.silent(&sites, now) {
            return Verdict::Evict(process);
        }
        let held = self.held(source_of(client));
        match self.oldest_of_largest(&sites) {
            // From a source with many slots, or from a site with many sources.
            Some((process, count)) if count >= held + 2 => Verdict::Evict(process),
            _ if held == 0 => Verdict::Wait,
            // Its source has a slot, so it must not keep clients with a better claim waiting for long.
            _ if now < *self.patience.get_or_insert(now + SILENT) => Verdict::Wait,
            _ => Verdict::Refuse(Outcome::RefusedSlot),
        }
    }

    fn held(&self, source: Network) -> usize {
        self.sources.get(&source).copied().unwrap_or(0)
    }

    /// A silent process of the source with the most slots, and of these the one that has been silent for longest.
    fn silent(&self, sites: &HashMap<Network, usize>, now: Instant) -> Option<K> {
        let is_silent = |slot: &&Slot<K>| slot.ran.is_some() && now.duration_since(slot.silent_since) >= SILENT;
        let silent = self.taken.iter().filter(is_silent);
        silent
            .min_by_key(|slot| (Reverse(self.weight(slot.source(), sites)), slot.silent_since))
            .map(|slot| slot.process)
    }

    /// The oldest process of the source or site with the most slots, and how many slots that has.
    fn oldest_of_largest(&self, sites: &HashMap<Network, usize>) -> Option<(K, usize)> {
        // Oldest first, so that the oldest wins a tie. The order of the map would be random.
        let all = self.taken.iter().map(|slot| (slot.process, self.weight(slot.source(), sites)));
        all.min_by_key(|(_, weight)| Reverse(*weight)).map(|(process, (count, _))| (process, count))
    }

    /// How many slots the source's site has, since one host may have many /64, and then the source itself, to break ties.
    fn weight(&self, source: Network, sites: &HashMap<Network, usize>) -> (usize, usize) {
        let own = self.held(source);
        (sites.get(&source.site()).copied().unwrap_or(own), own)
    }

    fn sites(&self) -> HashMap<Network, usize> {
        let mut sites = HashMap::new();
        for (source, count) in &self.sources {
            *sites.entry(source.site()).or_default() += count;
        }
        sites
    }

    /// Records the process of an admitted client. Its reply takes `kept` bytes.
    pub(super) fn take(&mut self, process: K, client: Option<SocketAddr>, kept: usize, now: Instant) {
        self.kept += kept;
        let slot = Slot { process, kept, client, since: now, evicted: false, ran: None, silent_since: now };
        *self.sources.entry(slot.source()).or_default() += 1;
        self.taken.push_back(slot);
    }

    /// Notes that the daemon kills this process.
    pub(super) fn evict(&mut self, process: K) {
        self.taken.iter_mut().filter(|slot| slot.process == process).for_each(|slot| slot.evicted = true);
    }

    /// Frees the slot of an ended process, and returns it. `None` if it had none.
    pub(super) fn free(&mut self, process: K) -> Option<Slot<K>> {
        let index = self.taken.iter().rposition(|slot| slot.process == process)?;
        let slot = self.taken.remove(index)?;
        self.kept -= slot.kept;
        let count = self.sources.entry(slot.source()).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.sources.remove(&slot.source());
        }
        self.exhausted = false;
        Some(slot)
    }

    /// Records that a process ended by itself. Where many do, clients may wait for longer.
    pub(super) fn move_on(&mut self, now: Instant) {
        if let Some(patience) = self.patience {
            self.patience = Some((patience.max(now) + MORE_PATIENCE).min(now + SILENT));
        }
    }

    /// Checks the processor times with `ran`. A process that has run since the last look is not silent.
    pub(super) fn look(&mut self, now: Instant, ran: impl Fn(K) -> Option<Duration>) {
        for slot in &mut self.taken {
            let ran = ran(slot.process).or(slot.ran);
            if ran != slot.ran {
                (slot.ran, slot.silent_since) = (ran, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as accept(2) gives them
    fn client(network: u8, host: u8) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, network, host], 4711)))
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_source_has_its_limit_and_its_rate() {
        let now = Instant::now();
        let mut slots = Slots::new(10, 2, Rate(3), now);
        for process in 0..2 {
            assert_eq!(slots.ask(client(2, 1), now), Verdict::Admit);
            slots.take(process, client(2, 1), 0, now);
        }
        assert_eq!(slots.ask(client(2, 1), now), Verdict::Refuse(Outcome::RefusedSource), "two slots");
        assert_eq!(slots.ask(client(2, 2), now), Verdict::Admit, "another source");
        assert_eq!(slots.free(0).and_then(|slot| slot.client), client(2, 1));
        assert_eq!(slots.ask(client(2, 1), now), Verdict::Refuse(Outcome::RefusedRate), "three times in a second");
        assert_eq!(slots.ask(client(2, 1), now + seconds(1)), Verdict::Admit);
        slots.take(2, client(2, 1), 0, now + seconds(1));
        assert_eq!(
            slots.ask(client(2, 1), now + seconds(2)),
            Verdict::Refuse(Outcome::RefusedSource),
            "the other slot is still its own"
        );
        assert!([1, 2].into_iter().all(|process| slots.free(process).is_some()));
        assert!(slots.sources.is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn the_longest_silent_is_evicted_then_one_of_the_source_with_most_then_none() {
        let now = Instant::now();
        let mut slots = Slots::new(3, 3, Rate(0), now);
        slots.take(1, client(2, 1), 0, now);
        slots.take(2, client(2, 1), 0, now + seconds(1));
        slots.take(3, client(2, 2), 0, now + seconds(1));
        // The first has run meanwhile, the others have not.
        slots.look(now + seconds(1), |_| Some(Duration::ZERO));
        let later = now + seconds(3);
        slots.look(later, |process| Some(if process == 1 { seconds(1) } else { Duration::ZERO }));
        assert_eq!(slots.ask(client(2, 3), later), Verdict::Evict(2), "silent, and of the source with more");
        slots.look(later, |process| Some(seconds(process)));
        assert_eq!(slots.ask(client(2, 3), later), Verdict::Evict(1), "the oldest of the source that has two");
        assert_eq!(slots.ask(client(2, 2), later), Verdict::Wait, "who has one takes none from others");
        slots.look(later + seconds(1), |process| Some(seconds(process + 1)));
        assert_eq!(
            slots.verdict(client(2, 2), later + seconds(1)),
            Verdict::Refuse(Outcome::RefusedSlot),
            "nor keeps them waiting"
        );
        slots.move_on(later + seconds(1));
        assert_eq!(slots.verdict(client(2, 2), later + seconds(1)), Verdict::Wait, "one has ended by itself");
        assert!(slots.free(3).is_some());
        assert_eq!(slots.verdict(client(2, 2), later), Verdict::Admit);
        assert!(slots.free(3).is_none());
    }

    #[test]
    fn clients_of_unix_sockets_are_one_source() {
        let now = Instant::now();
        let mut slots = Slots::new(3, 1, Rate(1), now);
        for process in 0..3 {
            assert_eq!(slots.ask(None, now), Verdict::Admit, "without a limit of its own");
            slots.take(process, None, 0, now);
        }
        assert_eq!(slots.ask(client(2, 1), now), Verdict::Evict(0));
        assert_eq!(slots.ask(None, now), Verdict::Wait, "not at the cost of others");
    }

    #[test]
    fn a_source_with_few_takes_from_one_with_many_and_the_system_s_limit_is_one_of_slots() {
        let now = Instant::now();
        let mut slots = Slots::new(10, 10, Rate(0), now);
        for process in 0..4 {
            slots.take(process, client(2, u8::from(process > 0)), 0, now);
        }
        assert_eq!(slots.verdict(client(2, 0), now), Verdict::Admit);
        slots.exhaust();
        assert_eq!(slots.verdict(client(2, 0), now), Verdict::Evict(1), "three beside one");
        assert!(slots.free(1).is_some());
        assert_eq!(slots.verdict(client(2, 0), now), Verdict::Admit);
    }

    #[test]
    fn long_replies_fill_the_slots_too() {
        let now = Instant::now();
        let mut slots = Slots::new(3, 3, Rate(0), now);
        slots.take(1, client(2, 1), MAX_KEPT, now);
        assert_eq!(slots.ask(client(2, 2), now), Verdict::Wait);
        assert!(slots.free(1).is_some());
        assert_eq!(slots.ask(client(2, 2), now), Verdict::Admit);
    }

    #[test]
    fn networks_of_one_site_count_together() {
        let now = Instant::now();
        let mut slots = Slots::new(3, 3, Rate(0), now);
        let at = |site: u16, network: u16| Some(SocketAddr::from(([0x2001, 0xdb8, site, network, 0, 0, 0, 1], 4711)));
        slots.take(1, at(7, 1), 0, now);
        slots.take(2, at(8, 1), 0, now);
        slots.take(3, at(8, 2), 0, now);
        assert_eq!(slots.ask(at(9, 1), now + seconds(2)), Verdict::Evict(2), "its site has two");
        assert!(slots.free(2).is_some());
        slots.take(4, at(9, 1), 0, now);
        assert_eq!(slots.ask(at(10, 1), now), Verdict::Wait, "each has one");
    }
}
