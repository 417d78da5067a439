//! Every system call number, tried one by one.

use std::ffi::c_long;

use small_services::sandbox::Layer;
use small_services::sandbox::policy::{self, Peer, Service};

/// `uretprobe` and `uprobe`: the kernel shows them to no filter (from 6.14 and 6.18 on), and refuses them (`SIGILL`, `ENXIO`)
/// to everybody but a trampoline that it has put into the process itself.
const SHOWN_TO_NO_FILTER: &[c_long] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Arguments that are harmless or hostile: zeros, addresses where nothing is, and what a comparison of half a number would
/// miss. The first few are enough to tell whether a number is allowed; all of them take `ATTACK=full`.
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
pub fn print(service: Service, peer: Peer) {
    let hostile = if std::env::var("ATTACK").is_ok_and(|it| it == "full") { &HOSTILE[..] } else { &HOSTILE[..3] };
    for number in (0..=1024).filter(|number| !SHOWN_TO_NO_FILTER.contains(number)) {
        let fitting = policy::rules(service, peer).filter(|rule| native(rule) == number).map(pinned);
        if fitting.chain(hostile.iter().copied()).any(|arguments| survives(service, peer, number, arguments)) {
            println!("{number}");
        }
    }
    // Of the calls in the table, with one pinned argument wrong.
    for rule in policy::rules(service, peer) {
        for pin in rule.arguments {
            let pin = pin.on(cfg!(target_arch = "aarch64"));
            let (min, max) = (c_long::from(pin.min), c_long::from(pin.max));
            // Not one that another rule allows.
            let below = if min == max { max + 64 } else { min - 1 };
            for wrong in [below, max + 64, min ^ 1 << 31, -1 - min] {
                // As the kernel's half of the argument has it: a range up to the greatest number ends nowhere.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let seen = wrong as u32;
                let mut arguments = pinned(rule);
                arguments[pin.position as usize] = wrong;
                if !(pin.min..=pin.max).contains(&seen) && survives(service, peer, native(rule), arguments) {
                    println!(
                        "{} with argument {} {wrong:#x} outside of {min:#x} to {max:#x}",
                        rule.call.name, pin.position
                    );
                }
            }
        }
    }
}

fn pinned(rule: &policy::Rule) -> [c_long; 6] {
    let mut arguments = [0; 6];
    let pins = rule.arguments.iter().map(|pin| pin.on(cfg!(target_arch = "aarch64")));
    pins.for_each(|pin| arguments[pin.position as usize] = pin.min.into());
    arguments
}

fn native(rule: &policy::Rule) -> c_long {
    if cfg!(target_arch = "aarch64") { rule.call.aarch64 } else { rule.call.x86_64 }
}

fn survives(service: Service, peer: Peer, number: c_long, arguments: [c_long; 6]) -> bool {
    match unsafe { libc::fork() } {
        0 => {
            Layer::Seccomp.apply(service, peer).expect("a kernel with seccomp");
            unsafe {
                let [a, b, c, rest @ ..] = arguments;
                libc::syscall(number, a, b, c, rest[0], rest[1], rest[2]);
                libc::_exit(0)
            }
        }
        child => {
            let mut status = 0;
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            !libc::WIFSIGNALED(status)
        }
    }
}
