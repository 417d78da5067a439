//! What the compiler cannot check: where a descriptor enters the program, and the few system calls that rustix has no
//! safe form of.
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

/// The first thing that a program does. No other process of the same user may look into it any more: until the lock-down it
/// could take the connection. (Where nobody may read the program's file, the kernel has seen to that from the first
/// instruction on.) A kernel that refuses is met once more in the lock-down, which then fails.
///
/// Then what Rust's runtime would do, and the services need of it: writing to a client that is gone is an error rather than
/// the end (`SIGPIPE`), and descriptors 0 to 2 are open, so that no file that is opened later gets their numbers.
pub fn start() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // SAFETY: the program has one thread, which has done nothing yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    for descriptor in 0..=2 {
        // SAFETY: asks about a number, whether it is open or not.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            occupy(descriptor);
        }
    }
}

/// Opens a directory under a number that is free, below which none is: nothing can be read from it or written to it, and
/// nothing else that is opened gets the number. It takes no file: there is a root directory even where it is empty. Where not
/// even that can be had the program ends, rather than to take a client for its log.
fn occupy(descriptor: RawFd) {
    // SAFETY: a new descriptor, which nothing in the program owns; open(2) takes the lowest number that is free.
    if unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_DIRECTORY) } != descriptor {
        exit(1);
    }
}

/// Takes over the sockets that a service manager passed, with the names that it gave them, and clears the variables that said
/// so (`sd_listen_fds_with_names(3)`). Closes every other descriptor above standard error, whoever leaked it to us.
///
/// Called once, before the program has opened anything.
///
/// # Errors
///
/// If the variables contradict each other, or name a descriptor that is not open.
pub fn take_passed_sockets() -> io::Result<Vec<(OwnedFd, Option<String>)>> {
    const PID: &str = "LISTEN_PID";
    const NUMBER: &str = "LISTEN_FDS";
    const NAMES: &str = "LISTEN_FDNAMES";
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    // What was passed to another process is none of ours, whatever the other variables say.
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
    // SAFETY: the program has opened nothing above standard error yet. Not fatal when the kernel lacks the call (before
    // 5.9): the system call filter says which descriptors may be used.
    #[allow(clippy::cast_sign_loss)] // numbers of descriptors
    unsafe {
        libc::close_range(next as libc::c_uint, libc::c_uint::MAX, 0)
    };
    // SAFETY: the service manager gave these numbers to us, and nobody else in the program knows them.
    let owned = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(passed.into_iter().map(owned).zip(names).collect())
}

/// What the first passed descriptor is, if anything is open there.
pub(crate) fn stat_first_passed() -> rustix::io::Result<Stat> {
    // SAFETY: borrowed for this one question, which a closed descriptor answers with an error.
    fstat(unsafe { BorrowedFd::borrow_raw(FIRST_PASSED) })
}

/// Makes the C library's allocator take all memory by `brk(2)`, large pieces too, so that the policy needs one call for it.
pub fn allocate_by_brk() {
    // SAFETY: changes a number that later allocations look at.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, libc::c_int::MAX) };
}

/// The signals that mean something to every program that serves all clients: they are read from a descriptor instead of ending
/// the process (`signalfd(2)`). SIGTERM and SIGINT stop it; SIGHUP has it read its files again, if it has any, and never ends
/// it, be it a supervisor's or that of a terminal that was closed (docs/operating.md).
///
/// # Errors
///
/// What the system says.
pub fn daemon_signals() -> io::Result<OwnedFd> {
    // Whoever starts the program may have ignored the ends of processes, and it would never learn of them (sigaction(2)).
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

/// The number of the next signal that has come, from a descriptor of [`daemon_signals`].
///
/// # Errors
///
/// What the system says: `WOULDBLOCK`, if none has.
pub fn take_signal(signals: BorrowedFd<'_>) -> rustix::io::Result<i32> {
    // A signalfd_siginfo, which begins with the number (signalfd(2)).
    let mut record = [0; 128];
    rustix::io::retry_on_intr(|| rustix::io::read(signals, &mut record))?;
    let [a, b, c, d, ..] = record;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

/// Asks the kernel to wake the program up for no less than so many octets, the end, or a full buffer (`SO_RCVLOWAT` in
/// socket(7)). Where that cannot be had, it wakes up more often.
pub(crate) fn set_rcvlowat(socket: BorrowedFd<'_>, octets: usize) {
    let octets = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX);
    let _ = set(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, octets);
}

/// Bounds what the kernel buffers of what a client sends (`SO_RCVBUF` in socket(7)).
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, octets.try_into().unwrap_or(libc::c_int::MAX))
}

/// Bounds what the kernel keeps of what a client has not acknowledged (`SO_SNDBUF` in socket(7)).
pub(crate) fn set_send_buffer(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, octets.try_into().unwrap_or(libc::c_int::MAX))
}

/// Bounds how many octets a second TCP sends (`SO_MAX_PACING_RATE`): by itself since Linux 4.13, whatever the interface's queue.
pub(crate) fn set_max_rate(socket: BorrowedFd<'_>, octets: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, octets.try_into().unwrap_or(libc::c_int::MAX))
}

#[allow(clippy::cast_possible_truncation)] // of the size of an integer
fn set(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is read from an integer that lives during the call, with that integer's size.
    let answer = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes standard error away from the client where not even /dev/null can be had in its place. Closed, its number would go to
/// the next file or connection, and what is logged with it.
pub(crate) fn replace_standard_error() {
    // SAFETY: nothing in the program owns descriptor 2; 0 and 1 are open since the start.
    unsafe { libc::close(2) };
    occupy(2);
}

/// What every program needs, to end.
pub(crate) const RULES: &[Rule] = &[Rule::new(Syscall::EXIT_GROUP, &[], "exit")];

/// Nobody's in what is installed.
#[cfg(debug_assertions)]
pub(crate) const CHECK_BEFORE_CLOSING: Rule = Rule::new(
    Syscall::FCNTL,
    // F_GETFD
    &[Pin::is(1, 1)],
    "assert that a descriptor is open before the standard library closes it",
);

/// Where time counts, and the vDSO cannot tell it.
pub(crate) const TELL_TIME: Rule = Rule::new(
    Syscall::CLOCK_GETTIME,
    // CLOCK_REALTIME and CLOCK_MONOTONIC. Other clocks tell how busy other processes are, whoever they belong to.
    &[Pin::within(0, 0, 1)],
    "read the clock where the vDSO cannot",
);

/// Ends the process at once (`_exit(2)`): no destructors and no clean-up of the runtime, which would need system calls
/// that the policy does not have.
pub fn exit(code: u8) -> ! {
    // SAFETY: does not return and touches no memory of the program.
    unsafe { libc::_exit(code.into()) }
}
