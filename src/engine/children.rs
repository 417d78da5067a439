//! The keeper's processes, from their first call to their last.
//!
//! A process for a connection starts as under inetd: the connection on descriptors 0 and 1, the log on 2, nothing else. It has the
//! policy of one connection, and its own Landlock domain, so that it cannot affect its siblings.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use hunker::{Pin, Rule, Syscall};
use rustix::stdio::stdin;

use super::Policies;
use super::blocking::{Client, limit_time};
use super::daemon::Daemon;
use super::datagrams::Datagrams;
use super::one::One;
use super::sockets::Kind;
use crate::numbers::{INPUT, LAST_DATAGRAMS, STREAM, number};
use crate::policy::Io;
use crate::service::Behavior;
use crate::sys::processes::{self, Process};
use crate::{log, sys};

/// The exit status of a process that could not lock itself down. It has served nobody.
const NOT_LOCKED_DOWN: u8 = 77;
/// Maximum number of consecutive failures to receive datagrams before a process for them exits, to be replaced.
const MAX_FAILURES: u32 = 1_000;

/// Their calls before they install their own policy.
pub(super) const RULES: &[Rule] = &[
    Rule::new(Syscall::PRCTL, &[Pin::is(0, 1), Pin::is(1, 9)], "exit when the keeper exits"),
    Rule::new(Syscall::GETPPID, &[], "check that the keeper has not already exited"),
    Rule::new(
        Syscall::DUP3,
        &[Pin::within(0, 4, u32::MAX), Pin::within(1, 0, 1), Pin::is(2, 0)],
        "move the connection to descriptors 0 and 1",
    ),
    Rule::new(Syscall::CLOSE_RANGE, &[Pin::is(0, 3), Pin::is(2, 0)], "close all other descriptors"),
    // SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW, which a Unix-domain socket does not inherit from its listener.
    Rule::new(
        Syscall::SETSOCKOPT,
        &[INPUT, Pin::is(1, 1), Pin::within(2, 66, 67)],
        "set the connection's idle timeout",
    ),
    Rule::new(Syscall::LANDLOCK_RESTRICT_SELF, &[STREAM, Pin::is(1, 0)], "enter its own Landlock domain"),
    // RLIMIT_NPROC
    Rule::new(Syscall::PRLIMIT64, &[Pin::is(0, 0), Pin::is(1, 6), Pin::is(3, 0)], "forbid itself new processes"),
    // SECCOMP_SET_MODE_FILTER
    Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1), Pin::is(1, 0)], "install its own filter"),
];

/// The lock-down of the keeper's processes.
#[derive(Debug)]
pub struct Children {
    /// `None` without a lock-down.
    pub layers: Option<hunker::Children>,
    /// The policies of the service.
    pub policies: &'static Policies,
}

impl Children {
    /// Runs in a new process: does inetd's part, completes the lock-down, and serves the connection.
    pub(super) fn serve_connection(
        &self,
        parent: Process,
        one: &mut One,
        connection: &OwnedFd,
        client: Client,
        idle: Duration,
    ) -> ! {
        let begun = processes::end_with(parent).and_then(|()| processes::take_over(connection.as_fd()));
        // A Unix-domain socket does not inherit its time limits from its listener.
        let limited = begun.is_ok() && (!client.is_local || limit_time(stdin(), idle).is_ok());
        let parted = limited && self.part(false);
        if !parted || processes::close_from_3(u32::MAX).is_err() || !self.narrow(&one.behavior, Io::Connection) {
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

    /// Runs in a new process: answers the datagrams of one socket until it is killed. With `has_files`, the answers come from files
    /// that may change.
    #[inline(never)]
    pub(super) fn answer_datagrams(
        &self,
        parent: Process,
        behavior: &mut Behavior,
        datagrams: &mut Datagrams,
        has_files: bool,
        daemon: &Daemon,
        index: usize,
    ) -> ! {
        let begun =
            processes::end_with(parent).and_then(|()| processes::take_over(daemon.socket(index).descriptor.as_fd()));
        // With files, the numbers up to `LAST_DATAGRAMS` stay taken, so that a file gets a number that the policy treats as a
        // file's. None of the process's calls accepts the taken numbers.
        let io = if has_files { Io::DatagramsAndFiles } else { Io::Datagrams };
        let parted = begun.is_ok() && self.part(true);
        if !parted || !has_files && processes::close_from_3(number(LAST_DATAGRAMS)).is_err() {
            sys::exit(NOT_LOCKED_DOWN);
        }
        self.layers.iter().flat_map(hunker::Children::descriptors).for_each(processes::close);
        daemon.sockets(Kind::Listener).for_each(|(_, socket)| processes::close(socket.descriptor.as_raw_fd()));
        if !self.narrow(behavior, io) {
            sys::exit(NOT_LOCKED_DOWN);
        }
        let mut failures = 0;
        while failures < MAX_FAILURES {
            match datagrams.wait_and_answer(stdin(), behavior) {
                Ok(()) => failures = 0,
                // Most likely an ICMP error for an earlier reply.
                Err(_) => failures += 1,
            }
        }
        sys::exit(1)
    }

    /// The first half of the lock-down, which uses a descriptor. Returns whether it succeeded.
    fn part(&self, as_parent: bool) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.enter_domain(as_parent).is_ok())
    }

    /// The second half, as the last step. Returns whether it succeeded.
    fn narrow(&self, behavior: &Behavior, io: Io) -> bool {
        let policy = self.policies.of_child(behavior, io);
        self.layers.as_ref().is_none_or(|layers| layers.narrow(policy).is_ok())
    }
}
