//! Services that answer a request, the two in examples/: what a client sees, and what it cannot do to them.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    Daemon, Folder, MODES, Mode, Process, noise, passing, program, read_all, served, udp_client, wait_until,
};

fn plans(test: &str) -> Folder {
    let folder = Folder::new(&format!("plans-{test}"));
    folder.file("alice", "Office 12.\n\nBack on Monday.\n");
    folder.file("bob", "Gone \u{1b}[31mfishing\u{7}.\n");
    folder
}

#[test]
fn a_request_is_answered_and_the_connection_closed_in_order() {
    let plans = plans("answered");
    let directory = plans.path().to_str().unwrap();
    for (request, answer) in [
        ("alice\r\n", "Office 12.\r\n\r\nBack on Monday.\r\n"),
        ("alice\n", "Office 12.\r\n\r\nBack on Monday.\r\n"),
        ("/W alice\r\n", "Office 12.\r\n\r\nBack on Monday.\r\n"),
        // RFC 1288, section 3.3: nothing that controls a terminal.
        ("bob\r\n", "Gone [31mfishing.\r\n"),
        ("\r\n", "alice\r\nbob\r\n"),
        ("alice@elsewhere\r\n", "Finger forwarding service denied\r\n"),
        ("../alice\r\n", "There is no such user, or no plan.\r\n"),
        // Everything after the request is dropped.
        ("alice\r\nbob\r\n", "Office 12.\r\n\r\nBack on Monday.\r\n"),
    ] {
        for mode in MODES {
            let mut served = served(mode, "finger", &["--plans", directory]);
            served.client.write_all(request.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&read_all(&mut served.client)), answer, "{request:?}, {mode:?}");
            served.ended_well();
        }
    }
    for (request, answer) in [
        ("6193, 23\r\n", "6193, 23 : ERROR : HIDDEN-USER\r\n"),
        ("6193,23\r\n", "6193, 23 : ERROR : HIDDEN-USER\r\n"),
        ("0, 23\r\n", "0, 0 : ERROR : INVALID-PORT\r\n"),
        ("65536, 23\r\n", "0, 0 : ERROR : INVALID-PORT\r\n"),
        ("\r\n", "0, 0 : ERROR : INVALID-PORT\r\n"),
    ] {
        for mode in MODES {
            let mut served = served(mode, "ident", &[]);
            served.client.write_all(request.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&read_all(&mut served.client)), answer, "{request:?}, {mode:?}");
            served.ended_well();
        }
    }
}

#[test]
fn a_request_may_arrive_octet_by_octet_or_end_without_a_line_end() {
    for mode in MODES {
        let mut served = served(mode, "ident", &[]);
        served.client.set_nodelay(true).unwrap();
        for octet in b"1, 2\r\n" {
            served.client.write_all(&[*octet]).unwrap();
            thread::yield_now();
        }
        assert_eq!(read_all(&mut served.client), b"1, 2 : ERROR : HIDDEN-USER\r\n");
        served.ended_well();

        let mut served = support::served(mode, "ident", &[]);
        served.client.write_all(b"1, 2").unwrap();
        served.client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut served.client), b"1, 2 : ERROR : HIDDEN-USER\r\n");
        served.ended_well();
    }
}

#[test]
fn a_request_that_is_too_long_is_neither_answered_nor_reset() {
    for mode in MODES {
        for request in [noise(65).iter().map(|it| it | 0x80).collect(), vec![b'1'; 1024 * 1024]] {
            let mut served = served(mode, "ident", &[]);
            let sender = support::send(&served.client, [request, b"\r\n".to_vec()].concat());
            assert_eq!(read_all(&mut served.client), b"", "{mode:?}");
            sender.join().unwrap().expect("the rest is dropped, not refused");
            served.ended_well();
        }
    }
}

/// The time for a request is counted from the connection, however active the client is.
#[test]
fn a_trickle_does_not_extend_the_deadline() {
    for mode in MODES {
        let mut served = served(mode, "ident", &["--idle-timeout", "1"]);
        let mut client = served.client.try_clone().unwrap();
        let started = Instant::now();
        // 63 octets, one every 100 ms: 6 seconds, if each octet restarted the time.
        let trickle = thread::spawn(move || {
            for _ in 0..63 {
                if client.write_all(b"1").is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let mut received = Vec::new();
        let _ = served.client.read_to_end(&mut received); // the connection is closed early, so it may be reset
        assert_eq!(received, b"", "{mode:?}");
        assert!(!trickle.is_finished(), "it ended after {:?}, with the trickle", started.elapsed());
        if mode == Mode::Process {
            assert!(served.process.wait().success());
        }
    }
}

#[test]
fn each_datagram_is_one_request() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut process = passing(&program("ident"), &[&OwnedFd::from(socket)], "", &[], |command| {
        Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))
    });
    assert!(process.line().contains("serving on"), "it serves");
    let client = udp_client();
    // A request that is too long is not answered: the next answer is to the next request.
    client.send_to(&[b'1'; 65], address).unwrap();
    for request in ["1, 2\r\n", "1, 2"] {
        client.send_to(request.as_bytes(), address).unwrap();
        let mut answer = [0; 64];
        let length = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], b"1, 2 : ERROR : HIDDEN-USER\r\n");
    }
}

#[test]
fn a_filter_answers_its_first_line() {
    let plans = plans("filter");
    let mut command = Command::new(program("finger"));
    command.arg("--plans").arg(plans.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    process.0.stdin.take().unwrap().write_all(b"alice\n").unwrap();
    let mut answer = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "Office 12.\n\nBack on Monday.\n");
    assert!(process.wait().success());
}

#[test]
fn files_are_reread_after_the_lock_down() {
    let plans = plans("reload");
    let daemon = Daemon::start("finger", &["--plans", plans.path().to_str().unwrap()]);
    let ask = || {
        let mut client = daemon.connect();
        client.write_all(b"alice\r\n").unwrap();
        String::from_utf8(read_all(&mut client)).unwrap()
    };
    assert_eq!(ask(), "Office 12.\r\n\r\nBack on Monday.\r\n");
    fs::write(plans.path().join("alice"), "On holiday.\n").unwrap();
    daemon.process.signal("HUP");
    wait_until(|| ask() == "On holiday.\r\n");
}

#[test]
fn an_error_of_the_service_is_one_sentence_on_the_log() {
    let mut served = support::logging("finger", &["--plans", "/nowhere"]);
    assert_eq!(read_all(&mut served.client), b"");
    let (code, log) = served.process.log();
    assert_eq!(code, Some(1));
    assert_eq!(
        log,
        "finger: cannot read the plans in /nowhere: No such file or directory (os error 2); check the directory and its files\n"
    );
}
