//! A program in place of a hijacked service: it applies layers of the lock-down, then tries what an attacker would.
//!
//! - `hijacked list` prints every action with its family.
//! - `hijacked SERVICE PEER LAYERS ATTACK`, with LAYERS `all`, `none` or names joined by commas, or `forked` for all layers of a
//!   process for one connection that the keeper created. The exit code is the outcome of the action: 0 if it succeeded, else the
//!   error number. A signal means that the action killed the process.
//! - `hijacked SERVICE PEER served` is a service's program in its unit. The client sends LAYERS and ATTACK on a line, and receives
//!   `begun` with systemd's name for this run of the unit, and then that code, if the process survives and can still reach the
//!   client. The exit code is the same, but 255 instead of 0: systemd does not record successes. The action
//!   `be a neighbour` prints its address in memory on a line and waits until the client closes. Another instance gets that line
//!   behind a tab, for an action against a neighbour.
//! - `hijacked SERVICE LAYERS siblings` prints what processes of a keeper with these layers can do to each other.
//! - `hijacked SERVICE PEER Seccomp survivors` prints the numbers of the system calls that do not kill.
//! - `hijacked SERVICE PEER LAYERS reach` prints what each allowed call can do, on each kind of descriptor. `hijacked SERVICE PEER
//!   numbers` prints the numbers of these descriptors.
#![allow(unsafe_code)] // an attacker is not limited to safe calls

mod acts;
#[allow(dead_code)] // the tests use the rest
#[path = "../../support/audit.rs"]
mod audit;
mod carried;
mod files;
mod kernel;
mod layers;
mod memory;
mod neighbours;
mod network;
mod processes;
mod reach;
mod siblings;
mod survivors;

use std::io;

use small_services::log;
use small_services::policy::Io;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => {
            for (family, acts) in acts::FAMILIES {
                acts.iter().for_each(|(act, _)| println!("{family}\t{act}"));
            }
        }
        // Executed by an action.
        ["say-done"] => say("0\n"),
        [service, peer, "Seccomp", "survivors"] => survivors::print(service, peer_named(peer)),
        [service, peer, layers, "reach"] => reach::print(service, peer_named(peer), layers),
        [service, layers, "siblings"] => siblings::print(service, layers),
        [service, peer, "numbers"] => reach::print_numbers(service, peer_named(peer)),
        [service, peer, "served"] => served(service, peer_named(peer)),
        [service, peer, layers, act] => {
            if neighbours::is_about_one(act) {
                neighbours::make();
            }
            end(done(service, peer_named(peer), layers, act))
        }
        _ => panic!("hijacked list, or SERVICE PEER and LAYERS ATTACK or served"),
    }
}

fn peer_named(name: &str) -> Io {
    *Io::ALL.iter().find(|&known| format!("{known:?}") == name).expect("a peer")
}

fn done(service: &str, peer: Io, layers: &str, name: &str) -> i32 {
    let act: acts::Ready = match name {
        // Done while the process is dumpable: another process of the same user may then read and control it.
        "be dumpable" => Box::new(|| match unsafe { libc::prctl(libc::PR_GET_DUMPABLE) } {
            1 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }),
        "panic" => {
            log::open("hijacked");
            Box::new(|| panic!("a line\nand another"))
        }
        _ => acts::named(name).unwrap_or_else(|| panic!("no such attack: {name}")),
    };
    layers::apply(service, peer, layers, &[]);
    act().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL))
}

/// Without destructors and the runtime: they need system calls that the policy does not allow.
fn end(code: i32) -> ! {
    unsafe { libc::_exit(code) }
}

/// On descriptor 2: every policy lets a service write there.
fn say(what: &str) {
    unsafe { libc::write(2, what.as_ptr().cast(), what.len()) };
}

/// A service's process that an attacker controls through the connection.
fn served(service: &str, peer: Io) -> ! {
    unsafe {
        let client = match peer {
            Io::Connection | Io::Filter => 0,
            _ => libc::accept4(3, std::ptr::null_mut(), std::ptr::null_mut(), 0),
        };
        libc::dup2(client, 2);
        acts::CLIENT.store(client.into(), std::sync::atomic::Ordering::Relaxed);
    }
    let mut line = Vec::new();
    let mut octet = [0_u8];
    while unsafe { libc::read(2, octet.as_mut_ptr().cast(), 1) } == 1 && octet != *b"\n" {
        line.push(octet[0]);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let (layers, act) = line.split_once(' ').unwrap_or(("all", "nothing"));
    let (act, neighbour) = act.split_once('\t').unwrap_or((act, ""));
    say(&format!("begun {}\n", std::env::var("INVOCATION_ID").unwrap_or_default()));
    match neighbour {
        _ if act == "be a neighbour" => {
            neighbours::be_one(say);
            end(0)
        }
        // A keeper's are those that it makes.
        "" if neighbours::is_about_one(act) && layers::is_keeper(peer) => neighbours::make(),
        "" => {}
        it => neighbours::meet(it),
    }
    let code = done(service, peer, layers, act);
    say(&format!("{code}\n"));
    end(if code == 0 { 255 } else { code })
}
