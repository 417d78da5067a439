//! A program in the place of a hijacked service: it applies layers of the lock-down, then tries what an attacker would.
//!
//! `hijacked SERVICE PEER LAYERS ACT`, with LAYERS `all`, `none` or names joined by commas. The exit code says how the act
//! ended: 0 if it was done, else the errno it was refused with; a signal if it killed the process.
//! `hijacked SERVICE PEER seccomp survivors` prints the numbers of the system calls that do not kill.
#![allow(unsafe_code)] // an attacker is not bound to safe calls

use std::ffi::c_long;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Command;

use small_services::report;
use small_services::sandbox::Layer;
use small_services::sandbox::policy::{self, Peer, Service};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [service, peer, layers, act] = arguments.as_slice() else { panic!("hijacked SERVICE PEER LAYERS ACT") };
    let service = *policy::SERVICES.iter().find(|&known| format!("{known:?}") == *service).expect("a service");
    let peer = *policy::PEERS.iter().find(|&known| format!("{known:?}") == *peer).expect("a peer");
    if act == "survivors" {
        return survivors(service, peer);
    }
    let act = prepared(act);
    for layer in Layer::ALL {
        if layers == "all" || layers.split(',').any(|name| name == format!("{layer:?}")) {
            layer.apply(service, peer).expect("a kernel with every layer");
        }
    }
    let outcome = act();
    // No destructors, no runtime: they need system calls that the policy does not have.
    unsafe { libc::_exit(outcome.err().and_then(|error| error.raw_os_error()).unwrap_or(0)) }
}

type Act = Box<dyn FnOnce() -> io::Result<()>>;

/// The act, with everything it needs opened before the lock-down, so that only the act itself meets it.
fn prepared(name: &str) -> Act {
    let call = |number: c_long, arguments: [c_long; 4]| -> Act {
        Box::new(move || {
            let [a, b, c, d] = arguments;
            if unsafe { libc::syscall(number, a, b, c, d) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        })
    };
    match name {
        "nothing" => Box::new(|| Ok(())),
        "read a file" => Box::new(|| File::open("/etc/passwd").map(drop)),
        "list a directory" => Box::new(|| fs::read_dir("/etc").map(drop)),
        "make a file" => Box::new(|| File::create("/tmp/hijacked").map(drop)),
        "remove a file" => Box::new(|| fs::remove_file("/tmp/hijacked-not-there")),
        "grow an open file" => {
            let file = File::create(std::env::temp_dir().join(format!("hijacked-{}", std::process::id()))).unwrap();
            Box::new(move || io::Write::write_all(&mut &file, b"x"))
        }
        "execute a program" => Box::new(|| Command::new("/bin/true").status().map(drop)),
        "fork" => call(libc::SYS_clone, [libc::c_long::from(libc::SIGCHLD), 0, 0, 0]),
        "start a thread" => Box::new(|| std::thread::Builder::new().spawn(|| ()).map(drop)),
        "connect over TCP" => Box::new(|| TcpStream::connect("127.0.0.1:1").map(drop)),
        "listen on TCP" => Box::new(|| TcpListener::bind("127.0.0.1:0").map(drop)),
        "open a UDP socket" => Box::new(|| UdpSocket::bind("127.0.0.1:0").map(drop)),
        "connect to an abstract socket" => {
            let name = std::env::var("ABSTRACT").expect("the name of a listening abstract socket");
            Box::new(move || UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop))
        }
        "signal another process" => call(libc::SYS_kill, [c_long::from(std::os::unix::process::parent_id()), 0, 0, 0]),
        "trace another process" => {
            let parent = c_long::from(std::os::unix::process::parent_id());
            call(libc::SYS_ptrace, [c_long::from(libc::PTRACE_SEIZE), parent, 0, 0])
        }
        "map memory to execute" => {
            let rwx = c_long::from(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
            Box::new(move || {
                let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                let address = unsafe { libc::syscall(libc::SYS_mmap, 0, 4096, rwx, flags, -1, 0) };
                if address < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            })
        }
        "push a character into the terminal" => call(libc::SYS_ioctl, [0, 0x5412, 0, 0]),
        "enter a namespace of its own" => call(libc::SYS_unshare, [c_long::from(libc::CLONE_NEWUSER), 0, 0, 0]),
        "raise a limit" => {
            let limit = Box::leak(Box::new(libc::rlimit { rlim_cur: 1, rlim_max: 1 }));
            call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), std::ptr::from_ref(limit) as c_long, 0])
        }
        "attach a filter of its own" => call(libc::SYS_seccomp, [0, 1, 0, 0]),
        // Succeeds while the process is dumpable: another process of the same user may then read and steer it.
        "be dumpable" => Box::new(|| {
            if unsafe { libc::prctl(libc::PR_GET_DUMPABLE) } == 1 {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(1))
            }
        }),
        "panic" => {
            report::open("hijacked");
            Box::new(|| panic!("a line\nand another"))
        }
        _ => panic!("no such act: {name}"),
    }
}

/// `uretprobe` and `uprobe`: the kernel shows them to no filter (from 6.14 and 6.18 on), and refuses them (`SIGILL`, `ENXIO`)
/// to everybody but a trampoline that it has put into the process itself.
const SHOWN_TO_NO_FILTER: &[c_long] = if cfg!(target_arch = "x86_64") { &[335, 336] } else { &[] };

/// Tries every system call number in a process of its own, with zeros and with the arguments that the policy wants.
fn survivors(service: Service, peer: Peer) {
    for number in (0..1024).filter(|number| !SHOWN_TO_NO_FILTER.contains(number)) {
        let fitting = policy::rules(service, peer).filter(|rule| native(rule) == number).map(|rule| {
            let mut arguments = [0; 6];
            rule.arguments.iter().for_each(|&(position, value)| arguments[position as usize] = value.into());
            arguments
        });
        if fitting.chain([[0; 6], [1; 6], [-1; 6]]).any(|arguments| survives(service, peer, number, arguments)) {
            println!("{number}");
        }
    }
    for rule in policy::rules(service, peer) {
        for &(position, value) in rule.arguments {
            let mut arguments = [0; 6];
            rule.arguments.iter().for_each(|&(position, value)| arguments[position as usize] = value.into());
            arguments[position as usize] = c_long::from(value) + 64;
            if survives(service, peer, native(rule), arguments) {
                println!("{} with argument {position} not {value}", rule.call.name);
            }
        }
    }
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
