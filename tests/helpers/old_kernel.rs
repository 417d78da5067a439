//! `old_kernel KERNEL PROGRAM...` runs a program as on another kernel: without a system call (`landlock` or `seccomp`), with
//! Landlock disabled (`disabled`), or with an older Landlock (`abi-2`). `forbidden` and `no-seccomp` are the filters of a container
//! that forbids these calls. With `full`, the calls that a process needs to lock itself down fail.
#![allow(unsafe_code)] // a filter with a user-space listener, which no crate here supports

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{mem, ptr};

use rustix::process::{PidfdFlags, getpid, pidfd_open};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kernel, program, rest @ ..] = arguments.as_slice() else { panic!("old_kernel KERNEL PROGRAM...") };
    match (kernel.as_str(), kernel.strip_prefix("abi-").and_then(|abi| abi.parse().ok())) {
        (_, Some(abi)) => have_landlock(abi),
        ("landlock", _) => answer(libc::SYS_landlock_create_ruleset, None, libc::ENOSYS),
        ("disabled", _) => answer(libc::SYS_landlock_create_ruleset, None, libc::EOPNOTSUPP),
        ("forbidden", _) => answer(libc::SYS_landlock_create_ruleset, None, libc::EPERM),
        ("seccomp", _) => answer(libc::SYS_seccomp, None, libc::ENOSYS),
        ("no-seccomp", _) => answer(libc::SYS_seccomp, None, libc::EPERM),
        ("full", _) => answer(libc::SYS_prlimit64, Some((1, libc::RLIMIT_NPROC.into())), libc::ENOMEM),
        _ => panic!("no such kernel: {kernel}"),
    }
    panic!("cannot start {program}: {}", Command::new(program).args(rest).exec());
}

/// Makes a call fail from now on, with this argument if one is given.
fn answer(call: i64, argument: Option<(u8, u64)>, errno: i32) {
    let rules = argument.map(|(position, value)| {
        let condition = SeccompCondition::new(position, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
        SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule")
    });
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let rules = BTreeMap::from([(call, rules.into_iter().collect())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture);
    let filter: BpfProgram = filter.expect("a filter").try_into().expect("a small filter");
    seccompiler::apply_filter(&filter).expect("a kernel with seccomp");
}

/// Makes the kernel report this version of Landlock from now on, so that programs limit themselves to it. A filter alone can only
/// return errors, so this one asks another process.
fn have_landlock(abi: i64) {
    let landlock = u32::try_from(libc::SYS_landlock_create_ruleset).expect("a number");
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(IF_EQUAL, 0, 3, landlock),
        // Its third argument, which requests the version.
        step(LOAD, 0, 0, 32),
        step(IF_EQUAL, 0, 1, 1),
        step(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    let (set, listen) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    rustix::thread::set_no_new_privs(true).expect("a right to give away");
    // SAFETY: the kernel copies the filter.
    let listener = unsafe { libc::syscall(libc::SYS_seccomp, set, listen, &raw const program) };
    let listener = i32::try_from(listener).expect("a descriptor");
    let asking = pidfd_open(getpid(), PidfdFlags::empty()).expect("a process");
    // Not a child of the program, which reaps its own children. SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: likewise. This process does not need the open descriptors, and holding them would keep them open for others.
            unsafe {
                if libc::fork() == 0 {
                    libc::dup2(listener, 0);
                    libc::dup2(asking.as_raw_fd(), 1);
                    libc::close_range(2, u32::MAX, 0);
                    tell_version(abi);
                }
                libc::_exit(0)
            }
        }
        // SAFETY: the status is not written.
        child => assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child),
    }
}

/// Answers until the program has ended: descriptor 0 asks, 1 reports its end.
fn tell_version(abi: i64) {
    loop {
        let mut ready = [0, 1].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
        // SAFETY: two descriptors, and zeroed structures that the kernel fills.
        unsafe {
            if libc::poll(ready.as_mut_ptr(), 2, -1) < 1 || ready[1].revents != 0 {
                return;
            }
            let mut asked: libc::seccomp_notif = mem::zeroed();
            let mut answer: libc::seccomp_notif_resp = mem::zeroed();
            if libc::ioctl(0, RECEIVE, &raw mut asked) == 0 {
                (answer.id, answer.val) = (asked.id, abi);
                libc::ioctl(0, SEND, &raw mut answer);
            }
        }
    }
}

/// `SECCOMP_IOCTL_NOTIF_RECV`
const RECEIVE: libc::c_ulong = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`
const SEND: libc::c_ulong = 0xc018_2101;
/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}
