//! What it does to a neighbour: another process of its user. An attack is done only if it hit the neighbour, which each checks.

use std::ffi::{c_int, c_long};
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use libc::{O_ASYNC, O_RDWR};

use super::acts::{Act, Ready, call, client, flags, memory, text};

/// The neighbour, if there is one. No process has this number.
static NEIGHBOUR: AtomicI64 = AtomicI64::new(0x7fff_ffff);
/// Where its memory holds [`SECRET`].
static PLACE: AtomicI64 = AtomicI64::new(0);
static SECRET: AtomicU64 = AtomicU64::new(KNOWN);
const KNOWN: u64 = 0x0123_4567_89ab_cdef;

fn place() -> c_long {
    (&raw const SECRET) as c_long
}

pub fn is_about_one(act: &str) -> bool {
    act.contains("a neighbour")
}

/// Remembers the neighbour that the client met: it says of itself what [`be_one`] sends.
pub fn meet(told: &str) {
    let mut numbers = told.split(' ').map(|number| number.parse().expect("a number"));
    NEIGHBOUR.store(numbers.next().expect("a process"), Ordering::Relaxed);
    PLACE.store(numbers.next().expect("an address"), Ordering::Relaxed);
}

/// Makes a neighbour, which ends with this process.
pub fn make() {
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN); // nothing is left of it when it ends
        let process = libc::fork();
        assert!(process >= 0);
        if process == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0);
            loop {
                libc::pause();
            }
        }
        NEIGHBOUR.store(process.into(), Ordering::Relaxed);
        PLACE.store(place(), Ordering::Relaxed);
    }
}

/// Is a neighbour until the client is gone, and tells it what an attacker would find out.
pub fn be_one(say: fn(&str)) {
    say(&format!("{} {}\n", std::process::id(), place()));
    while unsafe { libc::read(2, [0_u8].as_mut_ptr().cast(), 1) } > 0 {}
}

/// An attack on the neighbour, which returns whether it hit.
fn hits(act: impl FnOnce(c_long) -> io::Result<bool> + 'static) -> Ready {
    let neighbour = NEIGHBOUR.load(Ordering::Relaxed);
    Box::new(move || if act(neighbour)? { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) })
}

fn limit(process: c_long, resource: libc::__rlimit_resource_t, new: c_long) -> io::Result<u64> {
    let mut limits = [0_u64; 2];
    call(libc::SYS_prlimit64, [process, resource.into(), new, (&raw mut limits) as c_long])?;
    Ok(limits[0])
}

/// Whether a process ends, and is reaped, within ten seconds. That it was sent a signal, the kernel tells nobody.
fn ends(process: c_long) -> io::Result<bool> {
    for _ in 0..10_000 {
        match limit(process, libc::RLIMIT_CORE, 0) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(true),
            other => other?,
        };
        let pause = [0_i64, 1_000_000];
        call(libc::SYS_nanosleep, [(&raw const pause) as c_long, 0])?;
    }
    Ok(false)
}

/// Makes something happen on the client's connection, about which the kernel signals its owner: it notes when an
/// octet was sent. (The client could as well send one.)
fn stir() -> io::Result<()> {
    let notes: c_int = 1 << 1 | 1 << 8 | 1 << 9 | 1 << 11; // sent, queued, acknowledged; and no copy of the octet
    let (socket, value) = (libc::SOL_SOCKET.into(), (&raw const notes) as c_long);
    call(libc::SYS_setsockopt, [client(), socket, libc::SO_TIMESTAMPING.into(), value, 4])?;
    call(libc::SYS_write, [client(), c"\n".as_ptr() as c_long, 1]).map(drop)
}

/// Lowers a limit to one.
fn lowers(resource: libc::__rlimit_resource_t) -> Ready {
    let one = memory([1_u64, 1]);
    hits(move |it| {
        limit(it, resource, one)?;
        Ok(limit(it, resource, 0)? == 1)
    })
}

fn secret_by(number: c_long, process: c_long, value: &mut u64) -> io::Result<c_long> {
    let here = [(&raw mut *value) as c_long, 8];
    let there = [PLACE.load(Ordering::Relaxed), 8];
    call(number, [process, (&raw const here) as c_long, 1, (&raw const there) as c_long, 1, 0])
}

fn pidfd(process: c_long) -> io::Result<c_long> {
    call(libc::SYS_pidfd_open, [process, 0])
}

const FIOSETOWN: c_long = 0x8901;
/// `IOPRIO_CLASS_IDLE`: only when nobody else wants the disk.
const IDLE: c_long = 3 << 13;

pub const NEIGHBOURS: &[Act] = &[
    ("look at a neighbour's limits", || hits(|it| limit(it, libc::RLIMIT_CPU, 0).map(|_| true))),
    ("lower a neighbour's limit on processor time", || lowers(libc::RLIMIT_CPU)),
    ("lower a neighbour's limit on descriptors", || lowers(libc::RLIMIT_NOFILE)),
    ("end a neighbour by kill", || {
        hits(|it| {
            call(libc::SYS_kill, [it, libc::SIGTERM.into()])?;
            ends(it)
        })
    }),
    ("end a neighbour by a signal of fcntl's", || {
        hits(|it| {
            let fcntl = |what: c_int, value: c_long| call(libc::SYS_fcntl, [client(), what.into(), value]);
            fcntl(libc::F_SETOWN, it)?;
            fcntl(10, libc::SIGKILL.into())?; // F_SETSIG
            fcntl(libc::F_SETFL, O_ASYNC.into())?;
            stir()?;
            ends(it)
        })
    }),
    ("end a neighbour by a signal of ioctl's", || {
        hits(|it| {
            let (owner, on): (c_int, c_int) = (it.try_into().unwrap_or(c_int::MAX), 1);
            call(libc::SYS_ioctl, [client(), FIOSETOWN, (&raw const owner) as c_long])?;
            call(libc::SYS_ioctl, [client(), flags(libc::FIOASYNC), (&raw const on) as c_long])?;
            stir()?; // SIGIO, which ends who does not expect it
            ends(it)
        })
    }),
    ("put a neighbour behind others", || {
        hits(|it| {
            call(libc::SYS_setpriority, [0, it, 19])?;
            Ok(call(libc::SYS_getpriority, [0, it])? == 20 - 19)
        })
    }),
    ("put a neighbour behind others on the disk", || {
        hits(|it| {
            call(libc::SYS_ioprio_set, [1, it, IDLE])?;
            Ok(call(libc::SYS_ioprio_get, [1, it])? == IDLE)
        })
    }),
    ("choose a neighbour's processor", || {
        hits(|it| {
            let (first, mut chosen) = (1_u64, 0_u64);
            call(libc::SYS_sched_setaffinity, [it, 8, (&raw const first) as c_long])?;
            call(libc::SYS_sched_getaffinity, [it, 8, (&raw mut chosen) as c_long])?;
            Ok(chosen == first)
        })
    }),
    ("trace a neighbour", || hits(|it| call(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), it, 0, 0]).map(|_| true))),
    ("read a neighbour's memory", || {
        hits(|it| {
            let mut found = 0;
            secret_by(libc::SYS_process_vm_readv, it, &mut found)?;
            Ok(found == KNOWN)
        })
    }),
    ("write a neighbour's memory", || {
        hits(|it| {
            let (mut other, mut found) = (!KNOWN, 0);
            secret_by(libc::SYS_process_vm_writev, it, &mut other)?;
            secret_by(libc::SYS_process_vm_readv, it, &mut found)?;
            Ok(found == other)
        })
    }),
    ("write a neighbour's memory through /proc", || {
        let path = text(format!("/proc/{}/mem", NEIGHBOUR.load(Ordering::Relaxed)));
        hits(move |_| {
            let (other, mut found, place) = (!KNOWN, 0_u64, PLACE.load(Ordering::Relaxed));
            let file = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path, O_RDWR.into(), 0])?;
            call(libc::SYS_pwrite64, [file, (&raw const other) as c_long, 8, place])?;
            call(libc::SYS_pread64, [file, (&raw mut found) as c_long, 8, place])?;
            Ok(found == other)
        })
    }),
    ("take a neighbour's connection", || hits(|it| call(libc::SYS_pidfd_getfd, [pidfd(it)?, 0, 0]).map(|_| true))),
];
