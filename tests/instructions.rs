//! The instruction counts of the hot paths, by callgrind, which does not depend on the load of the machine. A change of more than 3
//! % fails.
//!
//! Only the instructions in this crate's functions count, in the debug build: those of the C library depend on the processor. The
//! code depends on the compiler's version, which the baseline names. After a change with an accepted cost: `UPDATE=yes cargo test
//! --test instructions`, and commit tests/instructions.baseline.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Folder, repository};

const BASELINE: &str = "tests/instructions.baseline";
/// In percent.
const ALLOWED: u64 = 3;

/// A program with a constant input.
struct Case {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    input: Input,
}

/// Descriptor 0.
enum Input {
    /// A file of this many octets.
    Octets(usize),
    /// A listener, as from inetd's `wait`, to which this many clients have connected and sent their data.
    Clients(usize),
    /// A socket at which this many datagrams have arrived.
    Datagrams(usize),
}

const fn case(name: &'static str, program: &'static str, arguments: &'static [&'static str], input: Input) -> Case {
    Case { name, program, arguments, input }
}

const QOTD: &str = env!("CARGO_BIN_EXE_qotd");
const ECHO: &str = env!("CARGO_BIN_EXE_echo");
/// It ends a second after the last client.
const FOR_ALL: &[&str] =
    &["--shared", "--sandbox", "off", "--idle-timeout", "1", "--datagram-rate", "0", "--datagram-total", "0"];
const CASES: &[Case] = &[
    case("qotd", QOTD, &["--sandbox", "off", "--seed", "17"], Input::Octets(0)),
    case("qotd-from-a-file", QOTD, &["--sandbox", "off", "--seed", "17", "data/networks"], Input::Octets(0)),
    case("daytime", env!("CARGO_BIN_EXE_daytime"), &["--sandbox", "off", "--utc"], Input::Octets(0)),
    case("time", env!("CARGO_BIN_EXE_time"), &["--sandbox", "off"], Input::Octets(0)),
    case("echo-8-MiB", ECHO, &["--sandbox", "off"], Input::Octets(8 << 20)),
    case("discard-8-MiB", env!("CARGO_BIN_EXE_discard"), &["--sandbox", "off"], Input::Octets(8 << 20)),
    case("qotd-500-connections", QOTD, FOR_ALL, Input::Clients(500)),
    case("echo-500-connections", ECHO, FOR_ALL, Input::Clients(500)),
    case("echo-200-datagrams", ECHO, FOR_ALL, Input::Datagrams(200)),
];

impl Input {
    /// Descriptor 0, and the clients, which read when the program has ended.
    fn prepare(&self, folder: &Folder) -> (Stdio, Vec<OwnedFd>) {
        match *self {
            Self::Octets(count) => (File::open(folder.file("input", vec![b'x'; count])).unwrap().into(), Vec::new()),
            Self::Clients(count) => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                // More clients wait to be accepted than std's backlog of 128 allows.
                rustix::net::listen(&listener, 4096).unwrap();
                let client = |_| {
                    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    client.write_all(b"hello").unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    client.into()
                };
                let clients = (0..count).map(client).collect();
                (OwnedFd::from(listener).into(), clients)
            }
            Self::Datagrams(count) => {
                let [socket, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
                for _ in 0..count {
                    client.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
                }
                (OwnedFd::from(socket).into(), vec![client.into()])
            }
        }
    }
}

/// Sums the costs of this crate's functions in a profile; see "The Callgrind Format Specification".
fn own_instructions(profile: &str) -> u64 {
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    let (mut own, mut sum, mut is_call) = (false, 0, false);
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            // `(number) name` the first time, `(number)` afterwards.
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            let known = names.entry(number).or_insert_with(|| name.contains("small_services"));
            own = *known;
        } else if let Some(called) = line.strip_prefix("cfn=") {
            if let Some((number, name)) = called.split_once(' ') {
                names.insert(number, name.contains("small_services"));
            }
        } else if line.starts_with("calls=") {
            is_call = true; // the next line is the cost of the callee
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut is_call)
            && own
        {
            sum += line.split(' ').nth(1).map_or(0, |cost| cost.parse::<u64>().expect("a cost"));
        }
    }
    sum
}

fn count(case: &Case, folder: &Folder) -> u64 {
    let (input, clients) = case.input.prepare(folder);
    let profile = folder.path().join(format!("{}.profile", case.name));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display()), case.program])
        .args(case.arguments)
        .current_dir(repository())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(input)
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    // With fewer answers there are fewer instructions.
    match case.input {
        Input::Octets(_) => {}
        Input::Clients(count) => assert_eq!(clients.into_iter().filter(is_answered).count(), count, "{}", case.name),
        Input::Datagrams(count) => {
            let mut reply = [0; 16];
            let answers = || rustix::net::recv(&clients[0], &mut reply, rustix::net::RecvFlags::DONTWAIT).is_ok();
            assert_eq!(
                std::iter::repeat_with(answers).take_while(|&answered| answered).count(),
                count,
                "{}",
                case.name
            );
        }
    }
    own_instructions(&fs::read_to_string(profile).unwrap())
}

fn is_answered(client: &OwnedFd) -> bool {
    rustix::io::read(client, &mut [0; 16]).is_ok_and(|count| count > 0)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    format!("{} {}", String::from_utf8(output.stdout).unwrap().trim(), std::env::consts::ARCH)
}

#[test]
fn no_hot_path_takes_three_percent_more_instructions_than_before() {
    let folder = Folder::new("instructions");
    let counts: Vec<_> = CASES.iter().map(|case| (case.name, count(case, &folder))).collect();
    let path = repository().join(BASELINE);
    if std::env::var_os("UPDATE").is_some() {
        let lines = counts.iter().fold(compiler() + "\n", |mut text, (name, count)| {
            let _ = writeln!(text, "{name} {count}");
            text
        });
        fs::write(&path, lines).unwrap();
    }
    compare(&path, &counts);
}

fn compare(path: &Path, counts: &[(&str, u64)]) {
    let baseline = fs::read_to_string(path).unwrap();
    let (of, lines) = baseline.split_once('\n').unwrap();
    let mut changed = String::new();
    for &(name, count) in counts {
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let before: u64 =
            line.unwrap_or_else(|| panic!("no {name} in {BASELINE}: run this with UPDATE=yes")).parse().unwrap();
        println!("{name}: {count}, before {before}");
        assert!(count > 0, "{name}: nothing was counted");
        // A baseline that is too high would hide the next increase.
        if count.abs_diff(before) * 100 > before * ALLOWED {
            let _ = write!(changed, "{name}: {before} instructions, now {count}. ");
        }
    }
    if of == compiler() {
        assert!(changed.is_empty(), "{changed}If that is meant, run this with UPDATE=yes and commit {BASELINE}");
    } else {
        println!("not compared: {BASELINE} is of {of}; with this compiler, run this with UPDATE=yes once. {changed}");
    }
}
