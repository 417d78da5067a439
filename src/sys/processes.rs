//! Child processes: to create, kill and reap them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use libc::{c_int, c_long, clockid_t, pid_t};

/// This process, or a child that was not reaped yet: until then, no other process gets its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process(pid_t);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

/// The signal for the end of a child. One signal may stand for several children.
pub(crate) const ENDED: c_int = libc::SIGCHLD;
/// For wait4(2): do not wait.
pub(crate) const WAIT_FLAGS: c_int = libc::WNOHANG;

/// Creates a copy of this process. Returns `None` in the copy.
///
/// It does not use fork(3) of the C library, which makes more calls. A program with one thread and no fork handlers needs none of
/// them.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn fork() -> io::Result<Option<Process>> {
    // SAFETY: the program has one thread, and the processes share no memory but atomic counters.
    match unsafe { libc::syscall(libc::SYS_clone, c_long::from(ENDED), 0_usize, 0_usize, 0_usize, 0_usize) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        #[allow(clippy::cast_possible_truncation)] // a process's number
        process => Ok(Some(Process(process as pid_t))),
    }
}

/// Counters that this process shares with those that it will make, from 0 on.
///
/// # Errors
///
/// What the kernel answered.
pub(crate) fn shared_counters<const N: usize>() -> io::Result<&'static [AtomicU64; N]> {
    // SAFETY: a new mapping of zeros, which are values of counters; nothing ever takes it away.
    unsafe {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        match libc::mmap(ptr::null_mut(), size_of::<[AtomicU64; N]>(), access, kind, -1, 0) {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            counters => Ok(&*counters.cast::<[AtomicU64; N]>()),
        }
    }
}

impl Process {
    /// The calling process.
    pub(crate) fn this() -> Self {
        // SAFETY: takes nothing.
        Self(unsafe { libc::getpid() })
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(self) {
        // SAFETY: takes two numbers.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }

    /// The processor time that it has used.
    pub(crate) fn processor_time(self) -> Option<Duration> {
        /// `CPUCLOCK_SCHED`: of the whole process, in nanoseconds (`clock_getcpuclockid(3)`).
        const CLOCK: clockid_t = 2;
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the kernel writes a time, or returns an error.
        let time = unsafe {
            if libc::clock_gettime(!self.0 << 3 | CLOCK, time.as_mut_ptr()) != 0 {
                return None;
            }
            time.assume_init()
        };
        Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
    }

    /// How it ended, if it has. This reaps it.
    pub(crate) fn ended(self) -> Option<End> {
        wait(self.0).map(|(_, end)| end)
    }
}

/// Any child that has ended, which is reaped; `None` if none has.
pub(crate) fn any_ended() -> Option<(Process, End)> {
    wait(-1)
}

fn wait(process: pid_t) -> Option<(Process, End)> {
    let mut status = 0;
    // SAFETY: the kernel writes only the status.
    let ended = unsafe { libc::wait4(process, &raw mut status, WAIT_FLAGS, ptr::null_mut()) };
    let end = if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    };
    (ended > 0).then_some((Process(ended), end))
}

/// The first call of a new process: makes it end when its parent ends.
///
/// # Errors
///
/// The kernel's; `NotFound` if the parent has already ended.
pub(crate) fn end_with(parent: Process) -> io::Result<()> {
    // SAFETY: takes two numbers.
    answer(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: takes nothing.
    if unsafe { libc::getppid() } == parent.0 { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// In a new process: moves a connection or a datagram socket to descriptors 0 and 1.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn take_over(socket: BorrowedFd<'_>) -> io::Result<()> {
    for descriptor in [0, 1] {
        // SAFETY: nothing in the program owns descriptors 0 and 1.
        answer(unsafe { libc::dup3(socket.as_raw_fd(), descriptor, 0) })?;
    }
    Ok(())
}

/// In a new process: closes all descriptors from 3 to `last`. Their owners must not be used any more.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn close_from_3(last: u32) -> io::Result<()> {
    // SAFETY: the process ends without using or closing what owned them.
    answer(unsafe { libc::close_range(3, last, 0) })
}

/// In a new process: closes a descriptor whose owner must not be used any more.
pub(crate) fn close(descriptor: RawFd) {
    // SAFETY: as above.
    unsafe { libc::close(descriptor) };
}

fn answer(answer: c_int) -> io::Result<()> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
