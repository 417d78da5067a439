//! Faults: at every system call, a service is killed, told to end, or has the call fail or return less. The client gets the whole
//! reply or a correct prefix, never a wrong octet. A datagram is complete or missing. For the keeper this is done to the keeper
//! itself and, one by one, to the processes that it creates.
#![cfg(target_arch = "x86_64")] // tests/helpers/fault.rs

mod support;

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use support::attack::full;
use support::web::Authority;
use support::{Folder, HUNG, Mode, Process, built_in_fortunes, helper, noise, program};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;
const SIGSYS: i32 = 31;
/// System calls by number: those of the lock-down (prctl, capset, setrlimit, prlimit64, Landlock's, seccomp).
const LOCK_DOWN: [u64; 7] = [157, 126, 160, 302, 444, 446, 317];
/// The first call that the program itself makes.
const PRCTL: u64 = 157;
const RT_SIGACTION: u64 = 13;
const CAPGET: u64 = 125;
const EXIT_GROUP: u64 = 231;
const CLOSE: u64 = 3;
const FSTAT: u64 = 5;
const SECCOMP: u64 = 317;
const BRK: u64 = 12;
const EPOLL_WAIT: u64 = 232;
const EPOLL_CTL: u64 = 233;
const SENDTO: u64 = 44;
const RECVFROM: u64 = 45;
/// They cannot fail for lack of memory or time: `rt_sigaction`, `getpid`, `shutdown`, and `getrandom` once the system has booted.
const CANNOT_FAIL: [u64; 4] = [RT_SIGACTION, 39, 48, 318];
const ERRORS: [&str; 3] = ["EINTR", "EAGAIN", "ENOMEM"];
/// `read`, `write`, `pread64`, the calls on sockets, and `recvmmsg` and `sendmmsg`, by datagrams.
const CAN_BE_SHORT: [u64; 7] = [0, 1, 17, SENDTO, RECVFROM, 299, 307];
/// How many octets of an endless reply are enough.
const ENOUGH: usize = 1000;

/// The outcome of a run.
struct Run {
    reply: Vec<u8>,
    status: ExitStatus,
    calls: Vec<u64>,
    /// Of a daemon of this project.
    log: String,
}

/// One service in one mode, and its permitted replies.
struct Case {
    name: &'static str,
    arguments: Vec<String>,
    mode: Mode,
    /// Whether the faults are in the process that the keeper creates, not in the keeper.
    child: bool,
    /// Over UDP.
    datagrams: bool,
    folder: Folder,
    sent: Vec<u8>,
    fortunes: Vec<String>,
    /// lunchd's answer up to the fortune, without the length and the date.
    head: OnceCell<String>,
    /// Over HTTPS: the authority of the certificate.
    authority: Option<Authority>,
}

impl Case {
    fn new(name: &'static str, mode: Mode, about: &str) -> Self {
        let fortunes = built_in_fortunes().into_iter().map(|fortune| fortune.replace('\n', "\r\n")).collect();
        let folder = Folder::new(&format!("faults-{name}-{about}"));
        let arguments = match mode {
            Mode::Keeper | Mode::Shared if name != "lunchd" => support::daemon_arguments(mode),
            _ => &[],
        };
        Self {
            name,
            arguments: arguments.iter().map(|&it| it.to_owned()).collect(),
            mode,
            child: false,
            datagrams: false,
            folder,
            sent: noise(3000),
            fortunes,
            head: OnceCell::new(),
            authority: None,
        }
    }

    /// The same, with the faults in the process that the keeper creates.
    fn in_its_child(self) -> Self {
        assert_eq!(self.mode, Mode::Keeper);
        Self { child: true, ..self }
    }

    /// As with inetd's `wait`: a UDP socket, and a process for all datagrams.
    fn datagrams(name: &'static str, mode: Mode, about: &str) -> Self {
        let mut case = Self { datagrams: true, ..Self::new(name, mode, &format!("datagrams-{about}")) };
        case.arguments.push("--datagram-rate=0".to_owned());
        case
    }

    /// Qotd with its own cookie file, read by its index or as a whole.
    fn cookie_file(with_index: bool) -> Self {
        let mut case = Self::new("qotd", Mode::Process, if with_index { "index" } else { "file" });
        let texts: Vec<_> = (0..20).map(|number| format!("Text {number}\nhas two lines.\n")).collect();
        let path = case.folder.file("cookies", texts.join("%\n"));
        if with_index {
            let mut command = Command::new(program("small-services"));
            assert!(command.args(["strfile", "-s"]).arg(&path).status().unwrap().success());
        }
        // The number of calls that find a text depends on the text.
        case.arguments = vec!["--seed=1".to_owned(), path.to_str().unwrap().to_owned()];
        case.fortunes = texts.iter().map(|text| text.replace('\n', "\r\n")).collect();
        case
    }

    /// One request, over HTTP or HTTPS.
    fn lunchd(authority: Option<Authority>) -> Self {
        if let Some(authority) = &authority {
            authority.certify("site", support::web::EC, 1);
        }
        let about = if authority.is_some() { "https" } else { "http" };
        let sent = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec();
        Self { sent, fortunes: support::web::dishes(), authority, ..Self::new("lunchd", Mode::Shared, about) }
    }

    /// Starts the service with the client's connection as inetd does, so that a message on descriptor 2 would reach the client; or
    /// with the socket that the client connects to, as systemd does.
    fn start(&self, what: &str, number: usize, report: &Path, server: &OwnedFd) -> Process {
        let number = number.to_string();
        let begin = |command: &mut Command| {
            if self.child {
                command.env("CHILD", "yes");
            }
            Process::start(command.env("REPORT", report))
        };
        if self.name != "lunchd" {
            let mut command = Command::new(helper("fault"));
            command.args([what, &number]).arg(program(self.name)).args(&self.arguments);
            let [input, output, log] = [(); 3].map(|()| server.try_clone().unwrap());
            // A daemon has a separate log.
            let log = if self.mode == Mode::Process { log } else { File::create(self.log()).unwrap().into() };
            return begin(command.stdin(input).stdout(output).stderr(log));
        }
        let program = program(self.name);
        let mut arguments = vec![what, &number, program.to_str().unwrap()];
        let files = self.authority.as_ref().map(|authority| [authority.path("site.pem"), authority.path("site.key")]);
        if let Some([certificate, key]) = &files {
            arguments.extend(["--certificate", certificate, "--key", key]);
        }
        // After a false EAGAIN it waits for the next event.
        if ["EAGAIN", "short"].contains(&what) {
            arguments.extend(["--idle-timeout", "1"]);
        }
        let names = if files.is_some() { "LISTEN_FDNAMES=https" } else { "LISTEN_FDNAMES=http" };
        support::passing(&helper("fault"), &[server], names, &arguments, |command| {
            begin(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Runs one client, and one fault.
    fn run(&self, what: &str, number: usize) -> Run {
        let report = self.folder.path().join("report");
        let _ = fs::remove_file(&report);
        let (mut process, reply) =
            if self.datagrams { self.ask(what, number, &report) } else { self.connect(what, number, &report) };
        let status = process.wait();
        // The tracer of the process is gone a moment later.
        support::wait_until(|| report.exists());
        let mut calls = String::new();
        support::wait_until(|| {
            calls = fs::read_to_string(&report).unwrap();
            calls.ends_with('\n')
        });
        assert!(!calls.contains('!'), "{} goes round and round after {what} at call {number}", self.name);
        let calls = calls.lines().map(|line| line.parse().unwrap()).collect();
        Run { reply, status, calls, log: fs::read_to_string(self.log()).unwrap_or_default() }
    }

    /// Sends datagrams one by one, until one is answered or the service is gone. A reply is complete or missing.
    fn ask(&self, what: &str, number: usize, report: &Path) -> (Process, Vec<u8>) {
        let [server, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        // Kept open, so that its close goes unnoticed.
        let server = OwnedFd::from(server);
        let mut process = self.start(what, number, report, &server);
        let (mut replies, mut datagram, mut ended) = (Vec::new(), vec![0; 65_536], false);
        let start = Instant::now();
        while replies.is_empty() && !ended {
            assert!(start.elapsed() < HUNG, "{}: it hangs after {what} at call {number}", self.name);
            // What it has sent is there when it has ended.
            ended = process.0.try_wait().unwrap().is_some();
            // Two datagrams, to be received at once.
            let _ = client.send(&self.sent).and_then(|_| client.send(&self.sent));
            replies.extend(client.recv(&mut datagram).map(|length| datagram[..length].to_vec()));
        }
        if !ended {
            let _ = kill_process(Pid::from_child(&process.0), Signal::TERM);
            process.wait();
        }
        client.set_nonblocking(true).unwrap();
        while let Ok(length) = client.recv(&mut datagram) {
            replies.push(datagram[..length].to_vec());
        }
        let whole = replies.iter().all(|reply| self.is_whole(reply));
        assert!(whole, "{}: a reply that is not whole after {what} at call {number}: {replies:?}", self.name);
        (process, replies.into_iter().next().unwrap_or_default())
    }

    /// One connection.
    fn connect(&self, what: &str, number: usize, report: &Path) -> (Process, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let server: OwnedFd = match self.mode {
            Mode::Process => listener.accept().unwrap().0.into(),
            Mode::Keeper | Mode::Shared => listener.into(),
        };
        let process = self.start(what, number, report, &server);
        drop(server);
        let reply = self.talk(client, address);
        // A process that has closed its socket ends by itself.
        let ends = self.name == "lunchd" && reply.is_empty() && TcpStream::connect(address).is_err();
        if self.mode != Mode::Process && !ends {
            let _ = kill_process(Pid::from_child(&process.0), Signal::TERM);
        }
        (process, reply)
    }

    /// What a client receives that sends, shuts its side down, and reads.
    fn talk(&self, mut client: TcpStream, address: SocketAddr) -> Vec<u8> {
        let lunchd = self.name == "lunchd";
        client.set_read_timeout(Some(if lunchd { Duration::from_millis(100) } else { HUNG })).unwrap();
        if let Some(authority) = &self.authority {
            return self.read(support::web::over_tls(authority, client, &self.sent), address);
        }
        // The service may be gone already. HTTP may close the connection of a client that shuts its side down early.
        let _ =
            client.write_all(&self.sent).and_then(|()| if lunchd { Ok(()) } else { client.shutdown(Shutdown::Write) });
        self.read(client, address)
    }

    /// Everything that arrives, or enough of it.
    fn read(&self, client: impl Read, address: SocketAddr) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut client = client.take(if self.name == "chargen" { ENOUGH as u64 } else { u64::MAX });
        let start = Instant::now();
        while let Err(error) = client.read_to_end(&mut reply) {
            match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => break,
                // After a false EAGAIN, lunchd continues when the next client arrives.
                ErrorKind::WouldBlock if self.name == "lunchd" && start.elapsed() < HUNG => {
                    let _ = TcpStream::connect(address);
                }
                _ => panic!("{}: it hangs: {error}", self.name),
            }
        }
        reply
    }

    /// An answer of lunchd with any date; and its head, where the length of the dish is also `@`.
    fn masked(reply: &[u8]) -> (String, String) {
        const DATE: &str = "\r\ndate: ";
        let mut reply = String::from_utf8(reply.to_vec()).expect("ASCII");
        if let Some((before, rest)) = reply.split_once(DATE) {
            let date = rest.len().min("Sat, 21 Nov 2026 14:00:00 GMT".len());
            reply = format!("{before}{DATE}{}{}", "x".repeat(date), &rest[date..]);
        }
        let head = reply.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let head = head.replace(&format!("content-length: {length}"), "content-length: @");
        (reply, head)
    }

    /// The permitted answers of lunchd.
    fn answers(&self) -> impl Iterator<Item = String> {
        let head = self.head.get().expect("it was asked without a fault before");
        self.fortunes.iter().map(move |dish| format!("{}\r\n\r\n{dish}", head.replace('@', &dish.len().to_string())))
    }

    fn is_whole(&self, reply: &[u8]) -> bool {
        match self.name {
            "qotd" => self.fortunes.iter().any(|fortune| fortune.as_bytes() == reply),
            "echo" => reply == self.sent,
            "daytime" => reply.len() == 26,
            "time" => reply.len() == 4,
            "discard" => true,
            "lunchd" => self.answers().any(|answer| answer == Self::masked(reply).0),
            _ => reply.len() >= ENOUGH,
        }
    }

    fn is_prefix(&self, reply: &[u8]) -> bool {
        match self.name {
            "qotd" => self.fortunes.iter().any(|fortune| fortune.as_bytes().starts_with(reply)),
            "echo" => self.sent.starts_with(reply),
            "discard" => reply.is_empty(),
            "lunchd" => self.answers().any(|answer| answer.starts_with(&Self::masked(reply).0)),
            "daytime" => {
                let shape = b"Aaa Aaa 99 99:99:99 9999\r\n";
                reply.len() <= shape.len()
                    && reply.iter().zip(shape).all(|(octet, shape)| match shape {
                        b'A' => octet.is_ascii_uppercase(),
                        b'a' => octet.is_ascii_lowercase(),
                        b'9' => octet.is_ascii_digit() || *octet == b' ',
                        other => octet == other,
                    })
            }
            "time" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800;
                (0..600).any(|ago| {
                    let low = u32::try_from((now - ago) & 0xffff_ffff).unwrap();
                    low.to_be_bytes().starts_with(reply)
                })
            }
            _ => {
                let lines = (0..).flat_map(|line| {
                    (b' '..=b'~').cycle().skip(line % 95).take(72).chain(*b"\r\n").collect::<Vec<_>>()
                });
                reply.iter().copied().eq(lines.take(reply.len()))
            }
        }
    }

    /// Runs it with a fault, and asserts what must hold in any case.
    fn fault(&self, what: &str, number: usize) -> Run {
        let run = self.run(what, number);
        let Self { name, mode, child, .. } = self;
        let call = run.calls.get(number - 1).copied().unwrap_or(0);
        let place = if *child { ", in its child" } else { "" };
        let about = format!(
            "{name}, {mode:?}{place}, {what} at call {number} ({call}): {} octets, {}, {:?}",
            run.reply.len(),
            run.status,
            run.log
        );
        assert!(self.is_prefix(&run.reply), "a wrong octet: {about}: {:?}", String::from_utf8_lossy(&run.reply));
        let whole = self.is_whole(&run.reply);
        let lunchd = *name == "lunchd";
        // A process that ends for lack of something logs why, once there is a log. First it checks what the log is.
        let has_log = run.calls.iter().position(|call| *call == FSTAT).is_some_and(|position| number > position);
        if run.status.code() == Some(1) && has_log && !lunchd && *mode != Mode::Process {
            let last = run.log.lines().last().unwrap_or_default();
            assert!(last.starts_with(&format!("{name}: ")) && run.log.ends_with('\n'), "{about}");
        }
        if *child {
            self.child_fault(what, number, &run, &about);
            return run;
        }
        match (what, run.status.code(), run.status.signal()) {
            // A daemon with `--shared`: an accepted client is served to the end, any other not at all.
            ("TERM", Some(0), _) => assert!(whole || run.reply.is_empty(), "{about}"),
            // After a short read tokio waits for the next event: a real kernel would notify it.
            ("short", Some(0), _) if lunchd && [RECVFROM, SENDTO].contains(&call) => {}
            ("EINTR" | "short", Some(0), _) => assert!(whole || self.cannot_be(call, what), "{about}"),
            ("KILL", _, Some(SIGKILL))
            | ("TERM", _, Some(SIGTERM))
            | ("EAGAIN" | "ENOMEM" | "KILL", Some(0), _)
            | ("EINTR" | "EAGAIN" | "ENOMEM", Some(1), _) => {}
            // If the memory to start is missing, Rust's runtime says so and ends the process.
            ("ENOMEM", _, Some(SIGABRT)) if call == BRK => assert!(run.reply.is_empty(), "{about}"),
            // Later, the allocator falls back to other calls, which the policy forbids.
            ("ENOMEM", _, Some(SIGSYS)) if lunchd && call == BRK => {}
            (_, _, Some(SIGSYS)) if self.cannot_be(call, what) => {}
            _ => panic!("{about}"),
        }
        run
    }

    /// For the keeper's process: whatever happens to it, the keeper continues. If its lock-down fails, it exits and does nothing
    /// else.
    fn child_fault(&self, what: &str, number: usize, run: &Run, about: &str) {
        assert_eq!(run.status.code(), Some(0), "{about}");
        let call = run.calls.get(number - 1).copied().unwrap_or(0);
        let whole = self.is_whole(&run.reply);
        let locked = run.calls.iter().position(|call| *call == SECCOMP).map_or(usize::MAX, |position| position + 1);
        let is_signal = ["KILL", "TERM"].contains(&what);
        // The output then comes from another process.
        let nothing = run.reply.is_empty() || self.datagrams && whole;
        // Without memory, the allocator falls back to other calls, which every policy forbids.
        if what == "ENOMEM" && call == BRK && number <= locked {
            return assert!(nothing && run.log.contains("signal 31"), "{about}");
        }
        // (close(2) closes whatever it returns.)
        if !is_signal && what != "short" && number <= locked && call != CLOSE {
            assert_eq!(run.calls[number..], [EXIT_GROUP], "it goes on without its lock-down: {about}");
            assert!(nothing && run.log.contains("cannot lock down the process for "), "{about}");
            return;
        }
        let crashed = run.log.contains("please report it");
        assert_eq!(crashed, what == "ENOMEM" && call == BRK && crashed, "{about}");
        match what {
            // Those are for the keeper, and blocked here.
            "TERM" | "EINTR" | "short" => assert!(whole, "{about}"),
            "KILL" if number <= locked => assert!(nothing, "{about}"),
            _ => {}
        }
    }

    /// Errors that the manual pages do not list, and that tokio treats as a defect or a reason to drop the connection.
    fn cannot_be(&self, call: u64, error: &str) -> bool {
        self.name == "lunchd"
            && matches!((call, error), (EPOLL_WAIT, "EAGAIN" | "ENOMEM") | (EPOLL_CTL, "EINTR" | "EAGAIN"))
    }

    fn every_call(&self) {
        let Run { reply, status, calls, .. } = self.run("none", 0);
        if self.name == "lunchd" {
            let (_, head) = Self::masked(&reply);
            assert!(
                head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains('@') && head.contains("date: x"),
                "{head}"
            );
            self.head.set(head).expect("once");
        }
        assert!(self.is_whole(&reply) && self.is_prefix(&reply), "{}", self.name);
        assert_eq!(status.code(), Some(0), "{} {:?}: {status}, {calls:?}", self.name, self.mode);
        // In a child, the program itself makes all calls.
        let main = if self.child { 0 } else { calls.iter().position(|call| *call == PRCTL).unwrap() + 1 };
        let locked = calls.iter().position(|call| *call == SECCOMP).unwrap() + 1;
        for (number, &call) in (1..).zip(&calls) {
            self.fault("KILL", number);
            self.fault("TERM", number);
            if CAN_BE_SHORT.contains(&call) {
                self.fault("short", number);
            }
            // Before the lock-down one kind of fault per call, in turns; after it all of them. None before the program's own start,
            // where the C library gives up by itself. None at its first call, which cannot fail: what the tests do instead would
            // end the program with SIGPIPE, which is ignored only from the second call on.
            let some = match number {
                _ if number <= main => &[][..],
                _ if full() || self.child || number >= locked => &ERRORS[..],
                _ => &ERRORS[number % 3..][..1],
            };
            for error in some.iter().filter(|error| call != BRK || **error == "ENOMEM") {
                if CANNOT_FAIL.contains(&call) || self.cannot_be(call, error) {
                    continue;
                }
                let run = self.fault(error, number);
                // The C library asks for memory a varying number of times: find the call of this run.
                let Some((&call, before)) = run.calls.get(..number).and_then(<[u64]>::split_last) else { continue };
                let is_locking = run.calls[..number].contains(&CAPGET) && !before.contains(&SECCOMP);
                if is_locking && LOCK_DOWN.contains(&call) {
                    let about =
                        format!("{} serves without its lock-down: {error} at call {number} ({call})", self.name);
                    assert_eq!(run.status.code(), Some(1), "{about}");
                    assert!(run.reply.is_empty(), "{about}");
                }
            }
        }
    }
}

macro_rules! every_call {
    ($($test:ident $name:literal;)*) => { $(
        #[test]
        fn $test() {
            for mode in support::MODES {
                Case::new($name, mode, &format!("{mode:?}")).every_call();
            }
            Case::new($name, Mode::Keeper, "child").in_its_child().every_call();
        }
    )* }
}

every_call! {
    qotd_at_every_call "qotd";
    echo_at_every_call "echo";
    daytime_at_every_call "daytime";
    discard_at_every_call "discard";
    chargen_at_every_call "chargen";
    time_at_every_call "time";
}

fn datagrams_at_every_call(name: &'static str) {
    Case::datagrams(name, Mode::Shared, "shared").every_call();
    Case::datagrams(name, Mode::Keeper, "keeper").every_call();
    Case::datagrams(name, Mode::Keeper, "child").in_its_child().every_call();
}

#[test]
fn qotd_over_udp_at_every_call() {
    datagrams_at_every_call("qotd");
}

#[test]
fn echo_over_udp_at_every_call() {
    datagrams_at_every_call("echo");
}

#[test]
fn qotd_with_a_cookie_file_at_every_call() {
    Case::cookie_file(false).every_call();
}

#[test]
fn qotd_with_an_index_at_every_call() {
    Case::cookie_file(true).every_call();
}

#[test]
fn lunchd_at_every_call() {
    Case::lunchd(None).every_call();
}

#[test]
fn lunchd_at_every_call_over_tls() {
    Case::lunchd(Some(Authority::new("faults"))).every_call();
}
