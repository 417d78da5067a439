//! Executing programs, creating processes and threads, and accessing other processes.

use std::ffi::{c_long, c_void};
use std::io;

use libc::{O_CREAT, O_RDONLY, O_RDWR, O_WRONLY};

use super::acts::{Act, Ready, call, flags, memory, one, one_or, open, page, parent, scratch, text, with};
use super::carried;

/// The executed program itself reports its start, on the log, where the outcome of an action goes.
fn shell() -> [c_long; 2] {
    let arguments = [text("sh"), text("-c"), text("echo 0 >&2"), 0];
    [memory(arguments), memory([0 as c_long])]
}

fn executes(path: &str, arguments: [c_long; 2]) -> Ready {
    one(libc::SYS_execve, [text(path), arguments[0], arguments[1]])
}

fn executes_open(descriptor: io::Result<c_long>) -> Ready {
    let (nothing, [arguments, environment]) = (text(""), shell());
    with(descriptor, move |descriptor| {
        call(libc::SYS_execveat, [descriptor, nothing, arguments, environment, libc::AT_EMPTY_PATH.into()])
    })
}

/// A program in memory without a file.
fn program_in_memory() -> io::Result<c_long> {
    let program = std::fs::read("/bin/sh")?;
    let descriptor = call(libc::SYS_memfd_create, [text("x"), 0])?;
    let length = program.len().try_into().map_err(io::Error::other)?;
    call(libc::SYS_write, [descriptor, program.as_ptr() as c_long, length])?;
    std::mem::forget(program);
    Ok(descriptor)
}

/// The program that it carries along: where it is, and how long.
fn carried() -> [c_long; 2] {
    let program = carried::program();
    [program.as_ptr() as c_long, flags(program.len())]
}

pub const EXECUTION: &[Act] = &[
    ("execute a program", || executes("/bin/sh", shell())),
    ("execute a program that is open already", || executes_open(open("/bin/sh", O_RDONLY))),
    ("execute a program in memory", || executes_open(program_in_memory())),
    ("execute a program by its loader", || {
        let loader = std::env::consts::ARCH.replace('_', "-");
        let loader = if cfg!(target_arch = "x86_64") {
            format!("/lib64/ld-linux-{loader}.so.2")
        } else {
            format!("/lib/ld-linux-{loader}.so.1")
        };
        let arguments = [text("ld.so"), text("/bin/sh"), text("-c"), text("echo 0 >&2"), 0];
        executes(&loader, [memory(arguments), memory([0 as c_long])])
    }),
    ("execute itself once more", || {
        executes("/proc/self/exe", [memory([text("hijacked"), text("say-done"), 0]), memory([0 as c_long])])
    }),
    ("execute a file that it made", || {
        let ([program, length], path, nothing) = (carried(), text(scratch("program")), memory([0 as c_long]));
        let here = libc::AT_FDCWD.into();
        Box::new(move || {
            let file = call(libc::SYS_openat, [here, path, (O_CREAT | O_WRONLY).into(), 0o700])?;
            call(libc::SYS_write, [file, program, length])?;
            call(libc::SYS_close, [file])?;
            let execute = || call(libc::SYS_execve, [path, nothing, nothing]);
            // A umask may have taken the mode away.
            execute().or_else(|_| call(libc::SYS_fchmodat, [here, path, 0o700]).and_then(|_| execute())).map(drop)
        })
    }),
    ("execute a static program that it carries along", || {
        let ([program, length], name, nothing) = (carried(), text(""), memory([0 as c_long]));
        Box::new(move || {
            let file = call(libc::SYS_memfd_create, [name, 0])?;
            call(libc::SYS_write, [file, program, length])?;
            call(libc::SYS_execveat, [file, name, nothing, nothing, libc::AT_EMPTY_PATH.into()]).map(drop)
        })
    }),
];

/// A call that returns twice, the second time in a process that exits at once.
fn twice<const N: usize>(number: c_long, arguments: [c_long; N]) -> Ready {
    Box::new(move || match call(number, arguments)? {
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    })
}

extern "C" fn nothing(_: *mut c_void) -> i32 {
    0
}

pub const NEW: &[Act] = &[
    ("fork", || twice(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0])),
    ("fork by clone3", || {
        let arguments = libc::clone_args { exit_signal: 17, ..unsafe { std::mem::zeroed() } };
        twice(libc::SYS_clone3, [memory(arguments), c_long::try_from(size_of::<libc::clone_args>()).unwrap_or(0)])
    }),
    #[cfg(target_arch = "x86_64")]
    ("fork by fork", || twice(libc::SYS_fork, [])),
    ("start a thread", || {
        let stack = page(0);
        Box::new(move || {
            let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
            let top = (stack? + 4096) as *mut c_void;
            let answer = unsafe { libc::clone(nothing, top, flags, std::ptr::null_mut()) };
            if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    }),
];

fn pidfd() -> io::Result<c_long> {
    call(libc::SYS_pidfd_open, [parent(), 0])
}

/// Signal 0 does nothing, and is allowed if any signal is.
pub const SIGNALS: &[Act] = &[
    ("signal another process", || one(libc::SYS_kill, [parent(), 0])),
    ("signal every process", || one(libc::SYS_kill, [-1, 0])),
    ("signal another thread", || one(libc::SYS_tgkill, [parent(), parent(), 0])),
    ("signal another thread by tkill", || one(libc::SYS_tkill, [parent(), 0])),
    ("queue a signal", || {
        let mut information = [0_i32; 32];
        information[2] = libc::SI_QUEUE;
        one(libc::SYS_rt_sigqueueinfo, [parent(), 0, memory(information)])
    }),
    ("get hold of another process", || one(libc::SYS_pidfd_open, [parent(), 0])),
    ("signal a process that it holds", || with(pidfd(), |pidfd| call(libc::SYS_pidfd_send_signal, [pidfd, 0, 0, 0]))),
];

pub const TRACING: &[Act] = &[
    ("trace another process", || one(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), parent(), 0, 0])),
    ("be traced", || one(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0])),
    // If the call is allowed, only the address is wrong.
    ("read another process's memory", || {
        let (here, there) = (memory([memory(0_u8), 1]), memory([1 as c_long, 1]));
        one_or(libc::SYS_process_vm_readv, [parent(), here, 1, there, 1, 0], libc::EFAULT)
    }),
    ("write another process's memory", || {
        let (here, there) = (memory([memory(0_u8), 1]), memory([1 as c_long, 1]));
        one_or(libc::SYS_process_vm_writev, [parent(), here, 1, there, 1, 0], libc::EFAULT)
    }),
    ("open another process's memory", || {
        let path = text(format!("/proc/{}/mem", parent()));
        one(libc::SYS_openat, [libc::AT_FDCWD.into(), path, O_RDWR.into(), 0])
    }),
    ("read another process's environment", || {
        let path = text(format!("/proc/{}/environ", parent()));
        one(libc::SYS_openat, [libc::AT_FDCWD.into(), path, O_RDONLY.into(), 0])
    }),
    ("take another process's descriptor", || with(pidfd(), |pidfd| call(libc::SYS_pidfd_getfd, [pidfd, 0, 0]))),
    ("compare itself with another process", || one(libc::SYS_kcmp, [std::process::id().into(), parent(), 1, 0, 0])),
];
