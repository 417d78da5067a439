//! Hostile octets: random clients and cookie files, checked against what must always hold. A failing case is minimized and kept in
//! tests/models.proptest-regressions.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use support::attack::bounded;
use support::{Daemon, Folder, MODES, Mode, inetd_style, program, read_all};

/// A client's next step.
#[derive(Clone, Debug)]
enum Step {
    /// It sends some octets in one piece.
    Send(Vec<u8>),
    /// It reads at most this much of what it expects.
    Read(usize),
    /// It sends an out-of-band octet (RFC 862 and 863 do not mention any).
    Urgent(u8),
}

/// How the client ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It shuts its side down, and reads the rest.
    HalfCloseThenRead,
    /// It reads everything, and then shuts its side down.
    ReadThenHalfClose,
    /// It reads nothing more, and closes.
    Close,
    /// The same, with a reset.
    Reset,
}

fn steps(urgent: bool) -> impl Strategy<Value = Vec<Step>> {
    let piece = prop_oneof![4 => vec(any::<u8>(), 1..100), 1 => vec(any::<u8>(), 1..70_000)];
    let send = piece.prop_map(Step::Send);
    let read = (1..100_000_usize).prop_map(Step::Read);
    let urgent = if urgent { any::<u8>().prop_map(Step::Urgent).boxed() } else { Just(Step::Read(1)).boxed() };
    vec(prop_oneof![6 => send, 3 => read, 1 => urgent], 0..12)
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::HalfCloseThenRead), Just(End::ReadThenHalfClose), Just(End::Close), Just(End::Reset)]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases: bounded(cases, cases * 20), max_shrink_iters: 200, ..ProptestConfig::default() }
}

/// Plays this client of a service that sends back `expected` of what it receives.
fn act(client: &mut TcpStream, steps: &[Step], end: End, echoes: bool) {
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Send(octets) => {
                client.write_all(octets).unwrap();
                sent.extend_from_slice(octets);
            }
            Step::Read(most) if echoes => {
                let mut piece = vec![0; (sent.len() - got.len()).min(*most)];
                client.read_exact(&mut piece).unwrap();
                got.extend(piece);
            }
            Step::Read(_) => {}
            Step::Urgent(octet) => {
                rustix::net::send(&*client, &[*octet], rustix::net::SendFlags::OOB).unwrap();
            }
        }
    }
    let mut rest = vec![0; if echoes { sent.len() - got.len() } else { 0 }];
    match end {
        End::HalfCloseThenRead => {
            client.shutdown(Shutdown::Write).unwrap();
            got.extend(read_all(client));
        }
        End::ReadThenHalfClose => {
            client.read_exact(&mut rest).unwrap();
            got.extend(rest);
            client.shutdown(Shutdown::Write).unwrap();
            got.extend(read_all(client));
        }
        End::Close => {}
        End::Reset => rustix::net::sockopt::set_socket_linger(&*client, Some(Duration::ZERO)).unwrap(),
    }
    let expected = if echoes { &sent[..] } else { &[] };
    assert!(expected.starts_with(&got), "{} octets are not those that were sent", got.len());
    if matches!(end, End::HalfCloseThenRead | End::ReadThenHalfClose) {
        assert_eq!(got.len(), expected.len());
    }
}

/// A daemon of each kind.
fn daemons(name: &str) -> Vec<Daemon> {
    MODES.into_iter().filter(|&mode| mode != Mode::Process).map(|mode| Daemon::start_as(mode, name, &[])).collect()
}

/// A client of each daemon, and one of a per-connection process.
fn everywhere(daemons: &[Daemon], name: &str, steps: &[Step], end: End, echoes: bool) {
    for daemon in daemons {
        act(&mut daemon.connect(), steps, end, echoes);
    }
    let mut served = inetd_style(name, &[]);
    act(&mut served.client, steps, end, echoes);
    served.ended_well();
}

#[test]
fn echo_sends_back_what_it_receives_however_it_is_split() {
    let daemons = daemons("echo");
    proptest!(config(60), |(steps in steps(false), end in end())| everywhere(&daemons, "echo", &steps, end, true));
}

#[test]
fn discard_sends_nothing_whatever_it_receives() {
    let daemons = daemons("discard");
    proptest!(config(60), |(steps in steps(true), end in end())| everywhere(&daemons, "discard", &steps, end, false));
}

#[test]
fn a_reply_is_complete_whatever_the_client_sends_first() {
    let daemons = daemons("qotd");
    let known: Vec<_> = support::built_in_fortunes();
    proptest!(config(60), |(said in vec(any::<u8>(), 0..70_000), half_close in any::<bool>())| {
        let mut one = inetd_style("qotd", &[]);
        let mut others: Vec<_> = daemons.iter().map(Daemon::connect).collect();
        for client in others.iter_mut().chain([&mut one.client]) {
            client.write_all(&said).unwrap();
            if half_close {
                client.shutdown(Shutdown::Write).unwrap();
            }
            let fortune = support::assert_fortune(&read_all(client));
            prop_assert!(known.contains(&fortune));
        }
        one.ended_well();
    });
}

/// What `qotd FILE` sends to a client, or its error message.
fn from_file(content: &[u8]) -> (Vec<u8>, Option<i32>) {
    let folder = Folder::new(&format!("models-{:?}", std::thread::current().id()));
    let file = folder.file("fortunes", content);
    let (mut client, server) = support::connection();
    let mut command = Command::new(program("qotd"));
    command.arg(file).stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::null());
    let mut process = support::Process::start(&mut command);
    drop(command);
    let mut reply = Vec::new();
    if let Err(error) = client.read_to_end(&mut reply) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    drop(client);
    (reply, process.wait().code())
}

/// A line of a text: printing ASCII, but not a separator.
fn line() -> impl Strategy<Value = String> {
    "[ -~]{0,90}".prop_filter("separates texts", |line| line != "%")
}

#[test]
fn a_text_is_sent_as_it_is_in_its_file() {
    let text = vec(line(), 1..9).prop_map(|lines| lines.join("\n"));
    proptest!(config(150), |(texts in vec(text, 1..5))| {
        let file: Vec<_> = texts.iter().map(|text| format!("{text}\n")).collect();
        let on_the_wire: Vec<_> = file
            .iter()
            .filter(|text| !text.trim().is_empty())
            .map(|text| text.replace('\n', "\r\n"))
            .filter(|text| text.len() < 512)
            .collect();
        let (reply, code) = from_file(file.join("%\n").as_bytes());
        let reply = String::from_utf8(reply).unwrap();
        if on_the_wire.is_empty() {
            prop_assert_eq!((reply.as_str(), code), ("", Some(1)));
        } else {
            prop_assert!(on_the_wire.contains(&reply), "{:?} is none of {:?}", reply, on_the_wire);
            prop_assert_eq!(code, Some(0));
        }
    });
}

#[test]
fn nothing_that_could_harm_a_terminal_is_sent_from_a_cookie_file() {
    let hostile = prop_oneof![
        vec(any::<u8>(), 0..2000),
        // Closer to a text: with what is rare in noise.
        vec(
            prop_oneof![Just(b'%'), Just(b'\n'), Just(b'\r'), Just(8), Just(b'\t'), Just(0x1b), Just(0xe2), b'a'..b'f'],
            0..2000
        ),
        // Colours, and similar escape sequences.
        vec(prop_oneof!["[a-c]", "\x1b\\[[0-9;:]{0,5}m", "\x1b[\\[\\]]{0,2}[0-9;?>]{0,3}[a-m]?", "\n%\n"], 0..40)
            .prop_map(|parts| parts.concat().into_bytes()),
        "\\PC{0,300}".prop_map(String::into_bytes),
        "[\\x00-\\x1f\u{7f}-\u{9f}\u{200e}\u{202a}-\u{202e}\u{2066}-\u{2069}a-c%\\n]{0,200}"
            .prop_map(String::into_bytes),
        "[א-ת\u{200e}]{0,5}[\u{202a}-\u{202e}\u{2066}-\u{2069}]?[א-ת\u{200f}]{1,5}".prop_map(String::into_bytes),
    ];
    proptest!(config(150), |(content in hostile)| {
        let (reply, code) = from_file(&content);
        match code {
            Some(0) => {
                let text = String::from_utf8(reply).unwrap();
                prop_assert!(text.len() < 512 && text.ends_with("\r\n"), "{:?}", text);
                let bare = text.replace("\r\n", "");
                let deceives = |it| matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                prop_assert!(!bare.chars().any(|it| it.is_control() || deceives(it)), "{:?}", text);
            }
            Some(1) => prop_assert!(reply.is_empty()),
            _ => prop_assert!(false, "exit code {:?}", code),
        }
    });
}
