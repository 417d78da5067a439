//! The keeper's processes for datagrams: one for each datagram socket, replaced when it ends.

use std::mem;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::io::ioctl_fionbio;

use super::children::Children;
use super::daemon::{Daemon, Error};
use super::datagrams::{DatagramCounts, DatagramLimits, Datagrams};
use super::limits::Limits;
use super::sockets::Kind;
use crate::service::Behavior;
use crate::sys::processes::Process;

/// How long to wait before replacing a process that ended.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct DatagramProcesses {
    /// The limits of each process.
    limits: DatagramLimits,
    counts: DatagramCounts,
    /// Whether the service follows files, which each process reloads.
    has_files: bool,
    all: Vec<DatagramProcess>,
}

struct DatagramProcess {
    /// The index of its socket.
    index: usize,
    name: String,
    process: Option<Process>,
    /// Its processor time at the last look.
    ran: Duration,
    /// When to start a process.
    due: Instant,
    /// Whether the keeper killed it so that its successor reads the new files.
    begins_anew: bool,
}

impl DatagramProcesses {
    pub fn new(daemon: &Daemon, limits: &Limits, behavior: &Behavior, now: Instant) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (index, socket) in daemon.sockets(Kind::Datagrams) {
            // Its process waits in the call that receives datagrams.
            ioctl_fionbio(&socket.descriptor, false)?;
            let name = socket.name.clone();
            let ran = Duration::ZERO;
            all.push(DatagramProcess { index, name, process: None, ran, due: now, begins_anew: false });
        }
        let many = u32::try_from(all.len().max(1)).unwrap_or(1);
        Ok(Self {
            // Each process has its own limits, which add up to the total.
            limits: DatagramLimits { total: limits.datagram_total.div_ceil(many), ..DatagramLimits::of(limits) },
            counts: daemon.datagrams,
            has_files: !behavior.readable().is_empty(),
            all,
        })
    }

    /// The position of a process to start now. If starting fails, it is due again later.
    pub fn take_due(&mut self, now: Instant) -> Option<usize> {
        let position = self.all.iter().position(|it| it.process.is_none() && it.due <= now)?;
        self.all[position].due = now + AGAIN;
        Some(position)
    }

    pub fn made(&mut self, position: usize, process: Process) {
        self.all[position].process = Some(process);
    }

    /// Runs in a new process: serves its socket.
    pub fn serve(
        &self,
        position: usize,
        keeper: Process,
        children: &Children,
        behavior: &mut Behavior,
        daemon: &Daemon,
        seed: u64,
    ) -> ! {
        behavior.reseed(seed);
        let mut datagrams = self.datagrams(behavior, seed);
        let index = self.all[position].index;
        children.answer_datagrams(keeper, behavior, &mut datagrams, self.has_files, daemon, index)
    }

    /// The state of a process for datagrams. The process allocates it itself, because otherwise each process for a connection would
    /// have a copy.
    ///
    /// Not inlined: its stack frame of 14 KiB would separate the frames that the keeper touches for each connection.
    #[inline(never)]
    fn datagrams(&self, behavior: &Behavior, seed: u64) -> Box<Datagrams> {
        Box::new(Datagrams::new(
            self.limits.clone(),
            behavior,
            SmallRng::seed_from_u64(seed),
            self.counts,
            Instant::now(),
        ))
    }

    pub fn processes(&self) -> impl Iterator<Item = Process> + '_ {
        self.all.iter().filter_map(|it| it.process)
    }

    /// Whether any has run since the last look.
    pub fn have_run(&mut self) -> bool {
        let mut any = false;
        for it in &mut self.all {
            if let Some(ran) = it.process.and_then(Process::processor_time).filter(|ran| *ran != it.ran) {
                (it.ran, any) = (ran, true);
            }
        }
        any
    }

    /// Records that a process ended. Returns the name of its socket, or `None` if it was not one of these.
    pub fn ended(&mut self, process: Process, now: Instant) -> Option<String> {
        let ended = self.all.iter_mut().find(|it| it.process == Some(process))?;
        ended.process = None;
        if mem::take(&mut ended.begins_anew) {
            ended.due = now;
        }
        Some(ended.name.clone())
    }

    /// Kills all, so that they start again.
    pub fn end(&mut self) {
        for it in &mut self.all {
            it.process.into_iter().for_each(Process::kill);
            it.begins_anew = it.process.is_some();
        }
    }

    /// Waits until killed processes have ended. That takes microseconds, so it asks again and again, but not beyond `limit`.
    pub fn wait(&self, limit: Instant) {
        for process in self.processes() {
            while process.ended().is_none() && Instant::now() < limit {}
        }
    }

    /// When the next process has to be started.
    pub fn due(&self) -> Option<Instant> {
        self.all.iter().filter(|it| it.process.is_none()).map(|it| it.due).min()
    }
}
