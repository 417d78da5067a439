//! A program that is stopped (SIGSTOP, or Ctrl-Z in a shell) in a blocking call and continued resumes where it was. A daemon also
//! survives the hang-up of its terminal (SIGHUP).
//!
//! What the kernel does with each call of the policies that can block:
//!
//! | call | after SIGCONT |
//! |---|---|
//! | `ppoll` | restarted, with the remaining time |
//! | `read`, `write` on pipes, terminals and other files; `write` to the service manager and to the log | restarted |
//! | `read`, `write`, `recvfrom` on a connection with time limits | `EINTR`, and the program repeats them: the limit starts again. A `recvfrom` that has already dropped something returns that amount |
//! | `epoll_pwait`, `epoll_wait` | `EINTR`, and the event loop runs once more |
//!
//! No other call in the table blocks: the sockets of a daemon with `--shared` are non-blocking or read with `MSG_DONTWAIT`, and
//! files and the clock answer at once.

mod support;

use std::ffi::c_long;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use support::manager::Manager;
use support::{Daemon, Folder, HUNG, Mode, Process, assert_fortune, program, read_all, tool, wait_until};

/// Time limits that no test reaches.
const PATIENT: [&str; 2] = ["--idle-timeout", "60000"];

#[cfg(target_arch = "x86_64")]
const EPOLL: &[c_long] = &[libc::SYS_epoll_pwait, libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const EPOLL: &[c_long] = &[libc::SYS_epoll_pwait];

/// Whether it is locked down and blocked in one of these calls. Only root sees in which.
fn is_blocked_in(process: &Process, calls: &[c_long]) -> bool {
    let about = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", process.0.id()));
    let state = state(process);
    assert_ne!(state, 'Z', "it has ended");
    let call = about("syscall").ok();
    let call = call.as_ref().map(|line| line.split(' ').next().and_then(|number| number.parse().ok()));
    state == 'S'
        && about("status").unwrap().contains("Seccomp:\t2\n")
        && call.is_none_or(|call| call.is_some_and(|call| calls.contains(&call)))
}

fn state(process: &Process) -> char {
    support::state(process.0.id()).expect("it has not been reaped")
}

fn stop(process: &Process) {
    kill_process(Pid::from_child(&process.0), Signal::STOP).unwrap();
    wait_until(|| state(process) == 'T');
}

fn go_on(process: &Process) {
    kill_process(Pid::from_child(&process.0), Signal::CONT).unwrap();
    wait_until(|| state(process) != 'T');
}

/// Stops it twice while it is blocked in this call: once without an event, and once while the event that it waits for happens.
fn stopped_in(process: &Process, calls: &[c_long], happens: impl FnOnce()) {
    wait_until(|| is_blocked_in(process, calls));
    stop(process);
    go_on(process);
    wait_until(|| is_blocked_in(process, calls));
    stop(process);
    happens();
    go_on(process);
}

fn start(name: &str, arguments: &[&str], input: impl Into<Stdio>, output: impl Into<Stdio>) -> Process {
    Process::start(Command::new(program(name)).args(arguments).stdin(input).stdout(output))
}

/// A program with a connection, and the client's end. A Unix-domain socket buffers little, so writes block soon.
fn connected(name: &str, arguments: &[&str]) -> (UnixStream, Process) {
    let (client, server) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    let server = OwnedFd::from(server);
    let process = start(name, &[&PATIENT, arguments].concat(), server.try_clone().unwrap(), server);
    (client, process)
}

/// A cookie file with one text that is longer than a pipe or socket buffers.
fn long_fortune(folder: &Folder) -> (String, Vec<&'static str>) {
    let text = "A line of sixty-four characters, many times, for a long reply.\n".repeat(10_000);
    folder.file("long", &text);
    (text, vec!["--max-length", "0"])
}

/// Octets by their position in a stream.
fn pattern(from: usize) -> impl Iterator<Item = u8> {
    (from..).map(|position| u8::try_from(position % 251).unwrap())
}

/// Sends octets until the program blocks in write(2), and returns their number.
fn overfill(process: &Process, to: &mut (impl Write + AsFd)) -> usize {
    ioctl_fionbio(&to, true).unwrap();
    let mut sent = 0;
    loop {
        let chunk: Vec<_> = pattern(sent).take(4096).collect();
        match to.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if is_blocked_in(process, &[libc::SYS_write]) {
                    ioctl_fionbio(&to, false).unwrap();
                    return sent;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A full pipe, and the number of octets in it.
fn full_pipe() -> (io::PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    let mut length = 0;
    while let Ok(count) = writer.write(b".") {
        length += count;
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer, length)
}

fn rest(mut reader: impl Read) -> Vec<u8> {
    let mut octets = Vec::new();
    reader.read_to_end(&mut octets).unwrap();
    octets
}

#[test]
fn a_connection_that_has_sent_its_reply_still_drops_what_the_client_sends() {
    for name in ["qotd", "daytime", "time"] {
        for sent_before in [&b""[..], b"hello"] {
            let (mut client, server) = support::connection();
            client.write_all(sent_before).unwrap();
            let mut process = start(name, &PATIENT, server.try_clone().unwrap(), server);
            assert!(!read_all(&mut client).is_empty(), "{name}");
            wait_until(|| is_blocked_in(&process, &[libc::SYS_recvfrom]));
            stop(&process);
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            go_on(&process);
            assert!(process.wait().success(), "{name}");
        }
        let (mut client, server) = support::connection();
        let mut process = start(name, &PATIENT, server.try_clone().unwrap(), server);
        assert!(!read_all(&mut client).is_empty(), "{name}");
        stopped_in(&process, &[libc::SYS_recvfrom], || client.shutdown(Shutdown::Write).unwrap());
        assert!(process.wait().success(), "{name}");
    }
}

#[test]
fn a_stopped_connection_continues_where_it_was() {
    // A reply that the client does not read.
    let folder = Folder::new("stopped-reply");
    let (text, mut arguments) = long_fortune(&folder);
    let path = folder.path().join("long");
    arguments.push(path.to_str().unwrap());
    let (mut client, mut process) = connected("qotd", &arguments);
    stopped_in(&process, &[libc::SYS_write], || {});
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply.replace("\r\n", "\n"), text);
    drop(client);
    assert!(process.wait().success());

    // A client that sends nothing, then something, then does not read.
    let (mut client, mut process) = connected("echo", &[]);
    stopped_in(&process, &[libc::SYS_read], || client.write_all(b"hello").unwrap());
    let mut hello = [0; 5];
    client.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    let sent = overfill(&process, &mut client);
    stopped_in(&process, &[libc::SYS_write], || client.shutdown(Shutdown::Write).unwrap());
    assert!(rest(client).into_iter().eq(pattern(0).take(sent)), "{sent} octets");
    assert!(process.wait().success());

    let (mut client, mut process) = connected("discard", &[]);
    stopped_in(&process, &[libc::SYS_recvfrom], || client.write_all(b"hello").unwrap());
    stopped_in(&process, &[libc::SYS_recvfrom], || client.shutdown(Shutdown::Write).unwrap());
    assert_eq!(rest(client), b"");
    assert!(process.wait().success());

    let (client, mut process) = connected("chargen", &[]);
    stopped_in(&process, &[libc::SYS_write], || {});
    let mut lines = vec![0; 1_000_000];
    (&client).read_exact(&mut lines).unwrap();
    assert_eq!(lines, characters("\r\n", lines.len()));
    drop(client);
    assert!(process.wait().success());
}

/// The example of RFC 864.
fn characters(line_end: &str, length: usize) -> Vec<u8> {
    let line = |first: usize| (b' '..=b'~').cycle().skip(first % 95).take(72).chain(line_end.bytes());
    (0..).flat_map(line).take(length).collect()
}

#[test]
fn a_stopped_filter_continues_where_it_was() {
    let null = || File::open("/dev/null").unwrap();

    // It waits long enough for a person to read it.
    let (output, end) = io::pipe().unwrap();
    let mut process = start("qotd", &["-w", "--max-length", "100"], null(), end);
    stopped_in(&process, &[libc::SYS_ppoll], || {});
    assert!(process.wait().success());
    assert_fortune(&String::from_utf8(rest(output)).unwrap().replace('\n', "\r\n").into_bytes());

    // The output is not read.
    let folder = Folder::new("stopped-filter");
    let (text, mut arguments) = long_fortune(&folder);
    let path = folder.path().join("long");
    arguments.push(path.to_str().unwrap());
    let (output, end) = io::pipe().unwrap();
    let mut process = start("qotd", &arguments, null(), end);
    stopped_in(&process, &[libc::SYS_write], || {});
    assert_eq!(String::from_utf8(rest(output)).unwrap(), text);
    assert!(process.wait().success());
    for (name, length) in [("daytime", 25), ("time", 4)] {
        let (output, end, before) = full_pipe();
        let mut process = start(name, &[], null(), end);
        stopped_in(&process, &[libc::SYS_write], || {});
        assert_eq!(rest(output).len(), before + length, "{name}");
        assert!(process.wait().success());
    }
    let (mut output, end) = io::pipe().unwrap();
    let mut process = start("chargen", &[], null(), end);
    stopped_in(&process, &[libc::SYS_write], || {});
    let mut lines = vec![0; 1_000_000];
    output.read_exact(&mut lines).unwrap();
    assert_eq!(lines, characters("\n", lines.len()));
    drop(output);
    assert!(process.wait().success());

    // The same with a non-blocking pipe.
    let (output, end, before) = full_pipe();
    ioctl_fionbio(&end, true).unwrap();
    let mut process = start("daytime", &[], null(), end);
    stopped_in(&process, &[libc::SYS_ppoll], || {});
    assert_eq!(rest(output).len(), before + 25);
    assert!(process.wait().success());

    // No input, then some input, then the output is not read.
    let ((input, mut to), (mut from, output)) = (io::pipe().unwrap(), io::pipe().unwrap());
    let mut process = start("echo", &[], input, output);
    stopped_in(&process, &[libc::SYS_read], || to.write_all(b"hello").unwrap());
    let mut hello = [0; 5];
    from.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    let sent = overfill(&process, &mut to);
    stopped_in(&process, &[libc::SYS_write], || drop(to));
    assert!(rest(from).into_iter().eq(pattern(0).take(sent)), "{sent} octets");
    assert!(process.wait().success());

    let (input, mut to) = io::pipe().unwrap();
    let mut process = start("discard", &[], input, Stdio::null());
    stopped_in(&process, &[libc::SYS_read], || to.write_all(b"hello").unwrap());
    stopped_in(&process, &[libc::SYS_read], || drop(to));
    assert!(process.wait().success());
}

#[test]
fn a_stopped_daemon_continues() {
    for (mode, name) in support::programs().flat_map(|name| [(Mode::Keeper, name), (Mode::Shared, name)]) {
        let daemon = Daemon::start_as(mode, name, &[&PATIENT, support::options(name)].concat());
        let mut clients = vec![daemon.connect()];
        stopped_in(&daemon.process, EPOLL, || {
            clients.push(daemon.connect());
            for client in &mut clients {
                client.write_all(b"hello").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            }
        });
        for client in clients {
            let mut reply = Vec::new();
            client.take(100_000).read_to_end(&mut reply).unwrap();
            match name {
                "qotd" => drop(assert_fortune(&reply)),
                "echo" => assert_eq!(reply, b"hello"),
                "daytime" => assert_eq!(reply.len(), 26),
                "discard" => assert_eq!(reply, b""),
                "chargen" => assert_eq!(reply, characters("\r\n", reply.len())),
                "time" => assert_eq!(reply.len(), 4),
                _ => assert!(!reply.is_empty()),
            }
        }
        wait_until(|| is_blocked_in(&daemon.process, EPOLL));
    }
}

#[test]
fn a_stopped_daemon_with_its_own_files_continues() {
    for mode in [Mode::Keeper, Mode::Shared] {
        let folder = Folder::new(&format!("stopped-files-{mode:?}"));
        folder.file("own", "old\n");
        let daemon = Daemon::start_as(mode, "qotd", &[folder.path().to_str().unwrap()]);
        stopped_in(&daemon.process, EPOLL, || {
            folder.file("new", "new\n");
            fs::rename(folder.path().join("new"), folder.path().join("own")).unwrap();
        });
        wait_until(|| read_all(&mut daemon.connect()) == b"new\r\n");
    }
}

#[test]
fn a_stopped_daemon_that_waits_for_its_manager_continues() {
    let folder = Folder::new("stopped-manager");
    let manager = Manager::new(folder.path().join("notify"));
    // A manager that receives nothing for a while: its queue is full.
    let other = UnixDatagram::unbound().unwrap();
    other.connect(manager.path()).unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send(b"of others").is_ok() {}
    let mut command = Command::new(program("echo"));
    command.args(["--listen", "tcp://127.0.0.1:0"]).env("NOTIFY_SOCKET", manager.path()).stderr(Stdio::piped());
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
    let address = process.serving_on("tcp://");
    stopped_in(&process, &[libc::SYS_write], || {});
    while manager.next() != "READY=1" {}
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
}

#[test]
fn a_message_that_the_log_cannot_take_yet_is_written_later() {
    let (log, end, before) = full_pipe();
    let mut command = Command::new(program("qotd"));
    let full = File::create("/dev/full").unwrap();
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(full).stderr(end));
    drop(command); // it also holds the other end of the pipe
    stopped_in(&process, &[libc::SYS_write], || {});
    let log = rest(log);
    let message = String::from_utf8_lossy(&log[before..]);
    assert!(message.starts_with("qotd: cannot write the reply: No space left"), "{message}");
    assert_eq!(process.wait().code(), Some(1));
}

/// How a daemon is started.
#[derive(Clone, Copy, Debug)]
enum Started {
    /// By hand: `--listen`.
    Listen,
    /// By systemd: `LISTEN_FDS`.
    Passed,
    /// By inetd with `wait`: a listening socket on descriptor 0.
    Wait,
}

/// Starts a daemon with these variables, and returns the address of its TCP port.
fn serving(started: Started, name: &str, arguments: &[&str], variables: &str) -> (Process, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let run = |command: &mut Command| {
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        Process::start(command)
    };
    let script = format!("{variables} exec \"$@\"");
    let program = program(name);
    let by_hand = ["-c", &script, "sh", program.to_str().unwrap()];
    match started {
        Started::Listen => {
            let mut command = Command::new("sh");
            command.args(by_hand).args(arguments).args(["--listen", "tcp://127.0.0.1:0"]).stdin(Stdio::null());
            let mut process = run(&mut command);
            let address = process.serving_on("tcp://");
            (process, address)
        }
        Started::Passed => {
            let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
            let sockets = [listener.into(), datagrams.into()];
            let start = |command: &mut Command| run(command.stdin(Stdio::null()));
            (support::passing(&program, &sockets.each_ref(), variables, arguments, start), address)
        }
        Started::Wait => {
            let mut command = Command::new("sh");
            (run(command.args(by_hand).args(arguments).stdin(OwnedFd::from(listener))), address)
        }
    }
}

/// What a new client receives after sending something.
fn answer(address: SocketAddr) -> Vec<u8> {
    let mut client = support::connected(address);
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.take(100).read_to_end(&mut answer).unwrap();
    answer
}

/// Waits until a process has handled all pending signals.
fn wait_until_taken(process: Pid) {
    wait_until(|| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it has not ended");
        assert!(!status.contains("State:\tZ"), "it has ended");
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        u64::from_str_radix(pending.trim(), 16) == Ok(0)
    });
}

#[test]
fn sighup_ends_no_daemon_however_it_was_started() {
    let folder = Folder::new("hangup");
    let cookies = folder.file("cookies", "of a file\n").to_str().unwrap().to_owned();
    let utc = ["--utc", "--format", "iso8601"];
    let local = &utc[1..];
    let cases: [(&str, &[&str], &str, &str); 13] = [
        ("qotd", &[], "", "\r\n"),
        ("qotd", &["--shuffle"], "", "\r\n"),
        ("qotd", &["--daily"], "", "\r\n"),
        ("qotd", &[&cookies], "", "of a file\r\n"),
        ("echo", &[], "", "x"),
        ("discard", &[], "", ""),
        ("chargen", &[], "", " !\"#$%"),
        ("time", &[], "", ""),
        ("daytime", &[], "", "\r\n"),
        // Another time zone than the host's, which stays.
        ("daytime", &utc, "", "+00:00\r\n"),
        ("daytime", &utc, "TZ=UTC-5", "+00:00\r\n"),
        ("daytime", local, "TZ=UTC-5", "+05:00\r\n"),
        ("daytime", local, "TZ=", "+00:00\r\n"),
    ];
    for started in [Started::Listen, Started::Passed, Started::Wait] {
        for (name, arguments, variables, part) in cases {
            let case = format!("{started:?} {variables} {name} {arguments:?}");
            let (mut process, address) = serving(started, name, arguments, variables);
            for _ in 0..3 {
                let answer = String::from_utf8_lossy(&answer(address)).into_owned();
                assert!(answer.contains(part) && answer.is_empty() == (name == "discard"), "{case}: {answer}");
                assert_eq!(process.0.try_wait().unwrap(), None, "{case}");
                process.signal("HUP");
                wait_until_taken(Pid::from_child(&process.0));
            }
            process.signal("TERM");
            assert!(process.wait().success(), "{case}");
        }
    }
}

#[test]
fn a_daemon_started_from_a_terminal_continues_without_it() {
    let folder = Folder::new("terminal");
    let cookies = folder.file("cookies", "of a file\n").to_str().unwrap().to_owned();
    for (name, arguments) in [("qotd", ""), ("qotd", cookies.as_str()), ("echo", ""), ("daytime", "--utc")] {
        // The terminal is script(1)'s and ends with it. The program leads its session.
        let line = format!("echo $$; exec {} {arguments} --listen tcp://127.0.0.1:0", program(name).display());
        let mut command = tool("script");
        command.args(["--quiet", "--command", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut terminal = Process::start(&mut command);
        let mut lines = BufReader::new(terminal.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let pid = Pid::from_raw(lines.next().unwrap().trim().parse().unwrap()).unwrap();
        let said = lines.find(|line| line.contains("serving on tcp://")).unwrap();
        let address = said.split_once("tcp://").unwrap().1.split([';', ' ']).next().unwrap().trim().parse().unwrap();
        terminal.0.kill().unwrap();
        terminal.0.wait().unwrap();
        let answered = std::panic::catch_unwind(|| {
            wait_until_taken(pid);
            !answer(address).is_empty() && !answer(address).is_empty()
        });
        let _ = kill_process(pid, Signal::TERM);
        assert!(answered.is_ok_and(|answered| answered), "{name} {arguments}");
    }
}

#[test]
fn a_stopped_lunchd_continues() {
    let lunchd = support::web::Lunchd::start(&["--listen", "http://127.0.0.1:0"]);
    let address = lunchd.address("http");
    let mut client = support::connected(address);
    stopped_in(&lunchd.process, EPOLL, || {
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    });
    let answer = String::from_utf8(read_all(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
