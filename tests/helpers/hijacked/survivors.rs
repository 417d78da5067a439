//! Tries every system call number, one by one.

use std::ffi::c_long;

use crate::audit;
use hunker::{Architecture, Layer, Pin, Policy, Rule};
use small_services::policy::Io;

/// `uretprobe` and `uprobe`: the kernel hides them from filters (from 6.14 and 6.18 on), and refuses them (`SIGILL`, `ENXIO`)
/// except to a trampoline that it has put into the process itself.
const SHOWN_TO_NO_FILTER: &[c_long] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Harmless and hostile arguments: zeros, unmapped addresses, and values that a comparison of half a number would miss. If time is
/// short, the first few suffice to tell whether a number is allowed. `ATTACK=full` tries all.
const HOSTILE: [[c_long; 6]; 7] = [
    [0; 6],
    [-1; 6],
    [0x7fff_ffff, 0xffff_ffff, 0x8000_0000, 0x1_0000_0001, 0x1000, 0x41],
    [1; 6],
    [c_long::MIN; 6],
    [c_long::MAX; 6],
    [0x1_0000_0000; 6],
];

/// Tries every number in a separate process, with hostile arguments and with those of the policy.
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
    // The calls in the table, with one wrong pinned argument.
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

/// Whether an argument satisfies a pin, compared by the kernel's half. A range up to the maximum has no upper limit.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn is_within(pin: Pin, arguments: [c_long; 6]) -> bool {
    (pin.min()..=pin.max()).contains(&(arguments[usize::from(pin.position())] as u32))
}

/// The arguments that the policy requires; the others are zero.
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
            // In a separate process group: the process number 0 means all processes of the group.
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
            // It ends itself by kill(2).
            !libc::WIFSIGNALED(status) || libc::WTERMSIG(status) == libc::SIGKILL
        }
    }
}
