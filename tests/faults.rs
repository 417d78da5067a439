//! Faults: at every system call that a service makes it is killed, told to end, refused, or cut short. The client has the
//! whole reply or a clean prefix of it, and never a wrong octet.
#![cfg(target_arch = "x86_64")] // tests/helpers/fault.rs

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use support::attack::full;
use support::{Folder, HUNG, Mode, Process, built_in_fortunes, helper, noise, program};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;
/// System calls by number: what the lock-down is made of (prctl, capset, setrlimit, prlimit64, Landlock's, seccomp).
const LOCK_DOWN: [u64; 7] = [157, 126, 160, 302, 444, 446, 317];
/// The first that the program makes itself.
const RT_SIGACTION: u64 = 13;
const CAPGET: u64 = 125;
const SECCOMP: u64 = 317;
const BRK: u64 = 12;
/// They cannot fail for want of memory or time: `rt_sigaction`, `shutdown`, and `getrandom` once the system is up.
const CANNOT_FAIL: [u64; 3] = [RT_SIGACTION, 48, 318];
const ERRORS: [&str; 3] = ["EINTR", "EAGAIN", "ENOMEM"];
const CAN_BE_SHORT: [u64; 4] = [0, 1, 44, 45];
/// How much of an endless reply is enough, in octets.
const ENOUGH: usize = 1000;

/// How a run ended.
struct Run {
    reply: Vec<u8>,
    status: ExitStatus,
    calls: Vec<u64>,
}

/// One service in one mode, and what its replies may be.
struct Case {
    name: &'static str,
    mode: Mode,
    folder: Folder,
    sent: Vec<u8>,
    fortunes: Vec<String>,
}

impl Case {
    fn new(name: &'static str, mode: Mode) -> Self {
        let fortunes = built_in_fortunes().into_iter().map(|fortune| fortune.replace('\n', "\r\n")).collect();
        Self { name, mode, folder: Folder::new(&format!("faults-{name}-{mode:?}")), sent: noise(3000), fortunes }
    }

    /// Has one client, and one fault.
    fn run(&self, what: &str, number: usize) -> Run {
        let report = self.folder.path().join("report");
        let _ = fs::remove_file(&report);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(HUNG)).unwrap();
        let server: OwnedFd = match self.mode {
            Mode::Process => listener.accept().unwrap().0.into(),
            Mode::Daemon => listener.into(),
        };
        let mut command = Command::new(helper("fault"));
        command.args([what, &number.to_string()]).arg(program(self.name)).env("REPORT", &report);
        // As inetd does it: a message on descriptor 2 would reach the client.
        command.stdin(server.try_clone().unwrap()).stdout(server.try_clone().unwrap()).stderr(server);
        let mut process = Process::start(&mut command);
        drop(command);
        let reply = self.talk(&mut client);
        drop(client);
        if self.mode == Mode::Daemon {
            let _ = kill_process(Pid::from_child(&process.0), Signal::TERM);
        }
        let status = process.wait();
        // The process that traces it is gone a moment later.
        support::wait_until(|| report.exists());
        let mut calls = String::new();
        support::wait_until(|| {
            calls = fs::read_to_string(&report).unwrap();
            calls.ends_with('\n')
        });
        assert!(!calls.contains('!'), "{} goes round and round after {what} at call {number}", self.name);
        let calls = calls.lines().map(|line| line.parse().unwrap()).collect();
        Run { reply, status, calls }
    }

    /// What a client gets that sends, says that this was all, and reads.
    fn talk(&self, client: &mut TcpStream) -> Vec<u8> {
        // It may be gone already.
        let _ = client.write_all(&self.sent).and_then(|()| client.shutdown(Shutdown::Write));
        let mut reply = Vec::new();
        let most = if self.name == "chargen" { ENOUGH as u64 } else { u64::MAX };
        match Read::by_ref(client).take(most).read_to_end(&mut reply) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{}: it hangs", self.name),
        }
        reply
    }

    fn is_whole(&self, reply: &[u8]) -> bool {
        match self.name {
            "qotd" => self.fortunes.iter().any(|fortune| fortune.as_bytes() == reply),
            "echo" => reply == self.sent,
            "daytime" => reply.len() == 26,
            "time" => reply.len() == 4,
            "discard" => true,
            _ => reply.len() >= ENOUGH,
        }
    }

    fn is_prefix(&self, reply: &[u8]) -> bool {
        match self.name {
            "qotd" => self.fortunes.iter().any(|fortune| fortune.as_bytes().starts_with(reply)),
            "echo" => self.sent.starts_with(reply),
            "discard" => reply.is_empty(),
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

    /// Runs it with a fault, and asserts what holds whatever goes wrong.
    fn fault(&self, what: &str, number: usize, calls: &[u64]) -> Run {
        let run = self.run(what, number);
        let Self { name, mode, .. } = self;
        let call = calls.get(number - 1).copied().unwrap_or(0);
        let about =
            format!("{name}, {mode:?}, {what} at call {number} ({call}): {} octets, {}", run.reply.len(), run.status);
        assert!(self.is_prefix(&run.reply), "a wrong octet: {about}: {:?}", String::from_utf8_lossy(&run.reply));
        let whole = self.is_whole(&run.reply);
        match (what, run.status.code(), run.status.signal()) {
            // One process for all: who was taken is served to the end, and who was not is not served at all.
            ("TERM", Some(0), _) => assert!(whole || run.reply.is_empty(), "{about}"),
            ("EINTR" | "short", Some(0), _) => assert!(whole, "{about}"),
            ("KILL", _, Some(SIGKILL))
            | ("TERM", _, Some(SIGTERM))
            | ("EAGAIN" | "ENOMEM" | "KILL", Some(0), _)
            | ("EINTR" | "EAGAIN" | "ENOMEM", Some(1), _) => {}
            // Without the memory that it takes to start, Rust's runtime says so and ends the process.
            ("ENOMEM", _, Some(SIGABRT)) if call == BRK => assert!(run.reply.is_empty(), "{about}"),
            _ => panic!("{about}"),
        }
        run
    }

    fn every_call(&self) {
        let Run { reply, status, calls } = self.run("none", 0);
        assert!(self.is_whole(&reply) && self.is_prefix(&reply), "{}", self.name);
        assert_eq!(status.code(), Some(0), "{} {:?}: {status}, {calls:?}", self.name, self.mode);
        let main = calls.iter().position(|call| *call == RT_SIGACTION).unwrap() + 1;
        let locked = calls.iter().position(|call| *call == SECCOMP).unwrap() + 1;
        let locking = calls.iter().position(|call| *call == CAPGET).unwrap() + 1;
        for (number, &call) in (1..).zip(&calls) {
            self.fault("KILL", number, &calls);
            self.fault("TERM", number, &calls);
            if CAN_BE_SHORT.contains(&call) {
                self.fault("short", number, &calls);
            }
            // Before the lock-down one of them each, in turns; after it all. Before the program's own start, where the C
            // library gives up by itself, none.
            let some = match number {
                _ if number < main => &[][..],
                _ if full() || number >= locked => &ERRORS[..],
                _ => &ERRORS[number % 3..][..1],
            };
            for error in some.iter().filter(|error| call != BRK || **error == "ENOMEM") {
                if CANNOT_FAIL.contains(&call) {
                    continue;
                }
                let run = self.fault(error, number, &calls);
                if (locking..=locked).contains(&number) && LOCK_DOWN.contains(&call) {
                    assert_eq!(run.status.code(), Some(1), "{} serves without its lock-down", self.name);
                    assert!(run.reply.is_empty(), "{} serves without its lock-down", self.name);
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
                Case::new($name, mode).every_call();
            }
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
