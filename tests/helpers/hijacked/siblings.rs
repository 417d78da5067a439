//! What a process of the keeper can do to another one and to the keeper, and the keeper to its processes.

use std::ffi::{c_int, c_long};

use small_services::policy::Io;

use super::acts::{call, memory};
use super::layers::Keeper;

/// Which number of an action is the sibling, and which the keeper.
#[derive(Clone, Copy)]
enum Whom {
    Sibling,
    Keeper,
}

/// Its name, its target, and the action.
type Act = (&'static str, Whom, fn(c_long) -> std::io::Result<c_long>);

const ACTS: &[Act] = &[
    ("signal", Whom::Sibling, |whom| call(libc::SYS_kill, [whom, libc::SIGKILL.into()])),
    ("signal", Whom::Keeper, |whom| call(libc::SYS_kill, [whom, 0])),
    ("trace", Whom::Sibling, trace),
    ("trace", Whom::Keeper, trace),
    ("read the memory of", Whom::Sibling, read),
    ("read the memory of", Whom::Keeper, read),
];

fn trace(whom: c_long) -> std::io::Result<c_long> {
    call(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), whom, 0, 0])
}

/// All processes have this memory at the same address.
fn read(whom: c_long) -> std::io::Result<c_long> {
    static OCTET: u8 = 1;
    let there = memory([(&raw const OCTET) as c_long, 1]);
    let here = memory([memory(0_u8), 1]);
    call(libc::SYS_process_vm_readv, [whom, here, 1, there, 1, 0])
}

/// Becomes the keeper, with these layers, and creates pairs of processes: the second one attacks. Prints the target, the action and
/// the outcome on descriptor 2.
pub fn print(service: &str, layers: &str) {
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, 1_u32) };
    say(&format!("kernel\tLandlock\t{abi}\n"));
    let keeper = c_long::from(std::process::id());
    // Somewhere to wait for ever, for a process that may read.
    let mut pipe: [c_int; 2] = [0; 2];
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        libc::dup2(pipe[0], 0);
    }
    let locked = Keeper::new(service, Io::Keeper, layers, &[]);
    for (name, whom, act) in ACTS {
        let sibling = fork(|| {
            locked.narrow(Io::Connection);
            unsafe { libc::read(0, [0_u8].as_mut_ptr().cast(), 1) };
            0
        });
        let actor = fork(|| {
            let whom = if matches!(whom, Whom::Sibling) { sibling } else { keeper };
            locked.narrow(Io::Connection);
            act(whom).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL))
        });
        let to = if matches!(whom, Whom::Sibling) { "sibling" } else { "keeper" };
        say(&format!("{to}\t{name}\t{}\n", end(actor)));
        unsafe { libc::kill(sibling.try_into().unwrap_or(0), libc::SIGKILL) };
        say(&format!("child\t{name}, then end\t{}\n", end(sibling)));
    }
    unsafe { libc::_exit(0) }
}

fn say(what: &str) {
    unsafe { libc::write(2, what.as_ptr().cast(), what.len()) };
}

/// With the only call that the keeper has for it.
fn fork(child: impl FnOnce() -> i32) -> c_long {
    match unsafe { libc::syscall(libc::SYS_clone, c_long::from(libc::SIGCHLD), 0_usize, 0_usize, 0_usize, 0_usize) } {
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::_exit(child())
        },
        process => process,
    }
}

/// How a process ended.
fn end(process: c_long) -> String {
    let mut status: c_int = 0;
    while call(libc::SYS_wait4, [process, (&raw mut status) as c_long, libc::WNOHANG.into(), 0]).is_ok_and(|it| it == 0)
    {
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status), libc::WTERMSIG(status)) {
        (true, 0, _) => "Done".to_owned(),
        (true, errno, _) => format!("Refused({errno})"),
        (false, _, signal) => format!("Killed({signal})"),
    }
}
