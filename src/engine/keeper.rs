//! A process for each connection, at the price of a fork: one process accepts, makes them and waits for them. Its code never
//! reads from a client.
//!
//! A new process is what one is that inetd starts: its connection on descriptors 0 and 1, the log on 2, nothing else. It has a
//! Landlock domain of its own, so that it can do nothing to its siblings, and the policy of one connection. Filters are inherited
//! and add up: the keeper's policy holds every call of its processes. What it may read is pinned to descriptor 0, which in the
//! keeper tells of signals (docs/threat-model.md).

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hunker::{Pin, Rule, Syscall};
use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_domain};
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, acceptfrom_with};
use rustix::process::Signal;
use rustix::stdio::{dup2_stdin, stdin};

use super::Children;
use super::blocking::Client;
use super::buffers::Buffers;
use super::datagrams::Datagrams;
use super::descriptors::{Arranged, raise_descriptor_limit};
use super::one::One;
use super::shared::{
    ACCEPTED_AT_ONCE, BE_TOLD, CLOSE, Error, GRACE, Limits, PAUSE, TELL, is_of_the_socket, until_then,
};
use super::slots::{Slots, Verdict};
use super::sockets::{Kind, Lifetime, Socket};
use crate::numbers::{EVENT_LOOP, INPUT, LAST_DATAGRAMS, STREAM, number};
use crate::policy::Io;
use crate::sd_notify::Manager;
use crate::sys;
use crate::sys::processes::{self, End, Process};
use crate::{log, random};

/// How often it looks whether processes run, while so many slots are taken that one may have to be ended; and for ends that it was
/// not told of.
const LOOK: Duration = Duration::from_millis(500);
/// So many of the youngest processes are asked at once whether they have ended.
const YOUNG: usize = 64;
/// So many processes may be ended by a fault in this time before the keeper ends too, and its service manager starts it with a
/// new memory layout: processes of one image are all alike, so whoever can crash one learns from each.
const MAX_CRASHES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// A process for datagrams that ended is made again after this time.
const AGAIN: Duration = Duration::from_secs(1);
const EVENTS_AT_ONCE: usize = 64;
const SIGNALS: u64 = u64::MAX;
/// So many times in a row may a process for datagrams fail to take any before it ends, to be made again.
const MAX_FAILURES: u32 = 1_000;
/// How a process ends that could not lock itself down: it has served nobody.
const NOT_LOCKED_DOWN: u8 = 77;

/// What it takes to make processes and to end them, and what these do before they have a policy of their own.
pub(super) const RULES: &[Rule] = &[
    Rule::new(Syscall::EPOLL_PWAIT, &[EVENT_LOOP], "wait for clients"),
    Rule::new(Syscall::EPOLL_CTL, &[EVENT_LOOP], "wait for no more clients than there are slots for"),
    // SOCK_CLOEXEC
    Rule::new(Syscall::ACCEPT4, &[STREAM, Pin::is(3, 0x8_0000)], "take a connection"),
    CLOSE,
    BE_TOLD,
    TELL,
    sys::TELL_TIME,
    Rule::new(Syscall::BRK, &[], "compose a reply, or keep a record of one more process"),
    Rule::new(
        Syscall::CLONE,
        // No namespace and no shared memory; a signal when it ends.
        &[Pin::is(0, processes::ENDED.unsigned_abs()), Pin::is(1, 0)],
        "make a process for a connection",
    ),
    Rule::new(Syscall::WAIT4, &[Pin::is(2, processes::WAIT_FLAGS.unsigned_abs()), Pin::is(3, 0)], "learn how it ended"),
    // SIGKILL. Landlock's scope leaves nobody but these processes.
    Rule::new(Syscall::KILL, &[Pin::is(1, 9)], "end one whose slot is needed"),
    // Of processes: negative numbers.
    Rule::new(Syscall::CLOCK_GETTIME, &[Pin::within(0, 1 << 31, u32::MAX)], "see whether a process does anything"),
    // In a new process.
    Rule::new(Syscall::PRCTL, &[Pin::is(0, 1), Pin::is(1, 9)], "end with the process that made it"),
    Rule::new(
        Syscall::DUP3,
        &[Pin::within(0, 4, u32::MAX), Pin::within(1, 0, 1), Pin::is(2, 0)],
        "take its connection",
    ),
    Rule::new(Syscall::CLOSE_RANGE, &[Pin::is(0, 3), Pin::is(2, 0)], "let go of everything else"),
    // SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW, which a Unix-domain socket does not have from its listener.
    Rule::new(Syscall::SETSOCKOPT, &[INPUT, Pin::is(1, 1), Pin::within(2, 66, 67)], "limit the client's time"),
    Rule::new(Syscall::LANDLOCK_RESTRICT_SELF, &[STREAM, Pin::is(1, 0)], "leave its siblings alone"),
    // RLIMIT_NPROC
    Rule::new(Syscall::PRLIMIT64, &[Pin::is(0, 0), Pin::is(1, 6), Pin::is(3, 0)], "make no process of its own"),
    // SECCOMP_SET_MODE_FILTER
    Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1), Pin::is(1, 0)], "keep to the policy of one connection"),
    #[cfg(debug_assertions)]
    sys::CHECK_BEFORE_CLOSING,
];

/// Sockets with everything that it takes to make a process for each client, ready to go on without the outside world.
pub struct Keeper {
    epoll: OwnedFd,
    sockets: Vec<Served>,
    /// See [`Arranged`].
    _kept: Vec<OwnedFd>,
    lifetime: Lifetime,
    stay: Duration,
    /// How long a client may be idle.
    idle: Duration,
    /// What each process does, prepared once.
    one: One,
    io: Io,
    datagrams: Datagrams,
    random: SmallRng,
    slots: Slots<Process>,
    /// A client that came when all slots were taken. While it waits, nobody is accepted.
    waiting: Option<(OwnedFd, Client)>,
    manager: Manager,
    traffic: Instant,
    /// When to look at the processes next, if there is a reason to.
    look: Instant,
    /// Whether a process has ended since all were asked, so that another one may have, too.
    unsettled: bool,
    /// Until when no connection is taken.
    paused: Option<Instant>,
    refusals: log::Repeated,
    /// When processes were ended by a fault.
    crashes: VecDeque<Instant>,
    /// Until when the last processes may take, once the program was told to stop.
    stopping: Option<Instant>,
}

/// A socket, and its process if it is for datagrams.
struct Served {
    socket: Socket,
    is_local: bool,
    process: Option<Process>,
    /// How long that had run when somebody looked last.
    ran: Duration,
    /// When to make one.
    due: Instant,
}

impl Keeper {
    /// Prepares the sockets and an event loop over them. `idle` is how long a client may be idle, `stay` how long the program
    /// stays without traffic where inetd would start it again.
    ///
    /// # Errors
    ///
    /// What is unavailable.
    pub fn new(
        one: One,
        arranged: Arranged,
        lifetime: Lifetime,
        limits: &Limits,
        idle: Duration,
        stay: Duration,
    ) -> Result<Self, Error> {
        let Arranged { events: epoll, sockets, kept } = arranged;
        raise_descriptor_limit(1, sockets.len() + one.behavior.descriptors())?;
        let now = Instant::now();
        dup2_stdin(sys::daemon_signals()?)?;
        epoll::add(&epoll, stdin(), EventData::new_u64(SIGNALS), EventFlags::IN)?;
        let many = u32::try_from(sockets.iter().filter(|it| it.kind == Kind::Datagrams).count().max(1)).unwrap_or(1);
        let mut served = Vec::new();
        for (index, socket) in (0_u64..).zip(sockets) {
            let descriptor = socket.descriptor.as_fd();
            let is_local = socket_domain(descriptor).is_ok_and(|domain| domain == AddressFamily::UNIX);
            match socket.kind {
                Kind::Datagrams => {
                    // Its process waits in the call that takes them.
                    ioctl_fionbio(descriptor, false)?;
                    Buffers::STREAM.set(descriptor)?;
                    sys::enable_pktinfo(descriptor)?;
                }
                // Connections have these from their listener.
                Kind::Listener => {
                    ioctl_fionbio(descriptor, true)?;
                    Buffers::of(&one.behavior).set(descriptor)?;
                    set_socket_timeout(descriptor, Timeout::Recv, Some(idle))?;
                    set_socket_timeout(descriptor, Timeout::Send, Some(idle))?;
                    epoll::add(&epoll, descriptor, EventData::new_u64(index), EventFlags::IN)?;
                }
            }
            served.push(Served { socket, is_local, process: None, ran: Duration::ZERO, due: now });
        }
        let max = limits.max_connections as usize;
        let io = if one.behavior.readable().is_empty() { Io::Datagrams } else { Io::DatagramsAndFiles };
        Ok(Self {
            epoll,
            sockets: served,
            _kept: kept,
            lifetime,
            stay,
            idle,
            // Each socket has a process, with limits of its own: together they have the total.
            datagrams: Datagrams::new(limits.datagram_rate, limits.datagram_total.div_ceil(many), &one.behavior, now)?,
            one,
            io,
            random: random::seeded()?,
            slots: Slots::new(max, limits.per_source(), limits.max_rate_per_source, now),
            waiting: None,
            manager: Manager::connect(now).map_err(Error::Manager)?,
            traffic: now,
            look: now,
            unsettled: false,
            paused: None,
            refusals: log::Repeated::default(),
            crashes: VecDeque::with_capacity(MAX_CRASHES + 1),
            stopping: None,
        })
    }

    /// Serves all clients until it is time to end.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`], [`Error::Crashes`]. What happens to one process is no error here.
    pub fn serve(&mut self, children: &Children) -> Result<(), Error> {
        self.manager.ready();
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let now = Instant::now();
            self.serve_datagrams(children, now);
            self.look_at_processes(now);
            self.serve_waiting(children, now);
            self.manager.alive(now);
            if self.paused.is_some_and(|end| end <= now) {
                self.paused = None;
                self.listen();
            }
            if self.crashes.len() > MAX_CRASHES {
                return Err(Error::Crashes(self.crashes.len()));
            }
            if self.is_over(now) {
                return Ok(());
            }
            events.clear();
            let timeout = until_then(self.next_due());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Wait(errno.into())),
            }
            self.handle(&events, children);
        }
    }

    /// Signals first: a process that has ended leaves its slot to a client that comes here.
    fn handle(&mut self, events: &[Event], children: &Children) {
        let now = Instant::now();
        let all = || events.iter().map(|event| { event.data }.u64());
        if all().any(|data| data == SIGNALS) {
            self.take_signals(now);
        }
        for data in all().filter(|&data| data != SIGNALS) {
            if let Ok(index) = usize::try_from(data) {
                self.accept(index, children, now);
            }
        }
    }

    fn accept(&mut self, index: usize, children: &Children, now: Instant) {
        for _ in 0..ACCEPTED_AT_ONCE {
            if self.stopping.is_some() || self.waiting.is_some() || self.paused.is_some() {
                return;
            }
            let Served { socket, is_local, .. } = &self.sockets[index];
            let is_local = *is_local;
            match retry_on_intr(|| acceptfrom_with(&socket.descriptor, SocketFlags::CLOEXEC)) {
                Ok((connection, from)) => {
                    self.traffic = now;
                    let from = from.and_then(|address: SocketAddrAny| address.try_into().ok());
                    self.admit(connection, Client { from, is_local }, children, now);
                }
                Err(Errno::AGAIN) => return,
                Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return self.pause(now, &format!("cannot take a connection: {errno}"));
                }
                // Its client is gone again, or its network is: see accept(2).
                Err(errno) if !is_of_the_socket(errno) => {}
                Err(errno) => {
                    let Socket { descriptor, name, .. } = &self.sockets[index].socket;
                    log::error(&format!("cannot serve {name} any more: {errno}; start the program again"));
                    let _ = epoll::delete(&self.epoll, descriptor);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, connection: OwnedFd, client: Client, children: &Children, now: Instant) {
        if self.slots.is_full() {
            self.take_ends(now);
        }
        match self.slots.ask(client.from, now) {
            Verdict::Refuse => {}
            Verdict::Admit => self.make_process(connection, client, children, now),
            Verdict::Evict(process) => {
                process.kill();
                self.wait_for_a_slot(connection, client);
            }
            Verdict::Wait => self.wait_for_a_slot(connection, client),
        }
    }

    /// Accepts nobody else until this client has its process: the others wait in the kernel.
    fn wait_for_a_slot(&mut self, connection: OwnedFd, client: Client) {
        self.waiting = Some((connection, client));
        self.listen();
    }

    fn serve_waiting(&mut self, children: &Children, now: Instant) {
        if self.paused.is_some_and(|end| end > now) {
            return;
        }
        let Some((connection, client)) = self.waiting.take() else { return };
        if self.slots.is_full() {
            self.take_ends(now);
        }
        match self.slots.verdict(client.from, now) {
            Verdict::Admit => self.make_process(connection, client, children, now),
            Verdict::Evict(process) => {
                process.kill(); // again, if need be
                self.waiting = Some((connection, client));
                return;
            }
            Verdict::Wait => {
                self.waiting = Some((connection, client));
                return;
            }
            Verdict::Refuse => drop(connection),
        }
        self.listen();
    }

    /// Makes the process for a connection, and lets go of the connection itself.
    fn make_process(&mut self, connection: OwnedFd, client: Client, children: &Children, now: Instant) {
        // Before: the processes would all have the same random state, and compose the same reply.
        self.one.meet(&client);
        let seed = self.random.random();
        match processes::fork() {
            Ok(Some(process)) => self.slots.take(process, client.from, now),
            Ok(None) => {
                self.one.reseed(seed);
                serve_connection(&mut self.one, &connection, client, self.idle, children)
            }
            Err(error) => {
                self.waiting = Some((connection, client));
                self.pause(now, &format!("cannot make a process for a connection: {error}"));
            }
        }
    }

    /// Makes the processes for datagrams that are missing.
    fn serve_datagrams(&mut self, children: &Children, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        for index in 0..self.sockets.len() {
            let served = &self.sockets[index];
            if served.socket.kind != Kind::Datagrams || served.process.is_some() || served.due > now {
                continue;
            }
            let seed = self.random.random();
            match processes::fork() {
                Ok(Some(process)) => self.sockets[index].process = Some(process),
                Ok(None) => {
                    self.one.reseed(seed);
                    self.answer_datagrams(index, children)
                }
                Err(error) => {
                    self.refusals.warning(now, &format!("cannot make a process for datagrams: {error}"));
                }
            }
            self.sockets[index].due = now + AGAIN;
        }
    }

    /// In a new process: answers what comes in on a socket, until it is ended.
    fn answer_datagrams(&mut self, index: usize, children: &Children) -> ! {
        let begun = processes::end_with_parent()
            .and_then(|()| processes::take_over(self.sockets[index].socket.descriptor.as_fd()));
        let parted = begun.is_ok() && children.part(true);
        // With files, the numbers up to `LAST_DATAGRAMS` stay taken: what it opens gets a number that its policy knows as a file's.
        // No call that it has takes one of these.
        let keeps = self.io == Io::DatagramsAndFiles;
        if !parted || !keeps && processes::close_from_3(number(LAST_DATAGRAMS)).is_err() {
            sys::exit(NOT_LOCKED_DOWN);
        }
        children.descriptors().for_each(processes::close);
        for served in &mut self.sockets {
            if served.socket.kind == Kind::Listener {
                processes::close(served.socket.descriptor.as_raw_fd());
            }
        }
        self.waiting = None;
        if !children.narrow(&self.one.behavior, self.io) {
            sys::exit(NOT_LOCKED_DOWN);
        }
        let mut failures = 0;
        while failures < MAX_FAILURES {
            match self.datagrams.wait_and_answer(stdin(), &mut self.one.behavior) {
                Ok(()) => failures = 0,
                // A message about an earlier reply that nobody wanted, most likely.
                Err(_) => failures += 1,
            }
        }
        sys::exit(1)
    }

    /// Looks which processes run, while somebody may have to make room; and for the ends that nobody told of, since only so many
    /// signals wait in line.
    fn look_at_processes(&mut self, now: Instant) {
        if self.look > now {
            return;
        }
        self.look = now + LOOK;
        if self.unsettled {
            self.take_ends(now);
        }
        if self.is_crowded() {
            self.slots.look(now, Process::processor_time);
        }
        for served in &mut self.sockets {
            if let Some(ran) = served.process.and_then(Process::processor_time).filter(|ran| *ran != served.ran) {
                (served.ran, self.traffic) = (ran, now);
            }
        }
        while self.crashes.front().is_some_and(|crash| now.duration_since(*crash) > MINUTE) {
            self.crashes.pop_front();
        }
    }

    /// Asks the youngest processes whether they have ended, one by one: most do soon. (wait(2) for any looks at all of them, and
    /// there may be a thousand that wait for their clients.) The others are found when [`LOOK`] is over, or a slot is needed.
    fn take_young_ends(&mut self, now: Instant) {
        let mut young = [None; YOUNG];
        young.iter_mut().zip(self.slots.processes()).for_each(|(young, process)| *young = Some(process));
        for process in young.into_iter().flatten() {
            if let Some(end) = process.ended() {
                self.ended(process, end, now);
            }
        }
    }

    fn take_ends(&mut self, now: Instant) {
        self.unsettled = false;
        while let Some((process, end)) = processes::any_ended() {
            self.ended(process, end, now);
        }
    }

    fn ended(&mut self, process: Process, end: End, now: Instant) {
        let slot = self.slots.free(process);
        if slot.is_some() {
            self.traffic = now; // until now
        }
        let client = slot.and_then(|slot| slot.client);
        let datagrams = self.sockets.iter_mut().find(|served| served.process == Some(process));
        let whose = match (client, datagrams) {
            (_, Some(served)) => {
                served.process = None;
                if end == End::Killed(libc::SIGKILL) {
                    served.due = now; // ended here, to begin anew
                }
                served.socket.name.clone()
            }
            (Some(client), None) => client.to_string(),
            _ => "a local client".to_owned(),
        };
        match end {
            End::Killed(libc::SIGKILL) | End::Exited(0 | 1) => {}
            End::Exited(_) => {
                let message = format!(
                    "cannot lock down the process for {whose}, which was not served; check the system's limits on seccomp \
                     filters, and those of the unit"
                );
                self.refusals.warning(now, &message);
            }
            End::Killed(signal) => {
                self.crashes.push_back(now);
                let name = if signal == libc::SIGSYS { ", a forbidden system call" } else { "" };
                log::error(&format!("the process for {whose} was ended by signal {signal}{name}; please report it"));
            }
        }
    }

    /// Takes no connection for a while. They stay in the kernel meanwhile.
    fn pause(&mut self, now: Instant, why: &str) {
        self.refusals.warning(now, &format!("{why}; trying again every half a second"));
        self.paused = Some(now + PAUSE);
        self.listen();
    }

    /// Waits for clients, or for none.
    fn listen(&self) {
        let waits = self.waiting.is_none() && self.paused.is_none();
        let interest = if waits { EventFlags::IN } else { EventFlags::empty() };
        for (index, served) in (0_u64..).zip(&self.sockets).filter(|(_, it)| it.socket.kind == Kind::Listener) {
            let _ = epoll::modify(&self.epoll, &served.socket.descriptor, EventData::new_u64(index), interest);
        }
    }

    /// Learns which processes have ended, reads its files again, or stops ([`sys::daemon_signals`]).
    fn take_signals(&mut self, now: Instant) {
        while let Ok(number) = sys::take_signal(stdin()) {
            if number == processes::ENDED {
                self.unsettled = true;
                self.take_young_ends(now);
            } else if number == Signal::HUP.as_raw() {
                self.one.behavior.reload();
                // Theirs are copies.
                self.end_datagrams();
            } else {
                self.stop(now);
            }
        }
    }

    fn end_datagrams(&self) {
        self.sockets.iter().filter_map(|served| served.process).for_each(Process::kill);
    }

    /// Takes no more clients, and lets the processes go on that there are. Told twice, it ends at once.
    fn stop(&mut self, now: Instant) {
        self.manager.stopping();
        for served in self.sockets.iter().filter(|served| served.socket.kind == Kind::Listener) {
            // Closing is not enough: whoever passed it holds it too, and clients still come.
            let _ = epoll::delete(&self.epoll, &served.socket.descriptor);
        }
        // A number that is kept for datagrams stays taken.
        self.sockets.retain(|served| served.socket.kind == Kind::Datagrams);
        self.end_datagrams();
        self.waiting = None;
        self.stopping = Some(if self.stopping.is_none() { now + GRACE } else { now });
    }

    /// Whether it is. The processes that are left are ended then.
    fn is_over(&self, now: Instant) -> bool {
        let over = match (self.stopping, self.lifetime) {
            (Some(end), _) => self.slots.is_empty() || end <= now,
            (None, Lifetime::WhileBusy) => self.slots.is_empty() && self.traffic + self.stay <= now,
            (None, Lifetime::UntilStopped) => false,
        };
        if over {
            self.slots.processes().for_each(Process::kill);
            self.end_datagrams();
        }
        over
    }

    /// Whether so many slots are taken that somebody may soon have to make room.
    fn is_crowded(&self) -> bool {
        2 * self.slots.len() >= self.slots.max()
    }

    /// When there is something to do even if no client does anything.
    fn next_due(&self) -> Instant {
        let leaves = (self.lifetime == Lifetime::WhileBusy).then(|| self.traffic + self.stay);
        let watched = self.lifetime == Lifetime::WhileBusy && self.sockets.iter().any(|it| it.process.is_some());
        let look = (self.unsettled || self.is_crowded() || self.waiting.is_some() || watched).then_some(self.look);
        let again = self.sockets.iter().filter(|it| it.socket.kind == Kind::Datagrams && it.process.is_none());
        let again = again.map(|it| it.due).min().filter(|_| self.stopping.is_none());
        let dues = [self.manager.due(), self.paused, self.stopping, leaves, look, again];
        dues.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + MINUTE)
    }
}

/// In a new process: what inetd does, the rest of the lock-down, and the service.
fn serve_connection(one: &mut One, connection: &OwnedFd, client: Client, idle: Duration, children: &Children) -> ! {
    let begun = processes::end_with_parent().and_then(|()| processes::take_over(connection.as_fd()));
    let limited = begun.is_ok() && (!client.is_local || limit_time(idle));
    let parted = limited && children.part(false);
    if !parted || processes::close_from_3(u32::MAX).is_err() || !children.narrow(&one.behavior, Io::Connection) {
        sys::exit(NOT_LOCKED_DOWN);
    }
    sys::exit(match one.serve() {
        Ok(()) => 0,
        Err(error) => {
            log::error(&error.to_string());
            1
        }
    })
}

/// Of a Unix-domain socket, which does not have its time limits from its listener.
fn limit_time(idle: Duration) -> bool {
    set_socket_timeout(stdin(), Timeout::Recv, Some(idle)).is_ok()
        && set_socket_timeout(stdin(), Timeout::Send, Some(idle)).is_ok()
}
