//! The keeper's processes from start to end: what they hold, and that none is left over, whatever happens to the keeper and to
//! clients that it has no slot for.

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::manager::Manager;
use support::{Daemon, Folder, Mode, Process, children, connected_from, program, read_all, state, tool, wait_until};

fn ping(client: &mut (impl Read + Write)) -> bool {
    client.write_all(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|count| count == 1)
}

/// The open descriptors of a process, by number. For a process that is not dumpable, only root sees them.
fn descriptors(process: u32) -> BTreeMap<u32, String> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().map(Result::unwrap);
    open.filter_map(|it| {
        let link = fs::read_link(it.path()).ok()?.to_str()?.to_owned();
        Some((it.file_name().to_str()?.parse().ok()?, link))
    })
    .collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn exists(process: u32) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap()
}

/// A keeper with these arguments and sockets, and the addresses that it serves on.
fn keeper(name: &str, arguments: &[&str], sockets: &[&str]) -> (Process, Vec<String>) {
    let mut command = Command::new(program(name));
    command.args(support::daemon_arguments(Mode::Keeper)).args(arguments);
    for socket in sockets {
        command.args(["--listen", socket]);
    }
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let mut addresses = Vec::new();
    while addresses.len() < sockets.len() {
        let line = process.line();
        assert!(!line.is_empty(), "it has ended");
        let said = line.split_once("serving on ").map(|(_, rest)| rest.split([';', '\n']).next().unwrap());
        addresses.extend(said.map(|it| it.split_once(':').unwrap().1.trim_start_matches('/').to_owned()));
    }
    (process, addresses)
}

/// Whether a process has its own filter besides the keeper's: then its lock-down is complete.
fn is_locked_down(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|it| it.contains("Seccomp_filters:\t2\n"))
}

#[test]
fn no_process_holds_a_descriptor_of_another_and_none_is_left() {
    let folder = Folder::new("children-descriptors");
    let cookies = folder.file("cookies", format!("{}\n", "a long line\n".repeat(50_000)));
    let cookies = cookies.to_str().unwrap();
    // With files and without. Each process must wait for its client.
    for (name, arguments) in [("echo", vec![]), ("qotd", vec!["--max-length", "0", cookies])] {
        let path = folder.path().join(format!("{name}-socket"));
        let unix = format!("unix:{}", path.display());
        let sockets =
            ["tcp://127.0.0.1:0", "tcp://127.0.0.2:0", "udp://127.0.0.1:0", "udp://127.0.0.2:0", unix.as_str()];
        let (mut process, addresses) = keeper(name, &[&arguments[..], &["--datagram-rate", "0"]].concat(), &sockets);
        let keeper = process.0.id();
        let [one, two] = [&addresses[0], &addresses[1]];
        // One process for each datagram socket.
        wait_until(|| children(keeper).len() == 2 && children(keeper).into_iter().all(is_locked_down));
        let alone: HashSet<_> = children(keeper).into_iter().collect();
        let before = descriptors(keeper).len();
        let mut clients = Vec::new();
        let mut local = Vec::new();
        for number in 0..60 {
            match number % 3 {
                0 => clients.push(TcpStream::connect(one).unwrap()),
                1 => clients.push(TcpStream::connect(two).unwrap()),
                _ => local.push(UnixStream::connect(&path).unwrap()),
            }
        }
        // The echoed octet shows that the lock-down is complete.
        let first = |client: &mut dyn Read| client.read(&mut [0]).is_ok_and(|count| count == 1);
        for client in &mut clients {
            client.write_all(b"x").unwrap();
            assert!(first(client));
        }
        for client in &mut local {
            client.write_all(b"x").unwrap();
            assert!(first(client));
        }
        let processes = children(keeper);
        assert_eq!(processes.len(), alone.len() + clients.len() + local.len());
        if is_root() {
            // The last process may answer before the keeper has closed its copy of the connection.
            wait_until(|| descriptors(keeper).len() == before);
            let own: HashSet<_> = descriptors(keeper).into_values().collect();
            let mut seen = HashSet::new();
            for process in &processes {
                let open = descriptors(*process);
                assert!(open[&0].starts_with("socket:") && open[&0] == open[&1] && open[&2] != open[&0], "{open:?}");
                assert!(seen.insert(open[&0].clone()), "another one has it, too: {open:?}");
                let is_alone = alone.contains(process);
                assert_eq!(own.contains(&open[&0]), is_alone, "the keeper closes its copies of connections");
                let more: Vec<_> = open.range(3..).collect();
                // With files, the keeper keeps the numbers with a meaning: the event loop and the datagram sockets.
                let kept = |(number, link): &(&u32, &String)| **number < 12 && !link.starts_with("pipe:");
                let expected = is_alone && !arguments.is_empty();
                assert!(if expected { more.iter().all(kept) } else { more.is_empty() }, "{name}: {open:?}");
            }
        }
        drop(clients);
        drop(local);
        // No process stays a zombie.
        wait_until(|| children(keeper).into_iter().collect::<HashSet<_>>() == alone);
        // No process outlives a keeper that is killed.
        let mut last = TcpStream::connect(one).unwrap();
        last.write_all(b"x").unwrap();
        assert!(first(&mut last));
        let processes = children(keeper);
        assert_eq!(processes.len(), 3);
        process.signal("KILL");
        process.wait();
        wait_until(|| !processes.iter().any(|process| exists(*process)));
        assert!(TcpStream::connect(one).is_err() && UnixStream::connect(&path).is_err(), "somebody still listens");
    }
}

#[test]
fn a_client_that_waits_for_a_slot_is_served_while_the_keeper_stops() {
    if !is_root() {
        return; // only root sees system calls of others
    }
    let limits = ["--max-connections", "2", "--idle-timeout", "3600"];
    let mut daemon = Daemon::start("echo", &limits);
    let keeper = daemon.process.0.id();
    // Both are active all the time, and each is the only client of its address: neither is evicted.
    let mut busy = [1, 2].map(|host| connected_from([127, 0, 0, host], daemon.address));
    assert!(busy.iter_mut().all(ping));
    let sockets = || descriptors(keeper).values().filter(|link| link.starts_with("socket:")).count();
    let before = sockets();
    let mut waits = connected_from([127, 0, 0, 3], daemon.address);
    waits.write_all(b"x").unwrap();
    wait_until(|| {
        assert!(busy.iter_mut().all(ping), "a busy client had to go");
        sockets() == before + 1
    });
    daemon.process.signal("TERM");
    wait_until(|| {
        assert!(busy.iter_mut().all(ping), "a busy client had to go");
        TcpStream::connect(daemon.address).is_err()
    });
    let [goes, stays] = busy;
    drop(goes);
    assert!(waits.read(&mut [0]).is_ok_and(|count| count == 1), "it waited, and was closed");
    drop((waits, stays));
    assert!(daemon.process.wait().success());
}

/// The kernel ends a process together with its parent once the process has asked for that. Before, the process must check itself.
#[test]
fn a_process_whose_keeper_has_ended_serves_nobody() {
    let daemon = Daemon::start("echo", &[]);
    let keeper = daemon.process.0.id();
    // From now on, asking takes five seconds in each new process.
    let mut command = tool("strace");
    command.args(["--follow-forks", "--quiet=none", "--trace=prctl", "--inject=prctl:delay_enter=5s"]);
    command.args(["--attach", &keeper.to_string()]).stderr(Stdio::piped());
    let mut strace = Process::start(&mut command);
    let line = strace.line();
    assert!(line.contains("attached"), "{line}");
    let mut client = daemon.connect();
    client.write_all(b"x").unwrap();
    let mut made = Vec::new();
    wait_until(|| {
        made = children(keeper);
        !made.is_empty()
    });
    daemon.process.signal("KILL");
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said); // closed over unread input, so it may be a reset
    assert_eq!(said, b"", "it was served");
    wait_until(|| !made.iter().any(|process| exists(*process)));
}

#[test]
fn open_connections_are_not_affected_when_files_are_reread() {
    let folder = Folder::new("children-hangup");
    let long = |word: &str| format!("{word}\n").repeat(80_000);
    let cookies = folder.file("cookies", long("before"));
    let daemon = Daemon::start("qotd", &["--max-length", "0", cookies.to_str().unwrap()]);
    let mut slow = daemon.connect();
    slow.read_exact(&mut [0; 8]).unwrap();
    let processes = children(daemon.process.0.id());
    fs::write(folder.path().join("new"), long("after")).unwrap();
    fs::rename(folder.path().join("new"), &cookies).unwrap();
    daemon.process.signal("HUP");
    wait_until(|| {
        let mut client = daemon.connect();
        let mut word = [0; 5];
        client.read_exact(&mut word).is_ok() && word == *b"after"
    });
    assert!(children(daemon.process.0.id()).contains(&processes[0]), "its process goes on");
    let rest = String::from_utf8(read_all(&mut slow)).unwrap();
    assert_eq!(rest, long("before").replace('\n', "\r\n")[8..]);
}

#[test]
fn a_keeper_with_clients_notifies_the_watchdog() {
    let folder = Folder::new("children-watchdog");
    let manager = Manager::new(folder.path().join("notify"));
    let mut command = Command::new("sh");
    // Twice a second.
    let script = "WATCHDOG_PID=$$ WATCHDOG_USEC=1000000 exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(program("echo")).args(["--listen", "tcp://127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", manager.path()).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let address = process.serving_on("tcp://");
    let mut clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert!(clients.iter_mut().all(ping));
    assert_eq!(manager.next(), "READY=1");
    let next = || loop {
        let message = manager.next();
        if !message.starts_with("STATUS=") {
            return message;
        }
    };
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
        assert!(clients.iter_mut().all(ping));
    }
    // Its processes cannot send messages to it.
    process.signal("STOP");
    assert!(clients.iter_mut().all(ping), "they go on without it");
    process.signal("CONT");
    assert_eq!(next(), "WATCHDOG=1");
}

/// The state of a connection, without waiting.
fn is_open(client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let answer = client.peek(&mut [0]);
    client.set_nonblocking(false).unwrap();
    answer.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn two_thousand_silent_clients_from_a_few_addresses_keep_nobody_out() {
    const SLOTS: usize = 100;
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard.map(|it| it.min(8192)), maximum: hard }).unwrap();
    let slots = SLOTS.to_string();
    let daemon = Daemon::start("echo", &["--max-connections", &slots, "--idle-timeout", "3600"]);
    let keeper = daemon.process.0.id();
    let mut silent: Vec<_> =
        (0..2_000_u32).map(|n| connected_from([127, 0, 1, (n % 8) as u8 + 1], daemon.address)).collect();
    // Clients from elsewhere are served one after the other. The silent ones keep their slots.
    let mut newcomers = Vec::new();
    for host in 1..=20 {
        let mut newcomer = connected_from([127, 0, 2, host], daemon.address);
        assert!(ping(&mut newcomer), "the connection of new client {host} was closed");
        newcomers.push(newcomer);
        assert!(children(keeper).len() >= SLOTS - 1, "the silent ones have gone");
    }
    let left = silent.iter().filter(|client| is_open(client)).count();
    assert!(left >= SLOTS - newcomers.len(), "{left} of them");
    // The evicted clients were silent for long. No client that was active a moment ago is evicted.
    silent.retain(is_open);
    assert!(newcomers.iter_mut().rev().take(5).all(ping), "a new client was evicted instead of a silent one");
}

#[test]
fn the_longest_silent_client_of_the_largest_source_is_evicted() {
    let arguments = ["--max-connections", "6", "--idle-timeout", "3600", "--log-connections"];
    let mut daemon = Daemon::start("echo", &arguments);
    let mut large: Vec<_> = (0..3).map(|_| connected_from([127, 0, 0, 1], daemon.address)).collect();
    assert!(large.iter_mut().all(ping));
    let mut small: Vec<_> = (0..3).map(|host| connected_from([127, 0, 0, 2 + host], daemon.address)).collect();
    assert!(small.iter_mut().all(ping));
    // The first client stays active until the others count as silent.
    let (first, others) = large.split_at_mut(1);
    let start = Instant::now();
    wait_until(|| !ping(&mut first[0]) || start.elapsed() > Duration::from_secs(3));
    let mut newcomer = connected_from([127, 0, 0, 9], daemon.address);
    newcomer.write_all(b"x").unwrap();
    newcomer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut served = false;
    wait_until(|| {
        served |= newcomer.read(&mut [0]).is_ok_and(|count| count == 1);
        served | !ping(&mut first[0])
    });
    assert!(served && ping(&mut first[0]), "who said something had to go");
    assert!(small.iter().all(is_open), "one of a small source had to go");
    let open: Vec<_> = others.iter().map(is_open).collect();
    assert_eq!(open.iter().filter(|it| !**it).count(), 1, "{open:?}");
    drop((large, small, newcomer));
    daemon.process.signal("TERM");
    let (_, log) = daemon.process.log();
    assert!(log.matches(": evicted in ").count() == 1 && !log.contains("was killed"), "{log}");
}

#[test]
fn nobody_is_evicted_while_an_ended_process_has_a_slot() {
    // One ends that is neither among the youngest, which the keeper looks at first, nor the first to be evicted.
    let daemon = Daemon::start("echo", &["--max-connections", "80", "--max-per-source", "80"]);
    let mut clients: Vec<_> = (0..80).map(|_| connected_from([127, 0, 0, 1], daemon.address)).collect();
    assert!(clients.iter_mut().all(ping));
    let second = children(daemon.process.0.id())[1];
    drop(clients.remove(1));
    wait_until(|| matches!(state(second), Some('Z') | None));
    assert!(ping(&mut connected_from([127, 0, 0, 2], daemon.address)));
    assert!(clients.iter().all(is_open), "a client was evicted");
}

/// Only root may start a program as another user, whose processes are counted.
#[test]
fn a_client_without_a_process_gets_one_as_soon_as_the_system_allows_it() {
    if !is_root() {
        return;
    }
    let folder = Folder::new("children-refused");
    let program = support::public_copy(&program("echo"), &folder);
    let user = (61_000 + std::process::id() % 4_000).to_string();
    let as_user = || {
        let mut command = tool("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).stdin(Stdio::null());
        command
    };
    let mut other = Process::start(as_user().args(["sleep", "infinity"]));
    let mut command = as_user();
    command.args(["prlimit", "--nproc=3"]).arg(&program).args(["--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    let mut first = connected_from([127, 0, 0, 1], address);
    assert!(ping(&mut first));
    let mut second = connected_from([127, 0, 0, 2], address);
    second.write_all(b"x").unwrap();
    let line = process.line();
    assert!(line.contains("cannot fork a process for a connection"), "{line}");
    // Another client waits in the kernel, but does not keep the keeper awake.
    let _third = connected_from([127, 0, 0, 3], address);
    let sleeps = |_| {
        std::thread::sleep(Duration::from_millis(2));
        state(process.0.id()) == Some('S')
    };
    // A silent client would be evicted.
    wait_until(|| ping(&mut first) && (0..50).all(sleeps));
    other.signal("KILL");
    other.wait();
    second.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait_until(|| {
        assert!(ping(&mut first));
        second.read(&mut [0]).is_ok_and(|count| count == 1)
    });
}
