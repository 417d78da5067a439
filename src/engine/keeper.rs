//! One process per connection, at the cost of a fork. The keeper accepts connections, makes their processes and reaps them. Its
//! code never reads from a client.
//!
//! Seccomp filters are inherited and add up, so the keeper's policy includes every call of its processes (`children.rs`). Their
//! reads from clients are pinned to descriptor 0, which in the keeper carries signals. The rules to reread files also allow read(2)
//! from descriptor 12 on (docs/threat-model.md).

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use hunker::{Pin, Rule, Syscall};
use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::event::epoll::Event;
use rustix::net::SocketFlags;
use rustix::process::Signal;
use rustix::stdio::stdin;

use super::blocking::{Client, limit_time};
use super::buffers::{Buffers, MAX_LARGE};
use super::children::Children;
use super::daemon::{ACCEPTED_AT_ONCE, Accepted, Daemon, Error, SIGNALS, SOCKETS};
use super::datagram_processes::DatagramProcesses;
use super::descriptors::Arranged;
use super::limits::Limits;
use super::one::One;
use super::rates::Rate;
use super::slots::{Slots, Verdict};
use super::sockets::{Kind, Lifetime, no_process};
use crate::connections::Outcome;
use crate::numbers::STREAM;
use crate::sys::processes::{self, End, Process};
use crate::{log, random, sys};

/// How often the keeper checks which processes run while slots are scarce, and looks for ended ones whose signal was lost.
const LOOK: Duration = Duration::from_millis(500);
/// The number of youngest processes checked at once for their end.
const YOUNG: usize = 64;
/// Maximum number of crashes within `MINUTE`. After one more the keeper exits, and its service manager starts it with a new memory
/// layout: its processes share one layout, so an attacker who can crash one learns from each.
const MAX_CRASHES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
const EVENTS_AT_ONCE: usize = 64;

/// The calls that make and end processes, besides those of [`Daemon`].
pub(super) const RULES: &[Rule] = &[
    // SOCK_CLOEXEC
    Rule::new(Syscall::ACCEPT4, &[STREAM, Pin::is(3, 0x8_0000)], "accept a connection"),
    Rule::new(Syscall::BRK, &[], "allocate memory for a reply or a process's record"),
    Rule::new(
        Syscall::CLONE,
        // No namespaces and no shared memory; a signal when the child ends.
        &[Pin::is(0, processes::ENDED.unsigned_abs()), Pin::is(1, 0)],
        "fork a process for a connection",
    ),
    Rule::new(
        Syscall::WAIT4,
        &[Pin::is(2, processes::WAIT_FLAGS.unsigned_abs()), Pin::is(3, 0)],
        "reap an exited process",
    ),
    // SIGKILL. Where Landlock supports scopes, only these processes can receive it.
    Rule::new(Syscall::KILL, &[Pin::is(1, 9)], "end an evicted process"),
    // The clocks of processes have negative numbers.
    Rule::new(
        Syscall::CLOCK_GETTIME,
        &[Pin::within(0, 1 << 31, u32::MAX)],
        "tell from a process's processor time whether it is idle",
    ),
];

/// The sockets, and everything that making a process for each client requires, ready for the lock-down.
pub struct Keeper {
    daemon: Daemon,
    /// The keeper itself.
    process: Process,
    /// How long a client may be idle.
    idle: Duration,
    /// What each process does, prepared once.
    one: One,
    datagram_processes: DatagramProcesses,
    random: SmallRng,
    slots: Slots<Process>,
    /// A client that arrived when all slots were taken. While it waits, nobody else is accepted.
    waiting: Option<(OwnedFd, Client)>,
    /// When to check the processes next, if there is a reason to.
    look: Instant,
    /// Whether a process has ended since all were last checked, so that others may have, too.
    unsettled: bool,
    /// When processes crashed.
    crashes: VecDeque<Instant>,
}

impl Keeper {
    /// Prepares the sockets and their event loop. `idle` is how long a client may be idle. `stay` is how long the program runs
    /// without traffic where inetd would start it again. `max_rate` limits each connection, in octets per second; 0 means no limit.
    ///
    /// # Errors
    ///
    /// [`Error`], if something that the keeper requires is unavailable.
    pub fn new(
        one: One,
        arranged: Arranged,
        lifetime: Lifetime,
        limits: &Limits,
        idle: Duration,
        stay: Duration,
        max_rate: u32,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        let daemon = Daemon::new(arranged, lifetime, stay, &one.behavior, max_rate, limits, now)?;
        // Connections inherit these from their listener.
        for (_, socket) in daemon.sockets(Kind::Listener) {
            limit_time(&socket.descriptor, idle)?;
        }
        let datagram_processes = DatagramProcesses::new(&daemon, limits, &one.behavior, now)?;
        Ok(Self {
            daemon,
            process: Process::this(),
            idle,
            datagram_processes,
            one,
            random: random::seeded()?,
            slots: Slots::new(limits.max_connections as usize, limits.per_source(), Rate::of_connections(limits), now),
            waiting: None,
            look: now,
            unsettled: false,
            crashes: VecDeque::with_capacity(MAX_CRASHES + 1),
        })
    }

    /// Serves all clients until it is time to end.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`] or [`Error::Crashes`]. The failure of one process is no error.
    pub fn serve(&mut self, children: &Children) -> Result<(), Error> {
        self.daemon.ready(&self.one.behavior);
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        loop {
            let now = Instant::now();
            self.daemon.advance(self.slots.count(), &self.one.behavior, now);
            self.make_datagram_processes(children, now);
            self.look_at_processes(now);
            self.serve_waiting(children, now);
            if self.crashes.len() > MAX_CRASHES {
                self.end(now);
                return Err(Error::Crashes(self.crashes.len()));
            }
            let idle = self.slots.is_empty() && self.waiting.is_none();
            if !idle {
                self.daemon.traffic = now;
            }
            if self.daemon.is_over(idle, now) {
                self.end(now);
                return Ok(());
            }
            self.daemon.wait(&mut events, self.next_due())?;
            self.handle(&events, children);
        }
    }

    /// Ends all processes. Waits for those with a datagram socket: they could take the first datagrams of the next program on it.
    fn end(&mut self, now: Instant) {
        self.take_ends(now);
        self.slots.processes().for_each(Process::kill);
        self.datagram_processes.end();
        self.datagram_processes.wait(now + Duration::from_secs(1));
        for slot in self.slots.taken() {
            self.daemon.ended(Outcome::Stopped, now, || slot.ended(now));
        }
        self.daemon.end();
    }

    /// Signals first: an ended process frees its slot for a client among these events.
    fn handle(&mut self, events: &[Event], children: &Children) {
        let now = Instant::now();
        let all = || events.iter().map(|event| { event.data }.u64());
        if all().any(|data| data == SIGNALS) {
            self.take_signals(now);
        }
        for data in all().filter(|&data| data != SIGNALS) {
            if let Ok(index) = usize::try_from(data - SOCKETS) {
                self.accept(index, children, now);
            }
        }
    }

    fn accept(&mut self, index: usize, children: &Children, now: Instant) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Accepted::Client(connection, from) = self.daemon.accept(index, SocketFlags::CLOEXEC, now) else {
                return;
            };
            self.admit(connection, Client { from, is_local: from.is_none() }, children, now);
        }
    }

    fn admit(&mut self, connection: OwnedFd, client: Client, children: &Children, now: Instant) {
        if self.slots.is_full() || self.unsettled && self.slots.has_its_share(client.from) {
            self.take_ends(now);
        }
        let verdict = self.slots.ask(client.from, now);
        self.follow(verdict, connection, client, children, now);
    }

    fn serve_waiting(&mut self, children: &Children, now: Instant) {
        let Some((connection, client)) = self.waiting.take() else { return };
        if self.slots.is_full() {
            self.take_ends(now);
        }
        let verdict = self.slots.verdict(client.from, now);
        self.follow(verdict, connection, client, children, now);
        self.daemon.hold(self.waiting.is_some());
    }

    fn follow(
        &mut self,
        verdict: Verdict<Process>,
        connection: OwnedFd,
        client: Client,
        children: &Children,
        now: Instant,
    ) {
        match verdict {
            Verdict::Refuse(outcome) => self.daemon.refused(outcome, client.from, now),
            Verdict::Admit => self.make_process(connection, client, children, now),
            Verdict::Wait if self.slots.is_exhausted() => self.make_process(connection, client, children, now),
            Verdict::Wait => self.wait_for_a_slot(connection, client),
            Verdict::Evict(process) => {
                process.kill();
                self.slots.evict(process);
                self.wait_for_a_slot(connection, client);
            }
        }
    }

    /// Accepts nobody else until this client has its process. The others wait in the kernel.
    fn wait_for_a_slot(&mut self, connection: OwnedFd, client: Client) {
        self.waiting = Some((connection, client));
        self.daemon.hold(true);
    }

    /// Makes the process for a connection, and closes the keeper's own copy of the connection.
    fn make_process(&mut self, connection: OwnedFd, client: Client, children: &Children, now: Instant) {
        // Streams beyond `MAX_LARGE` get small buffers.
        let is_large = Buffers::of(&self.one.behavior) == Buffers::STREAM;
        if is_large && self.slots.count() >= MAX_LARGE && Buffers::SMALL.set(connection.as_fd()).is_err() {
            // With its large buffers it could use more memory than is planned for.
            return self.daemon.refused(Outcome::Failed, client.from, now);
        }
        // Before the fork: the processes would all have the same random state, and compose the same reply.
        self.one.meet(&client);
        let seed = self.random.random();
        match processes::fork() {
            Ok(Some(process)) => self.slots.take(process, client.from, self.one.kept(), now),
            Ok(None) => {
                self.one.reseed(seed);
                children.serve_connection(self.process, &mut self.one, &connection, client, self.idle)
            }
            Err(error) => {
                self.slots.exhaust();
                self.daemon.pause(&no_process("a connection", &error), now);
                self.wait_for_a_slot(connection, client);
            }
        }
    }

    /// Makes the missing processes for datagrams.
    fn make_datagram_processes(&mut self, children: &Children, now: Instant) {
        if self.daemon.is_stopping() {
            return;
        }
        while let Some(position) = self.datagram_processes.take_due(now) {
            let seed = self.random.random();
            match processes::fork() {
                Ok(Some(process)) => self.datagram_processes.made(position, process),
                Ok(None) => {
                    self.waiting = None;
                    let Self { process, one, datagram_processes, daemon, .. } = self;
                    datagram_processes.serve(position, *process, children, &mut one.behavior, daemon, seed)
                }
                Err(error) => self.daemon.warn(&no_process("datagrams", &error), now),
            }
        }
    }

    /// Checks which processes run while slots are scarce, and reaps those whose signal was lost: the kernel queues few signals.
    fn look_at_processes(&mut self, now: Instant) {
        if self.look > now {
            return;
        }
        self.look = now + LOOK;
        if self.unsettled {
            self.take_ends(now);
        }
        if self.slots.is_crowded() {
            self.slots.look(now, Process::processor_time);
        }
        if self.datagram_processes.have_run() {
            self.daemon.traffic = now;
        }
        while self.crashes.front().is_some_and(|crash| now.duration_since(*crash) > MINUTE) {
            self.crashes.pop_front();
        }
    }

    /// Reaps the youngest processes that have ended, one by one: wait(2) for any process looks at all of them, perhaps a thousand
    /// that wait for their clients. The others are reaped after [`LOOK`], or when a slot is needed.
    fn take_young_ends(&mut self, now: Instant) {
        let mut young = [None; YOUNG];
        young.iter_mut().zip(self.slots.processes()).for_each(|(young, process)| *young = Some(process));
        let of_datagrams: Vec<_> = self.datagram_processes.processes().collect();
        for process in young.into_iter().flatten().chain(of_datagrams) {
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
        let evicted = slot.as_ref().is_some_and(|slot| slot.evicted);
        let outcome = match end {
            End::Killed(libc::SIGKILL) if evicted => Outcome::Evicted,
            End::Exited(0) => Outcome::Served,
            End::Exited(_) | End::Killed(libc::SIGKILL) => Outcome::Failed,
            End::Killed(_) => Outcome::Crashed,
        };
        match &slot {
            Some(slot) => self.daemon.ended(outcome, now, || slot.ended(now)),
            None if outcome == Outcome::Crashed => self.daemon.counts.add(outcome),
            None => {}
        }
        let had_slot = slot.is_some();
        let client = slot.and_then(|slot| slot.client);
        let whose = match (client, self.datagram_processes.ended(process, now)) {
            (_, Some(socket)) => socket,
            (Some(client), None) => client.to_string(),
            _ => "a local client".to_owned(),
        };
        if end != End::Killed(libc::SIGKILL) {
            self.slots.move_on(now);
        }
        match end {
            End::Killed(libc::SIGKILL) if had_slot && !evicted => {
                let message = format!("the process for {whose} was killed; if memory was short, raise MemoryMax=");
                self.daemon.warn(&message, now);
            }
            End::Killed(libc::SIGKILL) | End::Exited(0 | 1) => {}
            End::Exited(_) => {
                let message = format!(
                    "cannot lock down the process for {whose}, so it was not served; check the sysctl net.core.bpf_jit_limit, \
                     and MemoryMax= of the unit"
                );
                self.daemon.warn(&message, now);
            }
            End::Killed(signal) => {
                self.crashes.push_back(now);
                let name = if signal == libc::SIGSYS { ", a forbidden system call" } else { "" };
                log::error(&format!("the process for {whose} crashed with signal {signal}{name}; please report it"));
            }
        }
    }

    /// Handles signals: reaps processes, reloads files, or stops ([`sys::daemon_signals`]).
    fn take_signals(&mut self, now: Instant) {
        while let Ok(number) = sys::take_signal(stdin()) {
            if number == processes::ENDED {
                self.unsettled = true;
                self.take_young_ends(now);
            } else if number == Signal::HUP.as_raw() {
                self.one.behavior.reload();
                self.daemon.has_read();
                // These processes have copies of the files.
                self.datagram_processes.end();
            } else {
                self.datagram_processes.end();
                self.daemon.stop(now);
            }
        }
    }

    /// When the keeper has something to do even without an event.
    fn next_due(&self) -> Option<Instant> {
        let watched = self.daemon.leaves() && self.datagram_processes.processes().next().is_some();
        let look =
            (self.unsettled || self.slots.is_crowded() || self.waiting.is_some() || watched).then_some(self.look);
        let again = self.datagram_processes.due();
        let patience = self.slots.patience().filter(|&end| self.waiting.is_some() && end > Instant::now());
        [look, patience, again.filter(|_| !self.daemon.is_stopping())].into_iter().flatten().min()
    }
}
