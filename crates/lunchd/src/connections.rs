//! The connections that are open, the one that was idle for longest first.

use std::net::SocketAddr;

use tokio::task::AbortHandle;

use small_services::internals::engine::Table;

/// All of them, by a number that none has twice, and who serves each.
#[derive(Debug)]
pub(super) struct Connections {
    table: Table<u64, Option<AbortHandle>>,
    next: u64,
    /// Whose client did something last.
    latest: u64,
}

impl Connections {
    pub(super) fn new(max: u32, max_per_source: u32) -> Self {
        Self { table: Table::new(max as usize, max_per_source as usize), next: 0, latest: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Has room for one more, if need be in the place of the one that was idle for longest. `None` if its source has as many
    /// as it may have.
    pub(super) fn admit(&mut self, from: Option<SocketAddr>) -> Option<u64> {
        self.next += 1;
        self.latest = self.next;
        self.table.admit(self.next, from, || None, end)
    }

    /// Notes where it comes from, which was not known when it was admitted. Whether its source may have one more.
    pub(super) fn comes_from(&mut self, number: u64, client: SocketAddr) -> bool {
        self.table.comes_from(number, client)
    }

    /// Notes who serves it.
    pub(super) fn served_by(&mut self, number: u64, task: AbortHandle) {
        if let Some(server) = self.table.get(number) {
            *server = Some(task);
        }
    }

    /// Notes that the client did something.
    pub(super) fn touch(&mut self, number: u64) {
        // An answer mostly follows its request.
        if self.latest != number {
            self.table.touch(number);
            self.latest = number;
        }
    }

    /// Ends the connection that was idle for longest: its number.
    pub(super) fn evict_oldest(&mut self) -> Option<u64> {
        let number = self.table.oldest().map(|(number, _)| number);
        if let Some(server) = self.table.evict_oldest() {
            end(server);
        }
        number
    }

    /// It has ended. Whether it was not evicted before.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        self.table.remove(number).is_some()
    }
}

fn end(server: Option<AbortHandle>) {
    if let Some(task) = server {
        task.abort();
    }
}
