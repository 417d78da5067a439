//! What a hijacked process can still do: every call that its policy allows, on every kind of descriptor that it has, at that
//! descriptor's number; with an attacker's values for the arguments that are not pinned, or for one that is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_long};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;

use crate::audit;
use hunker::Rule;
use small_services::numbers::{EVENTS, FIRST_DATAGRAMS, FIRST_FREE};
use small_services::policy::Io;

use super::acts::{flags, memory, scratch, text};
use super::layers::{self, is_keeper};
use super::network::{NO_ADDRESS, RIGHTS, local, loopback, message};
use super::survivors::{native, pinned};

/// The kind of a descriptor, and its number.
type Descriptor = (&'static str, RawFd);

/// This program's own descriptors are from here on.
const ELSEWHERE: RawFd = 64;

/// The descriptors of a process, for each way to start it. Duplicates are the same.
fn layouts(service: &str, peer: Io) -> Vec<Vec<Descriptor>> {
    const TCP: &str = "the connection over TCP";
    const UNIX: &str = "the connection over a Unix-domain socket";
    const LOGS: [&str; 5] = ["the journal", "syslog", "a terminal as log", "a pipe as log", "a file as log"];
    let numbered = |kinds: [&'static str; 3]| (0..).zip(kinds).map(|(number, kind)| (kind, number)).collect();
    match peer {
        Io::Connection => [TCP, UNIX].iter().flat_map(|it| LOGS.map(|log| [*it, *it, log])).map(numbered).collect(),
        Io::Filter => vec![
            numbered(["a terminal as input", "a terminal as output", "a terminal as log"]),
            numbered(["a pipe as input", "a pipe as output", "a pipe as log"]),
            numbered(["a file as input", "a file as output", "a file as log"]),
            numbered(["a socket as input", "a socket as output", "the journal"]),
            numbered(["a socket as input", "a socket as output", "syslog"]),
        ],
        // With a datagram socket or files: what a daemon also has, under the daemon's numbers.
        Io::Datagrams => vec![numbered(["a UDP socket", "a UDP socket", "the journal"])]
            .into_iter()
            .chain(LOGS.map(|log| numbered(["a UDP socket", "a UDP socket", log])))
            .collect(),
        Io::DatagramsAndFiles => LOGS
            .map(|log| {
                let mut all: Vec<_> = numbered(["a UDP socket", "a UDP socket", log]);
                all.extend([("the event loop", EVENTS), ("a UDP socket", FIRST_DATAGRAMS)]);
                all.extend((FIRST_DATAGRAMS + 1..FIRST_FREE).map(|number| ("a number that is kept", number)));
                all.extend(["an open file", "an open directory"].into_iter().zip(FIRST_FREE..));
                all
            })
            .into(),
        _ => {
            let mut outputs = vec![
                // A unit that notifies the manager, and one that does not.
                ("the service manager", "the journal"),
                ("the journal", "the journal"),
                // Started by a person.
                ("a terminal as output", "a terminal as log"),
                ("a pipe as output", "a pipe as log"),
                ("a file as output", "a file as log"),
                // Started by inetd.
                ("a listening TCP socket", "syslog"),
            ];
            if has_datagrams(peer) {
                outputs.push(("a UDP socket", "syslog"));
            }
            let all = outputs.into_iter().map(|(output, log)| for_all(service, peer, output, log));
            let mut all: Vec<_> = all.collect();
            if is_keeper(peer) {
                // And what it can move to descriptors 0 and 1 itself.
                let movable: Vec<_> = all[0].iter().filter(|(_, number)| *number > EVENTS).map(|it| it.0).collect();
                for moved in movable.into_iter().collect::<BTreeSet<_>>() {
                    let mut layout = for_all(service, peer, moved, "the journal");
                    layout[0].0 = moved;
                    all.push(layout);
                }
            }
            all
        }
    }
}

fn for_all(service: &str, peer: Io, output: &'static str, log: &'static str) -> Vec<Descriptor> {
    let [events, datagrams, free] = [EVENTS, FIRST_DATAGRAMS, FIRST_FREE];
    let mut all = vec![("the signals", 0), (output, 1), (log, 2), ("the event loop", events)];
    if service == "lunchd" {
        all.extend([("what wakes the event loop", events + 1), ("the event loop", events + 2)]);
    } else if has_datagrams(peer) {
        all.push(("a UDP socket", datagrams));
    }
    let next = all.last().map_or(0, |last| last.1 + 1);
    all.extend((next..free).map(|number| ("a number that is kept", number)));
    let kinds = [
        "a listening TCP socket",
        "a listening Unix-domain socket",
        "a connection over TCP",
        "a connection over a Unix-domain socket",
    ];
    let files = if reads_files(peer) { &["an open file", "an open directory"][..] } else { &[] };
    let rulesets = if is_keeper(peer) { &[RULESET][..] } else { &[] };
    all.extend(kinds.iter().chain(files).chain(rulesets).copied().zip(free..));
    all
}

/// What the keeper's processes lock themselves down with.
const RULESET: &str = "a Landlock ruleset";

fn has_datagrams(peer: Io) -> bool {
    matches!(peer, Io::Sockets | Io::SocketsAndFiles) || is_keeper(peer)
}

fn reads_files(peer: Io) -> bool {
    matches!(peer, Io::ListenersAndFiles | Io::SocketsAndFiles | Io::KeeperAndFiles | Io::DatagramsAndFiles)
}

/// The other ends, outside the process.
struct Ends {
    manager: UnixDatagram,
    other: UnixDatagram,
    syslog: UnixDatagram,
    journal: UnixListener,
    udp: UdpSocket,
    /// The client's end of a connection over a Unix-domain socket, and the process's.
    unix: (UnixStream, UnixStream),
    folder: PathBuf,
}

impl Ends {
    fn new() -> io::Result<Self> {
        let folder = PathBuf::from(scratch("reach"));
        fs::create_dir_all(folder.join("followed"))?;
        fs::create_dir_all(folder.join("elsewhere"))?;
        fs::write(folder.join("followed/file"), "octets")?;
        fs::write(folder.join("elsewhere/file"), "octets")?;
        let datagrams = |name: &str| UnixDatagram::bind(folder.join(name));
        let journal = UnixListener::bind(folder.join("journal"))?;
        journal.set_nonblocking(true)?;
        Ok(Self {
            manager: datagrams("manager")?,
            other: datagrams("other")?,
            syslog: datagrams("syslog")?,
            journal,
            udp: UdpSocket::bind("127.0.0.1:0")?,
            unix: UnixStream::pair()?,
            folder,
        })
    }

    /// Receives the data, and returns whether a descriptor was passed with it.
    fn were_passed_a_descriptor(&self) -> bool {
        let logs: Vec<_> = std::iter::from_fn(|| self.journal.accept().ok()).collect();
        let mut ends: Vec<_> = logs.iter().map(|(log, _)| log.as_raw_fd()).collect();
        ends.extend([&self.manager, &self.other, &self.syslog].map(AsRawFd::as_raw_fd));
        ends.extend([self.udp.as_raw_fd(), self.unix.0.as_raw_fd()]);
        let mut passed = false;
        for end in ends {
            loop {
                let taken = message("octets", NO_ADDRESS, &[0; 16]) as *mut libc::mmsghdr;
                if unsafe { libc::recvmsg(end, &raw mut (*taken).msg_hdr, libc::MSG_DONTWAIT) } <= 0 {
                    break;
                }
                passed |= unsafe { (*taken).msg_hdr.msg_controllen } > 0;
            }
        }
        passed
    }

    /// A new descriptor of a kind, with data to read or a connection to accept. The other ends stay open.
    fn open(&self, kind: &str) -> io::Result<OwnedFd> {
        let datagrams_to = |name: &str| {
            let socket = UnixDatagram::unbound()?;
            socket.connect(self.folder.join(name)).map(|()| OwnedFd::from(socket))
        };
        let (what, role) = kind.split_once(" as ").unwrap_or((kind, ""));
        Ok(match what {
            "the signals" => owned(unsafe {
                let mut signals = std::mem::zeroed();
                libc::sigaddset(&raw mut signals, libc::SIGTERM);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
                libc::raise(libc::SIGTERM);
                libc::signalfd(-1, &raw const signals, libc::SFD_NONBLOCK)
            })?,
            "the service manager" => datagrams_to("manager")?,
            "syslog" => datagrams_to("syslog")?,
            "the journal" => UnixStream::connect(self.folder.join("journal"))?.into(),
            "the event loop" => owned(unsafe { libc::epoll_create1(0) })?,
            "what wakes the event loop" => owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) })?,
            "a UDP socket" => {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.set_nonblocking(true)?;
                self.udp.send_to(b"octets", ("127.0.0.1", socket.local_addr()?.port()))?;
                socket.into()
            }
            "a number that is kept" => owned(unsafe { libc::open(c"/".as_ptr(), libc::O_PATH) })?,
            "a listening TCP socket" => {
                let socket = TcpListener::bind("127.0.0.1:0")?;
                socket.set_nonblocking(true)?;
                std::mem::forget(TcpStream::connect(socket.local_addr()?)?);
                socket.into()
            }
            "a listening Unix-domain socket" => {
                let name = SocketAddr::from_abstract_name(format!("hijacked-reach-{}", std::process::id()))?;
                let socket = UnixListener::bind_addr(&name)?;
                socket.set_nonblocking(true)?;
                std::mem::forget(UnixStream::connect_addr(&name)?);
                socket.into()
            }
            "a connection over TCP" | "the connection over TCP" => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let mut client = TcpStream::connect(listener.local_addr()?)?;
                client.write_all(b"octets")?;
                std::mem::forget(client);
                let (connection, _) = listener.accept()?;
                connection.peek(&mut [0])?; // they exist
                connection.set_nonblocking(what.starts_with("a "))?;
                connection.into()
            }
            "a connection over a Unix-domain socket" | "the connection over a Unix-domain socket" => {
                (&self.unix.0).write_all(b"octets")?;
                self.unix.1.set_nonblocking(what.starts_with("a "))?;
                self.unix.1.try_clone()?.into()
            }
            RULESET => owned(unsafe {
                let (attributes, none) = ([1_u64], 0_u32); // LANDLOCK_ACCESS_FS_EXECUTE
                let made = libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), 8_usize, none);
                RawFd::try_from(made).unwrap_or(-1)
            })?,
            "an open file" => File::open(self.folder.join("followed/file"))?.into(),
            "an open directory" => File::open(self.folder.join("followed"))?.into(),
            "a file" => {
                let name = self.folder.join("file");
                let mut file = File::options().read(true).write(true).create(true).truncate(true).open(name)?;
                file.write_all(b"octets")?;
                file.rewind()?;
                file.into()
            }
            "a socket" => {
                let (end, mut other) = UnixStream::pair()?;
                other.write_all(b"octets")?;
                std::mem::forget(other);
                end.into()
            }
            "a pipe" => {
                let (reader, mut writer) = io::pipe()?;
                writer.write_all(b"octets")?;
                let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
                let (end, other) = if role == "input" { (reader, writer) } else { (writer, reader) };
                std::mem::forget(other);
                end
            }
            "a terminal" => {
                let mut other = File::options().read(true).write(true).open("/dev/ptmx")?;
                let mut name = [0; 64];
                let end = unsafe {
                    libc::unlockpt(other.as_raw_fd());
                    libc::ptsname_r(other.as_raw_fd(), name.as_mut_ptr(), name.len());
                    owned(libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY))?
                };
                other.write_all(b"octets\n")?;
                std::mem::forget(other);
                end
            }
            _ => unreachable!("{kind}"),
        })
    }

    /// Gives every descriptor of the process its number.
    fn arrange(&self, layout: &[Descriptor]) -> io::Result<()> {
        let mut opened: BTreeMap<&str, RawFd> = BTreeMap::new();
        for &(kind, number) in layout {
            let from = match opened.get(kind) {
                Some(&same) => unsafe { libc::dup2(same, number) },
                None => unsafe { libc::dup2(self.open(kind)?.as_raw_fd(), number) },
            };
            if from != number {
                return Err(io::Error::last_os_error());
            }
            opened.insert(kind, number);
        }
        Ok(())
    }
}

fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }) }
}

/// One attempt: how, on what, and with which arguments.
type Attempt = (&'static str, &'static str, [c_long; 6]);

const PLAIN: &str = "";
/// Placeholders for numbers that are known only once there is a process to try them: of a process that it created itself, of
/// another one, and of the clocks of both.
const MADE: c_long = 0x7a11_0001;
const OTHER: c_long = 0x7a11_0002;
const CLOCK_OF_MADE: c_long = 0x7a11_0003;
const CLOCK_OF_OTHER: c_long = 0x7a11_0004;
const ITS_OWN: &str = "a process that it made";
const ANOTHERS: &str = "another process";
const WITH_A_DESCRIPTOR: &str = "with a descriptor";

/// The attempts for a rule, on all of these descriptors. Pinned arguments are as in the policy, except the descriptor and those
/// that the words name.
#[allow(clippy::too_many_lines)] // a table
fn attempts(rule: &Rule, layout: &[Descriptor], ends: &Ends) -> Vec<Attempt> {
    let room = memory([0_u8; 4096]);
    let zero = memory([0_i32; 64]);
    let octets = text("8 octets");
    let [ip, ip_length] = loopback(ends.udp.local_addr().map_or(0, |address| address.port()));
    let path = |name: &str| text(ends.folder.join(name).as_os_str().as_bytes());
    let [service, service_length] = local(ends.folder.join("other").as_os_str().as_bytes());
    // The kernel and the filter look only at the low half of each pinned argument.
    let fixed = pinned(rule);
    let mut all: Vec<Attempt> = Vec::new();
    // The same on each descriptor.
    let mut on_each = |how, arguments: &dyn Fn(c_long) -> [c_long; 6]| {
        all.extend(layout.iter().map(|&(kind, number)| (how, kind, arguments(number.into()))));
    };
    match rule.call().name() {
        "write" => on_each(PLAIN, &|it| [it, octets, 8, 0, 0, 0]),
        "read" | "pread64" => on_each(PLAIN, &|it| [it, room, 4096, 0, 0, 0]),
        "getdents64" => on_each(PLAIN, &|it| [it, room, 4096, 0, 0, 0]),
        "fstat" => on_each(PLAIN, &|it| [it, room, 0, 0, 0, 0]),
        "close" => on_each(PLAIN, &|it| [it, 0, 0, 0, 0, 0]),
        "shutdown" => on_each(PLAIN, &|it| [it, fixed[1], 0, 0, 0, 0]),
        "accept4" => on_each(PLAIN, &|it| [it, room, memory(128_i32), fixed[3], 0, 0]),
        "recvfrom" => on_each(PLAIN, &|it| [it, room, 1, fixed[3], room, memory(128_i32)]),
        // SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW: no limit.
        "setsockopt" if fixed[2] == 66 => {
            on_each("to lift its time limits", &|it| [it, fixed[1], fixed[2], zero, 16, 0]);
        }
        "setsockopt" => on_each(PLAIN, &|it| [it, fixed[1], fixed[2], memory(1_i32 << 30), 4, 0]),
        "epoll_wait" | "epoll_pwait" => on_each(PLAIN, &|it| [it, room, 16, 0, 0, 8]),
        "epoll_ctl" => {
            on_each("to wait for it", &|it| [fixed[0], libc::EPOLL_CTL_ADD.into(), it, zero, 0, 0]);
            on_each("to wait with it", &|it| [it, libc::EPOLL_CTL_ADD.into(), 0, zero, 0, 0]);
        }
        "sendto" => {
            on_each(PLAIN, &|it| [it, octets, 8, fixed[3], 0, 0]);
            on_each("to an address of no length", &|it| [it, octets, 8, fixed[3], service, 0]);
            on_each("to another service", &|it| [it, octets, 8, fixed[3], service, service_length]);
            on_each("to any host", &|it| [it, octets, 8, fixed[3], ip, ip_length]);
        }
        "sendmmsg" => {
            let host = u64::from(u32::from_ne_bytes([127, 0, 0, 2]));
            let from: [u64; 4] = [28, 8 << 32, host << 32, 0]; // IP_PKTINFO
            for (how, address, control) in [
                (PLAIN, NO_ADDRESS, &[][..]),
                ("to another service", [service, service_length], &[]),
                ("to any host", [ip, ip_length], &[]),
                ("from another address of the host's", [ip, ip_length], &from),
                (WITH_A_DESCRIPTOR, NO_ADDRESS, &RIGHTS),
                (WITH_A_DESCRIPTOR, [service, service_length], &RIGHTS),
                (WITH_A_DESCRIPTOR, [ip, ip_length], &RIGHTS),
            ] {
                on_each(how, &|it| [it, message("octets", address, control), 1, fixed[3], 0, 0]);
            }
        }
        "recvmmsg" => on_each(PLAIN, &|it| [it, message("octets", NO_ADDRESS, &[0; 16]), 1, fixed[3], 0, 0]),
        "openat" => {
            on_each("beneath it", &|it| [it, text("."), fixed[2], 0, 0, 0]);
            for (kind, name) in [
                ("a file that it follows", "followed/file"),
                ("a directory that it follows", "followed"),
                ("a file elsewhere", "elsewhere/file"),
                ("a directory elsewhere", "elsewhere"),
            ] {
                all.push((PLAIN, kind, [fixed[0], path(name), fixed[2], 0, 0, 0]));
                all.push(("to write", kind, [fixed[0], path(name), fixed[2] | flags(libc::O_RDWR), 0, 0, 0]));
            }
        }
        "clock_gettime" => {
            all.push((PLAIN, "the time of day", [libc::CLOCK_REALTIME.into(), room, 0, 0, 0, 0]));
            all.push((PLAIN, "the time since the start", [libc::CLOCK_MONOTONIC.into(), room, 0, 0, 0, 0]));
            all.push((PLAIN, "another process's processor time", [CLOCK_OF_OTHER, room, 0, 0, 0, 0]));
            all.push((PLAIN, "the processor time of a process that it made", [CLOCK_OF_MADE, room, 0, 0, 0, 0]));
        }
        "clone" => {
            all.push((PLAIN, "a process", fixed));
            for (how, more) in [
                ("that shares its memory", libc::CLONE_VM),
                ("that is a thread", libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD),
                ("in a user namespace", libc::CLONE_NEWUSER),
            ] {
                all.push((how, "a process", [fixed[0] | c_long::from(more), fixed[1], 0, 0, 0, 0]));
            }
        }
        "wait4" => {
            all.push((PLAIN, ITS_OWN, [MADE, 0, fixed[2], 0, 0, 0]));
            all.push((PLAIN, ANOTHERS, [OTHER, 0, fixed[2], 0, 0, 0]));
        }
        "kill" => {
            for (how, signal) in [(PLAIN, fixed[1]), ("with another signal", libc::SIGSTOP.into())] {
                all.push((how, ITS_OWN, [MADE, signal, 0, 0, 0, 0]));
                all.push((how, ANOTHERS, [OTHER, signal, 0, 0, 0, 0]));
            }
        }
        "prctl" | "getppid" => all.push((PLAIN, "the process", fixed)),
        "dup3" => {
            on_each("onto descriptor 0", &|it| [it, 0, 0, 0, 0, 0]);
            on_each("onto descriptor 1", &|it| [it, 1, 0, 0, 0, 0]);
            on_each("onto descriptor 2", &|it| [it, 2, 0, 0, 0, 0]);
            on_each("onto a number for datagram sockets", &|it| [it, FIRST_DATAGRAMS.into(), 0, 0, 0, 0]);
        }
        "close_range" => all.push((PLAIN, "all from descriptor 3 on", [fixed[0], c_long::from(u32::MAX), 0, 0, 0, 0])),
        "landlock_restrict_self" => on_each(PLAIN, &|it| [it, 0, 0, 0, 0, 0]),
        "prlimit64" => {
            let most = memory([u64::MAX; 2]);
            all.push(("to forbid itself processes", "the process", [0, fixed[1], zero, 0, 0, 0]));
            all.push(("to allow itself more processes", "the process", [0, fixed[1], most, 0, 0, 0]));
        }
        "seccomp" => {
            let allow_all = memory([0x7fff_0000_0000_0006_u64]);
            all.push((PLAIN, "the process", [fixed[0], fixed[1], memory([1, allow_all]), 0, 0, 0]));
        }
        "brk" => all.push((PLAIN, "memory", [0; 6])),
        "getrandom" => all.push((PLAIN, "random octets", [room, 16, 0, 0, 0, 0])),
        "ppoll" if fixed[1] == 0 => all.push((PLAIN, "a while", [0, 0, zero, 0, 0, 0])),
        "ppoll" => {
            let events = c_long::from(libc::POLLIN | libc::POLLOUT) << 32;
            // A time of zero, if the policy requires a time.
            let time = if fixed[2] == 0 { 0 } else { zero };
            on_each(PLAIN, &|it| [memory(it | events), 1, time, 0, 0, 0]);
        }
        "fcntl" if cfg!(debug_assertions) => {} // in no policy of an installed program
        "exit_group" => all.push((PLAIN, "the process", [0; 6])),
        call => panic!("tests/helpers/hijacked/reach.rs: say what to try of {call}"),
    }
    all
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Killed,
    Refused(c_int),
    Done,
}

/// Prints the number and the kind of each descriptor, in a unit that notifies the service manager.
pub fn print_numbers(service: &str, peer: Io) {
    layouts(service, peer)[0].iter().for_each(|(kind, number)| println!("{number}\t{kind}"));
}

/// Prints for every call how and on what it was tried, and the best outcome, separated by tabs.
pub fn print(service: &str, peer: Io, layers: &str) {
    let root = File::open("/").expect("a root directory");
    while unsafe { libc::dup(root.as_raw_fd()) } < ELSEWHERE {}
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    let mut ends = Ends::new().expect("sockets and files");
    let mut outcomes = BTreeMap::new();
    let mut tried = Vec::new();
    for layout in layouts(service, peer) {
        // Some have been tried in another layout already.
        let new: Vec<_> = layout.iter().filter(|it| !tried.contains(*it)).copied().collect();
        for rule in audit::rules(service, peer) {
            for (how, on, arguments) in attempts(rule, &new, &ends) {
                ends.unix = UnixStream::pair().expect("a connection");
                // A process outside: where it can be reached, no other process can. (The signal that a locked-down one would send
                // is forbidden, too.)
                let other = waiting(std::process::id(), || unsafe { libc::pause() });
                let arguments = arguments.map(|it| match it {
                    OTHER => other.into(),
                    CLOCK_OF_OTHER => clock_of(other),
                    _ => it,
                });
                let child = start(service, peer, layers, &layout, &ends, native(rule), arguments);
                let mut outcome = end(child).unwrap_or_else(|error| {
                    panic!("{service} on {peer:?}: {} {how} on {on}: {error}", rule.call().name())
                });
                unsafe {
                    libc::kill(other, libc::SIGKILL);
                    libc::waitpid(other, std::ptr::null_mut(), 0);
                }
                let passed = ends.were_passed_a_descriptor();
                if how == WITH_A_DESCRIPTOR && outcome == Outcome::Done && !passed {
                    outcome = Outcome::Refused(libc::ENOMSG); // it was sent, but not the descriptor
                }
                let best = outcomes.entry((rule.call().name(), how, on)).or_insert(outcome);
                *best = outcome.max(*best);
            }
        }
        tried.extend(new);
    }
    fs::remove_dir_all(&ends.folder).expect("it is there");
    for ((call, how, on), outcome) in outcomes {
        println!("{call}\t{how}\t{on}\t{outcome:?}");
    }
}

fn start(
    service: &str,
    peer: Io,
    layers: &str,
    layout: &[Descriptor],
    ends: &Ends,
    number: c_long,
    arguments: [c_long; 6],
) -> libc::pid_t {
    match unsafe { libc::fork() } {
        0 => {
            let log = File::from(io::stderr().as_fd().try_clone_to_owned().expect("another number for the log"));
            std::panic::set_hook(Box::new(move |panic| {
                let _ = writeln!(&log, "{panic}");
                std::process::abort()
            }));
            unsafe { libc::alarm(100) }; // a call that would wait for ever ends by a signal
            let own = std::process::id();
            ends.arrange(layout).expect("its descriptors");
            let followed = reads_files(peer).then(|| ends.folder.join("followed"));
            layers::apply(service, peer, layers, followed.as_slice());
            // Created with the calls that its policy has for that, as the keeper does it.
            let made = if is_keeper(peer) { waiting(own, wait_for_ever) } else { 0 };
            let [a, b, c, rest @ ..] = arguments.map(|it| match it {
                MADE => made.into(),
                CLOCK_OF_MADE => clock_of(made),
                _ => it,
            });
            unsafe {
                let answer = libc::syscall(number, a, b, c, rest[0], rest[1], rest[2]);
                libc::_exit(if answer < 0 { *libc::__errno_location() } else { 0 })
            }
        }
        child => child,
    }
}

/// As `clock_getcpuclockid(3)` computes it.
fn clock_of(process: libc::pid_t) -> c_long {
    !c_long::from(process) << 3 | 2
}

/// A process that waits until this one ends, whose number is `parent`.
fn waiting(parent: u32, wait: fn() -> c_int) -> libc::pid_t {
    match unsafe { libc::syscall(libc::SYS_clone, c_long::from(libc::SIGCHLD), 0_usize, 0_usize, 0_usize, 0_usize) } {
        -1 => panic!("cannot make a process"),
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            while libc::getppid().cast_unsigned() == parent {
                wait();
            }
            libc::_exit(0)
        },
        process => process.try_into().expect("a process's number"),
    }
}

/// In an empty event loop: what a process of the keeper may do before it has its own policy.
fn wait_for_ever() -> c_int {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    unsafe { libc::epoll_pwait(EVENTS, &raw mut event, 1, -1, std::ptr::null()) }
}

fn end(child: libc::pid_t) -> Result<Outcome, String> {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status), libc::WTERMSIG(status)) {
        (true, 0, _) => Ok(Outcome::Done),
        (true, errno, _) => Ok(Outcome::Refused(errno)),
        (false, _, libc::SIGSYS) => Ok(Outcome::Killed),
        (false, _, signal) => Err(format!("signal {signal}")),
    }
}
