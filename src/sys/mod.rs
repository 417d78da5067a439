//! The unsafe code: where descriptors enter the program, and the few system calls without a safe form in rustix.
#![allow(unsafe_code)]

mod datagrams;
pub(crate) mod processes;

pub(crate) use datagrams::{Batch, enable_pktinfo};

use std::env;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use hunker::{Pin, Rule, Syscall};
use rustix::fs::{Stat, fstat};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The first descriptor that a service manager passes (`SD_LISTEN_FDS_START` in `sd_listen_fds(3)`).
const FIRST_PASSED: RawFd = 3;

/// The first call of a program. Makes the process undumpable: until the lock-down, another process of the same user could take
/// the connection. (If nobody may read the program's file, the kernel does this from the first instruction on.) If the kernel
/// refuses, the lock-down fails later.
///
/// Then does what Rust's runtime would do: ignores `SIGPIPE`, so that writing to a closed connection is an error, and opens
/// descriptors 0 to 2, so that no file gets their numbers.
pub fn start() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // SAFETY: the program has one thread, which has done nothing yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    for descriptor in 0..=2 {
        // SAFETY: only checks whether a number is open.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            occupy(descriptor);
        }
    }
}

/// Occupies the lowest free descriptor with the root directory, which can neither be read nor written and always exists. If that
/// fails, the program ends: the next connection would get the number, and with it what is logged.
fn occupy(descriptor: RawFd) {
    // SAFETY: a new descriptor, which nothing in the program owns; open(2) returns the lowest free number.
    if unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_DIRECTORY) } != descriptor {
        exit(1);
    }
}

/// Takes over the sockets that a service manager passed, with their names, and unsets the variables that name them
/// (`sd_listen_fds_with_names(3)`). Closes every other descriptor above standard error, which the parent leaked.
///
/// Must be called once, before the program opens anything.
///
/// # Errors
///
/// If the variables contradict each other, or name a descriptor that is not open.
pub fn take_passed_sockets() -> io::Result<Vec<(OwnedFd, Option<String>)>> {
    const PID: &str = "LISTEN_PID";
    const NUMBER: &str = "LISTEN_FDS";
    const NAMES: &str = "LISTEN_FDNAMES";
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    // Sockets that were passed to another process do not count, whatever the other variables say.
    let foreign = set(PID).is_none_or(|pid| pid.parse().is_ok_and(|pid: u32| pid != std::process::id()));
    let mut passed = Vec::new();
    let mut names = None;
    if !foreign && set(NUMBER).is_some() {
        let taken = sd_notify::listen_fds().map(Iterator::collect);
        names = set(NAMES);
        for name in [PID, NUMBER, NAMES] {
            // SAFETY: the program has one thread.
            unsafe { env::remove_var(name) };
        }
        passed = taken?;
    }
    let names: Vec<_> = match &names {
        Some(names) => names.split(':').map(|name| Some(name.to_owned())).collect(),
        None => vec![None; passed.len()],
    };
    if names.len() != passed.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "invalid LISTEN_FDNAMES"));
    }
    let next = passed.last().map_or(FIRST_PASSED, |descriptor| descriptor + 1);
    // SAFETY: the program has opened nothing above standard error yet. A kernel without the call (before 5.9) is not fatal: the
    // system call filter restricts the usable descriptors.
    #[allow(clippy::cast_sign_loss)] // numbers of descriptors
    unsafe {
        libc::close_range(next as libc::c_uint, libc::c_uint::MAX, 0)
    };
    // SAFETY: the service manager passed these numbers, and nothing else in the program uses them.
    let owned = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(passed.into_iter().map(owned).zip(names).collect())
}

/// The properties of the first passed descriptor, if it is open.
pub(crate) fn stat_first_passed() -> rustix::io::Result<Stat> {
    // SAFETY: borrowed for one call, which returns an error if the descriptor is closed.
    fstat(unsafe { BorrowedFd::borrow_raw(FIRST_PASSED) })
}

/// Makes the C library allocate all memory by `brk(2)`, including large blocks, so that the policy needs only this call.
pub fn allocate_by_brk() {
    // SAFETY: changes a parameter of later allocations.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, libc::c_int::MAX) };
}

/// Blocks the signals that a daemon handles, and returns a descriptor to read them from (`signalfd(2)`). SIGTERM and SIGINT stop
/// the daemon. SIGHUP reloads its files, and never ends it, whether a supervisor or a closed terminal sent it
/// (docs/operating.md).
///
/// # Errors
///
/// The system's.
pub fn daemon_signals() -> io::Result<OwnedFd> {
    // The parent may ignore SIGCHLD. The program would inherit that, and never learn that a child has ended (sigaction(2)).
    // SAFETY: takes two numbers.
    unsafe { libc::signal(processes::ENDED, libc::SIG_DFL) };
    let mut signals = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the set before anything reads it; the descriptor is new and ours.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, processes::ENDED] {
            libc::sigaddset(signals.as_mut_ptr(), number);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, signals.as_ptr(), ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, signals.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// The number of the next pending signal, from a descriptor of [`daemon_signals`].
///
/// # Errors
///
/// The system's; `WOULDBLOCK` if none is pending.
pub fn take_signal(signals: BorrowedFd<'_>) -> rustix::io::Result<i32> {
    // A signalfd_siginfo, which begins with the number (signalfd(2)).
    let mut record = [0; 128];
    rustix::io::retry_on_intr(|| rustix::io::read(signals, &mut record))?;
    let [a, b, c, d, ..] = record;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

/// Makes the kernel wake the program only for this number of octets, the end of the data, or a full buffer (`SO_RCVLOWAT` in
/// socket(7)). If that is unavailable, the program wakes up more often.
pub(crate) fn set_rcvlowat(socket: BorrowedFd<'_>, octets: usize) {
    let octets = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, octets);
}

/// Limits how much of a client's data the kernel buffers, in octets (`SO_RCVBUF` in socket(7)).
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, octets.try_into().unwrap_or(libc::c_int::MAX))
}

/// Limits how much unacknowledged data the kernel keeps for a client, in octets (`SO_SNDBUF` in socket(7)).
pub(crate) fn set_send_buffer(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, octets.try_into().unwrap_or(libc::c_int::MAX))
}

/// Limits the octets that TCP sends per second (`SO_MAX_PACING_RATE`). Since Linux 4.13, this works with every queue discipline.
pub(crate) fn set_max_rate(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, octets.try_into().unwrap_or(libc::c_int::MAX))
}

#[allow(clippy::cast_possible_truncation)] // of the size of an integer
fn set(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the kernel reads an integer that lives during the call, with its size.
    let answer = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Replaces standard error, which is the client, if even /dev/null is unavailable. If it were only closed, the next file or
/// connection would get its number, and with it what is logged.
pub(crate) fn replace_standard_error() {
    // SAFETY: nothing in the program owns descriptor 2; descriptors 0 and 1 are open since the start.
    unsafe { libc::close(2) };
    occupy(2);
}

/// What every program needs, to end.
pub(crate) const RULES: &[Rule] = &[Rule::new(Syscall::EXIT_GROUP, &[], "exit")];

/// Only debug builds have it.
#[cfg(debug_assertions)]
pub(crate) const CHECK_BEFORE_CLOSING: Rule = Rule::new(
    Syscall::FCNTL,
    // F_GETFD
    &[Pin::is(1, 1)],
    "assert that a descriptor is open before the standard library closes it",
);

/// For programs that read the clock.
pub(crate) const READ_CLOCK: Rule = Rule::new(
    Syscall::CLOCK_GETTIME,
    // CLOCK_REALTIME and CLOCK_MONOTONIC. Other clocks reveal how busy other users' processes are.
    &[Pin::within(0, 0, 1)],
    "read the clock where the vDSO cannot",
);

/// Ends the process at once (`_exit(2)`), without destructors and the runtime's clean-up, whose system calls the policy forbids.
pub fn exit(code: u8) -> ! {
    // SAFETY: does not return, and accesses no memory of the program.
    unsafe { libc::_exit(code.into()) }
}
