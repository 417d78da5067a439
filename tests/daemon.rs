//! A daemon with `--shared`: the sockets that it takes, and its limits.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::SendFlags;
use support::manager::Manager;
use support::{
    Daemon, Folder, Mode, Process, assert_fortune, connected, program, read_all, tool, udp_client, wait_until,
};

/// Starts a program with sockets as descriptors 3 and up and with additional variables.
fn passed(name: &str, sockets: &[&OwnedFd], variables: &str) -> Process {
    passed_with(&[], name, sockets, variables)
}

fn passed_with(arguments: &[&str], name: &str, sockets: &[&OwnedFd], variables: &str) -> Process {
    support::passing(&program(name), sockets, variables, arguments, |command| {
        Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
    })
}

#[test]
fn any_mix_of_passed_sockets_is_served_and_named_in_the_log() {
    let folder = Folder::new("mix");
    let path = folder.path().join("echo");
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap()];
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = datagrams.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let [one, two] = listeners.map(OwnedFd::from);
    let mut process =
        passed("echo", &[&one, &datagrams.into(), &unix.into(), &two], "LISTEN_FDNAMES=first:second:third:fourth");
    let log = process.line();
    for name in ["first (connections)", "second (datagrams)", "third (connections)", "fourth (connections)"] {
        assert!(log.contains(name), "{log}");
    }
    for address in addresses {
        let mut client = connected(address);
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client), b"hello");
    }
    let client = udp_client();
    client.send_to(b"hello", udp).unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 5);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"hello");
}

#[test]
fn eight_udp_sockets_are_served_and_a_ninth_is_refused() {
    for mode in [Mode::Keeper, Mode::Shared] {
        let sockets: Vec<_> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let sockets: Vec<_> = sockets.into_iter().map(OwnedFd::from).collect();
        let passed = |sockets: &[&OwnedFd]| passed_with(support::daemon_arguments(mode), "echo", sockets, "");
        let mut all: Vec<_> = sockets.iter().collect();
        let _process = passed(&all);
        for address in addresses {
            let client = udp_client();
            client.send_to(b"hello", address).unwrap();
            assert_eq!(client.recv(&mut [0; 16]).unwrap(), 5, "{mode:?}");
        }
        let ninth = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        all.push(&ninth);
        let (code, log) = passed(&all).log();
        assert!(
            code == Some(1) && log.contains("9 UDP sockets exceed the maximum of 8") && log.lines().count() == 1,
            "{log}"
        );
    }
}

#[test]
fn it_raises_its_own_limit_on_descriptors() {
    let mut command = tool("prlimit");
    command.args(["--nofile=32:4096", "--"]).arg(program("echo"));
    command.args(["--shared", "--max-connections", "500", "--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    let mut clients: Vec<_> = (0..60).map(|_| connected(address)).collect();
    // Twice: without descriptors it would evict the first for the last.
    for _ in 0..2 {
        for client in &mut clients {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
    }
}

#[test]
fn without_udp_its_filter_is_smaller() {
    let length = |sockets: &[&str]| -> usize {
        let mut command = tool("strace");
        command.args(["--quiet=all", "-e", "trace=seccomp", "--signal=none"]).arg(program("echo")).arg("--shared");
        for socket in sockets {
            command.args(["--listen", &format!("{socket}://127.0.0.1:0")]);
        }
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let mut line = process.any_line();
        while !line.contains("SECCOMP_SET_MODE_FILTER") || !line.contains("len=") {
            assert!(!line.is_empty(), "no filter");
            line = process.any_line();
        }
        let (_, rest) = line.split_once("len=").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    };
    let (without, with) = (length(&["tcp"]), length(&["tcp", "udp"]));
    assert!(without < with, "{without} instructions, {with} with UDP");
}

#[test]
fn a_listening_socket_on_descriptor_0_is_served_until_no_client_comes() {
    for name in support::programs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut command = Command::new(program(name));
        let listener = OwnedFd::from(listener);
        command
            .args(["--idle-timeout", "1"])
            .args(support::options(name))
            .stdin(listener.try_clone().unwrap())
            .stdout(listener)
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        for _ in 0..3 {
            let mut client = connected(address);
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut reply = Vec::new();
            client.take(100).read_to_end(&mut reply).unwrap();
            match name {
                "echo" => assert_eq!(reply, b"hello"),
                "discard" => assert_eq!(reply, b""),
                "daytime" => assert_eq!(reply.len(), 26),
                "time" => assert_eq!(reply.len(), 4),
                "chargen" => assert!(reply.starts_with(b" !\"#$%&'()*+,-./0123456789")),
                _ => assert!(!reply.is_empty()),
            }
        }
        assert_eq!(process.log(), (Some(0), String::new()), "{name}");
    }
}

#[test]
fn every_form_of_listen_is_served() {
    let folder = Folder::new("forms");
    let path = folder.path().join("qotd");
    let unix = format!("unix:{}", path.display());
    let start = || {
        let mut command = Command::new(program("qotd"));
        command.args(["--listen", "127.0.0.1:0", "--listen", &unix, "--listen", "tcp://[::1]:0"]);
        Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
    };
    for _ in 0..2 {
        // The second time, the socket file is left over from the first.
        let mut process = start();
        let tcp = process.serving_on("tcp://");
        let udp = process.serving_on("udp://");
        assert_eq!(tcp, udp, "an address alone means both");
        assert!(process.line().contains(&unix));
        let tcp6 = process.serving_on("tcp://");
        assert_fortune(&read_all(&mut connected(tcp)));
        assert_fortune(&read_all(&mut connected(tcp6)));
        let client = udp_client();
        client.send_to(b"", udp).unwrap();
        let mut reply = [0; 512];
        let length = client.recv(&mut reply).unwrap();
        assert_fortune(&reply[..length]);
        let mut reply = Vec::new();
        UnixStream::connect(&path).unwrap().read_to_end(&mut reply).unwrap();
        assert_fortune(&reply);
    }
    // The command in its log message works with every nc that is installed.
    let mut process = start();
    let line = process.line();
    let attempt = line.split('`').nth(1).expect("something to try");
    assert!(attempt.ends_with("</dev/null"), "{line}");
    for nc in ["nc", "nc.openbsd", "nc.traditional", "ncat", "busybox nc"] {
        let script = format!("{nc} {}", attempt.strip_prefix("nc ").expect("nc"));
        if Command::new("which").arg(nc.split(' ').next().unwrap()).stdout(Stdio::null()).status().unwrap().success() {
            assert_fortune(&Command::new("sh").args(["-c", &script]).output().unwrap().stdout);
        }
    }
    // No file of others is removed for it.
    let taken = folder.file("taken", "precious");
    let mut command = Command::new(program("qotd"));
    command.args(["--listen", &format!("unix:{}", taken.display())]).stdin(Stdio::null()).stderr(Stdio::piped());
    let (code, log) = Process::start(&mut command).log();
    assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
    assert_eq!(fs::read(taken).unwrap(), b"precious");
}

#[test]
fn a_name_is_served_at_all_of_its_addresses() {
    let mut command = Command::new(program("daytime"));
    command.args(["--listen", "tcp://localhost:0", "--listen", "unix:/dev/null/no"]);
    let (code, log) = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped())).log();
    assert!(code == Some(1) && log.lines().count() == 1, "the path is wrong, so nothing is served: {log}");

    // With its own /etc/hosts in a namespace: two addresses, and one that does not belong to this host.
    let folder = Folder::new("hosts");
    let hosts = folder.file("hosts", "127.0.0.1 both\n127.0.0.2 other both # not this\n192.0.2.1 both gone\n");
    let serve = |name: &str| {
        let script = format!(
            "mount --bind {} /etc/hosts && exec {} --listen tcp://{name}:0",
            hosts.display(),
            program("daytime").display()
        );
        let mut command = tool("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c", &script]);
        Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
    };
    let mut process = serve("BOTH");
    for ip in ["127.0.0.1", "127.0.0.2"] {
        let address = process.serving_on("tcp://");
        assert_eq!(address.ip().to_string(), ip);
        assert_eq!(read_all(&mut connected(address)).len(), 26);
    }
    let (code, log) = serve("gone").log();
    assert!(code == Some(1) && log.contains("cannot listen on 192.0.2.1:0"), "{log}");
    let (code, log) = serve("elsewhere.example").log();
    assert!(code == Some(2) && log.contains("'elsewhere.example' is not in /etc/hosts"), "{log}");
}

#[test]
fn sighup_never_ends_it() {
    for name in support::programs() {
        let mut daemon = Daemon::start(name, support::options(name));
        let mut client = daemon.connect();
        daemon.process.signal("HUP");
        // It has handled the signal once it has served a later client.
        client.write_all(b"x").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        client.take(100).read_to_end(&mut reply).unwrap();
        assert_eq!(reply.is_empty(), name == "discard", "{name}");
        assert_eq!(daemon.process.0.try_wait().unwrap(), None, "{name}");
        daemon.process.signal("TERM");
        assert!(daemon.process.wait().success(), "{name}");
    }
}

#[test]
fn a_socket_without_a_name_has_its_address_for_one() {
    let folder = Folder::new("unnamed");
    let path = folder.path().join("echo");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let names = [
        format!("tcp://{}", listener.local_addr().unwrap()),
        format!("udp://{}", datagrams.local_addr().unwrap()),
        format!("unix:{}", path.display()),
    ];
    let sockets = [listener.into(), datagrams.into(), UnixListener::bind(&path).unwrap().into()];
    for variables in ["", "LISTEN_FDNAMES="] {
        let log = passed("echo", &sockets.each_ref(), variables).line();
        assert!(names.iter().all(|name| log.contains(name.as_str())), "{log}");
    }
}

#[test]
fn it_does_not_log_that_it_serves_before_it_does() {
    let (program, folder) = (program("qotd"), Folder::new("says"));
    let old_kernel = support::helper("old_kernel");
    let mut command = Command::new(&old_kernel);
    command.arg("landlock").arg(&program).args(["--listen", "127.0.0.1:0"]);
    let (code, log) = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped())).log();
    assert!(code == Some(1) && log.lines().count() == 1 && log.contains("refuses to serve"), "{log}");
    let socket = OwnedFd::from(UnixListener::bind(folder.path().join("qotd")).unwrap());
    let arguments = ["landlock", program.to_str().unwrap()];
    let (code, log) = support::passing(&old_kernel, &[&socket], "", &arguments, |command| {
        Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped())).log()
    });
    assert!(code == Some(1) && log.lines().count() == 1 && log.contains("refuses to serve"), "{log}");
    // An empty variable is like an unset one.
    let mut command = Command::new(&program);
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", "");
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    assert_fortune(&read_all(&mut connected(process.serving_on("tcp://"))));
}

#[test]
fn it_is_ready_when_it_says_so_and_notifies_the_watchdog() {
    let folder = Folder::new("notify");
    let manager = Manager::new(folder.path().join("notify"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let variables = format!("NOTIFY_SOCKET={} WATCHDOG_USEC=200000", manager.path().display());
    let mut process = passed("echo", &[&listener.into()], &variables);
    let told = || manager.next();
    assert_eq!(told(), "READY=1");
    assert_eq!(told(), "STATUS=connections: 0 now, 0 served");
    assert_eq!((told(), told()), ("WATCHDOG=1".to_owned(), "WATCHDOG=1".to_owned()));
    let mut client = connected(address);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    process.signal("TERM");
    wait_until(|| told() == "STOPPING=1");
    // The open connection continues. When it ends, the program ends.
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"last words");
    assert!(process.wait().success());
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

/// Starts a service under a service manager, on TCP and UDP ports of this host.
fn managed(name: &str, arguments: &[&str], manager: &Manager) -> (Process, SocketAddr, SocketAddr) {
    let mut command = Command::new(program(name));
    command.args(["--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0"]).args(arguments);
    command.env("NOTIFY_SOCKET", manager.path()).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let (tcp, udp) = (process.serving_on("tcp://"), process.serving_on("udp://"));
    (process, tcp, udp)
}

#[test]
fn the_service_manager_knows_what_a_daemon_of_either_kind_has_done() {
    let folder = Folder::new("status");
    // At the same time: each waits for seconds that have to be between two lines.
    std::thread::scope(|scope| {
        for mode in [Mode::Keeper, Mode::Shared] {
            let folder = &folder;
            scope.spawn(move || assert_the_manager_knows(mode, folder));
        }
    });
}

fn assert_the_manager_knows(mode: Mode, folder: &Folder) {
    let manager = Manager::new(folder.path().join(format!("{mode:?}")));
    let name = format!("{mode:?}-cookies");
    let cookies = folder.file(&name, "one\n%\ntwo\n%\nthree\n");
    let limits = ["--idle-timeout", "600", "--max-per-source", "2", "--datagram-rate", "1", cookies.to_str().unwrap()];
    let (process, tcp, udp) = managed("qotd", &[support::daemon_arguments(mode), &limits].concat(), &manager);
    assert_eq!(manager.next(), "READY=1");
    let first = manager.next();
    assert!(first.starts_with("STATUS=connections: 0 now, 0 served; fortunes: 3, read 2"), "{first}");
    assert!(first.ends_with(" UTC"), "{first}");
    // All of a datagram's budget, and one that comes too early for the next.
    let client = udp_client();
    client.send_to(b"", udp).unwrap();
    client.recv(&mut [0; 512]).unwrap();
    client.send_to(b"", udp).unwrap();
    // Two that stay, and one too many.
    let two = [(); 2].map(|()| connected(tcp));
    assert_eq!(read_all(&mut connected(tcp)), b"");
    let counts = "; refused: 1 by the limit per source; datagrams: 1 served, 1 dropped; fortunes: ";
    wait_until(|| manager.next().starts_with(&format!("STATUS=connections: 2 now, 0 served{counts}3, read 2")));
    drop(two);
    wait_until(|| manager.next().starts_with(&format!("STATUS=connections: 0 now, 2 served{counts}3, read 2")));
    // It has nothing more to say, and waits for that without an end.
    wait_until(|| waits_for_clients(&process.0.id().to_string()));
    // Other fortunes are a change.
    folder.file(&name, "one\n%\ntwo\n");
    process.signal("HUP");
    wait_until(|| manager.next().starts_with(&format!("STATUS=connections: 0 now, 2 served{counts}2, read 2")));
}

#[test]
fn a_process_that_crashed_is_counted() {
    let folder = Folder::new("status-crash");
    let manager = Manager::new(folder.path().join("notify"));
    let (process, tcp, _) = managed("echo", &["--log-connections"], &manager);
    let serve = || {
        let mut client = connected(tcp);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client
    };
    wait_until(|| support::children(process.0.id()).len() == 1);
    let for_datagrams = support::children(process.0.id());
    // As the kernel kills it if memory is short: it was not evicted.
    let _killed = serve();
    let child = support::children(process.0.id()).into_iter().find(|it| !for_datagrams.contains(it)).unwrap();
    assert!(Command::new("kill").args(["-s", "KILL", &child.to_string()]).status().unwrap().success());
    wait_until(|| manager.next() == "STATUS=connections: 0 now, 0 served; failed: 1");
    let _client = serve();
    // With the one for datagrams.
    let children = support::children(process.0.id());
    assert_eq!(children.len(), 2);
    let crash = |child: &u32| {
        assert!(Command::new("kill").args(["-s", "SEGV", &child.to_string()]).status().unwrap().success());
    };
    children.iter().for_each(crash);
    wait_until(|| manager.next() == "STATUS=connections: 0 now, 0 served; failed: 1; crashed: 2");
}

#[test]
fn connections_are_logged_where_somebody_asks_for_it_and_no_more_than_a_log_can_take() {
    // At the same time: each waits for seconds until a line is due.
    std::thread::scope(|scope| {
        for mode in [Mode::Keeper, Mode::Shared] {
            scope.spawn(move || assert_connections_are_logged(mode));
        }
    });
    // Without the option there is no line.
    let mut daemon = Daemon::start("echo", &[]);
    daemon.connect().shutdown(Shutdown::Write).unwrap();
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.log().1, "");
}

fn assert_connections_are_logged(mode: Mode) {
    const MANY: usize = 400;
    let mut command = Command::new(program("echo"));
    command.args(support::daemon_arguments(mode)).args(["--log-connections", "--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("tcp://");
    let exchange = || {
        let mut client = connected(address);
        let own = client.local_addr().unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client), b"hello");
        own
    };
    let own = exchange();
    let line = process.line();
    let rest =
        line.strip_prefix(&format!("echo: connection from {own}: served in 0.")).unwrap_or_else(|| panic!("{line}"));
    assert!(rest.len() == "012 s\n".len() && rest.ends_with(" s\n"), "{line}");
    // Far more than may be logged at once: what is left out is counted.
    for _ in 0..MANY {
        exchange();
    }
    // It is reported while the daemon serves, not only at its end.
    let mut log = String::new();
    while !log.contains(" connections ended without a log line") {
        let line = process.line();
        assert!(!line.is_empty(), "{log}");
        log += &line;
    }
    process.signal("TERM");
    let (code, rest) = process.log();
    assert_eq!(code, Some(0), "{rest}");
    log += &rest;
    let logged = log.lines().filter(|line| line.contains(": connection from 127.0.0.1:")).count();
    let counts =
        |line: &str| line.strip_prefix("echo: ")?.split_once(" connections ended without a log line")?.0.parse().ok();
    let left_out: Vec<usize> = log.lines().filter_map(counts).collect();
    assert!(logged >= 199 && !left_out.is_empty(), "{logged} and {left_out:?}");
    assert_eq!(logged + left_out.iter().sum::<usize>(), MANY, "{log}");
}

#[test]
fn an_open_connection_continues_when_a_daemon_of_either_kind_stops() {
    for mode in [Mode::Keeper, Mode::Shared] {
        let mut daemon = Daemon::start_as(mode, "echo", &[]);
        let mut client = daemon.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        daemon.process.signal("TERM");
        wait_until(|| TcpStream::connect(daemon.address).is_err());
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut client), b"last words", "{mode:?}");
        assert!(daemon.process.wait().success());
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_a_silent_client_cannot_hold_it() {
    for signals in [&["TERM", "INT"][..], &["INT"]] {
        let mut daemon = Daemon::start("echo", &["--log-connections"]);
        let mut client = daemon.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        daemon.process.signal(signals[0]);
        wait_until(|| TcpStream::connect(daemon.address).is_err());
        signals[1..].iter().for_each(|signal| daemon.process.signal(signal));
        let (code, log) = daemon.process.log();
        assert!(code == Some(0) && log.contains(": stopped in "), "{log}");
        assert_eq!(read_all(&mut client), b"");
    }
}

#[test]
fn one_connection_too_many_evicts_the_longest_idle_one() {
    let daemon = Daemon::start_as(Mode::Shared, "echo", &["--max-connections", "3", "--max-per-source", "10"]);
    let ping = |client: &mut TcpStream| {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    };
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = daemon.connect();
            ping(&mut client);
            client
        })
        .collect();
    // The first is the oldest, but not the one that has been idle longest.
    ping(&mut clients[0]);
    let mut fourth = daemon.connect();
    ping(&mut fourth);
    assert_eq!(read_all(&mut clients[1]), b"");
    for stays in [0, 2] {
        ping(&mut clients[stays]);
    }
    ping(&mut fourth);
}

/// Clients of discard that have been accepted: an earlier one was evicted for the last.
fn taken(daemon: &Daemon, count: usize) -> Vec<TcpStream> {
    let mut before = daemon.connect();
    let clients = (0..count).map(|_| daemon.connect()).collect();
    assert_eq!(read_all(&mut before), b"");
    clients
}

#[test]
fn a_client_that_sends_slowly_is_not_the_longest_idle_one() {
    let limits = ["--max-connections", "3", "--max-per-source", "10", "--idle-timeout", "3600"];
    let daemon = Daemon::start_as(Mode::Shared, "discard", &limits);
    let mut clients = taken(&daemon, 3);
    for goes in [1, 2] {
        clients[0].write_all(b"x").unwrap();
        clients.push(daemon.connect());
        assert_eq!(read_all(&mut clients[goes]), b"");
    }
    clients[0].shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut clients[0]), b"");
}

#[test]
fn stopping_closes_connections_without_a_reset() {
    // The kernel wakes the daemon for the many, and keeps the few for later.
    for octets in [100_000, 100] {
        let arguments = ["--max-connections", "1", "--max-per-source", "10", "--log-connections"];
        let mut daemon = Daemon::start_as(Mode::Shared, "discard", &arguments);
        let mut client = taken(&daemon, 1).remove(0);
        client.write_all(&vec![b'x'; octets]).unwrap();
        // Two different ones: the kernel merges equal ones. A look whether it still listens would evict the client.
        daemon.process.signal("TERM");
        daemon.process.signal("INT");
        assert_eq!(read_all(&mut client), b"");
        let (code, log) = daemon.process.log();
        assert!(code == Some(0) && log.contains(": stopped in "), "{log}");
    }
}

#[test]
fn one_source_gets_no_more_than_its_share() {
    let daemon = Daemon::start("echo", &["--max-connections", "4"]);
    let mut clients: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for client in &mut clients[..2] {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(read_all(&mut clients[2]), b"", "half of all is two");
    // Once one of them is gone, a slot is free again.
    drop(clients.remove(0));
    wait_until(|| {
        let mut client = daemon.connect();
        client.write_all(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|count| count == 1)
    });
}

#[test]
fn a_limit_on_descriptors_that_is_too_low_is_named() {
    let script = format!("ulimit -n 64; exec {} --shared --listen tcp://127.0.0.1:0", program("echo").display());
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("LimitNOFILE=") && log.contains("--max-connections"), "{log}");
}

#[test]
fn ten_thousand_idle_connections_fit_in_32_mib() {
    const CLIENTS: usize = 10_000;
    let arguments = ["--max-connections", "10000", "--max-per-source", "10000", "--idle-timeout", "3600"];
    let daemon = Daemon::start_as(Mode::Shared, "echo", &arguments);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: Some(20_000),
            maximum: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        },
    )
    .unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for client in &mut clients {
        client.read_exact(&mut [0]).unwrap();
    }
    let resident = support::resident(&daemon.process);
    assert!(resident < 32 * 1024, "{resident} KiB");
}

#[test]
fn a_reply_longer_than_the_network_takes_at_once_arrives_whole() {
    let folder = Folder::new("long");
    let text = "All work and no play.\n".repeat(40_000);
    let collection = folder.file("long", &text);
    let daemon = Daemon::start("qotd", &["--max-length", "0", "--idle-timeout", "600", collection.to_str().unwrap()]);
    let mut clients: Vec<_> = (0..20).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        let reply = read_all(client);
        assert!(reply == text.replace('\n', "\r\n").as_bytes(), "{} octets", reply.len());
    }
    // Over UDP the reply does not fit, but the program continues.
    assert_eq!(read_all(&mut daemon.connect()).len(), 23 * 40_000);
}

#[test]
fn a_burst_is_answered_to_the_last_client() {
    let daemon = Daemon::start("qotd", &[]);
    let mut clients: Vec<_> = (0..400).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        assert_fortune(&read_all(client));
    }
}

/// A connection from one of the loopback addresses, which is reset when it is dropped.
fn connected_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    bind(&client, &SocketAddr::from((source, 0))).unwrap();
    connect(&client, &to).unwrap();
    TcpStream::from(client)
}

#[test]
fn repeated_crowds_of_clients_do_not_increase_memory() {
    // More sources than connections, again and again: the tables must reuse their memory.
    for mode in [Mode::Keeper, Mode::Shared] {
        let mut daemon = Daemon::start_as(mode, "echo", &[]);
        let mut crowd = std::collections::VecDeque::new();
        let mut before = 0;
        for number in 0..25_000_u32 {
            crowd.push_back(connected_from(Ipv4Addr::from(0x7f01_0000 + number % 60_000), daemon.address));
            if crowd.len() > 1050 {
                crowd.pop_front();
            }
            if number == 5000 {
                before = support::resident(&daemon.process);
            }
        }
        drop(crowd);
        assert!(daemon.process.0.try_wait().unwrap().is_none(), "it has ended");
        let after = support::resident(&daemon.process);
        assert!(after < before + 512, "{before} KiB after some, {after} after all");
        let mut client = daemon.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn a_source_whose_connections_were_closed_may_connect_again() {
    // Evicted, not closed by itself: its slots must be free again all the same.
    let daemon = Daemon::start("echo", &["--max-connections", "4", "--idle-timeout", "3600"]);
    for _ in 0..5 {
        let crowd: Vec<_> =
            (1..=4).map(|host| connected_from(Ipv4Addr::new(127, 0, 9, host), daemon.address)).collect();
        for mut client in (0..2).map(|_| connected_from(Ipv4Addr::new(127, 0, 8, 1), daemon.address)) {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        drop(crowd);
    }
}

#[test]
fn without_descriptors_it_waits_logs_that_and_recovers() {
    // Under inetd, so that its messages go to syslog. That must also work after the lock-down.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = OwnedFd::from(listener);
    let mut command = Command::new(program("echo"));
    command.stdin(listener.try_clone().unwrap()).stdout(listener.try_clone().unwrap()).stderr(listener);
    let mut process = Process::start(&mut command);
    drop(command);
    let ping =
        |client: &mut TcpStream| client.write_all(b"x").is_ok() && client.read(&mut [0]).is_ok_and(|count| count == 1);
    assert!(ping(&mut connected(address)));
    let limit = |count: &str| {
        let pid = process.0.id().to_string();
        assert!(
            tool("prlimit").args(["--pid", &pid, &format!("--nofile={count}:{count}")]).status().unwrap().success()
        );
    };
    limit("18");
    let crowd: Vec<_> = (0..12).map(|_| connected(address)).collect();
    // The oldest of them are evicted for the others, two a second.
    let mut newest = connected(address);
    assert!(ping(&mut newest));
    drop(crowd);
    assert!(process.0.try_wait().unwrap().is_none());
}

#[test]
fn in_an_empty_root_no_descriptor_gets_the_number_of_the_log() {
    if !rustix::process::geteuid().is_root() {
        return; // chroot(2)
    }
    // Without /dev/null and /dev/log: only the program is there.
    let folder = Folder::new("empty-root");
    support::public_copy(&program("echo"), &folder);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = OwnedFd::from(listener);
    let mut command = tool("chroot");
    command.arg(folder.path()).arg("/echo");
    command.stdin(listener.try_clone().unwrap()).stdout(listener.try_clone().unwrap()).stderr(listener);
    let mut process = Process::start(&mut command);
    drop(command);
    let mut clients = vec![connected(address)];
    clients[0].write_all(b"x").unwrap();
    clients[0].read_exact(&mut [0]).unwrap();
    let log = fs::read_link(format!("/proc/{}/fd/2", process.0.id())).unwrap();
    assert_eq!(log, folder.path(), "the root directory, which nothing can be written to");
    // It has a message to log: no descriptor is left for a connection.
    let pid = process.0.id().to_string();
    assert!(tool("prlimit").args(["--pid", &pid, "--nofile=18:18"]).status().unwrap().success());
    clients.extend((0..12).map(|_| connected(address)));
    for client in &mut clients[1..] {
        client.write_all(b"y").unwrap();
    }
    // The last of them is served once others were evicted for it, so the message was logged.
    let mut newest = connected(address);
    newest.write_all(b"z").unwrap();
    newest.read_exact(&mut [0]).unwrap();
    clients.push(newest);
    process.signal("TERM");
    for mut client in clients {
        let mut received = Vec::new();
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut received); // a reset, for the evicted ones
        assert!([&b""[..], b"y"].contains(&&received[..]), "{received:?}");
    }
    assert!(process.wait().success());
}

#[test]
fn while_it_stops_new_connections_do_not_make_it_spin() {
    // The socket stays open here, as under systemd.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = OwnedFd::from(listener);
    let mut process = passed("echo", &[&socket], "");
    let mut client = connected(address);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    process.signal("TERM");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|it| it.parse().unwrap())
            .collect();
        fields.iter().sum::<u64>()
    };
    let _waits = connected(address);
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "{} hundredths of a second on a processor, with nothing to do", ticks() - before);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"");
    assert!(process.wait().success());
}

#[test]
fn under_inetd_s_wait_it_stays_while_a_client_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new(program("echo"));
    let mut process =
        Process::start(command.args(["--idle-timeout", "2"]).stdin(OwnedFd::from(listener)).stdout(Stdio::null()));
    let mut client = connected(address);
    for _ in 0..8 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(client);
    assert!(process.wait().success());
}

#[test]
fn chargen_continues_where_a_slow_reader_stopped() {
    let folder = Folder::new("slow");
    let path = folder.path().join("chargen");
    let mut command = Command::new(program("chargen"));
    command.args(["--listen", &format!("unix:{}", path.display())]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    process.line();
    let mut client = UnixStream::connect(&path).unwrap();
    let mut octets = vec![0; 3_000_000];
    for piece in octets.chunks_mut(10_007) {
        client.read_exact(piece).unwrap();
    }
    for (number, line) in octets.split_inclusive(|&octet| octet == b'\n').enumerate().take(40_000) {
        let expected: Vec<u8> = (b' '..=b'~').cycle().skip(number % 95).take(72).chain(*b"\r\n").collect();
        assert!(line == expected, "line {number}: {}", String::from_utf8_lossy(line));
    }
}

#[test]
fn urgent_octets_do_not_cause_a_reset() {
    for mode in support::MODES {
        let mut served = support::served(mode, "echo", &[]);
        let mut reply = [0; 3];
        for (plain, urgent) in [(&b"abc"[..], &b"d"[..]), (b"efg", b"h")] {
            served.client.write_all(plain).unwrap();
            rustix::net::send(&served.client, urgent, rustix::net::SendFlags::OOB).unwrap();
            if plain == b"abc" {
                served.client.read_exact(&mut reply).unwrap();
            }
        }
        served.client.shutdown(Shutdown::Write).unwrap();
        let rest = read_all(&mut served.client);
        // An urgent octet that was not read before the next one arrives becomes an ordinary octet: see tcp(7).
        assert!(reply == *b"abc" && (rest == b"efg" || rest == b"defg"), "{mode:?}: {rest:?}");
        served.ended_well();
    }
}

#[test]
fn a_slow_reader_of_a_long_reply_gets_all_of_it() {
    let folder = Folder::new("long");
    let text = ("x".repeat(70) + "\n").repeat(10_000);
    folder.file("long", &text);
    let cookies = folder.path().join("long");
    for mode in support::MODES {
        let arguments = ["--max-length", "0", "--idle-timeout", "1", cookies.to_str().unwrap()];
        let mut served = support::served(mode, "qotd", &arguments);
        rustix::net::sockopt::set_socket_recv_buffer_size(&served.client, 16 * 1024).unwrap();
        // Three times as long as a client may be idle.
        let mut reply = Vec::new();
        let mut piece = vec![0; text.len() / 30];
        while reply.len() < text.len() {
            let count = served.client.read(&mut piece).unwrap();
            assert!(count > 0, "{mode:?}: {} octets, then the end", reply.len());
            reply.extend_from_slice(&piece[..count]);
            if reply.len() < text.len() / 2 {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        reply.extend(read_all(&mut served.client));
        assert!(String::from_utf8_lossy(&reply).replace("\r\n", "\n") == text, "{mode:?}: another text");
        served.ended_well();
    }
}

/// Everything that a client can do before it is idle.
fn do_all_kinds_of_things<S: AsFd + Write>(number: usize, mut client: S) -> Option<S> {
    let urgent = |client: &S, octets: &[u8]| rustix::net::send(client, octets, SendFlags::OOB);
    let until_full = |client: &S| {
        rustix::io::ioctl_fionbio(client, true).unwrap();
        while rustix::net::send(client, &[b'x'; 4096], SendFlags::NOSIGNAL).is_ok() {}
    };
    // Errors are ignored: a service that sends and closes may already be gone.
    let _ = match number {
        0 => Ok(()),
        1 => client.write_all(b"octets"),
        2 => urgent(&client, b"!").map(drop).map_err(Into::into),
        3 => client.write_all(b"octets").and_then(|()| urgent(&client, b"!").map(drop).map_err(Into::into)),
        4 => urgent(&client, b"!").map_err(Into::into).and_then(|_| client.write_all(b"octets")),
        5 => urgent(&client, b"!").and_then(|_| urgent(&client, b"?")).map(drop).map_err(Into::into),
        6 => rustix::net::shutdown(&client, rustix::net::Shutdown::Read).map_err(Into::into),
        7 => {
            until_full(&client);
            urgent(&client, b"!").map(drop).map_err(Into::into)
        }
        8 => {
            until_full(&client);
            rustix::net::shutdown(&client, rustix::net::Shutdown::Write).map_err(Into::into)
        }
        9 => {
            let _ = urgent(&client, b"!");
            rustix::net::shutdown(&client, rustix::net::Shutdown::Write).map_err(Into::into)
        }
        10 => return None, // gone
        _ => {
            client.write_all(b"octets").unwrap();
            return None; // gone, with the reply unread
        }
    };
    Some(client)
}

const KINDS: usize = 12;

#[test]
fn an_idle_daemon_makes_no_system_call_whatever_its_clients_did() {
    let folder = Folder::new("idle");
    for name in support::programs() {
        let (trace, path) = (folder.path().join(format!("{name}-trace")), folder.path().join(name));
        let unix = format!("unix:{}", path.display());
        let mut process = Process::start(
            Command::new(program(name))
                .args(["--listen", "tcp://127.0.0.1:0", "--listen", &unix, "--listen", "udp://127.0.0.1:0"])
                .args(["--idle-timeout", "60000"])
                .args(support::options(name))
                // With a limit, it learns only with the next segment that a client is gone.
                .args(if name == "chargen" { &["--max-rate", "0"][..] } else { &[] })
                .stdin(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let address = process.serving_on("tcp://");
        process.line();
        let tcp: Vec<_> = (0..KINDS).map(|kind| do_all_kinds_of_things(kind, connected(address))).collect();
        let local: Vec<_> =
            (0..KINDS).map(|kind| do_all_kinds_of_things(kind, UnixStream::connect(&path).unwrap())).collect();
        // It has handled all of that when it no longer gives up the processor.
        let pid = process.0.id().to_string();
        let mut before = u64::MAX;
        wait_until(|| {
            std::thread::sleep(Duration::from_millis(50));
            let now = switches(&pid);
            std::mem::replace(&mut before, now) == now && waits_for_clients(&pid)
        });
        // Other users may not trace a process that is not dumpable, but they see whether it ran.
        if !rustix::process::geteuid().is_root() {
            let before = (switches(&pid), ticks(&pid));
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!((switches(&pid), ticks(&pid)), before, "{name}");
            continue;
        }
        let mut strace =
            Process::start(tool("strace").args(["--quiet=attach", "-o", trace.to_str().unwrap(), "-p", &pid]));
        wait_until(|| !fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("TracerPid:\t0\n"));
        // This is not a wait for something: it is how long the test observes.
        std::thread::sleep(Duration::from_millis(300));
        strace.signal("INT");
        strace.wait();
        let calls = fs::read_to_string(&trace).unwrap();
        // The call that the process was in, which the tracing may have interrupted.
        assert!(calls.lines().count() <= 3, "{name}:\n{}", calls.lines().take(20).collect::<Vec<_>>().join("\n"));
        drop((tcp, local));
    }
}

/// Whether a process is in `epoll_pwait` without a time limit (proc(5), syscall), as far as this user may know.
fn waits_for_clients(pid: &str) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.is_empty() || call.split(' ').nth(4).is_some_and(|timeout| timeout.ends_with("ffffffff"))
}

/// The processor time of a process so far.
fn ticks(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.split(' ').skip(13).take(2).collect::<Vec<_>>().join(" ")
}

/// The number of voluntary context switches of a process so far.
fn switches(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:\t")).unwrap();
    line.parse().unwrap()
}
