//! The active users (RFC 866), from logind's files and from utmp, in a mount namespace with its own /run.

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{
    Folder, HUNG, MODES, Mode, Process, connection, daemon_arguments, program, read_all, udp_client, wait_until,
};

const ALICE: &str = "UID=1000\nUSER=alice\nSTATE=active\nCLASS=user\nTTY=tty2\n";
const BOB: &str = "UID=1001\nUSER=bob\nSTATE=online\nCLASS=user\n";

/// systat with `run` as /run.
fn systat(run: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /run && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run).arg(program("systat")).args(arguments);
    command
}

fn with_sessions(test: &str, sessions: &[(&str, &str)]) -> Folder {
    let run = Folder::new(&format!("systat-{test}"));
    fs::create_dir_all(run.path().join("systemd/sessions")).unwrap();
    for (name, session) in sessions {
        run.file(&format!("systemd/sessions/{name}"), session);
    }
    run
}

/// The reply to a client.
fn reply(mode: Mode, run: &Folder, arguments: &[&str]) -> String {
    let (mut client, _process) = match mode {
        Mode::Process => {
            let (client, server) = connection();
            let mut command = systat(run.path(), arguments);
            command.stdin(server.try_clone().unwrap()).stdout(server);
            (client, Process::start(&mut command))
        }
        Mode::Keeper | Mode::Shared => {
            let arguments: Vec<_> = arguments.iter().chain(daemon_arguments(mode)).copied().collect();
            let mut process = daemon(run, &arguments);
            let address = process.serving_on("tcp://");
            (TcpStream::connect(address).unwrap(), process)
        }
    };
    client.set_read_timeout(Some(HUNG)).unwrap();
    String::from_utf8(read_all(&mut client)).unwrap()
}

fn daemon(run: &Folder, arguments: &[&str]) -> Process {
    let mut command = systat(run.path(), arguments);
    Process::start(command.args(["--listen", "tcp://127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::piped()))
}

#[test]
fn the_active_users_come_from_logind() {
    let run = with_sessions("logind", &[("1", ALICE), ("c2", BOB), ("3", &ALICE.replace("=active", "=closing"))]);
    assert!(Command::new("mkfifo").arg(run.path().join("systemd/sessions/1.ref")).status().unwrap().success());
    for mode in MODES {
        assert_eq!(reply(mode, &run, &[]), "alice            tty2\r\nbob\r\n", "{mode:?}");
    }
    let nobody = with_sessions("nobody", &[]);
    assert_eq!(reply(Mode::Process, &nobody, &[]), "nobody is logged in\r\n");
}

#[test]
fn a_locked_down_daemon_sees_who_logs_in_and_out() {
    let run = with_sessions("comes", &[("1", ALICE)]);
    let mut process = daemon(&run, &[]);
    let address = process.serving_on("tcp://");
    let ask = || read_all(&mut TcpStream::connect(address).unwrap());
    assert_eq!(ask(), b"alice            tty2\r\n");
    run.file("systemd/sessions/c2", BOB);
    wait_until(|| ask() == b"alice            tty2\r\nbob\r\n");
    fs::remove_file(run.path().join("systemd/sessions/1")).unwrap();
    wait_until(|| ask() == b"bob\r\n");
}

#[test]
fn without_logind_the_active_users_come_from_utmp() {
    let run = Folder::new("systat-utmp");
    // systemd creates logind's directory whether logind runs or not.
    let empty = with_sessions("utmp-too", &[]);
    let record = |user: &str| {
        let mut record = vec![0; size_of::<libc::utmpx>()];
        record[..2].copy_from_slice(&7_i16.to_ne_bytes());
        record[8..13].copy_from_slice(b"pts/0");
        record[44..][..user.len()].copy_from_slice(user.as_bytes());
        record
    };
    let utmp = run.file("utmp", record("alice"));
    for mode in MODES {
        assert_eq!(reply(mode, &run, &[]), "alice            pts/0\r\n", "{mode:?}");
        empty.file("utmp", record("bob"));
        assert_eq!(reply(mode, &empty, &[]), "bob              pts/0\r\n", "{mode:?}");
    }
    let mut process = daemon(&run, &[]);
    let address = process.serving_on("tcp://");
    // In place, as login(1) does.
    fs::write(utmp, [record("alice"), record("bob")].concat()).unwrap();
    wait_until(|| {
        read_all(&mut TcpStream::connect(address).unwrap()) == b"alice            pts/0\r\nbob              pts/0\r\n"
    });
    drop(process);

    fs::remove_file(run.path().join("utmp")).unwrap();
    let mut process =
        Process::start(systat(run.path(), &[]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
    assert_eq!(
        process.log(),
        (
            Some(1),
            "systat: cannot list the active users: neither /run/systemd/sessions nor /run/utmp exists; make one visible to the \
             unit (BindReadOnlyPaths=), or use --text FILE\n"
                .to_owned()
        )
    );
}

#[test]
fn a_directory_instead_of_a_text_is_named_with_the_next_step() {
    let (code, log) = Process::start(
        Command::new(program("systat"))
            .args(["--text", "/etc"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    )
    .log();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.starts_with("systat: cannot read the text in /etc: it is not a regular file; name a readable file"),
        "{log}"
    );
}

#[test]
fn a_text_replaces_the_active_users() {
    let run = with_sessions("text", &[("1", ALICE)]);
    let text = run.file("text", "Ask the \u{1b}[31mporter.\n");
    // In the namespace, this folder is /run.
    let text = Path::new("/run").join(text.file_name().unwrap());
    for mode in MODES {
        assert_eq!(reply(mode, &run, &["--text", text.to_str().unwrap()]), "Ask the [31mporter.\r\n", "{mode:?}");
    }
}

#[test]
fn a_datagram_is_answered_with_one() {
    let run = with_sessions("udp", &[("1", ALICE)]);
    let mut command = systat(run.path(), &["--listen", "udp://127.0.0.1:0"]);
    let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let address = process.serving_on("udp://");
    let client = udp_client();
    client.send_to(b"", address).unwrap();
    let mut reply = [0; 100];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(&reply[..length], b"alice            tty2\r\n");
}

#[test]
fn on_a_terminal_it_prints_the_list() {
    let run = with_sessions("printed", &[("1", ALICE)]);
    let mut command = systat(run.path(), &[]);
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut printed = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "alice            tty2\n");
}
