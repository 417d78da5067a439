//! What the kernel's Landlock cannot forbid, right by right: which programs log it, which do not, and which refuse to serve. The
//! kernel is this one, pretending to be older (`tests/helpers/old_kernel.rs`).

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use hunker::{Landlock, Rights};
use small_services::policy::Io;
use support::{Process, audit, helper, is_about_landlock, options, program};

/// What Debian 12's kernel lacks, for a service without datagrams.
const LACKING: &str = "this kernel (Landlock ABI 2) cannot forbid truncating files, ioctl on devices, connections to Unix-domain \
                       sockets by path, binding TCP ports, TCP connections, binding UDP ports, sending UDP datagrams, connections \
                       to abstract Unix-domain sockets or signals to other processes";
/// And for a service with datagrams, which must send them.
const LACKING_WITH_UDP: &str = "this kernel (Landlock ABI 2) cannot forbid truncating files, ioctl on devices, connections to \
                                Unix-domain sockets by path, binding TCP ports, TCP connections, binding UDP ports, connections to \
                                abstract Unix-domain sockets or signals to other processes";

/// The small services and lunchd.
fn all() -> impl Iterator<Item = &'static str> {
    support::programs().chain(["lunchd"])
}

/// A daemon on another kernel.
fn daemon(kernel: &str, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(helper("old_kernel"));
    command.arg(kernel).arg(program(name)).args(options(name)).args(arguments);
    let scheme = if name == "lunchd" { "http" } else { "tcp" };
    command.args(["--listen", &format!("{scheme}://127.0.0.1:0")]);
    Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
}

/// A daemon with `--shared`.
fn shared(name: &str) -> &'static [&'static str] {
    if name == "lunchd" { &[] } else { &["--shared"] }
}

fn scheme(name: &str) -> &'static str {
    if name == "lunchd" { "http://" } else { "tcp://" }
}

/// Ends it, and returns the rest of its log.
fn ended(mut process: Process) -> String {
    process.signal("TERM");
    let (code, log) = process.whole_log();
    assert_eq!(code, Some(0), "{log}");
    log
}

#[test]
fn a_daemon_logs_once_what_landlock_cannot_forbid() {
    for name in all() {
        for keeper in [false, true] {
            if keeper && name == "lunchd" {
                continue;
            }
            let mut process = daemon("abi-2", name, if keeper { &[] } else { shared(name) });
            // A keeper's policy includes what a process for datagrams may do (discard's answers none), and the signal that ends its
            // processes.
            let lacking = if keeper && name != "discard" { LACKING_WITH_UDP } else { LACKING };
            let signals = if keeper { ", except for signals to other processes" } else { "" };
            let line = format!("{name}: {lacking}; seccomp does{signals}\n");
            assert_eq!(process.any_line(), line);
            let address = process.serving_on(scheme(name));
            // Every service in every kind of process.
            for _ in 0..5 {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                client.take(1000).read_to_end(&mut Vec::new()).unwrap();
            }
            let rest = ended(process);
            assert!(!rest.lines().any(is_about_landlock), "{name}: {rest}");
        }
    }
    let mut process = Process::start(
        Command::new(helper("old_kernel"))
            .arg("abi-2")
            .arg(program("echo"))
            .args(["--shared", "--listen", "udp://127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped()),
    );
    assert_eq!(process.any_line(), format!("echo: {LACKING_WITH_UDP}; seccomp does\n"));
}

#[test]
fn each_version_lacks_the_rights_that_it_does_not_know() {
    let has = Landlock::of_kernel().unwrap().abi;
    for (abi, words) in [
        (1, "forbid truncating files, ioctl on devices"),
        (3, "forbid ioctl on devices, connections to Unix-domain sockets by path, binding TCP ports"),
        (4, "forbid ioctl on devices, connections to Unix-domain sockets by path, binding UDP ports"),
        (5, "connections to abstract Unix-domain sockets or signals to other processes; seccomp does"),
        (
            6,
            "forbid connections to Unix-domain sockets by path, binding UDP ports or sending UDP datagrams; seccomp does",
        ),
        (
            8,
            "forbid connections to Unix-domain sockets by path, binding UDP ports or sending UDP datagrams; seccomp does",
        ),
        (9, "forbid binding UDP ports or sending UDP datagrams; seccomp does"),
    ] {
        if abi <= has {
            let line = daemon(&format!("abi-{abi}"), "echo", &["--shared"]).any_line();
            assert!(line.contains(&format!("(Landlock ABI {abi})")) && line.contains(words), "{abi}: {line}");
        }
    }
    // With the newest version that this program knows, nothing is logged.
    if has >= 10 {
        assert!(daemon("abi-10", "echo", &["--shared"]).any_line().contains("serving on "));
    }
}

#[test]
fn a_process_for_one_connection_a_filter_and_one_that_inetd_restarts_log_nothing() {
    for name in support::programs() {
        let (mut client, server) = support::connection();
        let mut command = Command::new(helper("old_kernel"));
        command.arg("abi-2").arg(program(name)).args(options(name));
        let mut process =
            Process::start(command.stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::piped()));
        drop(command);
        client.write_all(b"x").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        Read::by_ref(&mut client).take(1000).read_to_end(&mut Vec::new()).unwrap();
        drop(client);
        assert_eq!(process.whole_log(), (Some(0), String::new()), "{name}");
    }
    for name in ["qotd", "echo", "daytime"] {
        let mut command = Command::new(helper("old_kernel"));
        let output = command.arg("abi-2").arg(program(name)).stdin(Stdio::null()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{name}");
    }
    // inetd's wait: a listening socket as descriptor 0.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new(helper("old_kernel"));
    command.arg("abi-2").arg(program("daytime")).stdin(OwnedFd::from(listener)).stdout(Stdio::null());
    let process = Process::start(command.stderr(Stdio::piped()));
    assert_eq!(support::read_all(&mut TcpStream::connect(address).unwrap()).len(), 26);
    assert_eq!(ended(process), "");
}

#[test]
fn full_refuses_what_strict_serves() {
    for name in all() {
        let (code, log) = daemon("abi-2", name, &[shared(name), &["--sandbox", "full"]].concat()).whole_log();
        assert_eq!(code, Some(1), "{log}");
        let lacking = LACKING.replace(" (Landlock ABI 2)", ", Landlock ABI 2,");
        let refusal = format!(
            "{name}: refuses to serve: the sandbox layer Landlock is incomplete ({lacking}); boot Linux 7.2 or newer, or start \
             with --sandbox strict\n"
        );
        assert_eq!(log, refusal);
    }
    // So does a process for one connection, whose client gets nothing.
    let (mut client, server) = support::connection();
    let mut command = Command::new(helper("old_kernel"));
    command.arg("abi-2").arg(program("qotd")).args(["--sandbox", "full"]);
    let mut process = Process::start(command.stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::piped()));
    drop(command);
    let (code, log) = process.log();
    assert!(code == Some(1) && log.contains("the sandbox layer Landlock is incomplete"), "{log}");
    let mut reply = Vec::new();
    let _ = client.read_to_end(&mut reply);
    assert_eq!(reply, b"");
}

#[test]
fn the_reason_for_a_missing_landlock_is_logged_with_the_next_step() {
    let calls = "landlock_create_ruleset, landlock_add_rule and landlock_restrict_self";
    let filters = "systemd-nspawn: --system-call-filter=; Docker, Podman: a profile by --security-opt seccomp=; a unit: \
                   SystemCallFilter=";
    for (kernel, reason, way_out) in [
        (
            "landlock",
            "this kernel has no Landlock, being older than 5.13 or built without it, or a filter outside of the program hides it",
            format!(
                "use a newer kernel with CONFIG_SECURITY_LANDLOCK=y, or have that filter allow {calls} ({filters})"
            ),
        ),
        (
            "disabled",
            "this kernel's Landlock was not enabled at boot",
            "add landlock to lsm= on the kernel's command line (/sys/kernel/security/lsm is the list), and reboot"
                .to_owned(),
        ),
        (
            "forbidden",
            "a filter outside of the program forbids the Landlock calls, for example that of a container or a service manager",
            format!("have that filter allow {calls} ({filters})"),
        ),
    ] {
        for name in ["echo", "lunchd"] {
            let (code, log) = daemon(kernel, name, &[]).whole_log();
            let missing = format!("{name}: refuses to serve: the sandbox layer Landlock is missing ({reason})");
            assert_eq!(code, Some(1), "{log}");
            assert_eq!(log, format!("{missing}; {way_out}, or start with --sandbox best-effort\n"));
            let mut process = daemon(kernel, name, &["--sandbox", "best-effort"]);
            let line = process.any_line();
            assert_eq!(line, format!("{name}: the sandbox layer Landlock is missing ({reason}); serving without it\n"));
            assert!(process.any_line().contains("serving on "));
        }
    }
    let (_, log) = daemon("seccomp", "echo", &[]).whole_log();
    assert!(log.contains("; use a kernel with CONFIG_SECCOMP_FILTER=y, or start with --sandbox best-effort"), "{log}");
    let (_, log) = daemon("no-seccomp", "echo", &[]).whole_log();
    let way_out = format!("have the filter that forbids it, perhaps that of a container, allow seccomp ({filters})");
    assert!(log.contains(&way_out), "{log}");
    // With neither, the log does not claim that the other one forbids it.
    let mut command = Command::new(helper("old_kernel"));
    command.arg("abi-2").arg(helper("old_kernel")).arg("seccomp").arg(program("echo"));
    command.args(["--shared", "--sandbox", "best-effort", "--listen", "tcp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    assert!(process.any_line().contains("the sandbox layer seccomp is missing"));
    assert_eq!(process.any_line(), format!("echo: {LACKING}; and without seccomp nothing does\n"));
}

#[test]
fn the_policies_leave_only_what_strict_permits() {
    for (service, io) in audit::combinations() {
        let policy = audit::policy(service, io);
        let left: BTreeSet<_> = policy.reached(true).iter().map(|right| right.name).collect();
        let datagrams = matches!(
            io,
            Io::Sockets | Io::SocketsAndFiles | Io::Keeper | Io::KeeperAndFiles | Io::Datagrams | Io::DatagramsAndFiles
        );
        let mut expected = BTreeSet::new();
        // Discard answers none.
        if datagrams && service != "discard" {
            expected.insert("net_connect_send_udp");
        }
        if matches!(io, Io::Keeper | Io::KeeperAndFiles) {
            expected.insert("scope_signal");
        }
        assert_eq!(left, expected, "{service} on {io:?}");
        assert_eq!(policy.sends_datagrams(), expected.contains("net_connect_send_udp"));
    }
}

#[test]
fn the_table_of_versions_is_what_the_lock_down_asks_for() {
    let page = fs::read_to_string(support::repository().join("docs/threat-model.md")).unwrap();
    let (_, section) = page.split_once("## Landlock by kernel\n").expect("the section");
    let rows: Vec<Vec<_>> = section
        .lines()
        .skip_while(|line| !line.starts_with("| "))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 10);
    for (abi, row) in (1..).zip(&rows) {
        let [number, kernel, stops, _] = row[..] else { panic!("{row:?}") };
        assert_eq!(number, format!("{abi}"));
        let of_this: Vec<_> = Rights::all().iter().filter(|right| right.abi == abi).collect();
        for right in &of_this {
            assert!(stops.contains(right.action), "{abi}: no {:?} in {stops:?}", right.action);
        }
        assert!(kernel.split([' ', ',', ';']).any(|it| it == hunker::kernel_of(abi)), "{abi}: {kernel}");
    }
}

#[test]
fn the_doctor_names_what_landlock_cannot_forbid() {
    let doctor = |kernel: &str, arguments: &[&str]| {
        let mut command = Command::new(helper("old_kernel"));
        let output = command.arg(kernel).arg(program("small-services")).arg("doctor").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let names: Vec<_> = Rights::all().iter().filter(|right| right.abi > 2).map(|right| right.name).collect();
    let json: serde_json::Value = serde_json::from_str(&doctor("abi-2", &["--json"])).unwrap();
    assert_eq!(json["landlock"], serde_json::json!({ "abi": 2, "missing": names }));
    let all: Vec<_> = Rights::all().iter().map(|right| right.name).collect();
    let json: serde_json::Value = serde_json::from_str(&doctor("landlock", &["--json"])).unwrap();
    assert_eq!(json["landlock"], serde_json::json!({ "abi": 0, "missing": all }));
    let text = doctor("abi-2", &[]);
    assert!(text.contains(&format!("every layer of the lock-down is available; {LACKING}; seccomp does\n")), "{text}");
    for (kernel, words) in [
        ("disabled", "do: add landlock to lsm= on the kernel's command line"),
        ("forbidden", "do: have that filter allow landlock_create_ruleset"),
    ] {
        let text = doctor(kernel, &[]);
        assert!(text.contains("the sandbox layer Landlock is missing (") && text.contains(words), "{text}");
    }
}
