//! `neighbour PROGRAM...` runs a program as the user nobody. At each of its system calls, from its first instruction until its
//! filter is attached, a neighbour of the same user tries to take the connection on its descriptor 0 (`pidfd_getfd`) and to open
//! its memory. Then it ends. Between two system calls a neighbour's permissions cannot change.
//!
//! `REPORT` names a file for the results, one line per stop: `exec`, `before NUMBER` or `after NUMBER`, then `taken` or `refused`.
//! Root stops the program there by ptrace(2): the speed of a neighbour does not matter.
#![allow(unsafe_code)]

use std::ffi::{CString, c_long, c_void};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::{env, fs, mem, ptr};

use libc::{c_int, c_uint, pid_t};

const NOBODY: libc::uid_t = 65534;

fn main() {
    let program: Vec<_> = env::args_os().skip(1).map(|it| CString::new(it.into_vec()).expect("no NUL")).collect();
    let report = env::var_os("REPORT").expect("REPORT is set");
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        become_nobody();
        let mut arguments: Vec<_> = program.iter().map(|it| it.as_ptr()).collect();
        arguments.push(ptr::null());
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME);
            libc::raise(libc::SIGSTOP);
            libc::execv(arguments[0], arguments.as_ptr());
            libc::_exit(127)
        }
    }
    wait(pid).expect("it stops itself");
    ask(
        libc::PTRACE_SETOPTIONS,
        pid,
        0,
        (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL).into(),
    );
    fs::write(report, watch(pid)).expect("REPORT can be written");
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn become_nobody() {
    unsafe {
        assert_eq!(libc::setgroups(0, ptr::null()), 0, "as root only");
        assert_eq!(libc::setgid(NOBODY), 0);
        assert_eq!(libc::setuid(NOBODY), 0);
    }
}

/// Goes from stop to stop, and reports what a neighbour can access at each.
fn watch(pid: pid_t) -> String {
    let (mut lines, mut started, mut call) = (String::new(), false, 0);
    loop {
        ask(libc::PTRACE_SYSCALL, pid, 0, 0);
        let status = wait(pid).expect("it comes to its filter");
        let stop = match (libc::WSTOPSIG(status), status >> 16) {
            (libc::SIGTRAP, libc::PTRACE_EVENT_EXEC) => {
                started = true;
                "exec".to_owned()
            }
            (stop, _) if stop == libc::SIGTRAP | 0x80 && started => match call_made(pid) {
                Some(number) => {
                    call = number;
                    format!("before {call}")
                }
                None => format!("after {call}"),
            },
            _ => continue,
        };
        let taken = if neighbour_takes(pid) { "taken" } else { "refused" };
        writeln!(lines, "{stop} {taken}").expect("memory");
        if stop == format!("after {}", libc::SYS_seccomp) {
            return lines;
        }
    }
}

/// The system call that it is about to make, unless it is returning from one.
fn call_made(pid: pid_t) -> Option<u64> {
    let mut information: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
    let size = size_of::<libc::ptrace_syscall_info>().cast_signed() as c_long;
    ask(libc::PTRACE_GET_SYSCALL_INFO, pid, size, (&raw mut information) as c_long);
    match information.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => Some(unsafe { information.u.entry }.nr),
        _ => None,
    }
}

fn neighbour_takes(victim: pid_t) -> bool {
    let neighbour = unsafe { libc::fork() };
    if neighbour == 0 {
        become_nobody();
        unsafe {
            let process = libc::syscall(libc::SYS_pidfd_open, victim, 0);
            let connection = libc::syscall(libc::SYS_pidfd_getfd, process, 0, 0);
            let path = CString::new(format!("/proc/{victim}/mem")).expect("no NUL");
            let memory = libc::open(path.as_ptr(), libc::O_RDWR);
            libc::_exit((connection >= 0 || memory >= 0).into())
        }
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(neighbour, &raw mut status, 0) }, neighbour);
    assert!(libc::WIFEXITED(status));
    libc::WEXITSTATUS(status) != 0
}

fn ask(request: c_uint, pid: pid_t, address: c_long, data: c_long) -> c_long {
    unsafe { libc::ptrace(request, pid, address as *mut c_void, data as *mut c_void) }
}

fn wait(pid: pid_t) -> Option<c_int> {
    let mut status = 0;
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    (waited == pid && libc::WIFSTOPPED(status)).then_some(status)
}
