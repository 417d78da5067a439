//! One process for all clients: an event loop over its sockets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use hunker::{Pin, Rule, Syscall};
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::ioctl_fionbio;
use rustix::net::SocketFlags;
use rustix::process::Signal;
use rustix::stdio::stdin;

use super::connection::{Connection, Worker};
use super::daemon::{ACCEPTED_AT_ONCE, Accepted, Daemon, Error, SIGNALS, SOCKETS};
use super::datagrams::{DatagramLimits, Datagrams};
use super::descriptors::Arranged;
use super::discard;
use super::limits::Limits;
use super::rates::{Buckets, Rate};
use super::readiness::Next;
use super::sockets::{Kind, Lifetime};
use super::table::Table;
use crate::connections::Outcome;
use crate::numbers::STREAM;
use crate::service::Behavior;
use crate::{random, sys};

const EVENTS_AT_ONCE: usize = 256;
/// Maximum number of connections checked before one is evicted.
const LOOKS: usize = 16;
/// How long clients have to close before the event loop waits for them (see [`Next::Closing`]). Most do. Then one call sees the
/// end, without registering the connection or waking up for it.
const CLOSING: Duration = Duration::from_millis(1);
/// The calls of the event loop besides those of [`Daemon`].
pub(super) const RULES: &[Rule] =
    &[ACCEPT, Rule::new(Syscall::BRK, &[], "allocate memory for a connection or the rest of a long reply")];

// lunchd makes it too.
pub(crate) const ACCEPT: Rule = Rule::new(
    Syscall::ACCEPT4,
    // SOCK_NONBLOCK | SOCK_CLOEXEC
    &[STREAM, Pin::is(3, 0x8_0800)],
    "accept a connection",
);

/// The sockets, and everything that serving them requires, ready for the lock-down.
pub struct Shared {
    daemon: Daemon,
    worker: Worker,
    /// By descriptor, the longest idle first.
    connections: Table<RawFd, Connection>,
    /// How often each source connects.
    rates: Buckets,
    /// How long a client may be idle.
    idle: Duration,
    datagrams: Datagrams,
    /// Connections that have their reply, and when to reap them.
    closing: Vec<RawFd>,
    closing_due: Option<Instant>,
}

impl Shared {
    /// Prepares the sockets and their event loop. `idle` is how long a connection may be idle. `stay` is how long the program runs
    /// without traffic where inetd would start it again. `max_rate` limits each connection, in octets per second; 0 means no limit.
    ///
    /// # Errors
    ///
    /// [`Error`], if something that the daemon requires is unavailable.
    pub fn new(
        behavior: Behavior,
        arranged: Arranged,
        lifetime: Lifetime,
        limits: &Limits,
        idle: Duration,
        stay: Duration,
        max_rate: u32,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        let daemon = Daemon::new(arranged, lifetime, stay, &behavior, max_rate, limits, now)?;
        for (index, socket) in daemon.sockets(Kind::Datagrams) {
            ioctl_fionbio(&socket.descriptor, true)?;
            let data = EventData::new_u64(SOCKETS + index as u64);
            epoll::add(daemon.epoll(), &socket.descriptor, data, EventFlags::IN)?;
        }
        if matches!(behavior, Behavior::Discard) {
            daemon.sockets(Kind::Listener).for_each(|(_, socket)| discard::prepare(socket.descriptor.as_fd()));
        }
        let max = limits.max_connections as usize;
        let (limits_of_datagrams, random) = (DatagramLimits::of(limits), random::seeded()?);
        Ok(Self {
            connections: Table::new(max, limits.per_source()),
            rates: Buckets::new(Rate::of_connections(limits), now),
            idle,
            datagrams: Datagrams::new(limits_of_datagrams, &behavior, random, daemon.datagrams, now),
            daemon,
            worker: Worker::new(behavior),
            closing: Vec::with_capacity(max),
            closing_due: None,
        })
    }

    /// Serves all clients until it is time to end, with the system calls of its policy and no others.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`]. The failure of one connection is no error.
    pub fn serve(&mut self) -> Result<(), Error> {
        self.daemon.ready(&self.worker.behavior);
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let due = [self.oldest().map(|(_, due)| due), self.closing_due].into_iter().flatten().min();
            self.daemon.wait(&mut events, due)?;
            let now = Instant::now();
            self.handle(&events, now);
            self.reap_closing(now);
            self.close_idle(now);
            self.daemon.advance(self.connections.len(), &self.worker.behavior, now);
            if self.daemon.is_over(self.connections.is_empty(), now) {
                self.end(now);
                return Ok(());
            }
        }
    }

    /// Connections first: one that is accepted here may get the descriptor of one that ends here.
    fn handle(&mut self, events: &[Event], now: Instant) {
        for data in events.iter().map(|event| { event.data }.u64()).filter(|&data| data < SOCKETS) {
            if let Ok(descriptor) = RawFd::try_from(data) {
                self.advance(descriptor, now);
            }
        }
        for data in events.iter().map(|event| { event.data }.u64()).filter(|&data| data >= SOCKETS) {
            if data == SIGNALS {
                self.take_signals(now);
            } else if let Ok(index) = usize::try_from(data - SOCKETS) {
                self.answer(index, now);
            }
        }
    }

    fn answer(&mut self, index: usize, now: Instant) {
        if self.daemon.is_stopping() {
            return; // the signal came in the same batch
        }
        let socket = self.daemon.socket(index);
        match socket.kind {
            Kind::Datagrams => {
                if self.datagrams.answer(socket.descriptor.as_fd(), &mut self.worker.behavior, now) {
                    self.daemon.traffic = now;
                }
            }
            Kind::Listener => self.accept(index, now),
        }
    }

    fn accept(&mut self, index: usize, now: Instant) {
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.daemon.accept(index, FLAGS, now) {
                Accepted::Client(socket, from) => {
                    if !self.rates.admit(from, now) {
                        self.daemon.refused(Outcome::RefusedRate, from, now);
                        continue;
                    }
                    if self.connections.is_full() {
                        self.advance_oldest(now);
                    }
                    self.admit(socket, from, now);
                }
                Accepted::None => return,
                Accepted::Exhausted => {
                    self.advance_oldest(now);
                    if let Some(evicted) = self.connections.evict_oldest() {
                        self.daemon.ended(Outcome::Evicted, now, || evicted.ended(now));
                    }
                    return;
                }
            }
        }
    }

    /// Admits a connection, or closes it at once if its source has its maximum or memory is short.
    fn admit(&mut self, socket: OwnedFd, from: Option<SocketAddr>, now: Instant) {
        let descriptor = socket.as_raw_fd();
        let Ok(connection) = Connection::new(socket, from, &self.worker, now) else {
            self.daemon.warn("closed a connection, because memory for it was short; raise MemoryMax=", now);
            return self.daemon.refused(Outcome::Failed, from, now);
        };
        let Self { connections, daemon, .. } = self;
        let evict = |evicted: Connection| daemon.ended(Outcome::Evicted, now, || evicted.ended(now));
        if connections.admit(descriptor, from, || connection, evict).is_some() {
            self.advance(descriptor, now);
        } else {
            self.daemon.refused(Outcome::RefusedSource, from, now);
        }
    }

    /// Does what a connection can do now.
    fn advance(&mut self, descriptor: RawFd, now: Instant) {
        let Some(connection) = self.connections.get(descriptor) else { return };
        let (interest, active) = match connection.advance(&mut self.worker) {
            Next::Active(interest) => (interest, true),
            Next::Waiting(interest) => (interest, false),
            Next::Closing => {
                self.closing.push(descriptor);
                self.closing_due.get_or_insert(now + CLOSING);
                return;
            }
            // The usual end. Without a connection log it is only counted.
            Next::Over if self.daemon.is_quiet => {
                self.daemon.counts.served += 1;
                drop(self.connections.remove(descriptor));
                return;
            }
            Next::Over => return self.close(descriptor, Outcome::Served, now),
            Next::Failed => return self.close(descriptor, Outcome::Failed, now),
        };
        let data = EventData::new_u64(u64::try_from(descriptor).unwrap_or(SOCKETS)); // none is negative
        let waits = if connection.interest == interest {
            Ok(())
        } else if connection.interest.is_empty() {
            epoll::add(self.daemon.epoll(), connection.socket(), data, interest)
        } else {
            epoll::modify(self.daemon.epoll(), connection.socket(), data, interest)
        };
        connection.interest = interest;
        if waits.is_err() {
            return self.close(descriptor, Outcome::Failed, now);
        }
        if active {
            connection.active = now;
            self.daemon.traffic = now;
            self.connections.touch(descriptor);
        }
    }

    fn close(&mut self, descriptor: RawFd, outcome: Outcome, now: Instant) {
        if let Some(connection) = self.connections.remove(descriptor) {
            self.daemon.ended(outcome, now, || connection.ended(now));
        }
    }

    /// The connection that has been idle for longest, and when its time is up.
    fn oldest(&self) -> Option<(RawFd, Instant)> {
        self.connections.oldest().map(|(descriptor, connection)| (descriptor, connection.active + self.idle))
    }

    /// Closes the connections whose clients have closed, and adds the others to the event loop.
    fn reap_closing(&mut self, now: Instant) {
        if self.closing_due.is_none_or(|due| due > now) {
            return;
        }
        self.closing_due = None;
        // By index, which keeps the memory: none of these is added again meanwhile.
        for index in 0..self.closing.len() {
            self.advance(self.closing[index], now);
        }
        self.closing.clear();
    }

    /// Checks those that seem idle for longest before one is evicted: a client of discard may have sent too little to wake the
    /// program.
    fn advance_oldest(&mut self, now: Instant) {
        for _ in 0..LOOKS {
            let Some((descriptor, _)) = self.oldest() else { return };
            self.advance(descriptor, now);
            if self.oldest().is_some_and(|(oldest, _)| oldest == descriptor) {
                return;
            }
        }
    }

    /// Closes all connections. Each first takes its client's input, so that this is an end and not a reset.
    fn end(&mut self, now: Instant) {
        for descriptor in self.connections.keys() {
            self.advance(descriptor, now);
            self.close(descriptor, Outcome::Stopped, now);
        }
        self.daemon.end();
    }

    /// Closes the connections that have been idle for too long, after a last check of each.
    fn close_idle(&mut self, now: Instant) {
        while let Some((descriptor, due)) = self.oldest().filter(|(_, due)| *due <= now) {
            self.advance(descriptor, now);
            if self.oldest() == Some((descriptor, due)) {
                self.close(descriptor, Outcome::Timeout, now);
            }
        }
    }

    /// Handles signals: reloads files, or stops ([`sys::daemon_signals`]).
    fn take_signals(&mut self, now: Instant) {
        while let Ok(number) = sys::take_signal(stdin()) {
            if number == Signal::HUP.as_raw() {
                self.worker.behavior.reload();
                self.daemon.has_read();
            } else {
                self.daemon.stop(now);
            }
        }
    }
}
