//! The keeper, which creates a process for each connection: what its processes hold, which are evicted, and what happens to the
//! others when one ends badly.

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{
    Daemon, Folder, HUNG, Mode, Process, assert_fortune, connected, connected_from, helper, program, read_all, tool,
    udp_client, wait_until,
};

fn keeper(name: &str, arguments: &[&str]) -> Daemon {
    Daemon::start_as(Mode::Keeper, name, arguments)
}

fn children(process: &Process) -> Vec<u32> {
    support::children(process.0.id())
}

fn ping(client: &mut TcpStream) -> bool {
    client.write_all(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|count| count == 1)
}

#[test]
fn each_connection_has_a_process_with_only_that_connection() {
    let daemon = keeper("echo", &[]);
    let mut clients: Vec<_> = (0..20).map(|_| daemon.connect()).collect();
    assert!(clients.iter_mut().all(ping));
    let processes = children(&daemon.process);
    assert_eq!(processes.len(), clients.len());
    let mut sockets = HashSet::new();
    for process in &processes {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2", "CapBnd:\t0000000000000000"] {
            // Without root, the bounding set stays.
            let kept = line.starts_with("CapBnd") && !rustix::process::geteuid().is_root();
            assert!(kept || status.contains(line), "{line}: {status}");
        }
        if !rustix::process::geteuid().is_root() {
            continue; // only root sees the descriptors of a process that is not dumpable
        }
        let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().map(|it| it.unwrap().path());
        let mut open: Vec<_> = open.map(|it| (it.clone(), fs::read_link(it).unwrap())).collect();
        open.sort();
        let [zero, one, two] = &open[..] else { panic!("{open:?}") };
        assert_eq!(zero.1, one.1);
        assert!(sockets.insert(zero.1.clone()) && zero.1.to_string_lossy().starts_with("socket:"), "{open:?}");
        assert_ne!(two.1, zero.1);
    }
    drop(clients);
    // No process is left over, and none stays a zombie.
    wait_until(|| children(&daemon.process).is_empty());
}

#[test]
fn its_code_never_reads_from_a_client() {
    let folder = Folder::new("keeper-trace");
    let trace = folder.path().join("trace");
    let mut command = tool("strace");
    command.args(["--quiet=all", "-e", "trace=%network,read,readv,recvmsg,write,writev", "-o"]).arg(&trace);
    command.arg(program("echo")).args(["--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    for _ in 0..10 {
        let mut client = TcpStream::connect(address).unwrap();
        assert!(ping(&mut client));
    }
    let [traced] = children(&process)[..] else { panic!("strace has one child") };
    assert!(Command::new("kill").arg(traced.to_string()).status().unwrap().success());
    process.wait();
    let calls = fs::read_to_string(&trace).unwrap();
    let serving = calls.split_once("serving on").expect("it says so").1;
    let reads: Vec<_> = serving.lines().filter(|line| line.starts_with("read") || line.starts_with("recv")).collect();
    assert_eq!(
        serving.lines().filter(|line| line.starts_with("accept4(")).filter(|it| !it.contains("EAGAIN")).count(),
        10
    );
    assert!(!reads.is_empty() && reads.iter().all(|line| line.starts_with("read(0, ")), "{reads:?}");
}

/// Seccomp alone would hide that Landlock's half is missing: a filter of four calls stops what Landlock would stop.
#[test]
fn each_process_has_both_halves_of_the_lock_down_before_it_serves() {
    let folder = Folder::new("keeper-halves");
    let trace = folder.path().join("trace");
    let mut command = tool("strace");
    command.args([
        "--follow-forks",
        "--quiet=all",
        "-e",
        "trace=landlock_restrict_self,seccomp,read,recvfrom,recvmmsg",
        "-o",
    ]);
    command.arg(&trace).arg(program("echo"));
    command.args(["--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let (tcp, udp) = (process.serving_on("tcp://"), process.serving_on("udp://"));
    let mut client = TcpStream::connect(tcp).unwrap();
    assert!(ping(&mut client));
    let probe = udp_client();
    probe.send_to(b"x", udp).unwrap();
    probe.recv(&mut [0]).unwrap();
    drop(client);
    let [keeper] = children(&process)[..] else { panic!("strace has one child") };
    assert!(Command::new("kill").arg(keeper.to_string()).status().unwrap().success());
    process.wait();
    let calls = fs::read_to_string(&trace).unwrap();
    let mut ended = HashSet::new();
    for number in calls.lines().map(|line| line.split(' ').next().unwrap()).filter(|it| **it != keeper.to_string()) {
        if !ended.insert(number.to_owned()) {
            continue;
        }
        let own: Vec<_> = calls.lines().filter_map(|line| line.strip_prefix(number)).map(str::trim_start).collect();
        let first = |call: &str| own.iter().position(|line| line.starts_with(call)).unwrap_or(usize::MAX);
        let served = ["read(", "recvfrom(", "recvmmsg("].into_iter().map(first).min().unwrap();
        let (landlock, seccomp) = (first("landlock_restrict_self("), first("seccomp("));
        assert!(landlock < seccomp && seccomp < served, "{own:#?}");
    }
    assert_eq!(ended.len(), 2, "one for the connection and one for datagrams");
}

#[test]
fn each_client_gets_its_own_fortune() {
    let daemon = keeper("qotd", &[]);
    let replies: HashSet<_> = (0..20).map(|_| assert_fortune(&read_all(&mut daemon.connect()))).collect();
    assert!(replies.len() > 10, "{} different ones in 20", replies.len());
}

#[test]
fn only_silent_clients_are_evicted() {
    let daemon = keeper("echo", &["--max-connections", "4", "--max-per-source", "3", "--idle-timeout", "3600"]);
    let mut busy = connected_from([127, 0, 0, 1], daemon.address);
    assert!(ping(&mut busy));
    let mut silent: Vec<_> = (0..3).map(|_| connected_from([127, 0, 0, 2], daemon.address)).collect();
    assert!(silent.iter_mut().all(ping));
    assert_eq!(read_all(&mut connected_from([127, 0, 0, 2], daemon.address)), b"", "a fourth of one source");
    // A source with at least two more slots than the new client's source gives up one of them.
    let mut newcomer = connected_from([127, 0, 0, 3], daemon.address);
    assert!(ping(&mut newcomer));
    assert_eq!(read_all(&mut silent[0]), b"");
    // While the new client waits, active connections stay.
    let mut next = connected_from([127, 0, 0, 4], daemon.address);
    next.write_all(b"x").unwrap();
    let mut answered = false;
    wait_until(|| {
        next.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        answered |= next.read(&mut [0]).is_ok_and(|count| count == 1);
        answered | !(ping(&mut busy) && ping(&mut newcomer))
    });
    assert!(answered && ping(&mut busy) && ping(&mut newcomer), "somebody busy had to go");
}

#[test]
fn a_source_that_connects_too_often_is_refused() {
    for mode in [Mode::Keeper, Mode::Shared] {
        let daemon = Daemon::start_as(mode, "time", &["--max-rate-per-source", "5"]);
        let mut served = 0;
        for _ in 0..50 {
            served += usize::from(read_all(&mut daemon.connect()).len() == 4);
        }
        assert!((5..50).contains(&served), "{mode:?}: {served} of 50");
        assert_eq!(read_all(&mut connected_from([127, 0, 0, 9], daemon.address)).len(), 4, "{mode:?}: another source");
        // It is served again after it has waited.
        wait_until(|| read_all(&mut daemon.connect()).len() == 4);
    }
}

#[test]
fn a_crash_costs_one_client_and_many_end_the_keeper() {
    let mut daemon = keeper("echo", &[]);
    let end_one = |signal| {
        let mut client = daemon.connect();
        assert!(ping(&mut client));
        // The one before it may still be ending.
        let process = *children(&daemon.process).last().expect("its process");
        assert!(Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap().success());
        let _ = client.read_to_end(&mut Vec::new());
    };
    // As the kernel does where memory is short.
    end_one("KILL");
    (0..11).for_each(|_| end_one("SEGV"));
    let line = daemon.process.line();
    assert!(line.contains("127.0.0.1") && line.contains("was killed; if memory was short, raise MemoryMax="), "{line}");
    for crash in 0..11 {
        let line = daemon.process.line();
        assert!(line.contains("127.0.0.1") && line.contains("crashed with signal 11; please"), "{crash}: {line}");
    }
    let (code, log) = daemon.process.log();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("11 processes crashed within a minute"), "{log}");
}

#[test]
fn all_its_processes_end_with_it() {
    for (signal, replies) in [("TERM", true), ("KILL", false)] {
        let mut daemon = keeper("echo", &[]);
        let mut clients: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
        assert!(clients.iter_mut().all(ping));
        let processes = children(&daemon.process);
        daemon.process.signal(signal);
        if replies {
            // Requests in progress have time to finish.
            wait_until(|| TcpStream::connect(daemon.address).is_err());
            assert!(clients.iter_mut().all(ping));
            drop(clients);
            assert!(daemon.process.wait().success());
        } else {
            daemon.process.wait();
        }
        wait_until(|| processes.iter().all(|process| !fs::exists(format!("/proc/{process}")).unwrap()));
    }
}

#[test]
fn a_process_that_cannot_lock_itself_down_serves_nobody() {
    let mut command = Command::new(helper("old_kernel"));
    command.arg("full").arg(program("echo")).args(["--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    let mut client = TcpStream::connect(address).unwrap();
    let _ = client.write_all(b"x");
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received); // closed early, so it may be a reset
    assert_eq!(received, b"");
    let line = process.line();
    assert!(line.contains("cannot lock down the process for 127.0.0.1"), "{line}");
}

/// qotd over UDP, and a client that requests a reply.
fn over_udp(arguments: &[&str]) -> (Process, impl Fn() -> Option<Vec<u8>> + use<>) {
    let mut command = Command::new(program("qotd"));
    command.args(arguments).args(["--listen", "udp://127.0.0.1:0", "--datagram-rate", "0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("udp://");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let ask = move || {
        let mut reply = [0; 1024];
        client.send_to(b"\n", address).unwrap();
        client.recv(&mut reply).map(|length| reply[..length].to_vec()).ok()
    };
    (process, ask)
}

#[test]
fn the_process_for_datagrams_is_restarted() {
    let (mut process, ask) = over_udp(&["--datagram-total", "0"]);
    let ask = || ask().map(|reply| assert_fortune(&reply));
    wait_until(|| ask().is_some());
    let [child] = children(&process)[..] else { panic!("one process") };
    for signal in ["KILL", "SEGV"] {
        let child = children(&process).first().copied().unwrap_or(child);
        assert!(Command::new("kill").args(["-s", signal, &child.to_string()]).status().unwrap().success());
        wait_until(|| ask().is_some() && children(&process).first().is_some_and(|it| *it != child));
    }
    let line = process.line();
    assert!(line.contains("the process for udp://127.0.0.1:") && line.contains(" crashed with signal 11"), "{line}");
    let different: HashSet<_> = (0..20).filter_map(|_| ask()).collect();
    assert!(different.len() > 10, "{}", different.len());
}

/// The descriptors that its process opens have numbers of files in its policy.
#[test]
fn datagrams_are_answered_from_files_that_change() {
    let folder = Folder::new("keeper-datagrams");
    let cookies = folder.file("cookies", "first\n");
    let (process, ask) = over_udp(&[cookies.to_str().unwrap()]);
    let ask = || ask().unwrap_or_default();
    wait_until(|| ask() == b"first\r\n");
    let before = children(&process);
    // The process checks once a second whether the files have changed.
    fs::write(&cookies, "second\n").unwrap();
    wait_until(|| ask() == b"second\r\n");
    assert_eq!(children(&process), before, "the same process");
}

#[test]
fn files_are_followed_and_unix_domain_sockets_served() {
    let folder = Folder::new("keeper-files");
    let cookies = folder.file("cookies", "first\n");
    let path = folder.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let mut command = Command::new(program("qotd"));
    command.arg(&cookies).args(["--listen", "tcp://127.0.0.1:0", "--listen", &unix]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    process.line();
    let over_tcp = || read_all(&mut TcpStream::connect(address).unwrap());
    let ask = || {
        let mut reply = String::new();
        UnixStream::connect(&path).unwrap().read_to_string(&mut reply).unwrap();
        reply
    };
    assert_eq!(over_tcp(), b"first\r\n");
    assert_eq!(ask(), "first\r\n");
    fs::write(&cookies, "second\n").unwrap();
    process.signal("HUP");
    wait_until(|| ask() == "second\r\n");
    assert_eq!(over_tcp(), b"second\r\n");
}

#[test]
fn a_silent_client_of_a_unix_domain_socket_is_closed_as_any_other_is() {
    let folder = Folder::new("keeper-idle");
    let path = folder.path().join("socket");
    let mut command = Command::new(program("echo"));
    command.args(["--listen", &format!("unix:{}", path.display()), "--idle-timeout", "1"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    while !process.line().contains("serving on unix:") {}
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    client.write_all(b"x").unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    assert_eq!(echoed, b"x");
}

#[test]
fn inetd_s_wait_ends_without_clients() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = std::os::fd::OwnedFd::from(listener);
    let mut command = Command::new(program("time"));
    command.args(["--idle-timeout", "1"]).stdin(listener.try_clone().unwrap()).stdout(listener);
    let mut process = Process::start(command.stderr(Stdio::piped()));
    for _ in 0..3 {
        assert_eq!(read_all(&mut TcpStream::connect(address).unwrap()).len(), 4);
    }
    assert_eq!(process.log(), (Some(0), String::new()));
}

#[test]
fn a_program_of_inetd_with_a_connected_client_uses_no_processor_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = std::os::fd::OwnedFd::from(listener);
    let mut command = Command::new(program("echo"));
    command.args(["--idle-timeout", "1"]).stdin(listener.try_clone().unwrap()).stdout(listener);
    let process = Process::start(command.stderr(Stdio::null()));
    // Longer than the program stays without traffic.
    let mut client = connected(address);
    for _ in 0..8 {
        assert!(ping(&mut client));
        std::thread::sleep(Duration::from_millis(400));
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    assert!(ticks < 50, "{ticks} hundredths of a second on the processor");
}

#[test]
fn it_reaps_processes_even_if_its_parent_ignored_sigchld() {
    let script = format!(
        "trap '' CHLD; exec {} --max-connections 50 --max-per-source 50 --max-rate-per-source 0 --listen tcp://127.0.0.1:0",
        program("time").display()
    );
    let mut process =
        Process::start(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    for _ in 0..200 {
        assert_eq!(read_all(&mut TcpStream::connect(address).unwrap()).len(), 4);
    }
}

#[test]
fn a_burst_from_many_addresses_is_served_to_the_last() {
    let daemon = keeper("time", &["--max-connections", "100", "--max-per-source", "100"]);
    let clients: Vec<_> = (0..1_000_u32)
        .map(|n| connected_from([127, 0, 0, u8::try_from(n % 200 + 1).unwrap()], daemon.address))
        .collect();
    for mut client in clients {
        assert_eq!(read_all(&mut client).len(), 4);
    }
}
