//! Open connections, the longest idle first, with limits in total and for each source.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::SocketAddr;

use hashlink::LinkedHashMap;

use super::network::Network;

/// Connections, or their handlers, each with its own key.
#[derive(Debug)]
pub struct Table<K, T> {
    open: LinkedHashMap<K, (T, Option<Network>)>,
    sources: HashMap<Network, usize>,
    max: usize,
    max_per_source: usize,
}

impl<K: Copy + Eq + Hash, T> Table<K, T> {
    /// Holds `max` at a time, `max_per_source` of them from one source.
    #[must_use]
    pub fn new(max: usize, max_per_source: usize) -> Self {
        // Twice the maximum: a table that is never more than half full reuses the space of removed entries, and never allocates,
        // which the policy would forbid.
        let room = 2 * (max + 1);
        Self { open: LinkedHashMap::with_capacity(room), sources: HashMap::with_capacity(room), max, max_per_source }
    }

    /// The number of open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= self.max
    }

    pub(crate) fn keys(&self) -> Vec<K> {
        self.open.keys().copied().collect()
    }

    /// Adds what `open` makes. If the table is full, `evict` ends the oldest first. Returns `None` and changes nothing if the
    /// source has its maximum.
    pub fn admit(
        &mut self,
        key: K,
        from: Option<SocketAddr>,
        open: impl FnOnce() -> T,
        evict: impl FnOnce(T),
    ) -> Option<K> {
        let source = from.map(Network::of_source);
        if source.is_some_and(|source| self.has_its_share(source)) {
            return None;
        }
        if self.is_full() {
            self.evict_oldest().map(evict);
        }
        if let Some(source) = source {
            *self.sources.entry(source).or_default() += 1;
        }
        self.open.insert(key, (open(), source));
        Some(key)
    }

    /// Assigns a connection without a source to the one that it turns out to have. Returns `false` and changes nothing if that
    /// source has its maximum, or the connection has a source already.
    pub fn comes_from(&mut self, key: K, client: SocketAddr) -> bool {
        let source = Network::of_source(client);
        let full = self.has_its_share(source);
        match self.open.get_mut(&key) {
            Some((_, unknown @ None)) if !full => {
                *unknown = Some(source);
                *self.sources.entry(source).or_default() += 1;
                true
            }
            _ => false,
        }
    }

    fn has_its_share(&self, source: Network) -> bool {
        self.sources.get(&source).is_some_and(|&count| count >= self.max_per_source)
    }

    /// The connection with this key.
    pub fn get(&mut self, key: K) -> Option<&mut T> {
        self.open.get_mut(&key).map(|(value, _)| value)
    }

    /// The connection with this key, marked as active.
    pub fn touch(&mut self, key: K) -> Option<&mut T> {
        self.open.to_back(&key).map(|(value, _)| value)
    }

    /// The oldest connection, and its key.
    #[must_use]
    pub fn oldest(&self) -> Option<(K, &T)> {
        self.open.front().map(|(&key, (value, _))| (key, value))
    }

    /// Removes the connection with this key.
    pub fn remove(&mut self, key: K) -> Option<T> {
        let removed = self.open.remove(&key);
        self.forget(removed)
    }

    /// Removes the oldest connection.
    pub fn evict_oldest(&mut self) -> Option<T> {
        let removed = self.open.pop_front().map(|(_, open)| open);
        self.forget(removed)
    }

    fn forget(&mut self, removed: Option<(T, Option<Network>)>) -> Option<T> {
        let (value, source) = removed?;
        if let Some(Entry::Occupied(mut count)) = source.map(|source| self.sources.entry(source)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_gets_a_source_once_and_no_more_than_the_share_of_that_source() {
        let client = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let mut table = Table::new(10, 2);
        for key in 0..3 {
            assert_eq!(table.admit(key, None, || (), |()| ()), Some(key));
        }
        assert!(table.comes_from(0, client(1)));
        assert!(!table.comes_from(0, client(1)), "it has one already");
        assert!(table.comes_from(1, client(2)));
        assert!(!table.comes_from(2, client(3)), "the source has two");
        assert!(!table.comes_from(3, client(3)), "there is none with this key");
        table.remove(1);
        assert!(table.comes_from(2, client(3)));
    }
}
