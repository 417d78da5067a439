//! The connections that are open, oldest activity first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;

use super::connection::Connection;

/// All connections of a process, by descriptor.
pub(super) struct Connections {
    open: LinkedHashMap<RawFd, Open>,
    sources: HashMap<IpAddr, usize>,
    most: usize,
    most_per_source: usize,
    idle: Duration,
}

struct Open {
    connection: Connection,
    source: Option<IpAddr>,
    active: Instant,
}

impl Connections {
    /// At most `most` at a time, `most_per_source` of them from one source, and none longer than `idle` without activity.
    pub(super) fn new(most: usize, most_per_source: usize, idle: Duration) -> Self {
        // Twice what they will hold: a table that is never more than half full makes room in place for what was removed, and
        // never asks for more memory, which the policy would not allow.
        let room = 2 * (most + 1);
        Self {
            open: LinkedHashMap::with_capacity(room),
            sources: HashMap::with_capacity(room),
            most,
            most_per_source,
            idle,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Adds a connection, and lets the one go that was idle for longest if there are too many. `None` if its source has as
    /// many as it may have.
    pub(super) fn admit(&mut self, socket: OwnedFd, from: Option<SocketAddr>, now: Instant) -> Option<RawFd> {
        let source = from.map(|address| host(address.ip()));
        if source.is_some_and(|source| self.sources.get(&source).is_some_and(|&count| count >= self.most_per_source)) {
            return None;
        }
        if self.open.len() >= self.most {
            self.let_oldest_go();
        }
        if let Some(source) = source {
            *self.sources.entry(source).or_default() += 1;
        }
        let descriptor = socket.as_raw_fd();
        self.open.insert(descriptor, Open { connection: Connection::new(socket), source, active: now });
        Some(descriptor)
    }

    pub(super) fn get(&mut self, descriptor: RawFd) -> Option<&mut Connection> {
        self.open.get_mut(&descriptor).map(|open| &mut open.connection)
    }

    /// Notes that the client did something.
    pub(super) fn touch(&mut self, descriptor: RawFd, now: Instant) {
        if let Some(open) = self.open.to_back(&descriptor) {
            open.active = now;
        }
    }

    /// Ends a connection.
    pub(super) fn remove(&mut self, descriptor: RawFd) {
        let removed = self.open.remove(&descriptor);
        self.forget(removed);
    }

    /// Ends the connection that was idle for longest.
    pub(super) fn let_oldest_go(&mut self) {
        let removed = self.open.pop_front().map(|(_, open)| open);
        self.forget(removed);
    }

    /// Ends those that were idle for too long.
    pub(super) fn let_idle_go(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now) {
            self.let_oldest_go();
        }
    }

    /// When the next one will have been idle for too long.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.front().map(|(_, open)| open.active + self.idle)
    }

    fn forget(&mut self, removed: Option<Open>) {
        if let Some(source) = removed.and_then(|open| open.source)
            && let Entry::Occupied(mut count) = self.sources.entry(source)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 that an IPv6 host has all to itself.
pub(crate) fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}
