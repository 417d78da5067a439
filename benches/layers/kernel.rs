//! What the standard library lacks: children that time themselves, arbitrary filters, Landlock's calls.
#![allow(unsafe_code)] // the system calls

use std::ffi::{CString, c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::{io, ptr};

use libc::sock_filter;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::support::Result;

/// The user of the children, unless they measure the costs for root.
const NOBODY: u32 = 65_534;
/// A child's jobs: one to prepare, and one that is timed.
pub type Job = Box<dyn Fn() -> Result<()>>;
/// The value to which the filters of [`filter`] pin the call's argument.
const PINNED: u32 = 7;

fn check(answer: c_long) -> Result<c_long> {
    if answer < 0 { Err(io::Error::last_os_error().into()) } else { Ok(answer) }
}

/// The processor time of this thread, in microseconds.
#[allow(clippy::cast_precision_loss)] // far below 2^52
fn clock() -> Result<f64> {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the kernel fills the structure.
    let time = unsafe {
        check(libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()).into())?;
        time.assume_init()
    };
    Ok(time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3)
}

/// Keeps this process and its children on one processor, with priority over others, so that its caches hold their own data.
pub fn alone() -> Result<()> {
    let mut own = CpuSet::new();
    own.set(sched_getcpu());
    sched_setaffinity(None, &own)?;
    Ok(rustix::process::setpriority_process(None, -20)?)
}

/// Memory that children share with this process.
pub struct Shared(*mut f64);

impl Shared {
    pub fn new() -> Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, which stays mapped until the process ends.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<f64>(), protection, flags, -1, 0) };
        if page == libc::MAP_FAILED { Err(io::Error::last_os_error().into()) } else { Ok(Self(page.cast())) }
    }

    /// Creates a child that prepares, and returns the processor time of its second job, in microseconds.
    pub fn time_in_child(&self, as_root: bool, prepare: &Job, timed: &Job) -> Result<f64> {
        // SAFETY: this process has one thread, and the page is mapped; the child ends here and nowhere else.
        unsafe {
            let child = libc::fork();
            check(child.into())?;
            if child == 0 {
                let took = time(as_root, prepare, timed);
                if let Err(error) = &took {
                    eprintln!("{error}");
                }
                self.0.write_volatile(*took.as_ref().unwrap_or(&f64::NAN));
                libc::_exit(took.is_err().into());
            }
            end(child)?;
            Ok(self.0.read_volatile())
        }
    }
}

fn time(as_root: bool, prepare: &Job, timed: &Job) -> Result<f64> {
    // SAFETY: takes numbers only.
    unsafe {
        // Touches the child's pages now, so that they are not mapped while the clock runs.
        check(libc::mlockall(libc::MCL_CURRENT).into())?;
        if !as_root {
            check(libc::setresgid(NOBODY, NOBODY, NOBODY).into())?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY).into())?;
        }
    }
    prepare()?;
    clock()?; // to have it in the processor's caches
    let start = clock()?;
    timed()?;
    Ok(clock()? - start)
}

/// Waits for a child, and returns its processor time, in microseconds.
fn end(child: libc::pid_t) -> Result<f64> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the kernel fills both.
    let usage = unsafe {
        check(libc::wait4(child, &raw mut status, 0, usage.as_mut_ptr()).into())?;
        usage.assume_init()
    };
    if status != 0 {
        return Err(format!("a child ended with the status {status:#x}").into());
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    Ok([usage.ru_utime, usage.ru_stime].iter().map(|it| it.tv_sec as f64 * 1e6 + it.tv_usec as f64).sum())
}

/// How a process is created.
#[derive(Clone, Copy)]
pub enum Make {
    Fork,
    ForkExec,
    /// As libraries start programs, by `posix_spawn(3)`.
    Spawn,
}

/// A program without arguments, whose output is not read.
pub struct Program {
    path: CString,
    null: OwnedFd,
}

impl Program {
    pub fn new(path: &Path) -> Result<Self> {
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        Ok(Self { path: CString::new(path.as_os_str().as_bytes())?, null: null.into() })
    }

    /// Creates a process and waits for its end. Returns the processor time here and in it, in microseconds.
    pub fn time(&self, make: Make) -> Result<f64> {
        let start = clock()?;
        // SAFETY: this process has one thread; the child executes or ends here and nowhere else.
        let child = unsafe {
            match make {
                Make::Spawn => self.spawn()?,
                Make::Fork | Make::ForkExec => {
                    let child = libc::fork();
                    if child == 0 {
                        if matches!(make, Make::ForkExec) {
                            self.exec();
                        }
                        libc::_exit(matches!(make, Make::ForkExec).into());
                    }
                    check(child.into())?;
                    child
                }
            }
        };
        let its = end(child)?;
        Ok(clock()? - start + its)
    }

    unsafe fn exec(&self) {
        let (arguments, environment) = ([self.path.as_ptr(), ptr::null()], [ptr::null()]);
        // SAFETY: each list ends with a null pointer.
        unsafe {
            libc::dup2(self.null.as_raw_fd(), libc::STDOUT_FILENO);
            libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        }
    }

    fn spawn(&self) -> Result<libc::pid_t> {
        let (arguments, environment) = ([self.path.as_ptr().cast_mut(), ptr::null_mut()], [ptr::null_mut()]);
        let (mut child, mut actions) = (0, MaybeUninit::uninit());
        // SAFETY: each list ends with a null pointer; the actions are initialized before they are used.
        let answer = unsafe {
            libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
            libc::posix_spawn_file_actions_adddup2(actions.as_mut_ptr(), self.null.as_raw_fd(), libc::STDOUT_FILENO);
            let (path, actions) = (self.path.as_ptr(), actions.as_mut_ptr());
            let answer =
                libc::posix_spawn(&raw mut child, path, actions, ptr::null(), arguments.as_ptr(), environment.as_ptr());
            libc::posix_spawn_file_actions_destroy(actions);
            answer
        };
        if answer == 0 { Ok(child) } else { Err(io::Error::from_raw_os_error(answer).into()) }
    }
}

/// How a filter treats the timed call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Allowed with any arguments: the kernel knows that in advance, and does not run the filter for it.
    Cached,
    /// Allowed with one value of an argument.
    Pinned,
    /// As the first, but the filter begins by loading an argument: then the kernel does not look further, and runs it for each
    /// call.
    Uncached,
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    #[allow(clippy::cast_possible_truncation)] // all below 0x100
    sock_filter { code: code as u16, jt, jf, k }
}

/// A list as libseccomp makes it: the architecture, then two instructions for each call. The clock's call is first, `place` is the
/// position of the timed call, and the others match no call, so that a call without a rule passes all of them. Everything else is
/// allowed.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // numbers of system calls
pub fn filter(kind: Kind, rules: usize, place: Option<usize>) -> Vec<sock_filter> {
    const CALL: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const FIRST_ARGUMENT: u32 = 16;
    const OF_NO_CALL: u32 = 0x10_0000;
    #[cfg(target_arch = "x86_64")]
    const OWN: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const OWN: u32 = 0xc000_00b7;
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless = |value, skip| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
    let end = |answer| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer);
    let (allow, kill) = (end(libc::SECCOMP_RET_ALLOW), end(libc::SECCOMP_RET_KILL_PROCESS));
    let mut program = Vec::new();
    if kind == Kind::Uncached {
        program.push(load(FIRST_ARGUMENT));
    }
    program.extend([load(ARCHITECTURE), instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, OWN), kill]);
    program.extend([load(CALL), unless(libc::SYS_clock_gettime as u32, 1), allow]);
    for number in 2..=rules {
        match (place == Some(number), kind) {
            (false, _) => program.extend([unless(OF_NO_CALL + number as u32, 1), allow]),
            (true, Kind::Pinned) => {
                let pinned = [load(FIRST_ARGUMENT), unless(PINNED, 1), allow, kill];
                program.push(unless(libc::SYS_getppid as u32, pinned.len() as u8));
                program.extend(pinned);
            }
            (true, _) => program.extend([unless(libc::SYS_getppid as u32, 1), allow]),
        }
    }
    program.push(allow);
    program
}

pub fn attach(program: &[sock_filter]) -> Result<()> {
    let len = u16::try_from(program.len())?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions and changes none.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// A system call that does next to nothing, with the argument that filters pin.
pub fn call() {
    // SAFETY: the kernel reads no argument.
    unsafe { libc::syscall(libc::SYS_getppid, PINNED) };
}

pub fn no_new_privileges() -> Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// The rights on files of Landlock's first version: all of these are handled, and rules allow reading.
const FILES: u64 = 0x1fff;
const READ: u64 = 0b1100;

/// A ruleset that allows reading what is beneath these directories.
pub fn ruleset(readable: &[Rc<OwnedFd>]) -> Result<OwnedFd> {
    const PATH_BENEATH: c_int = 1;
    #[repr(C, packed)]
    struct Beneath {
        allowed: u64,
        parent: c_int,
    }
    let handled = FILES;
    // SAFETY: the kernel reads this many octets of it, and the descriptor is new.
    let ruleset = unsafe {
        let size = size_of_val(&handled);
        let ruleset = check(libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, size, 0))?;
        OwnedFd::from_raw_fd(ruleset.try_into()?)
    };
    for parent in readable {
        let rule = Beneath { allowed: READ, parent: parent.as_raw_fd() };
        let ruleset = ruleset.as_raw_fd();
        // SAFETY: the kernel reads the structure.
        check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const rule, 0) })?;
    }
    Ok(ruleset)
}

pub fn restrict(ruleset: &OwnedFd) -> Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) }).map(drop)
}
