//! One process for all clients: an event loop over its sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use rustix::process::Signal;
use rustix::stdio::{dup2_stdin, stdin};

use super::buffers::Buffers;
use super::connection::{Connection, Worker};
use super::datagrams::Datagrams;
use super::descriptors::{Arranged, raise_descriptor_limit};
use super::discard;
use super::limiter::TOTAL;
use super::readiness::Next;
use super::sockets::{Kind, Lifetime, Socket};
use super::table::Table;
use crate::numbers::{EVENT_LOOP, INPUT, OUTPUT, STREAM};
use crate::sd_notify::Manager;
use crate::service::Behavior;
use crate::{log, random, sys};

/// How long connections in progress may take when the program is told to stop.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long no connection is taken when the system is out of memory or descriptors.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// So many connections are taken from one listener before the others have their turn.
pub(super) const ACCEPTED_AT_ONCE: usize = 64;
const EVENTS_AT_ONCE: usize = 256;
/// So many connections are looked at before one has to go for another.
const LOOKS: usize = 16;
/// How long clients have to close by themselves before the event loop waits for each (see [`Next::Closing`]). Most do; then
/// one call sees the end, and neither registering the connection nor waking up for it is needed.
const CLOSING: Duration = Duration::from_millis(1);
/// Event data from here on means a socket, by its index, and below it a connection, by its descriptor.
const SOCKETS: u64 = 1 << 32;
const SIGNALS: u64 = u64::MAX;

/// The event loop's own calls.
pub(super) const RULES: &[Rule] = &[
    Rule::new(Syscall::EPOLL_PWAIT, &[EVENT_LOOP], "wait for clients"),
    Rule::new(Syscall::EPOLL_CTL, &[EVENT_LOOP], "wait for one more client, or for what it can do next"),
    ACCEPT,
    CLOSE,
    BE_TOLD,
    TELL,
    sys::TELL_TIME,
    Rule::new(Syscall::BRK, &[], "keep a record of one more connection, or the rest of a long reply"),
    #[cfg(debug_assertions)]
    sys::CHECK_BEFORE_CLOSING,
];

// lunchd makes these too.
pub(crate) const ACCEPT: Rule = Rule::new(
    Syscall::ACCEPT4,
    // SOCK_NONBLOCK | SOCK_CLOEXEC
    &[STREAM, Pin::is(3, 0x8_0800)],
    "take a connection",
);
pub(crate) const CLOSE: Rule = Rule::new(Syscall::CLOSE, &[STREAM], "end a connection, or be done with a file");
pub(crate) const BE_TOLD: Rule = Rule::new(Syscall::READ, &[INPUT], "learn that it is time to stop, or to read again");
pub(crate) const TELL: Rule = Rule::new(Syscall::WRITE, &[OUTPUT], "tell the service manager: ready, alive, stopping");

/// How many new connections a second one source may make, unless `--max-rate-per-source` says otherwise.
const RATE: u32 = 200;

/// How much is served.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "All clients, on sockets that are passed or that --listen opens")]
pub struct Limits {
    /// Make a process for each connection, instead of serving all clients in one process
    ///
    /// Whoever takes over such a process has its own connection and no other.
    #[arg(long)]
    pub keeper: bool,

    /// Serve so many connections at a time; one more ends one that is idle
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Of these, so many from one IPv4 address or IPv6 /64 [default: half of all]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_source: Option<u32>,

    /// With --keeper: so many new ones a second from one source; 0 is no limit
    ///
    /// A source is an IPv4 address or an IPv6 /64. As many may come at once.
    #[arg(long, value_name = "COUNT", default_value_t = RATE)]
    pub max_rate_per_source: u32,

    /// Send a network so many octets a second more in datagrams than it sends [default: one longest reply]
    ///
    /// A network is an IPv4 /24 or an IPv6 /56. Headers count. 0 is no limit.
    #[arg(long, value_name = "OCTETS")]
    pub datagram_rate: Option<u32>,

    /// The same for all networks together; 0 is no limit
    #[arg(long, value_name = "OCTETS", default_value_t = TOTAL)]
    pub datagram_total: u32,
}

impl Limits {
    /// How many connections one source may have at a time.
    pub(super) fn per_source(&self) -> usize {
        self.max_per_source.unwrap_or_else(|| self.max_connections.div_ceil(2)) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keeper: false,
            max_connections: 1000,
            max_per_source: None,
            max_rate_per_source: RATE,
            datagram_rate: None,
            datagram_total: TOTAL,
        }
    }
}

/// Why no client can be served any more, or none at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limit on open files is lower than what was asked for.
    #[error(
        "{asked} connections take {needed} descriptors, and no more than {allowed} may be open; \
         raise LimitNOFILE= or `ulimit -Hn`, or lower --max-connections"
    )]
    TooFewDescriptors {
        /// Connections.
        asked: u32,
        /// Descriptors.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// There are not enough numbers for them.
    #[error("{asked} UDP sockets are more than the {max} that one process serves; start another one for the rest")]
    TooManyDatagramSockets {
        /// Sockets.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// Something that the event loop needs cannot be had.
    #[error("cannot prepare the event loop: {0}; check the limits of the unit or shell that starts the program")]
    Prepare(#[from] io::Error),
    /// There is nobody where the service manager should be.
    #[error(
        "cannot reach the service manager at NOTIFY_SOCKET: {0}; unset the variable, or start the program from its unit"
    )]
    Manager(io::Error),
    /// One process after the other crashes.
    #[error(
        "{0} processes for connections crashed within a minute; ending, so that the service manager starts this program with a \
         new memory layout; the log has what ended them"
    )]
    Crashes(usize),
    /// The event loop itself failed.
    #[error("cannot wait for clients: {0}; this is a defect, please report it")]
    Wait(io::Error),
}

/// Sockets with everything that it takes to serve them, ready to go on without the outside world.
pub struct Shared {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    /// See [`Arranged`].
    _kept: Vec<OwnedFd>,
    lifetime: Lifetime,
    /// With [`Lifetime::WhileBusy`], how long the program stays without traffic.
    stay: Duration,
    worker: Worker,
    /// By descriptor, the one without activity for longest first.
    connections: Table<RawFd, Connection>,
    /// How long a client may be idle.
    idle: Duration,
    datagrams: Datagrams,
    manager: Manager,
    /// Connections that have their reply, and when to look after them.
    closing: Vec<RawFd>,
    closing_due: Option<Instant>,
    /// The last time that a client wanted something.
    traffic: Instant,
    /// Until when no connection is taken.
    paused: Option<Instant>,
    /// What the log says of connections that cannot be taken.
    refusals: log::Repeated,
    /// Until when the last connections may take, once the program was told to stop.
    stopping: Option<Instant>,
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Prepare(errno.into())
    }
}

impl Shared {
    /// Prepares the sockets and an event loop over them. `idle` is how long a connection may be idle, `stay` how long the
    /// program stays without traffic where inetd would start it again.
    ///
    /// # Errors
    ///
    /// What cannot be had.
    pub fn new(
        behavior: Behavior,
        arranged: Arranged,
        lifetime: Lifetime,
        limits: &Limits,
        idle: Duration,
        stay: Duration,
    ) -> Result<Self, Error> {
        let Arranged { events: epoll, sockets, kept } = arranged;
        raise_descriptor_limit(limits.max_connections, sockets.len() + behavior.descriptors())?;
        let now = Instant::now();
        dup2_stdin(sys::daemon_signals()?)?;
        epoll::add(&epoll, stdin(), EventData::new_u64(SIGNALS), EventFlags::IN)?;
        for (index, socket) in (SOCKETS..).zip(&sockets) {
            let descriptor = socket.descriptor.as_fd();
            ioctl_fionbio(descriptor, true)?;
            match socket.kind {
                Kind::Datagrams => {
                    // Not those of a connection, which a socket unit gives to all its sockets.
                    Buffers::STREAM.set(descriptor)?;
                    sys::enable_pktinfo(descriptor)?;
                }
                // Connections have these from their listener.
                Kind::Listener => {
                    Buffers::of(&behavior).set(descriptor)?;
                    if matches!(behavior, Behavior::Discard) {
                        discard::prepare(descriptor);
                    }
                }
            }
            epoll::add(&epoll, descriptor, EventData::new_u64(index), EventFlags::IN)?;
        }
        let max = limits.max_connections as usize;
        Ok(Self {
            epoll,
            sockets,
            _kept: kept,
            lifetime,
            stay,
            connections: Table::new(max, limits.per_source()),
            idle,
            datagrams: Datagrams::new(limits.datagram_rate, limits.datagram_total, &behavior, random::seeded()?, now),
            worker: Worker::new(behavior),
            manager: Manager::connect(now).map_err(Error::Manager)?,
            closing: Vec::with_capacity(max),
            closing_due: None,
            traffic: now,
            paused: None,
            refusals: log::Repeated::default(),
            stopping: None,
        })
    }

    /// Serves all clients until it is time to end, with the system calls of its policy and no others.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`]. What happens to a connection is no error here.
    pub fn serve(&mut self) -> Result<(), Error> {
        self.manager.ready();
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            events.clear();
            let timeout = self.next_due().map(until_then);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Wait(errno.into())),
            }
            let now = Instant::now();
            self.handle(&events, now);
            self.reap_closing(now);
            self.close_idle(now);
            self.manager.alive(now);
            self.end_pause(now);
            if self.is_over(now) {
                self.advance_all(now);
                return Ok(());
            }
        }
    }

    /// Connections first: a connection that is accepted here may get the descriptor of one that ends here.
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
        if self.stopping.is_some() {
            return; // told so just now
        }
        let socket = &self.sockets[index];
        match socket.kind {
            Kind::Datagrams => {
                if self.datagrams.answer(socket.descriptor.as_fd(), &mut self.worker.behavior, now) {
                    self.traffic = now;
                }
            }
            Kind::Listener => self.accept(index, now),
        }
    }

    fn accept(&mut self, index: usize, now: Instant) {
        const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
        for _ in 0..ACCEPTED_AT_ONCE {
            let accepted = retry_on_intr(|| acceptfrom_with(&self.sockets[index].descriptor, FLAGS));
            match accepted {
                Ok((socket, from)) => {
                    self.traffic = now;
                    let from = from.and_then(|address: SocketAddrAny| address.try_into().ok());
                    if self.connections.is_full() {
                        self.advance_oldest(now);
                    }
                    self.admit(socket, from, now);
                }
                Err(Errno::AGAIN) => return,
                Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    let message = format!("cannot take a connection: {errno}; trying again every half a second");
                    self.refusals.warning(now, &message);
                    self.advance_oldest(now);
                    self.connections.evict_oldest();
                    return self.pause(now);
                }
                // Its client is gone again, or its network is: see accept(2).
                Err(errno) if !is_of_the_socket(errno) => {}
                Err(errno) => return self.drop_socket(index, errno),
            }
        }
    }

    /// Closes it at once if its source has as many as it may have, or no memory is left for it.
    fn admit(&mut self, socket: OwnedFd, from: Option<SocketAddr>, now: Instant) {
        let descriptor = socket.as_raw_fd();
        let Ok(connection) = Connection::new(socket, from, &self.worker, now) else { return };
        if self.connections.admit(descriptor, from, || connection, drop).is_some() {
            self.advance(descriptor, now);
        }
    }

    /// Serves no longer what fails each time.
    fn drop_socket(&mut self, index: usize, errno: Errno) {
        let Socket { descriptor, name, .. } = &self.sockets[index];
        log::error(&format!("cannot serve {name} any more: {errno}; start the program again"));
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Lets a connection do what it can do now.
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
            Next::Over => return self.close(descriptor),
        };
        let data = EventData::new_u64(u64::try_from(descriptor).unwrap_or(SOCKETS)); // none is negative
        let waits = if connection.interest == interest {
            Ok(())
        } else if connection.interest.is_empty() {
            epoll::add(&self.epoll, connection.socket(), data, interest)
        } else {
            epoll::modify(&self.epoll, connection.socket(), data, interest)
        };
        connection.interest = interest;
        if waits.is_err() {
            return self.close(descriptor);
        }
        if active {
            connection.active = now;
            self.traffic = now;
            self.connections.touch(descriptor);
        }
    }

    fn close(&mut self, descriptor: RawFd) {
        drop(self.connections.remove(descriptor));
    }

    /// The connection that was idle for longest, and when that will have been too long.
    fn oldest(&self) -> Option<(RawFd, Instant)> {
        self.connections.oldest().map(|(descriptor, connection)| (descriptor, connection.active + self.idle))
    }

    /// Ends the connections whose clients have closed, and has the event loop wait for the others.
    fn reap_closing(&mut self, now: Instant) {
        if self.closing_due.is_none_or(|due| due > now) {
            return;
        }
        self.closing_due = None;
        // Index by index: the memory is kept, and none of these closes anew.
        for index in 0..self.closing.len() {
            self.advance(self.closing[index], now);
        }
        self.closing.clear();
    }

    /// Looks at those that seem to be idle for longest before one of them has to go: a client of discard may have sent less
    /// than is worth waking up for.
    fn advance_oldest(&mut self, now: Instant) {
        for _ in 0..LOOKS {
            let Some((descriptor, _)) = self.oldest() else { return };
            self.advance(descriptor, now);
            if self.oldest().is_some_and(|(oldest, _)| oldest == descriptor) {
                return;
            }
        }
    }

    /// Takes what clients have sent, so that closing their connections is an end and not a reset.
    fn advance_all(&mut self, now: Instant) {
        for descriptor in self.connections.keys() {
            self.advance(descriptor, now);
        }
    }

    /// Ends the connections that were idle for too long, and looks at each first.
    fn close_idle(&mut self, now: Instant) {
        while let Some((descriptor, due)) = self.oldest().filter(|(_, due)| *due <= now) {
            self.advance(descriptor, now);
            if self.oldest() == Some((descriptor, due)) {
                self.close(descriptor);
            }
        }
    }

    /// Takes no connection for a while. They stay in the kernel meanwhile.
    fn pause(&mut self, now: Instant) {
        self.paused = Some(now + PAUSE);
        self.listen_for(EventFlags::empty());
    }

    fn end_pause(&mut self, now: Instant) {
        if self.paused.is_some_and(|end| end <= now) {
            self.paused = None;
            self.listen_for(EventFlags::IN);
        }
    }

    fn listen_for(&self, interest: EventFlags) {
        for (index, socket) in (SOCKETS..).zip(&self.sockets).filter(|(_, socket)| socket.kind == Kind::Listener) {
            let _ = epoll::modify(&self.epoll, &socket.descriptor, EventData::new_u64(index), interest);
        }
    }

    /// Reads its files again, or stops ([`sys::daemon_signals`]).
    fn take_signals(&mut self, now: Instant) {
        while let Ok(number) = sys::take_signal(stdin()) {
            if number == Signal::HUP.as_raw() {
                self.worker.behavior.reload();
            } else {
                self.stop(now);
            }
        }
    }

    /// Takes no more clients, and lets those go on that it has. Told twice, it ends at once.
    fn stop(&mut self, now: Instant) {
        self.manager.stopping();
        for socket in &self.sockets {
            // Closing is not enough: whoever passed it holds it too, and clients still come.
            let _ = epoll::delete(&self.epoll, &socket.descriptor);
        }
        // A number that is kept for datagrams stays taken.
        self.sockets.retain(|socket| socket.kind == Kind::Datagrams);
        self.stopping = Some(if self.stopping.is_none() { now + GRACE } else { now });
    }

    fn is_over(&self, now: Instant) -> bool {
        match (self.stopping, self.lifetime) {
            (Some(end), _) => self.connections.is_empty() || end <= now,
            (None, Lifetime::WhileBusy) => self.connections.is_empty() && self.traffic + self.stay <= now,
            (None, Lifetime::UntilStopped) => false,
        }
    }

    /// When there is something to do even if no client does anything.
    fn next_due(&self) -> Option<Instant> {
        let leaves = (self.lifetime == Lifetime::WhileBusy).then(|| self.traffic + self.stay);
        [self.oldest().map(|(_, due)| due), self.manager.due(), self.closing_due, self.paused, self.stopping, leaves]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Whether accept(2) will never work again, rather than not for this client.
#[must_use]
pub fn is_of_the_socket(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP)
}

pub(super) fn until_then(due: Instant) -> Timespec {
    let left = due.saturating_duration_since(Instant::now());
    // rustix rounds it up to the milliseconds of epoll_pwait(2), so that it is time when that returns.
    Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}
