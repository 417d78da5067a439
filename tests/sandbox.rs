//! The lock-down of the real programs, also layer by layer. tests/escapes.rs has an attacker's attempts.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use hunker::{Architecture, Rule};
use small_services::policy::Io;
use support::{Process, audit, helper, program, tool};

const EPERM: i32 = 1;
const EAGAIN: i32 = 11;
const SIGXFSZ: i32 = 25;

/// The outcome of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(i32),
    Killed(i32),
}

fn hijacked(service: &str, peer: Io, layers: &str, act: &str) -> Output {
    Command::new(helper("hijacked"))
        .args([service, &format!("{peer:?}"), layers, act])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn outcome(layers: &str, act: &str) -> Outcome {
    let output = hijacked("qotd", Io::Connection, layers, act);
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Outcome::Done,
        (Some(101), _) => panic!("{act}: {}", String::from_utf8_lossy(&output.stderr)),
        (Some(errno), _) => Outcome::Refused(errno),
        (None, signal) => Outcome::Killed(signal.unwrap()),
    }
}

#[test]
fn limits_alone_stop_growing_files_and_cannot_be_raised() {
    assert_eq!(outcome("Limits", "grow an open file"), Outcome::Killed(SIGXFSZ));
    // Capabilities come first in the lock-down: without them the limits are final.
    assert_eq!(outcome("Capabilities,Limits", "raise a limit"), Outcome::Refused(EPERM));
}

#[test]
fn limits_alone_stop_new_processes_of_any_user_but_root() {
    // The kernel exempts root of the initial user namespace from RLIMIT_NPROC, so this runs as another user.
    let mut command = tool("unshare");
    if is_root() {
        command = tool("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    } else {
        command.args(["--", "env"]);
    }
    let folder = support::Folder::new("nproc");
    let copy = support::public_copy(&helper("hijacked"), &folder);
    let status = command.arg(copy).args(["qotd", "Connection", "Limits", "fork"]).status().unwrap();
    assert_eq!(status.code(), Some(EAGAIN));
}

#[test]
fn not_dumpable_alone_is_not_dumpable() {
    assert_eq!(outcome("NotDumpable", "be dumpable"), Outcome::Refused(EPERM));
}

/// A locked-down service that waits for its client.
fn waiting(name: &str) -> (support::Served, String) {
    let mut served = support::inetd_style(name, &[]);
    if name == "echo" {
        // The answer shows that the lock-down is complete.
        served.client.write_all(b"x").unwrap();
        served.client.read_exact(&mut [0]).unwrap();
    } else {
        support::wait_until(|| status(&served).contains("Seccomp:\t2\n"));
    }
    let status = status(&served);
    (served, status)
}

fn status(served: &support::Served) -> String {
    fs::read_to_string(format!("/proc/{}/status", served.process.0.id())).unwrap()
}

#[test]
fn a_service_that_waits_for_its_client_holds_no_privilege_of_any_kind() {
    for name in ["echo", "discard"] {
        let (served, status) = waiting(name);
        let bounding = if is_root() { "CapBnd:\t0000000000000000\n" } else { "CapBnd:" };
        for line in [
            "CapInh:\t0000000000000000\n",
            "CapPrm:\t0000000000000000\n",
            "CapEff:\t0000000000000000\n",
            "CapAmb:\t0000000000000000\n",
            bounding,
            "NoNewPrivs:\t1\n",
            "Seccomp:\t2\n",
            "Threads:\t1\n",
        ] {
            assert!(status.contains(line), "{name}: no {line:?} in\n{status}");
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", served.process.0.id())).unwrap();
        for limit in ["Max processes", "Max core file size", "Max file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
            assert_eq!(line[limit.len()..].split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{line}");
        }
    }
}

#[test]
fn a_service_holds_no_descriptor_but_its_connection_and_its_log() {
    let (client, connection) = support::connection();
    // A super-server that leaks descriptors 7 and 8.
    let script = format!("exec {} 7</etc/passwd 8</etc", program("echo").display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(connection.try_clone().unwrap()).stdout(connection).stderr(Stdio::null());
    let mut served = support::Served { client, process: Process::start(&mut command), mode: support::Mode::Process };
    served.client.write_all(b"x").unwrap();
    served.client.read_exact(&mut [0]).unwrap();
    let open: BTreeSet<_> = fs::read_dir(format!("/proc/{}/fd", served.process.0.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(open, ["0", "1", "2"].map(str::to_owned).into());
}

#[test]
fn placeholders_of_unused_numbers_cannot_be_read() {
    for mode in [support::Mode::Keeper, support::Mode::Shared] {
        let mut command = Command::new(program("echo"));
        command.args(support::daemon_arguments(mode)).args(["--listen", "tcp://127.0.0.1:0"]);
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        process.serving_on("tcp://");
        let folder = format!("/proc/{}", process.0.id());
        let directories: Vec<_> = fs::read_dir(format!("{folder}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| fs::metadata(entry.path()).is_ok_and(|it| it.is_dir()))
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        assert!(directories.len() >= 8, "{directories:?}");
        for number in directories {
            let info = fs::read_to_string(format!("{folder}/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert!(flags & libc::O_PATH != 0, "{mode:?}: {number} has {flags:o}");
        }
    }
}

#[test]
fn the_system_calls_that_survive_are_those_of_the_table() {
    for (service, peer) in audit::combinations() {
        let printed = hijacked(service, peer, "Seccomp", "survivors");
        assert!(printed.status.success());
        let survivors: BTreeSet<_> = String::from_utf8(printed.stdout).unwrap().lines().map(str::to_owned).collect();
        let number = |rule: &Rule| rule.call().number(Architecture::TARGET).unwrap();
        let table: BTreeSet<_> = audit::rules(service, peer).map(|rule| number(rule).to_string()).collect();
        assert_eq!(survivors, table, "{service} on a {peer:?}");
        let most = match (peer, service) {
            // All calls of its processes, and those that create and end them.
            (Io::KeeperAndFiles, _) => 28,
            (Io::Keeper, _) => 25,
            (Io::DatagramsAndFiles, _) => 12,
            (Io::Datagrams, _) => 7,
            (Io::ListenersAndFiles | Io::SocketsAndFiles, _) => 19,
            (Io::Listeners | Io::Sockets, _) => 14,
            (_, "qotd" | "daytime" | "systat" | "time") => 4,
            (_, "finger") => 8,
            _ => 6,
        };
        let most = most + usize::from(cfg!(debug_assertions) && most > 6); // fcntl
        assert!(table.len() <= most, "{service} on a {peer:?} may do {} system calls", table.len());
    }
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn the_table_pins_these_arguments() {
    // Written out a second time, so that no rule is widened by accident: the call, and each pinned argument by its position.
    const REPLIES: &[&str] = &["recvfrom 0=12.. 3=0x20", "sendto 0=12.. 3=0xc000 5=0", "shutdown 0=12.. 1=1"];
    const LARGE: [&str; 2] = ["setsockopt 0=12.. 1=1 2=7", "setsockopt 0=12.. 1=1 2=8"];
    const DROPS: &[&str] = &["recvfrom 0=12.. 3=0x20", LARGE[0], LARGE[1]];
    const CHARACTERS: &[&str] = &[DROPS[0], "sendto 0=12.. 3=0x4000 5=0", LARGE[0], LARGE[1]];
    const ECHO: &[&str] = &[DROPS[0], CHARACTERS[1], "recvfrom 0=12.. 3=2", LARGE[0], LARGE[1]];
    const ANSWERS: &[&str] = &[REPLIES[0], REPLIES[1], REPLIES[2], "recvfrom 0=12.. 3=0"];
    const ASKED: &[&str] = &[
        "brk",
        "clock_gettime 0=0..1",
        "ppoll 1=1 2=1.. 3=0",
        "recvfrom 0=0 3=0x40",
        "recvfrom 0=0 3=0x120",
        "shutdown 0=1 1=1",
        "write 0=1",
    ];
    let drop_the_rest = &["recvfrom 0=0 3=0x120", "shutdown 0=1 1=1", "write 0=1"][..];
    for (services, peer, expected) in [
        (&["qotd", "daytime", "systat", "time"][..], Io::Connection, drop_the_rest),
        (&["finger"], Io::Connection, ASKED),
        (&["qotd", "daytime", "systat", "time"], Io::Filter, &["ppoll 1=0 2=1.. 3=0", "write 0=1"]),
        (&["finger"], Io::Filter, &["brk", "clock_gettime 0=0..1", "ppoll 1=0 2=1.. 3=0", "read 0=0", "write 0=1"]),
        (&["echo"], Io::Connection, &["read 0=0", "write 0=1"]),
        (&["echo"], Io::Filter, &["read 0=0", "write 0=1"]),
        (&["discard"], Io::Connection, &["recvfrom 0=0 3=0x20"]),
        (&["discard"], Io::Filter, &["read 0=0"]),
        (&["chargen"], Io::Connection, &["recvfrom 0=0 3=0x60", "write 0=1"]),
        (&["chargen"], Io::Filter, &["write 0=1"]),
        (&["qotd", "daytime", "systat", "time"], Io::Listeners, REPLIES),
        (&["qotd", "daytime", "systat", "time"], Io::Sockets, REPLIES),
        (&["echo"], Io::Listeners, ECHO),
        (&["echo"], Io::Sockets, ECHO),
        (&["discard"], Io::Listeners, DROPS),
        (&["discard"], Io::Sockets, DROPS),
        (&["chargen"], Io::Listeners, CHARACTERS),
        (&["chargen"], Io::Sockets, CHARACTERS),
        (&["finger"], Io::Listeners, ANSWERS),
        (&["finger"], Io::Sockets, ANSWERS),
        (&["finger"], Io::ListenersAndFiles, ANSWERS),
        (&["finger"], Io::SocketsAndFiles, ANSWERS),
        (&["qotd", "daytime", "systat"], Io::ListenersAndFiles, REPLIES),
        (&["qotd", "daytime", "systat"], Io::SocketsAndFiles, REPLIES),
        (
            &["lunchd"],
            Io::ListenersAndFiles,
            &[
                "epoll_ctl 0=3..5",
                "epoll_wait 0=3..5",
                "getrandom",
                "recvfrom 0=12.. 3=0",
                "sendto 0=12.. 3=0x4000 5=0",
                "sendto 0=12.. 3=0xc000 5=0",
                "shutdown 0=12.. 1=1",
                "read 0=4",
                "write 0=4",
            ],
        ),
    ] {
        let mut expected: BTreeSet<_> = expected.iter().map(|&row| row.to_owned()).collect();
        let mut add = |rows: &[&str]| expected.extend(rows.iter().map(|&row| row.to_owned()));
        add(&["exit_group", "write 0=2"]);
        if peer == Io::Filter {
            add(&["ppoll 1=1 2=0 3=0"]);
        }
        if !matches!(peer, Io::Connection | Io::Filter) {
            add(&["accept4 0=12.. 3=0x80800", "brk", "clock_gettime 0=0..1", "close 0=12..", "write 0=1"]);
            if cfg!(debug_assertions) {
                add(&["fcntl 1=1"]);
            }
            if services != ["lunchd"] {
                add(&["epoll_ctl 0=3", "epoll_pwait 0=3"]);
            }
        }
        if matches!(peer, Io::Sockets | Io::SocketsAndFiles) {
            add(&["recvmmsg 0=4..11 3=0x40"]);
            if services != ["discard"] {
                add(&["sendmmsg 0=4..11 3=0x40"]);
            }
        }
        if !matches!(peer, Io::Connection | Io::Filter) {
            add(&["read 0=0"]);
        }
        if matches!(peer, Io::ListenersAndFiles | Io::SocketsAndFiles) {
            add(&["fstat 0=12..", "openat 0=0xffffff9c 2=0x80900", "read 0=0", "read 0=12.."]);
        }
        // A time zone is a single file, read at SIGHUP.
        for &service in services {
            let mut expected = expected.clone();
            let files = matches!(peer, Io::ListenersAndFiles | Io::SocketsAndFiles);
            if files && matches!(service, "qotd" | "systat" | "lunchd") {
                expected.insert("getdents64 0=12..".to_owned());
            }
            if files && matches!(service, "qotd" | "lunchd") {
                expected.insert("pread64 0=12..".to_owned());
            }
            let row = |rule: &Rule| {
                let number = |value: u32| if value < 16 { value.to_string() } else { format!("{value:#x}") };
                let pins = rule.pins().iter().map(|pin| match (pin.position(), pin.min(), pin.max()) {
                    (position, min, max) if min == max => format!(" {position}={}", number(min)),
                    (position, min, u32::MAX) => format!(" {position}={}..", number(min)),
                    (position, min, max) => format!(" {position}={}..{}", number(min), number(max)),
                });
                rule.call().name().to_owned() + &pins.collect::<String>()
            };
            let rows: BTreeSet<_> = audit::rules(service, peer).map(row).collect();
            assert_eq!(rows, expected, "{service} on {peer:?}");
        }
    }
}

#[test]
fn a_live_service_is_not_dumpable() {
    if !is_root() {
        return; // the owner of /proc/PID shows it, unless the process belongs to root anyway
    }
    let folder = support::Folder::new("dumpable");
    let (mut client, server) = support::connection();
    let mut command = tool("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(support::public_copy(&program("echo"), &folder));
    let process = Process::start(command.stdin(server.try_clone().unwrap()).stdout(server));
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let owner = fs::metadata(format!("/proc/{}/environ", process.0.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0, "a process of the same user may look into it");
}

/// The names of a program's system calls after the filter is attached, by strace(1).
fn calls_after_the_lock_down(name: &str, talk: impl FnOnce(&mut std::net::TcpStream)) -> BTreeSet<String> {
    let folder = support::Folder::new(&format!("strace-{name}"));
    let trace = folder.path().join("trace");
    let (mut client, server) = support::connection();
    let mut process = Process::start(
        tool("strace")
            .args(["--output", trace.to_str().unwrap()])
            .arg(program(name))
            .stdin(server.try_clone().unwrap())
            .stdout(server),
    );
    talk(&mut client);
    assert!(process.wait().success());
    let trace = fs::read_to_string(trace).unwrap();
    let (before, after) = trace.split_once("seccomp(SECCOMP_SET_MODE_FILTER").expect("a filter is attached");
    let landlock = before.lines().find(|line| line.starts_with("landlock_restrict_self(")).expect("Landlock is used");
    assert!(landlock.ends_with("= 0"), "{landlock}");
    after.lines().skip(1).filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
}

#[test]
fn a_connection_makes_only_the_calls_of_the_table() {
    for (name, service) in [("qotd", "qotd"), ("echo", "echo"), ("daytime", "daytime"), ("discard", "discard")] {
        let made = calls_after_the_lock_down(name, |client| {
            client.write_all(b"hello").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            support::read_all(client);
        });
        let mut allowed: BTreeSet<_> =
            audit::rules(service, Io::Connection).map(|rule| rule.call().name().to_owned()).collect();
        if service == "discard" {
            allowed.remove("write"); // for the log only
        }
        assert_eq!(made, allowed, "{name}");
    }
}

/// Starts a program with the connection on a simulated old kernel, without the calls of these layers.
fn on_an_old_kernel(missing: &[(&str, &str)], name: &str, mode: &str, server: std::os::fd::OwnedFd) -> Process {
    let mut command = Command::new("env");
    for (call, _) in missing {
        command.arg(helper("old_kernel")).arg(call);
    }
    command.arg(program(name)).args(["--sandbox", mode]).args(support::options(name));
    Process::start(command.stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::piped()))
}

#[test]
fn every_service_refuses_an_old_kernel_or_says_what_it_lacks() {
    const LAYERS: [(&str, &str); 2] = [("landlock", "Landlock"), ("seccomp", "seccomp")];
    for missing in [&LAYERS[..1], &LAYERS[1..], &LAYERS] {
        for name in support::programs() {
            // A connection, and a listening socket for a daemon.
            for one_for_all in [false, true] {
                let start = |mode: &str| {
                    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    client.set_read_timeout(Some(support::HUNG)).unwrap();
                    let server = if one_for_all { listener.into() } else { listener.accept().unwrap().0.into() };
                    (client, on_an_old_kernel(missing, name, mode, server))
                };
                let (mut client, mut process) = start("strict");
                let (code, log) = process.log();
                let refusal = format!("{name}: refuses to serve: the sandbox layer {} is missing", missing[0].1);
                assert_eq!(code, Some(1), "{log}");
                assert!(log.starts_with(&refusal) && log.lines().count() == 1, "{log}");
                let mut nothing = Vec::new();
                let _ = client.read_to_end(&mut nothing); // reset, if the program did not accept the connection
                assert_eq!(nothing, b"");

                let (mut client, mut process) = start("best-effort");
                client.write_all(b"hello").unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut reply = Vec::new();
                Read::by_ref(&mut client).take(1000).read_to_end(&mut reply).unwrap();
                drop(client);
                match name {
                    "qotd" => drop(support::assert_fortune(&reply)),
                    "echo" => assert_eq!(reply, b"hello"),
                    "discard" => assert_eq!(reply, b""),
                    "daytime" => assert_eq!(reply.len(), 26),
                    "time" => assert_eq!(reply.len(), 4),
                    "chargen" => assert_eq!(reply.len(), 1000),
                    _ => assert!(!reply.is_empty()),
                }
                if one_for_all {
                    process.signal("TERM");
                }
                let (code, log) = process.log();
                assert_eq!((code, log.lines().count()), (Some(0), missing.len()), "{log}");
                for (line, (_, layer)) in log.lines().zip(missing) {
                    assert!(line.starts_with(&format!("{name}: the sandbox layer {layer} is missing")), "{log}");
                }
            }
        }
    }
}

#[test]
fn filters_are_locked_down_as_well() {
    let mut echo = Process::start(Command::new(program("echo")).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut input, mut output) = (echo.0.stdin.take().unwrap(), echo.0.stdout.take().unwrap());
    input.write_all(b"x").unwrap();
    output.read_exact(&mut [0]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", echo.0.id())).unwrap();
    assert!(status.contains("Seccomp:\t2\n") && status.contains("CapEff:\t0000000000000000\n"), "{status}");
    drop(input);
    assert!(echo.wait().success());
}

#[test]
fn off_means_off() {
    let folder = support::Folder::new("off");
    let copy = support::public_copy(&program("echo"), &folder);
    let mut command = Command::new(&copy);
    if is_root() {
        command = tool("setpriv"); // the files of a process that is not dumpable belong to root, so the process itself must not
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy);
    }
    let mut echo = Process::start(command.args(["--sandbox", "off"]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut input, mut output) = (echo.0.stdin.take().unwrap(), echo.0.stdout.take().unwrap());
    input.write_all(b"x").unwrap();
    output.read_exact(&mut [0]).unwrap();
    assert!(fs::read_to_string(format!("/proc/{}/status", echo.0.id())).unwrap().contains("Seccomp:\t0\n"));
    // A debugger of the same user may attach.
    let owner = fs::metadata(format!("/proc/{}/environ", echo.0.id())).unwrap();
    let user = if is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), user);
    drop(input);
    assert!(echo.wait().success());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
