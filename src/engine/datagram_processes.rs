//! The keeper's processes for datagrams: one for each such socket, made again when it has ended.

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

/// One that ended is made again after this time.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct DatagramProcesses {
    /// Of each process.
    limits: DatagramLimits,
    counts: DatagramCounts,
    /// Whether the service follows files, which each process reads again.
    has_files: bool,
    all: Vec<DatagramProcess>,
}

struct DatagramProcess {
    /// Of its socket.
    index: usize,
    name: String,
    process: Option<Process>,
    /// How long that had run when somebody looked last.
    ran: Duration,
    /// When to make one.
    due: Instant,
    /// Whether it was ended here, for one with new files.
    begins_anew: bool,
}

impl DatagramProcesses {
    pub fn new(daemon: &Daemon, limits: &Limits, behavior: &Behavior, now: Instant) -> Result<Self, Error> {
        let mut all = Vec::new();
        for (index, socket) in daemon.sockets(Kind::Datagrams) {
            // Its process waits in the call that takes them.
            ioctl_fionbio(&socket.descriptor, false)?;
            let name = socket.name.clone();
            let ran = Duration::ZERO;
            all.push(DatagramProcess { index, name, process: None, ran, due: now, begins_anew: false });
        }
        let many = u32::try_from(all.len().max(1)).unwrap_or(1);
        Ok(Self {
            // Each has limits of its own: together they have the total.
            limits: DatagramLimits { total: limits.datagram_total.div_ceil(many), ..DatagramLimits::of(limits) },
            counts: daemon.datagrams,
            has_files: !behavior.readable().is_empty(),
            all,
        })
    }

    /// The position of one that has to be made now; if that fails, it is due again later.
    pub fn take_due(&mut self, now: Instant) -> Option<usize> {
        let position = self.all.iter().position(|it| it.process.is_none() && it.due <= now)?;
        self.all[position].due = now + AGAIN;
        Some(position)
    }

    pub fn made(&mut self, position: usize, process: Process) {
        self.all[position].process = Some(process);
    }

    /// In a new process.
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

    /// What a process for datagrams takes. It makes that itself: a process for a connection would have a copy of it.
    ///
    /// Not inlined: its stack frame is 14 KiB, and would tear those apart that the keeper touches for each connection.
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

    /// Whether one has run since the last look.
    pub fn have_run(&mut self) -> bool {
        let mut any = false;
        for it in &mut self.all {
            if let Some(ran) = it.process.and_then(Process::processor_time).filter(|ran| *ran != it.ran) {
                (it.ran, any) = (ran, true);
            }
        }
        any
    }

    /// The name of the socket whose process this was, if it was one of these.
    pub fn ended(&mut self, process: Process, now: Instant) -> Option<String> {
        let ended = self.all.iter_mut().find(|it| it.process == Some(process))?;
        ended.process = None;
        if mem::take(&mut ended.begins_anew) {
            ended.due = now;
        }
        Some(ended.name.clone())
    }

    /// Ends all, so that they begin anew.
    pub fn end(&mut self) {
        for it in &mut self.all {
            it.process.into_iter().for_each(Process::kill);
            it.begins_anew = it.process.is_some();
        }
    }

    /// When one has to be made.
    pub fn due(&self) -> Option<Instant> {
        self.all.iter().filter(|it| it.process.is_none()).map(|it| it.due).min()
    }
}
