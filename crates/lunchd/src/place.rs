//! A connection's place among all: free again when it ends, and the clock by which it has to.

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

/// Why a connection ends before it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client did nothing for too long.
    Idle,
    /// It has had its time, or the program is to end: requests in progress are still answered.
    Due,
}

/// What a client has asked for so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// Whether this is well, and nothing else.
    Health,
    Something,
}

/// All places.
pub(super) struct Places {
    connections: RefCell<Connections>,
    /// The connection that was ended for the room of its answers, and is not gone yet.
    makes_room: Cell<Option<u64>>,
    all_gone: Notify,
    pub(super) seen: Seen,
}

impl Places {
    pub(super) fn new(max: u32, max_per_source: u32, seen: Seen) -> Self {
        let connections = RefCell::new(Connections::new(max, max_per_source));
        Self { connections, makes_room: Cell::new(None), all_gone: Notify::new(), seen }
    }

    /// A place for a connection that may last so long; `None` if its source has as many as it may have.
    pub(super) fn admit(self: &Rc<Self>, from: Option<SocketAddr>, life: Duration) -> Option<Rc<Place>> {
        let mut connections = self.connections.borrow_mut();
        let Some(number) = connections.admit(from) else {
            let ended = Ended { from, lasted: Duration::ZERO, octets: None };
            self.seen.ended(Outcome::RefusedSource, &ended, false);
            return None;
        };
        self.seen.open(connections.len());
        let now = Instant::now();
        Some(Rc::new(Place {
            places: self.clone(),
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

    /// Ends the connection that was idle for longest.
    pub(super) fn evict_oldest(&self) {
        self.connections.borrow_mut().evict_oldest();
    }

    /// The same for the room that its answers may have, and no other before that is free.
    pub(super) fn make_room(&self) {
        if self.makes_room.get().is_none() {
            self.makes_room.set(self.connections.borrow_mut().evict_oldest());
        }
    }

    /// Until there is no connection.
    pub(super) async fn all_gone(&self) {
        // Told that all were gone at some time; whether they are now is another question.
        while self.connections.borrow().len() > 0 {
            self.all_gone.notified().await;
        }
    }
}

/// The place of one connection among all: free again when this is dropped.
pub(super) struct Place {
    places: Rc<Places>,
    number: u64,
    from: Cell<Option<SocketAddr>>,
    since: Instant,
    /// How it will have ended.
    outcome: Cell<Outcome>,
    asks: Cell<Asks>,
    /// When the connection is to end, whatever the client does.
    last: Instant,
    /// When the client last asked for something or took a part of it. Octets alone are no sign of life: it may send PINGs for
    /// ever, or the head of a request octet by octet.
    active: Cell<Instant>,
    /// Whether what is sent from now on is the last.
    last_answer: Cell<bool>,
}

impl Place {
    /// Notes who serves it.
    pub(super) fn served_by(&self, task: AbortHandle) {
        self.places.connections.borrow_mut().served_by(self.number, task);
    }

    /// Notes where it comes from, which was not known when it was admitted. Whether its source may have one more.
    pub(super) fn comes_from(&self, client: SocketAddr) -> bool {
        self.from.set(Some(client));
        self.places.connections.borrow_mut().comes_from(self.number, client)
    }

    /// Notes how it ends, if nothing else happens to it.
    pub(super) fn ends(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    /// Notes what the client asked for.
    pub(super) fn asks(&self, health: bool) {
        let only_health = health && self.asks.get() != Asks::Something;
        self.asks.set(if only_health { Asks::Health } else { Asks::Something });
    }

    /// Notes that octets moved.
    pub(super) fn touch(&self) {
        self.places.connections.borrow_mut().touch(self.number);
    }

    /// Notes that the client asked for something, or took a part of it.
    pub(super) fn mark(&self) {
        self.active.set(Instant::now());
    }

    /// Notes that the connection ends with the answer that is sent now.
    pub(super) fn end_with_this(&self) {
        self.last_answer.set(true);
    }

    pub(super) fn is_last(&self) -> bool {
        self.last_answer.get()
    }

    /// Until it did neither for so long, or the connection has had its time.
    pub(super) async fn time_is_up(&self, idle: Duration) -> End {
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

impl Drop for Place {
    fn drop(&mut self) {
        if self.places.makes_room.get() == Some(self.number) {
            self.places.makes_room.set(None);
        }
        let mut connections = self.places.connections.borrow_mut();
        let outcome = if connections.remove(self.number) { self.outcome.get() } else { Outcome::Evicted };
        let ended = Ended { from: self.from.get(), lasted: self.since.elapsed(), octets: None };
        self.places.seen.ended(outcome, &ended, self.asks.get() == Asks::Health);
        self.places.seen.open(connections.len());
        if connections.len() == 0 {
            self.places.all_gone.notify_one();
        }
    }
}
