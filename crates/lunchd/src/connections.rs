//! The open connections, in the order of their last activity.

use std::net::SocketAddr;

use tokio::task::AbortHandle;

use small_services::internals::engine::Table;

/// All open connections by a unique number, each with its task.
#[derive(Debug)]
pub(super) struct Connections {
    table: Table<u64, Option<AbortHandle>>,
    next: u64,
    /// The connection that was active last.
    latest: u64,
}

impl Connections {
    pub(super) fn new(max: u32, max_per_source: u32) -> Self {
        Self { table: Table::new(max as usize, max_per_source as usize), next: 0, latest: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Adds a connection, and if necessary evicts the one that has been idle longest. `None` if the source has reached its maximum.
    pub(super) fn admit(&mut self, from: Option<SocketAddr>) -> Option<u64> {
        self.next += 1;
        self.latest = self.next;
        self.table.admit(self.next, from, || None, end)
    }

    /// Sets the source, which was unknown when the connection was admitted. Returns whether the source may have one more.
    pub(super) fn comes_from(&mut self, number: u64, client: SocketAddr) -> bool {
        self.table.comes_from(number, client)
    }

    /// Sets the task that serves it.
    pub(super) fn set_task(&mut self, number: u64, task: AbortHandle) {
        if let Some(server) = self.table.get(number) {
            *server = Some(task);
        }
    }

    /// Records activity of the client.
    pub(super) fn touch(&mut self, number: u64) {
        // Often the same connection as before: an answer follows its request.
        if self.latest != number {
            self.table.touch(number);
            self.latest = number;
        }
    }

    /// Evicts the connection that has been idle longest, and returns its number.
    pub(super) fn evict_oldest(&mut self) -> Option<u64> {
        let number = self.table.oldest().map(|(number, _)| number);
        if let Some(server) = self.table.evict_oldest() {
            end(server);
        }
        number
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, number: u64) {
        self.table.remove(number);
    }
}

fn end(server: Option<AbortHandle>) {
    if let Some(task) = server {
        task.abort();
    }
}
