//! What the keeper and the shared process have in common: sockets and their event loop, signals, the service manager, and the
//! lifetime.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use hunker::{Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use rustix::stdio::{dup2_stdin, stdin};

use super::buffers::{self, Buffers};
use super::datagrams::DatagramCounts;
use super::descriptors::{Arranged, raise_descriptor_limit};
use super::limits::Limits;
use super::sockets::{Kind, Lifetime, Socket, is_of_the_socket, remedy};
use crate::connections::{ConnectionLog, Counts, Ended, Outcome};
use crate::numbers::{EVENT_LOOP, INPUT, OUTPUT, STREAM};
use crate::sd_notify::Manager;
use crate::service::Behavior;
use crate::{log, sys};

/// How long open connections may continue after the program is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait before accepting again when the system is out of memory, descriptors or processes.
const PAUSE: Duration = Duration::from_millis(500);
/// Maximum number of connections accepted from one listener before the others have their turn.
pub(super) const ACCEPTED_AT_ONCE: usize = 64;
/// Event data of the first socket; the index of a socket is added to it. Smaller values belong to the engine.
pub(super) const SOCKETS: u64 = 1 << 32;
/// Event data of the signals.
pub(super) const SIGNALS: u64 = u64::MAX;

/// The calls of this file, and closing.
pub(super) const RULES: &[Rule] = &[
    Rule::new(Syscall::EPOLL_PWAIT, &[EVENT_LOOP], "wait for clients"),
    Rule::new(Syscall::EPOLL_CTL, &[EVENT_LOOP], "add, change or remove a client in the event loop"),
    CLOSE,
    READ_SIGNALS,
    NOTIFY,
    sys::READ_CLOCK,
    #[cfg(debug_assertions)]
    sys::CHECK_BEFORE_CLOSING,
];

// lunchd makes these too.
pub(crate) const CLOSE: Rule = Rule::new(Syscall::CLOSE, &[STREAM], "close a connection or a file");
pub(crate) const READ_SIGNALS: Rule = Rule::new(Syscall::READ, &[INPUT], "read signals to stop or reload");
pub(crate) const NOTIFY: Rule =
    Rule::new(Syscall::WRITE, &[OUTPUT], "notify the service manager: ready, alive, stopping, status");

/// Why the daemon cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limit on open files is too low for the connections.
    #[error(
        "{asked} connections require {needed} descriptors, but the limit is {allowed}; \
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
    /// There are more datagram sockets than descriptor numbers for them.
    #[error("{asked} UDP sockets exceed the maximum of {max} for one process; start another process for the rest")]
    TooManyDatagramSockets {
        /// Sockets.
        asked: usize,
        /// The limit.
        max: usize,
    },
    /// Something that the event loop needs is unavailable.
    #[error("cannot prepare the event loop: {0}; check the limits of the unit or shell that starts the program")]
    Prepare(#[from] io::Error),
    /// The service manager cannot be reached.
    #[error(
        "cannot reach the service manager at NOTIFY_SOCKET: {0}; unset the variable, or start the program from its unit"
    )]
    Manager(io::Error),
    /// Too many processes crashed within a minute.
    #[error(
        "{0} processes crashed within a minute; exiting, so that the service manager restarts the program with a new memory \
         layout; see the messages before this one, and report the crashes"
    )]
    Crashes(usize),
    /// The event loop itself failed.
    #[error("cannot wait for clients: {0}; this is a defect, please report it")]
    Wait(io::Error),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Prepare(errno.into())
    }
}

/// Sockets and their event loop, ready for the lock-down.
pub(super) struct Daemon {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    /// See [`Arranged`].
    _kept: Vec<OwnedFd>,
    lifetime: Lifetime,
    /// With [`Lifetime::WhileBusy`], how long the program runs without traffic.
    stay: Duration,
    manager: Manager,
    pub(super) counts: Counts,
    /// Counts of datagrams, including those of the keeper's processes.
    pub(super) datagrams: DatagramCounts,
    /// The figures of the last status that was sent or is due.
    known: Option<(Counts, [u64; 2])>,
    connection_log: Option<ConnectionLog>,
    /// Whether there is no connection log.
    pub(super) is_quiet: bool,
    /// When a client was last active.
    pub(super) traffic: Instant,
    /// Whether clients wait in the kernel until a slot is free.
    held: bool,
    /// Until when no connection is accepted.
    paused: Option<Instant>,
    /// Limits the warnings about connections that cannot be accepted.
    refusals: log::Repeated,
    /// When the last connections are closed, once the program is told to stop.
    stopping: Option<Instant>,
}

/// The result of accepting from a listener.
pub(super) enum Accepted {
    /// A client, without an address over a Unix-domain socket.
    Client(OwnedFd, Option<SocketAddr>),
    /// No client is waiting, or none may be accepted now.
    None,
    /// No client can be accepted for a while: the system is out of memory or descriptors.
    Exhausted,
}

impl Daemon {
    /// Prepares the sockets, and an event loop for the listeners. `max_rate` limits each connection, in octets per second; 0 means
    /// no limit. `stay` is how long the program runs without traffic where inetd would start it again.
    ///
    /// # Errors
    ///
    /// [`Error`], if something that the daemon requires is unavailable.
    pub(super) fn new(
        arranged: Arranged,
        lifetime: Lifetime,
        stay: Duration,
        behavior: &Behavior,
        max_rate: u32,
        limits: &Limits,
        now: Instant,
    ) -> Result<Self, Error> {
        let Arranged { events: epoll, sockets, kept } = arranged;
        // A keeper holds one connection at a time.
        let connections = if limits.shared { limits.max_connections } else { 1 };
        raise_descriptor_limit(connections, sockets.len() + behavior.descriptors())?;
        dup2_stdin(sys::daemon_signals()?)?;
        epoll::add(&epoll, stdin(), EventData::new_u64(SIGNALS), EventFlags::IN)?;
        for (index, socket) in (SOCKETS..).zip(&sockets) {
            let descriptor = socket.descriptor.as_fd();
            match socket.kind {
                Kind::Datagrams => {
                    // Replaces the buffers for connections, which a socket unit sets on all its sockets.
                    Buffers::STREAM.set(descriptor)?;
                    sys::enable_pktinfo(descriptor)?;
                }
                // Connections inherit these from their listener.
                Kind::Listener => {
                    ioctl_fionbio(descriptor, true)?;
                    buffers::prepare(descriptor, behavior, max_rate)?;
                    epoll::add(&epoll, descriptor, EventData::new_u64(index), EventFlags::IN)?;
                }
            }
        }
        let has_datagrams = sockets.iter().any(|socket| socket.kind == Kind::Datagrams);
        Ok(Self {
            epoll,
            sockets,
            _kept: kept,
            lifetime,
            stay,
            manager: Manager::connect(now).map_err(Error::Manager)?,
            counts: Counts::default(),
            datagrams: if has_datagrams { DatagramCounts::shared()? } else { DatagramCounts::none() },
            known: None,
            is_quiet: !limits.log_connections,
            connection_log: limits.log_connections.then(|| ConnectionLog::open(now)),
            traffic: now,
            held: false,
            paused: None,
            refusals: log::Repeated::default(),
            stopping: None,
        })
    }

    /// The sockets of a kind, with their indexes.
    pub(super) fn sockets(&self, kind: Kind) -> impl Iterator<Item = (usize, &Socket)> {
        self.sockets.iter().enumerate().filter(move |(_, socket)| socket.kind == kind)
    }

    pub(super) fn socket(&self, index: usize) -> &Socket {
        &self.sockets[index]
    }

    /// The event loop.
    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    pub(super) fn ready(&mut self, behavior: &Behavior) {
        self.manager.ready();
        self.report(0, behavior, Instant::now());
    }

    /// Updates the status in the service manager, at most once in a few seconds. `open` is the number of open connections.
    fn report(&mut self, open: usize, behavior: &Behavior, now: Instant) {
        if !self.manager.is_connected() {
            return;
        }
        self.counts.open = open;
        let known = Some((self.counts, self.datagrams.get()));
        let changed = self.known != known;
        self.known = known;
        let (counts, datagrams) = (&self.counts, self.datagrams);
        self.manager.status(changed, now, || counts.line(datagrams.part().into_iter().chain(behavior.status())));
    }

    /// Notes that the files were reloaded.
    pub(super) fn has_read(&mut self) {
        self.known = None;
    }

    /// Records a connection that ended or was refused. `describe` is called only if there is a connection log.
    pub(super) fn ended(&mut self, outcome: Outcome, now: Instant, describe: impl FnOnce() -> Ended) {
        self.counts.add(outcome);
        if let Some(log) = &mut self.connection_log {
            log.add(outcome, &describe(), now);
        }
    }

    /// Records a refused client.
    pub(super) fn refused(&mut self, outcome: Outcome, from: Option<SocketAddr>, now: Instant) {
        self.ended(outcome, now, || Ended { from, lasted: Duration::ZERO, octets: None });
    }

    /// Logs what is still outstanding.
    pub(super) fn end(&mut self) {
        if let Some(log) = &mut self.connection_log {
            log.end();
        }
    }

    /// Waits for events, or until something is due. `due` is the engine's own deadline.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`].
    pub(super) fn wait(&self, events: &mut Vec<Event>, due: Option<Instant>) -> Result<(), Error> {
        let leaves = self.leaves().then(|| self.traffic + self.stay);
        let log = self.connection_log.as_ref().and_then(ConnectionLog::due);
        let due = [due, self.manager.due(), log, self.paused, self.stopping, leaves].into_iter().flatten().min();
        let timeout = due.map(until_then);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::Wait(errno.into())),
        }
    }

    /// Does what is due. `open` is the number of open connections.
    pub(super) fn advance(&mut self, open: usize, behavior: &Behavior, now: Instant) {
        self.manager.keep_alive(now);
        self.report(open, behavior, now);
        if let Some(log) = &mut self.connection_log {
            log.advance(now);
        }
        if self.paused.is_some_and(|end| end <= now) {
            self.paused = None;
            self.listen();
        }
    }

    /// Accepts the next client of a listener.
    pub(super) fn accept(&mut self, index: usize, flags: SocketFlags, now: Instant) -> Accepted {
        while self.accepts() {
            match retry_on_intr(|| acceptfrom_with(&self.sockets[index].descriptor, flags)) {
                Ok((socket, from)) => {
                    self.traffic = now;
                    return Accepted::Client(socket, from.and_then(|address: SocketAddrAny| address.try_into().ok()));
                }
                Err(Errno::AGAIN) => return Accepted::None,
                Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    self.pause(&format!("cannot accept a connection: {errno}; {}", remedy(&errno.into())), now);
                    return Accepted::Exhausted;
                }
                // The client or its network is gone again: see accept(2).
                Err(errno) if !is_of_the_socket(errno) => {}
                // This would fail every time.
                Err(errno) => {
                    let Socket { descriptor, name, .. } = &self.sockets[index];
                    log::error(&format!("cannot serve {name} any longer: {errno}; restart the program"));
                    let _ = epoll::delete(&self.epoll, descriptor);
                    return Accepted::None;
                }
            }
        }
        Accepted::None
    }

    fn accepts(&self) -> bool {
        !self.held && self.paused.is_none() && self.stopping.is_none()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Stops accepting for a while. New connections wait in the kernel.
    pub(super) fn pause(&mut self, why: &str, now: Instant) {
        self.warn(&format!("{why}; retrying every half second"), now);
        self.paused = Some(now + PAUSE);
        self.listen();
    }

    /// Stops accepting while `held` is set.
    pub(super) fn hold(&mut self, held: bool) {
        if self.held != held {
            self.held = held;
            self.listen();
        }
    }

    /// Logs a warning at a limited rate, not for each client.
    pub(super) fn warn(&mut self, message: &str, now: Instant) {
        self.refusals.warning(now, message);
    }

    /// Has the event loop wait for clients, or for none.
    fn listen(&self) {
        let interest = if self.accepts() { EventFlags::IN } else { EventFlags::empty() };
        for (index, socket) in (SOCKETS..).zip(&self.sockets).filter(|(_, socket)| socket.kind == Kind::Listener) {
            let _ = epoll::modify(&self.epoll, &socket.descriptor, EventData::new_u64(index), interest);
        }
    }

    /// Stops accepting. Open connections continue for `GRACE`; a second call ends them at once.
    pub(super) fn stop(&mut self, now: Instant) {
        self.manager.stopping();
        for socket in &self.sockets {
            // Closing is not enough: the program that passed the socket still holds it, and clients keep coming.
            let _ = epoll::delete(&self.epoll, &socket.descriptor);
        }
        // Datagram sockets keep their numbers taken.
        self.sockets.retain(|socket| socket.kind == Kind::Datagrams);
        self.stopping = Some(if self.stopping.is_none() { now + GRACE } else { now });
    }

    /// Whether the program ends after a while without traffic.
    pub(super) fn leaves(&self) -> bool {
        self.lifetime == Lifetime::WhileBusy
    }

    /// Whether it is time to end. `idle` means that nobody is being served.
    pub(super) fn is_over(&self, idle: bool, now: Instant) -> bool {
        match (self.stopping, self.lifetime) {
            (Some(end), _) => idle || end <= now,
            (None, Lifetime::WhileBusy) => idle && self.traffic + self.stay <= now,
            (None, Lifetime::UntilStopped) => false,
        }
    }
}

fn until_then(due: Instant) -> Timespec {
    let left = due.saturating_duration_since(Instant::now());
    // rustix rounds this up to the milliseconds of epoll_pwait(2), so the deadline has passed when that returns.
    Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}
