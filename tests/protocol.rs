//! Each protocol over real sockets, as its client sees it.

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    Daemon, MODES, Mode, Process, assert_fortune, built_in_fortunes, noise, program, read_all, send, served, wait_until,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[test]
fn qotd_sends_one_of_the_built_in_fortunes_and_closes() {
    for mode in MODES {
        let mut served = served(mode, "qotd", &[]);
        let fortune = assert_fortune(&read_all(&mut served.client));
        assert!(built_in_fortunes().contains(&fortune), "{fortune:?} is not in data/");
        served.ended_well();
    }
}

#[test]
fn qotd_chooses_anew_for_every_connection() {
    let daemon = Daemon::start("qotd", &[]);
    let replies: [Box<dyn Fn() -> Vec<u8>>; 2] = [
        Box::new(|| read_all(&mut served(Mode::Process, "qotd", &[]).client)),
        Box::new(|| read_all(&mut daemon.connect())),
    ];
    for reply in replies {
        let chosen: HashSet<_> = (0..20).map(|_| reply()).collect();
        assert!(chosen.len() > 10, "{} different fortunes in 20 replies", chosen.len());
    }
}

/// 1,000 clients of a service send 64 KiB before they read. Each gets the whole reply and an orderly end.
fn clients_that_talk_first_are_never_reset(mode: Mode, name: &str, check: fn(&[u8])) {
    const CLIENTS: usize = 1_000;
    let question = noise(64 * KIB);
    let daemon = (mode != Mode::Process).then(|| Daemon::start_as(mode, name, &[]));
    for _ in 0..CLIENTS {
        let (mut client, process) = if let Some(daemon) = &daemon {
            (daemon.connect(), None)
        } else {
            let served = served(mode, name, &[]);
            (served.client, Some(served.process))
        };
        client.write_all(&question).unwrap();
        check(&read_all(&mut client));
        // A late reset would show here.
        client.shutdown(Shutdown::Write).expect("the connection is still there");
        let ended = process.is_none_or(|mut process| process.wait().success());
        assert!(ended && client.take_error().unwrap().is_none());
    }
}

#[test]
fn qotd_never_resets_a_client_that_talks_first() {
    for mode in MODES {
        clients_that_talk_first_are_never_reset(mode, "qotd", |reply| {
            assert_fortune(reply);
        });
    }
}

#[test]
fn daytime_and_time_never_reset_a_client_that_talks_first() {
    for mode in MODES {
        clients_that_talk_first_are_never_reset(mode, "daytime", |reply| assert_eq!(reply.len(), 26, "{reply:?}"));
        clients_that_talk_first_are_never_reset(mode, "time", |reply| assert_eq!(reply.len(), 4, "{reply:?}"));
    }
}

#[test]
fn a_client_that_talks_while_it_reads_is_not_reset_either() {
    for mode in MODES {
        for _ in 0..20 {
            let mut served = served(mode, "qotd", &[]);
            let sent = send(&served.client, noise(8 * MIB));
            assert_fortune(&read_all(&mut served.client));
            sent.join().unwrap().expect("all 8 MiB are taken");
        }
    }
}

#[test]
fn a_reply_ends_at_once_for_a_client_that_keeps_its_side_open() {
    for mode in MODES {
        let mut served = served(mode, "qotd", &["--idle-timeout", "3600"]);
        assert_fortune(&read_all(&mut served.client));
        assert!(served.process.0.try_wait().unwrap().is_none(), "it waits for the client to close");
        served.client.shutdown(Shutdown::Write).unwrap();
        served.ended_well();
    }
}

#[test]
fn a_client_that_trickles_cannot_hold_a_reply_open() {
    for (mode, name) in MODES.iter().flat_map(|&mode| [(mode, "qotd"), (mode, "daytime"), (mode, "time")]) {
        let mut served = served(mode, name, &["--idle-timeout", "1"]);
        // Closed although it is never silent: then writing fails.
        wait_until(|| {
            thread::sleep(Duration::from_millis(20));
            served.client.write_all(b"x").is_err()
        });
        served.ended_well();
    }
}

#[test]
fn echo_sends_everything_back_in_order() {
    for mode in MODES {
        let mut served = served(mode, "echo", &[]);
        let question = noise(32 * MIB);
        let sent = send(&served.client, question.clone());
        let reply = read_all(&mut served.client);
        sent.join().unwrap().unwrap();
        assert!(reply == question, "{} octets came back of {}, or they differ", reply.len(), question.len());
        served.ended_well();
    }
}

#[test]
fn echo_sends_back_pending_octets_after_the_client_has_sent_everything() {
    for mode in MODES {
        let mut served = served(mode, "echo", &[]);
        let question = noise(100 * KIB);
        served.client.write_all(&question).unwrap();
        served.client.shutdown(Shutdown::Write).unwrap();
        assert!(read_all(&mut served.client) == question);
    }
}

#[test]
fn echo_answers_each_piece_without_waiting_for_more() {
    for mode in MODES {
        let mut served = served(mode, "echo", &[]);
        for piece in [&b"a"[..], b"\0\xff\x1b", b"line\r\n"] {
            served.client.write_all(piece).unwrap();
            let mut reply = vec![0; piece.len()];
            served.client.read_exact(&mut reply).unwrap();
            assert_eq!(reply, piece);
        }
    }
}

#[test]
fn echo_holds_back_a_client_that_does_not_read_and_keeps_its_memory() {
    for mode in MODES {
        let mut served = served(mode, "echo", &["--idle-timeout", "3600"]);
        // Until both directions are full: then a write blocks, which shows as a time-out here.
        served.client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let chunk = noise(MIB);
        let mut sent = Vec::new();
        while let Ok(count) = served.client.write(&chunk) {
            sent.extend_from_slice(&chunk[..count]);
            assert!(sent.len() < 1024 * MIB, "no back-pressure");
        }
        let resident = support::resident(&served.process);
        assert!(resident < 4 * KIB, "{resident} KiB resident after {} octets", sent.len());
        served.client.shutdown(Shutdown::Write).unwrap();
        let reply = read_all(&mut served.client);
        assert!(reply == sent, "{} octets came back of {}, or they differ", reply.len(), sent.len());
    }
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    for mode in MODES {
        let mut served = served(mode, "discard", &[]);
        let sent = send(&served.client, noise(32 * MIB));
        assert_eq!(read_all(&mut served.client), b"");
        sent.join().unwrap().expect("all is taken");
        served.ended_well();
    }
}

#[test]
fn time_counts_the_seconds_since_1900() {
    for mode in MODES {
        let date = || {
            let output = Command::new("date").arg("+%s").output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap() + 2_208_988_800
        };
        let before = date();
        let reply = read_all(&mut served(mode, "time", &[]).client);
        let after = date();
        let time = u32::from_be_bytes(reply.try_into().expect("four octets"));
        assert!((before..=after).contains(&time.into()), "{time} is not between {before} and {after}");
    }
}

#[test]
fn chargen_sends_the_lines_of_the_rfc_until_the_client_closes() {
    for mode in MODES {
        let mut served = served(mode, "chargen", &["--max-rate", "0"]);
        // Dropped, whatever the amount, as long as the client reads as well.
        let sent = send(&served.client, noise(8 * MIB));
        let mut octets = vec![0; 16 * MIB];
        served.client.read_exact(&mut octets).unwrap();
        while !sent.is_finished() {
            served.client.read_exact(&mut vec![0; 64 * KIB]).unwrap();
        }
        sent.join().unwrap().expect("all is taken");
        for (number, line) in octets.split_inclusive(|&octet| octet == b'\n').enumerate().take(200_000) {
            let expected: Vec<u8> = (b' '..=b'~').cycle().skip(number % 95).take(72).chain(*b"\r\n").collect();
            assert!(line == expected, "line {number}: {}", String::from_utf8_lossy(line));
        }
        served.ended_well();
    }
}

/// What TCP sends before it paces: ten segments of 64 KiB on loopback, and a segment in progress.
const UNPACED: usize = 11 * 64 * KIB;

#[test]
fn a_stream_is_sent_no_faster_than_its_rate_and_is_not_idle() {
    const RATE: usize = 512 * KIB;
    const LENGTH: usize = 2 * MIB;
    let arguments = ["--max-rate", &RATE.to_string(), "--idle-timeout", "2"];
    thread::scope(|scope| {
        for (mode, name) in MODES.iter().flat_map(|&mode| [(mode, "echo"), (mode, "chargen")]) {
            scope.spawn(move || {
                let start = Instant::now();
                let mut served = served(mode, name, &arguments);
                let sent = send(&served.client, if name == "echo" { noise(LENGTH) } else { Vec::new() });
                let mut octets = vec![0; LENGTH];
                served.client.read_exact(&mut octets).unwrap();
                // The kernel uses the same clock, and a slow machine only takes longer. Twice the rate is far from unlimited.
                let milliseconds = usize::try_from(start.elapsed().as_millis()).unwrap();
                let allowed = 2 * RATE * milliseconds / 1000 + UNPACED;
                assert!(LENGTH <= allowed, "{mode:?}, {name}: {LENGTH} octets in {milliseconds} ms, {allowed} allowed");
                sent.join().unwrap().expect("all is taken");
                assert!(name == "chargen" || octets == noise(LENGTH), "{mode:?}: an echo of something else");
                served.ended_well();
            });
        }
    });
}

#[test]
fn daytime_sends_the_line_of_the_super_servers_by_default() {
    for mode in MODES {
        // The reply lies between two readings of the same clock in the same format.
        let date = || {
            let output = Command::new("date").env("LC_ALL", "C").arg("+%a %b %e %H:%M:%S %Y\r").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = date();
        let reply = String::from_utf8(read_all(&mut served(mode, "daytime", &[]).client)).unwrap();
        let after = date();
        assert!(reply == before || reply == after || (before..after).contains(&reply), "{reply:?}");
    }
}

#[test]
fn daytime_uses_the_requested_format() {
    for mode in MODES {
        let reply =
            |arguments: &[&str]| String::from_utf8(read_all(&mut served(mode, "daytime", arguments).client)).unwrap();
        assert!(reply(&["--utc", "--format", "rfc867"]).ends_with("-UTC\r\n"));
        assert!(reply(&["--utc", "--format", "smtp"]).ends_with(" UTC\r\n"));
        assert!(reply(&["--utc", "--format", "iso8601"]).ends_with("+00:00\r\n"));
        assert!(reply(&["--format", "nist-like"]).ends_with(" UTC(small-services) *\r\n"));
        assert_eq!(reply(&["--format", "100%% sure"]), "100% sure\r\n");
    }
}

#[test]
fn connections_of_silent_clients_are_closed() {
    for (mode, name) in MODES.iter().flat_map(|&mode| [(mode, "echo"), (mode, "discard")]) {
        let mut served = served(mode, name, &["--idle-timeout", "1"]);
        assert_eq!(read_all(&mut served.client), b"", "{name}");
        served.ended_well();
    }
}

#[test]
fn a_client_that_sends_little_by_little_is_not_silent() {
    for (mode, name) in MODES.iter().flat_map(|&mode| [(mode, "echo"), (mode, "discard")]) {
        let mut served = served(mode, name, &["--idle-timeout", "2"]);
        for _ in 0..12 {
            served.client.write_all(b"x").unwrap();
            thread::sleep(Duration::from_millis(300));
        }
        served.client.shutdown(Shutdown::Write).unwrap();
        let expected: &[u8] = if name == "echo" { &[b'x'; 12] } else { b"" };
        assert_eq!(read_all(&mut served.client), expected, "{name}");
        served.ended_well();
    }
}

#[test]
fn the_connection_of_a_client_that_stops_reading_is_closed() {
    for (mode, name) in MODES.iter().flat_map(|&mode| [(mode, "echo"), (mode, "chargen")]) {
        let mut served = served(mode, name, &["--idle-timeout", "1"]);
        let chunk = vec![b'x'; 64 * KIB];
        while served.client.write_all(&chunk).is_ok() {}
        served.ended_well();
    }
}

#[test]
fn a_client_that_vanishes_is_no_error() {
    for name in support::programs() {
        let mut served = support::logging(name, support::options(name));
        // Closing with an unread reply resets the connection while the program uses it.
        let _ = served.client.write_all(b"hello");
        drop(served.client);
        let (code, log) = served.process.log();
        assert_eq!((code, log.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn a_unix_domain_connection_is_served_as_well() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let server = std::os::fd::OwnedFd::from(server);
    let mut process = Process::start(Command::new(program("qotd")).stdin(server.try_clone().unwrap()).stdout(server));
    client.write_all(&noise(64 * KIB)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert_fortune(&reply);
    assert!(process.wait().success());
}

#[test]
fn a_connection_passed_in_listen_fds_is_served() {
    let (mut client, server) = support::connection();
    // As systemd passes it without StandardInput=socket: descriptor 3, with LISTEN_PID of the program itself.
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec {} 3<&0 0</dev/null", program("echo").display());
    let mut process = Process::start(Command::new("sh").args(["-c", &script]).stdin(server).stdout(Stdio::null()));
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
    assert!(process.wait().success());
}

#[test]
fn a_filter_works_from_standard_input_to_standard_output() {
    let filter = |name: &str, input: &str| {
        let script = format!("printf %s '{input}' | {} | cat", program(name).display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.stderr, b"", "{name}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(filter("echo", "one\ntwo"), "one\ntwo");
    assert_eq!(filter("discard", "one\ntwo"), "");
    let fortune = filter("qotd", "");
    assert!(built_in_fortunes().contains(&fortune), "LF line ends: {fortune:?}");
    assert_eq!(filter("daytime", "").len(), 25);
}

#[test]
fn between_two_sockets_it_is_a_filter() {
    let (mut input, one) = UnixStream::pair().unwrap();
    let (mut output, other) = UnixStream::pair().unwrap();
    let (one, other) = (std::os::fd::OwnedFd::from(one), std::os::fd::OwnedFd::from(other));
    let mut process = Process::start(Command::new(program("echo")).stdin(one).stdout(other));
    input.write_all(b"from here").unwrap();
    drop(input);
    let mut copy = Vec::new();
    output.read_to_end(&mut copy).unwrap();
    assert_eq!(copy, b"from here");
    assert!(process.wait().success());
}

#[test]
fn a_non_blocking_connection_is_made_blocking() {
    let (mut client, server) = support::connection();
    std::net::TcpStream::from(server.try_clone().unwrap()).set_nonblocking(true).unwrap();
    let mut process = Process::start(Command::new(program("echo")).stdin(server.try_clone().unwrap()).stdout(server));
    for _ in 0..3 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    assert!(process.wait().success());
}

#[test]
fn a_filter_may_write_to_a_file() {
    let folder = support::Folder::new("filter");
    let target = folder.path().join("copy");
    let script = format!("{} < {} > {}", program("echo").display(), program("qotd").display(), target.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert!(std::fs::read(target).unwrap() == std::fs::read(program("qotd")).unwrap());
}
