//! The connections that are open, oldest activity first.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::connection::Connection;
use super::table::Table;

/// All connections of a process, by descriptor.
pub(super) struct Connections {
    table: Table<RawFd, Open>,
    idle: Duration,
    /// How many more may keep the buffers that they have from their listener.
    large_left: usize,
}

struct Open {
    connection: Connection,
    active: Instant,
    large: bool,
}

impl Connections {
    /// At most `most` at a time, `most_per_source` of them from one source, and none longer than `idle` without activity. All
    /// but `large` get small buffers.
    pub(super) fn new(most: usize, most_per_source: usize, large: usize, idle: Duration) -> Self {
        Self { table: Table::new(most, most_per_source), idle, large_left: large }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        self.table.keys()
    }

    /// Adds a connection, and lets the one go that was idle for longest if there are too many. `None` if its source has as
    /// many as it may have.
    pub(super) fn admit(&mut self, socket: OwnedFd, from: Option<SocketAddr>, now: Instant) -> Option<RawFd> {
        let descriptor = socket.as_raw_fd();
        let large = self.large_left > 0;
        if !large && Buffers::SMALL.set(socket.as_fd()).is_err() {
            return None; // without a limit on its memory, no connection
        }
        let open = || Open { connection: Connection::new(socket), active: now, large };
        let mut evicted = None;
        let admitted = self.table.admit(descriptor, from, open, |open| evicted = Some(open));
        self.large_left -= usize::from(large && admitted.is_some());
        self.forget(evicted);
        admitted
    }

    pub(super) fn get(&mut self, descriptor: RawFd) -> Option<&mut Connection> {
        self.table.get(descriptor).map(|open| &mut open.connection)
    }

    /// Notes that the client did something.
    pub(super) fn touch(&mut self, descriptor: RawFd, now: Instant) {
        if let Some(open) = self.table.touch(descriptor) {
            open.active = now;
        }
    }

    /// Ends a connection.
    pub(super) fn remove(&mut self, descriptor: RawFd) {
        let removed = self.table.remove(descriptor);
        self.forget(removed);
    }

    /// Ends the connection that was idle for longest.
    pub(super) fn let_oldest_go(&mut self) {
        let removed = self.table.remove_oldest();
        self.forget(removed);
    }

    fn forget(&mut self, removed: Option<Open>) {
        self.large_left += usize::from(removed.is_some_and(|open| open.large));
    }

    /// When the next one will have been idle for too long.
    pub(super) fn due(&self) -> Option<Instant> {
        self.table.oldest().map(|(_, open)| open.active + self.idle)
    }

    /// The one that was idle for longest.
    pub(super) fn oldest(&self) -> Option<RawFd> {
        self.table.oldest().map(|(descriptor, _)| descriptor)
    }

    /// One that was idle for too long.
    pub(super) fn idle(&self, now: Instant) -> Option<RawFd> {
        self.table.oldest().filter(|(_, open)| open.active + self.idle <= now).map(|(descriptor, _)| descriptor)
    }
}
