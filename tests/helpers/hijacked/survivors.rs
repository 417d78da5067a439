//! Every system call number, tried one by one.

use std::ffi::c_long;

use crate::audit;
use hunker::{Architecture, Layer, Pin, Policy, Rule};
use small_services::policy::Io;

/// `uretprobe` and `uprobe`: the kernel shows them to no filter (from 6.14 and 6.18 on), and refuses them (`SIGILL`, `ENXIO`)
/// to everybody but a trampoline that it has put into the process itself.
const SHOWN_TO_NO_FILTER: &[c_long] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Arguments that are harmless or hostile: zeros, addresses where nothing is, and what a comparison of half a number would
/// miss. The first few are enough to tell whether a number is allowed, where time is short the first; all of them take `ATTACK=full`.
const HOSTILE: [[c_long; 6]; 7] = [
    [0; 6],
    [-1; 6],
    [0x7fff_ffff, 0xffff_ffff, 0x8000_0000, 0x1_0000_0001, 0x1000, 0x41],
    [1; 6],
    [c_long::MIN; 6],
    [c_long::MAX; 6],
    [0x1_0000_0000; 6],
];

/// Tries every number in a process of its own, with hostile arguments and with those that the policy wants.
pub fn print(service: &str, peer: Io) {
    let policy = audit::policy(service, peer);
    let hostile = match std::env::var("ATTACK").as_deref() {
        Ok("full") => &HOSTILE[..],
        Ok("brief") => &HOSTILE[..1],
        _ => &HOSTILE[..3],
    };
    for number in (0..=1024).filter(|number| !SHOWN_TO_NO_FILTER.contains(number)) {
        let fitting = audit::rules(service, peer).filter(|rule| native(rule) == number).map(pinned);
        if fitting.chain(hostile.iter().copied()).any(|arguments| survives(&policy, number, arguments)) {
            println!("{number}");
        }
    }
    // Of the calls in the table, with one pinned argument wrong.
    for rule in audit::rules(service, peer) {
        for pin in rule.pins() {
            let (min, max) = (c_long::from(pin.min()), c_long::from(pin.max()));
            for wrong in [min - 1, max + 1, max + 64, min ^ 1 << 31, -1 - min] {
                let mut arguments = pinned(rule);
                arguments[usize::from(pin.position())] = wrong;
                let is_allowed = audit::rules(service, peer).any(|other| {
                    native(other) == native(rule) && other.pins().iter().all(|pin| is_within(*pin, arguments))
                });
                if !is_allowed && survives(&policy, native(rule), arguments) {
                    println!(
                        "{} with argument {} {wrong:#x} outside of {min:#x} to {max:#x}",
                        rule.call().name(),
                        pin.position()
                    );
                }
            }
        }
    }
}

/// Whether an argument is what the policy wants, as the kernel's half of it has it: a range up to the greatest number ends nowhere.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn is_within(pin: Pin, arguments: [c_long; 6]) -> bool {
    (pin.min()..=pin.max()).contains(&(arguments[usize::from(pin.position())] as u32))
}

/// What the policy wants of a call's arguments; the others are zero.
pub fn pinned(rule: &Rule) -> [c_long; 6] {
    let mut arguments = [0; 6];
    rule.pins().iter().for_each(|pin| arguments[usize::from(pin.position())] = pin.min().into());
    arguments
}

pub fn native(rule: &Rule) -> c_long {
    rule.call().number(Architecture::TARGET).expect("a number").into()
}

fn survives(policy: &Policy, number: c_long, arguments: [c_long; 6]) -> bool {
    match unsafe { libc::fork() } {
        0 => {
            // In a process group of its own: 0 in place of a process's number means all of these.
            assert_eq!(unsafe { libc::setpgid(0, 0) }, 0);
            Layer::Seccomp.apply(policy).expect("a kernel with seccomp");
            unsafe {
                let [a, b, c, rest @ ..] = arguments;
                libc::syscall(number, a, b, c, rest[0], rest[1], rest[2]);
                libc::_exit(0)
            }
        }
        child => {
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            // By kill(2), it ends itself.
            !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) == libc::SIGKILL
        }
    }
}
