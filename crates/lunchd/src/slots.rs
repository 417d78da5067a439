//! The slot of a connection, which it frees when it ends, and its time limits.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::connections::Connections;
use super::seen::Seen;
use small_services::internals::{Ended, Outcome};

/// Why a connection ends early.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client was idle for too long.
    Idle,
    /// Its time is up, or the program ends. Requests in progress are still answered.
    Due,
}

/// What a client has requested so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// Only `/healthz`.
    Health,
    Something,
}

/// The slots of all connections.
pub(super) struct Slots {
    connections: RefCell<Connections>,
    /// The connection that was evicted to free the budget of its answers, and has not ended yet.
    evicted: Cell<Option<u64>>,
    all_closed: Notify,
    pub(super) seen: Seen,
}

impl Slots {
    pub(super) fn new(max: u32, max_per_source: u32, seen: Seen) -> Self {
        let connections = RefCell::new(Connections::new(max, max_per_source));
        Self { connections, evicted: Cell::new(None), all_closed: Notify::new(), seen }
    }

    /// A slot for a connection that may last for `life`; `None` if its source has reached its maximum.
    /// A balancer's connection does not count for its source.
    pub(super) fn admit(
        self: &Rc<Self>,
        from: Option<SocketAddr>,
        is_balancer: bool,
        life: Duration,
    ) -> Option<Rc<Slot>> {
        let mut connections = self.connections.borrow_mut();
        let Some(number) = connections.admit(from.filter(|_| !is_balancer)) else {
            let ended = Ended { from, lasted: Duration::ZERO, octets: None };
            self.seen.ended(Outcome::RefusedSource, &ended, false);
            return None;
        };
        self.seen.open(connections.len());
        let now = Instant::now();
        Some(Rc::new(Slot {
            slots: self.clone(),
            number,
            since: now,
            last: now + life,
            from: Cell::new(from),
            outcome: Cell::new(Outcome::Served),
            asks: Cell::new(Asks::Nothing),
            active: Cell::new(now),
            last_answer: Cell::new(false),
        }))
    }

    /// Evicts the connection that has been idle longest.
    pub(super) fn evict_oldest(&self) {
        self.connections.borrow_mut().evict_oldest();
    }

    /// Does the same to free the budget of its answers, and no further one until that has ended.
    pub(super) fn free_budget(&self) {
        if self.evicted.get().is_none() {
            self.evicted.set(self.connections.borrow_mut().evict_oldest());
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn all_closed(&self) {
        // The notification may be old, so check again.
        while self.connections.borrow().len() > 0 {
            self.all_closed.notified().await;
        }
    }
}

/// The slot of one connection, freed when this is dropped.
pub(super) struct Slot {
    slots: Rc<Slots>,
    number: u64,
    from: Cell<Option<SocketAddr>>,
    since: Instant,
    /// The outcome, unless something else ends the connection first.
    outcome: Cell<Outcome>,
    asks: Cell<Asks>,
    /// When the connection ends, whatever the client does.
    last: Instant,
    /// When the client last sent a request or took a part of an answer. Octets alone do not count as activity: a client could send
    /// PINGs for ever, or the head of a request octet by octet.
    active: Cell<Instant>,
    /// Whether the answer that is sent now is the last.
    last_answer: Cell<bool>,
}

impl Slot {
    /// Sets the task that serves it.
    pub(super) fn set_task(&self, task: AbortHandle) {
        self.slots.connections.borrow_mut().set_task(self.number, task);
    }

    /// Sets the source, which was unknown when the connection was admitted. Returns whether the source may have one more.
    pub(super) fn comes_from(&self, client: SocketAddr) -> bool {
        self.from.set(Some(client));
        self.slots.connections.borrow_mut().comes_from(self.number, client)
    }

    /// Records how the connection ends, unless something else ends it first.
    pub(super) fn ends(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    /// Records what the client requested.
    pub(super) fn asks(&self, health: bool) {
        let only_health = health && self.asks.get() != Asks::Something;
        self.asks.set(if only_health { Asks::Health } else { Asks::Something });
    }

    /// Records a transfer of octets.
    pub(super) fn touch(&self) {
        self.slots.connections.borrow_mut().touch(self.number);
    }

    /// Records that the client sent a request or took a part of an answer.
    pub(super) fn mark(&self) {
        self.active.set(Instant::now());
    }

    /// Records that the connection ends after the answer that is sent now.
    pub(super) fn end_with_this(&self) {
        self.last_answer.set(true);
    }

    pub(super) fn is_last(&self) -> bool {
        self.last_answer.get()
    }

    /// Waits until the client has been idle for this time, or the connection's time is up.
    pub(super) async fn time_limit(&self, idle: Duration) -> End {
        loop {
            let due = self.active.get() + idle;
            let now = Instant::now();
            if now >= self.last {
                return End::Due;
            }
            if now >= due {
                return End::Idle;
            }
            sleep_until(due.min(self.last)).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.slots.evicted.get() == Some(self.number) {
            self.slots.evicted.set(None);
        }
        let mut connections = self.slots.connections.borrow_mut();
        let outcome = if connections.remove(self.number) { self.outcome.get() } else { Outcome::Evicted };
        let ended = Ended { from: self.from.get(), lasted: self.since.elapsed(), octets: None };
        self.slots.seen.ended(outcome, &ended, outcome == Outcome::Served && self.asks.get() == Asks::Health);
        self.slots.seen.open(connections.len());
        if connections.len() == 0 {
            self.slots.all_closed.notify_one();
        }
    }
}
