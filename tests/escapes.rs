//! Escapes: a program in the place of a hijacked service tries what an attacker would, with the program's layers, with the
//! unit's, and with both. `make attack` writes what it finds to docs/escapes.md.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use small_services::policy::Io;
use small_services::services::{self, Row};
use support::attack::{bounded, write_page};
use support::machine::Machine;
use support::{Folder, Process, audit, helper};

#[path = "escapes/expected.rs"]
mod expected;
#[path = "escapes/reach.rs"]
mod reach;

/// By a filter of system calls.
const SIGSYS: i32 = 31;
/// By `LimitFSIZE=` of a unit.
const SIGXFSZ: i32 = 25;

/// How an act ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(i32),
    Killed(i32),
}

/// All acts, each behind its family.
fn acts() -> Vec<(String, String)> {
    let list = Command::new(helper("hijacked")).arg("list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    list.lines().map(|line| line.split_once('\t').unwrap()).map(|(family, act)| (family.into(), act.into())).collect()
}

/// What there is to attack: somebody who listens on TCP and on local sockets, two who take datagrams on these, and a folder
/// to write to.
struct Surroundings {
    tcp: TcpListener,
    name: String,
    _named: UnixListener,
    _service: UnixListener,
    manager: UnixDatagram,
    other: UnixDatagram,
    folder: Folder,
}

fn datagrams(folder: &Folder, name: &str) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.path().join(name)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Surroundings {
    fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        let name = format!("small-services-{test}-{}", std::process::id());
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            _named: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            _service: UnixListener::bind(folder.path().join("service")).unwrap(),
            manager: datagrams(&folder, "manager"),
            other: datagrams(&folder, "other"),
            name,
            folder,
        }
    }

    /// Has the hijacked program try an act, in namespaces that it cannot harm.
    fn outcome(&self, service: &str, peer: Io, layers: &str, act: &str) -> Outcome {
        let (client, connection) = support::connection();
        // The shell is the process that it attacks.
        let output = Command::new("unshare")
            .args(["--mount", "--uts", "--ipc", "sh", "-c", r#""$@"; exit $?"#, "sh"])
            .arg(helper("hijacked"))
            .args([service, &format!("{peer:?}"), layers, act])
            .env("TCP", self.tcp.local_addr().unwrap().port().to_string())
            .env("ABSTRACT", &self.name)
            .env("SERVICE", self.folder.path().join("service"))
            .env("MANAGER", self.folder.path().join("manager"))
            .env("OTHER", self.folder.path().join("other"))
            .env("SCRATCH", self.folder.path())
            .stdin(connection.try_clone().unwrap())
            .stdout(connection)
            .output()
            .unwrap();
        drop(client);
        for socket in [&self.manager, &self.other] {
            while socket.recv(&mut [0; 4096]).is_ok() {} // there is room for a few only
        }
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Outcome::Done,
            (Some(101), _) => panic!("{act}: {}", String::from_utf8_lossy(&output.stderr)),
            (Some(code @ 129..), _) => Outcome::Killed(code - 128),
            (Some(errno), _) => Outcome::Refused(errno),
            (None, signal) => Outcome::Killed(signal.unwrap()),
        }
    }
}

/// Talks to the hijacked services of a machine: the port, then an act a line behind its layers; prints of each the run of the
/// unit that it was tried in, and the code that came back.
const ATTACKER: &str = r#"
import concurrent.futures, socket, sys
port, at_once = int(sys.argv[1]), int(sys.argv[2])
tcp = socket.create_server(("127.0.0.1", int(sys.argv[3])))
named = socket.socket(socket.AF_UNIX); named.bind("\0hijacked"); named.listen()
def attempt(line):
    while True:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(120)
            another = "client's connection" in line and socket.create_connection(("127.0.0.1", port))
            said = b""
            try:
                client.sendall(line.encode())
                while octets := client.recv(4096):
                    said += octets
            except ConnectionError:
                pass
            if another: another.close()
            begun, newline, code = said.decode(errors="replace").partition("\n")
            if begun.startswith("begun ") and newline:
                return "\t".join([line.rstrip("\n").split(" ", 1)[1], begun[6:], code.strip()])
lines = sys.stdin.readlines()
with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    for outcome in pool.map(attempt, lines): print(outcome)
"#;

/// A unit that is attacked.
struct Unit {
    socket: String,
    name: String,
    service: &'static str,
    peer: Io,
    port: u16,
    /// Where on the page it is.
    column: usize,
}

/// The columns of the page for the keeper and its processes, with all layers of the program.
const FORKS: [(&str, Io, &str); 3] = [
    ("a process of the keeper's alone", Io::Connection, "forked"),
    ("its process for datagrams alone", Io::Datagrams, "all"),
    ("the keeper alone", Io::Keeper, "all"),
];

/// The columns of the page for units; the first is for one connection, the others are of daemons.
const COLUMNS: [&str; 3] = ["the unit alone", "the daemon's unit alone", "lunchd's unit alone"];

/// All units, or for `make test` those of one service and lunchd's.
fn units() -> Vec<Unit> {
    let mut small: Vec<_> = services::all().collect();
    small.sort_by_key(|row| row.program != "echo");
    small.truncate(bounded(1, small.len()));
    let mut units = Vec::new();
    for Row { unit: name, program: service, port, .. } in small {
        for (column, kind, peer, started) in [(0, "", Io::Connection, "@"), (1, "-daemon", Io::Keeper, "-daemon")] {
            let (socket, name) = (format!("{name}{kind}.socket"), format!("{name}{started}.service"));
            units.push(Unit { socket, name, service, peer, port, column });
        }
    }
    let (socket, name) = ("lunchd-http.socket".to_owned(), "lunchd.service".to_owned());
    units.push(Unit { socket, name, service: "lunchd", peer: Io::ListenersAndFiles, port: 80, column: 2 });
    units
}

/// A hijacked program in the place of a unit's, in all that the unit confines it by.
fn hijack(machine: &Machine, Unit { name, service, peer, .. }: &Unit) {
    let alone = if *peer == Io::Connection { "" } else { "Type=simple\nRestart=no\nWatchdogSec=0\n" };
    machine.shell(&format!(
        "mkdir -p /run/systemd/system/{name}.d && printf '[Service]\nExecStart=\n\
         ExecStart=/usr/local/libexec/small-services/hijacked {service} {peer:?} served\n\
         Environment=TCP=4444\n{alone}' > /run/systemd/system/{name}.d/hijacked.conf"
    ));
}

/// Has the hijacked program of a unit, behind a port, try acts. With one process for all, one after the other.
fn attack(
    machine: &Machine,
    unit: &str,
    port: u16,
    at_once: usize,
    layers: &str,
    acts: &[String],
) -> BTreeMap<String, Outcome> {
    let lines = acts.iter().fold(String::new(), |lines, act| lines + layers + " " + act + "\n");
    let script = machine.folder().file("attacker", ATTACKER);
    let list = machine.folder().file("acts", lines);
    let said = machine.client(&format!("python3 {} {port} {at_once} 4444 < {}", script.display(), list.display()));
    let ends = ends(machine, unit);
    let outcomes: BTreeMap<_, _> = String::from_utf8(said)
        .unwrap()
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|line| {
            let [act, run, code] = line[..] else { panic!("{line:?}") };
            // A debug build names the call that its policy forbids: no code.
            let code = if code.starts_with("hunker: the policy forbids ") { "" } else { code };
            // A connection that ends without a code may be the act's doing: then systemd's word counts, and nothing else.
            let outcome = match (code, ends.get(run).map(|(how, status)| (how.as_str(), *status))) {
                ("0", _) | ("", Some(("exited", 255))) => Outcome::Done,
                ("", Some(("killed", signal @ (SIGSYS | SIGXFSZ)))) => Outcome::Killed(signal),
                // 101 is a panic.
                ("", Some(("exited", errno))) if errno != 101 => Outcome::Refused(errno),
                (code, end) => {
                    Outcome::Refused(code.parse().unwrap_or_else(|_| panic!("{unit}: {act}: {code:?}, {end:?}")))
                }
            };
            (act.to_owned(), outcome)
        })
        .collect();
    assert_eq!(outcomes.len(), acts.len());
    outcomes
}

/// How each run of a unit failed so far, by what systemd calls the run: `exited` or `killed`, and with what.
fn ends(machine: &Machine, unit: &str) -> BTreeMap<String, (String, i32)> {
    // A client knows of the end sooner than systemd, which writes it down before the unit stops being active.
    machine.wait_for(&format!("! systemctl --quiet is-active '{}'", unit.replace('@', "@*")));
    // The message that a process of a unit has ended.
    let entries = machine.journal(
        "--output=json --output-fields=INVOCATION_ID,EXIT_CODE,EXIT_STATUS MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15",
    );
    let ends = entries.lines().map(|entry| {
        let fields: serde_json::Value = serde_json::from_str(entry).unwrap();
        let field = |name| fields[name].as_str().unwrap_or_else(|| panic!("no {name}: {entry}")).to_owned();
        (field("INVOCATION_ID"), (field("EXIT_CODE"), field("EXIT_STATUS").parse().unwrap()))
    });
    ends.collect()
}

fn names() -> Vec<String> {
    acts().into_iter().map(|(_, act)| act).collect()
}

fn listed(lists: &[(&[&str], &str)], act: &str) -> bool {
    lists.iter().any(|(acts, _)| acts.contains(&act))
}

/// Whether a column's unit alone does not stop an act.
fn unit_leaves(column: usize, act: &str) -> bool {
    listed(expected::UNITS_LEAVE, act)
        || column > 0 && listed(expected::DAEMONS_UNITS_LEAVE, act)
        || column == 1 && listed(expected::KEEPERS_UNITS_LEAVE, act)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_acts_are_many_and_possible_without_the_lock_down() {
    let acts = acts();
    let families: BTreeSet<_> = acts.iter().map(|(family, _)| family).collect();
    assert!(acts.len() >= 100 && families.len() >= 12, "{} acts in {} families", acts.len(), families.len());
    for list in [
        expected::LANDLOCK_LEAVES,
        expected::READERS_LEAVE,
        expected::KEEPER_LEAVES,
        expected::UNITS_LEAVE,
        expected::DAEMONS_UNITS_LEAVE,
        expected::KEEPERS_UNITS_LEAVE,
    ] {
        for act in list.iter().flat_map(|(acts, _)| *acts) {
            assert!(acts.iter().any(|(_, known)| known == act), "no such act: {act}");
        }
    }
    if !is_root() {
        return; // nobody else may do most of them
    }
    let surroundings = Surroundings::new("without");
    for (_, act) in acts.iter().filter(|(_, act)| !expected::NOT_EVERYWHERE.contains(&act.as_str())) {
        assert_eq!(surroundings.outcome("qotd", Io::Connection, "none", act), Outcome::Done, "{act}");
    }
}

#[test]
fn the_program_alone_stops_every_act_of_every_service() {
    let surroundings = Surroundings::new("program");
    let acts = names();
    for (service, peer, layers) in processes() {
        assert_eq!(surroundings.outcome(service, peer, layers, "nothing"), Outcome::Done);
        for act in &acts {
            let outcome = surroundings.outcome(service, peer, layers, act);
            // Where files are read again, Landlock says which.
            let refused = reads(peer) && matches!(outcome, Outcome::Refused(_));
            let stopped = refused || outcome == Outcome::Killed(SIGSYS);
            if KEEPERS.contains(&peer) && listed(expected::KEEPER_LEAVES, act) {
                assert_eq!(outcome, Outcome::Done, "{service} on {peer:?}: {act}");
                continue;
            }
            let left = reads(peer) && listed(expected::READERS_LEAVE, act);
            assert!(stopped || left, "{service} on {peer:?}, {layers}: {act}: {outcome:?}");
        }
    }
}

const KEEPERS: [Io; 2] = [Io::Keeper, Io::KeeperAndFiles];

fn reads(peer: Io) -> bool {
    matches!(peer, Io::ListenersAndFiles | Io::SocketsAndFiles | Io::KeeperAndFiles | Io::DatagramsAndFiles)
}

/// Every process that a service can have, with all layers; and that for one connection once more, where the keeper made it.
fn processes() -> impl Iterator<Item = (&'static str, Io, &'static str)> {
    let forked = audit::combinations().filter(|(_, io)| *io == Io::Connection).map(|(name, io)| (name, io, "forked"));
    audit::combinations().map(|(name, io)| (name, io, "all")).chain(forked)
}

#[test]
fn seccomp_without_landlock_stops_every_act() {
    let surroundings = Surroundings::new("seccomp");
    for (service, peer) in [("qotd", Io::Connection), ("echo", Io::Sockets), ("echo", Io::Datagrams)] {
        assert_eq!(surroundings.outcome(service, peer, "Seccomp", "nothing"), Outcome::Done);
        for act in names() {
            assert_eq!(surroundings.outcome(service, peer, "Seccomp", &act), Outcome::Killed(SIGSYS), "{act}");
        }
    }
}

#[test]
fn landlock_without_seccomp_stops_every_act_that_it_has_a_right_for() {
    if !is_root() {
        return; // others are stopped by more than Landlock
    }
    let surroundings = Surroundings::new("landlock");
    for (family, act) in acts() {
        if expected::FILES_AND_NETWORKS.contains(&family.as_str()) {
            let outcome = surroundings.outcome("qotd", Io::Connection, LANDLOCK, &act);
            let left = listed(expected::LANDLOCK_LEAVES, &act);
            assert_eq!(outcome == Outcome::Done, left, "{act}: {outcome:?}");
        }
    }
}

const LANDLOCK: &str = "NoNewPrivileges,Landlock";

/// By either layer alone, as far as the kernel's Landlock has a word for it: from ABI 6 on, for signals.
#[test]
fn each_of_two_layers_keeps_the_keeper_s_processes_from_each_other_and_from_it() {
    if !is_root() {
        return; // others are stopped by more than these
    }
    for (layers, expected) in
        [("none", "Done"), ("Seccomp", "Killed(31)"), (LANDLOCK, "Refused(1)"), ("all", "Killed(31)")]
    {
        let output = Command::new(helper("hijacked")).args(["echo", layers, "siblings"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let lines = said.lines().map(|line| line.split('\t').collect::<Vec<_>>()).filter(|line| line.len() == 3);
        let mut lines = lines.map(|line| (line[0], line[1], line[2]));
        let (_, _, abi) = lines.next().unwrap();
        let has_scopes = abi.parse::<u32>().unwrap() >= 6;
        let mut acts = 0;
        for (whom, act, outcome) in lines {
            let leaves = layers == LANDLOCK && act == "signal" && !has_scopes;
            let expected = match whom {
                "child" => "Killed(9)", // the keeper may
                _ if leaves => "Done",
                _ => expected,
            };
            assert_eq!(outcome, expected, "{layers}: {act} {whom}");
            acts += 1;
        }
        assert_eq!(acts, 12, "{said}");
    }
}

/// A call, with which arguments and on what.
type Done = [String; 3];

/// What is done of all that the hijacked program tries with the calls that it is allowed.
fn reached(service: &str, peer: Io, layers: &str) -> BTreeSet<Done> {
    let folder = Folder::new(&format!("reach-{service}-{peer:?}-{layers}"));
    let output = Command::new(helper("hijacked"))
        .args([service, &format!("{peer:?}"), layers, "reach"])
        .env("SCRATCH", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let tried = printed.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let done = tried.map(|line| <[String; 4]>::try_from(line).unwrap()).filter(|line| line[3] == "Done");
    done.map(|[call, how, on, _]| [call, how, on]).collect()
}

/// What a list says about a process.
fn listed_for(list: &[reach::Reach], service: &str, peer: Io) -> BTreeSet<Done> {
    let mut set = BTreeSet::new();
    for line in list.iter().filter(|line| (line.services)(service) && line.peers.contains(&peer)) {
        let kinds =
            line.on.iter().flat_map(|(name, kinds)| if kinds.is_empty() { vec![*name] } else { kinds.to_vec() });
        for on in kinds {
            let done = [line.call, line.how, on].map(str::to_owned);
            assert!(set.insert(done), "{} {} on {on}: listed twice", line.call, line.how);
        }
    }
    set
}

#[test]
fn a_hijacked_process_can_do_what_the_page_lists_and_nothing_else() {
    if !is_root() {
        return; // the kernel refuses others more
    }
    for line in reach::LIST {
        assert!(reach::PROCESSES.iter().any(|(peers, _)| peers == &line.peers), "not on the page: {}", line.means);
    }
    let compare = |what: &str, done: &BTreeSet<Done>, listed: &BTreeSet<Done>| {
        let (more, less): (Vec<_>, Vec<_>) = (done.difference(listed).collect(), listed.difference(done).collect());
        assert!(
            more.is_empty() && less.is_empty(),
            "{what}: done and not listed: {more:?}; listed and not done: {less:?}"
        );
    };
    for (service, peer, layers) in processes() {
        let mut listed = listed_for(reach::LIST, service, peer);
        compare(&format!("{service} on {peer:?}, {layers}"), &reached(service, peer, layers), &listed);
        if layers != "all" {
            continue;
        }
        listed.extend(listed_for(reach::BY_LANDLOCK, service, peer));
        compare(&format!("{service} on {peer:?}, seccomp alone"), &reached(service, peer, "Seccomp"), &listed);
    }
}

#[test]
fn the_descriptors_of_the_programs_have_the_numbers_that_were_tried() {
    let folder = Folder::new("numbers");
    let cookies = folder.file("cookies", "one\n%\ntwo\n");
    let cookies = cookies.to_str().unwrap();
    let both = &["--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0"][..];
    let shared = |more: &[&'static str]| [&["--shared"], more].concat();
    let both_and = |name| [both, support::options(name)].concat();
    let mut programs: Vec<_> = support::programs().map(|name| (name, Io::Sockets, shared(&both_and(name)))).collect();
    programs.extend(support::programs().map(|name| {
        // It follows the time zone.
        let reads = name == "daytime";
        (name, if reads { Io::KeeperAndFiles } else { Io::Keeper }, both_and(name))
    }));
    let with_files: Vec<_> = [both, &[cookies]].concat();
    programs.extend([
        ("qotd", Io::SocketsAndFiles, [&["--shared"], &with_files[..]].concat()),
        ("qotd", Io::KeeperAndFiles, with_files),
        ("qotd", Io::ListenersAndFiles, [&["--shared"], &both[..2], &[cookies]].concat()),
        ("echo", Io::Listeners, shared(&both[..2])),
    ]);
    let listen = vec!["--listen", "http://127.0.0.1:0", "--fortunes", cookies];
    programs.push(("lunchd", Io::ListenersAndFiles, listen));
    for (number, (service, peer, arguments)) in programs.into_iter().enumerate() {
        let path = folder.path().join(format!("notify-{number}"));
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(support::HUNG)).unwrap();
        let mut command = Command::new(support::program(service));
        command.args(arguments).env("NOTIFY_SOCKET", path).stdin(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command);
        let mut said = [0; 64];
        let length = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"READY=1");
        assert_eq!(assumed(service, peer, process.0.id(), folder.path()), 11, "{service} on {peer:?}");
        if !KEEPERS.contains(&peer) {
            continue;
        }
        // And its process for datagrams, once it is locked down.
        let (alone, numbers) = if reads(peer) { (Io::DatagramsAndFiles, 11) } else { (Io::Datagrams, 2) };
        let mut children = Vec::new();
        support::wait_until(|| {
            children = support::children(process.0.id());
            let filters = |child: &u32| fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
            children.len() == 1 && filters(&children[0]).contains("Seccomp_filters:\t2")
        });
        assert_eq!(assumed(service, alone, children[0], folder.path()), numbers, "{service} on {alone:?}");
    }
}

/// Asserts that a process has the kinds of descriptors that were tried, at their numbers, and says how many have one that means
/// something, besides the log's.
fn assumed(service: &str, peer: Io, process: u32, folder: &Path) -> usize {
    let open: BTreeMap<i32, String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_str().unwrap().parse().unwrap(), fs::read_link(entry.path()).unwrap()))
        .map(|(number, link)| (number, link.to_str().unwrap().to_owned()))
        .collect();
    let printed = Command::new(helper("hijacked")).args([service, &format!("{peer:?}"), "numbers"]).output().unwrap();
    let mut assumed = 0;
    for line in String::from_utf8(printed.stdout).unwrap().lines() {
        let (number, kind) = line.split_once('\t').unwrap();
        let number = number.parse().unwrap();
        if number == 2 || number >= 12 {
            continue; // whatever the log is; and what has no meaning by its number
        }
        let link = match kind {
            "the signals" => "anon_inode:[signalfd]",
            "the event loop" => "anon_inode:[eventpoll]",
            "what wakes the event loop" => "anon_inode:[eventfd]",
            "a number that is kept" => "/",
            "the service manager" | "a UDP socket" => "socket:",
            _ => panic!("{kind}"),
        };
        let is = open.get(&number).map_or("closed", String::as_str);
        assert!(is.starts_with(link), "{service} on {peer:?}: {number} is {is}, not {kind}");
        assumed += 1;
    }
    let most = if matches!(peer, Io::Datagrams | Io::Connection) { 2 } else { i32::MAX };
    for (number, link) in open.range(3..) {
        let own = Path::new(link).starts_with(folder);
        let ruleset = KEEPERS.contains(&peer) && link == "anon_inode:[landlock-ruleset]";
        let listener = peer != Io::DatagramsAndFiles && link.starts_with("socket:");
        let known = *number < 12 || own || ruleset || listener;
        assert!(known && *number <= most, "{service} on {peer:?}: {number} is {link}");
    }
    assumed
}

#[test]
fn the_unit_alone_stops_every_act_but_those_that_the_page_lists() {
    let acts = names();
    let newer = std::env::var("RELEASE").is_ok_and(|release| release != "bookworm");
    let machine = Machine::with_services("escapes", "");
    machine.shell(&format!("install -m 755 -s {} /usr/local/libexec/small-services", helper("hijacked").display()));
    // A unit without any confinement, to see what the machine itself does not allow.
    machine.shell(
        "cd /run/systemd/system && printf '[Socket]\nListenStream=1000\nAccept=yes\nTriggerLimitIntervalSec=0\n' > \
         open.socket && printf '[Unit]\nCollectMode=inactive-or-failed\n[Service]\nStandardInput=socket\nPrivateMounts=yes\n\
         Environment=TCP=4444\nExecStart=/usr/local/libexec/small-services/hijacked Echo Connection served\n' > open@.service",
    );
    let units = units();
    for unit in &units {
        hijack(&machine, unit);
    }
    // systemd hands the certificate and its key over, whatever is in them.
    machine.shell("mkdir /etc/lunchd && touch /etc/lunchd/certificate.pem /etc/lunchd/key.pem");
    machine.shell("systemctl daemon-reload && systemctl start open.socket");
    let open = attack(&machine, "open@.service", 1000, 4, "none", &acts);
    let (mut measured, mut others) = (BTreeMap::new(), Vec::new());
    for Unit { socket, name, peer, port, column, .. } in &units {
        machine.shell(&format!("systemctl start {socket}"));
        let at_once = if *peer == Io::Connection { 4 } else { 1 };
        let alone = attack(&machine, name, *port, at_once, "none", &acts);
        for act in &acts {
            let outcome = alone[act];
            // What an open unit is refused as well shows nothing, unless it kills here.
            let meaningful = open[act] == Outcome::Done || matches!(outcome, Outcome::Killed(_));
            let (done, leaves) = (outcome == Outcome::Done, unit_leaves(*column, act));
            // A newer systemd may stop more than the page lists, and nothing less.
            if done && !leaves || leaves && !done && !newer {
                others.push(format!("{name} alone: {act}: {outcome:?}"));
            }
            measured.entry((act.clone(), *column)).or_insert((outcome, meaningful));
        }
        // The program's layers first of all: a few acts show that they hold in the unit too.
        let some: Vec<_> = acts.iter().step_by(bounded(8, 1)).cloned().collect();
        let mut both = attack(&machine, name, *port, at_once, "all", &some);
        both.retain(|act, _| !(reads(*peer) && listed(expected::READERS_LEAVE, act)));
        both.retain(|act, _| !(KEEPERS.contains(peer) && listed(expected::KEEPER_LEAVES, act)));
        assert_eq!(both.into_iter().find(|(_, outcome)| *outcome == Outcome::Done), None, "{name}");
    }
    assert!(others.is_empty(), "other outcomes than the page lists: {others:#?}");
    write_page("escapes.md", &page(&table(&measured)));
}

type Measured = BTreeMap<(String, usize), (Outcome, bool)>;

/// The table of the page.
fn table(units: &Measured) -> String {
    let surroundings = Surroundings::new("page");
    let mut rows = Vec::new();
    let mut families = BTreeSet::new();
    for (family, act) in acts() {
        if families.insert(family.clone()) {
            let mut row = vec![format!("**{family}**")];
            row.resize(4 + FORKS.len() + COLUMNS.len(), String::new());
            rows.push(row);
        }
        let one = |layers: &str| show(surroundings.outcome("qotd", Io::Connection, layers, &act), true);
        let unit = |column| units.get(&(act.clone(), column)).map_or(String::new(), |it| show(it.0, it.1));
        let mut row = vec![act.clone(), one("none"), one(LANDLOCK), one("all")];
        row.extend(FORKS.map(|(_, io, layers)| show(surroundings.outcome("qotd", io, layers, &act), true)));
        row.extend((0..COLUMNS.len()).map(unit));
        rows.push(row);
    }
    let forks = FORKS.map(|(name, ..)| name);
    let head = [&["act", "nothing", "Landlock alone", "the program alone"][..], &forks, &COLUMNS].concat();
    support::attack::table(&head, &rows)
}

/// docs/escapes.md, around its table.
fn page(table: &str) -> String {
    let acts = acts();
    let families: BTreeSet<_> = acts.iter().map(|(family, _)| family).collect();
    let list = |lists: &[(&[&str], &str)]| {
        lists.iter().fold(String::new(), |all, (acts, why)| all + &format!("- {}: {why}.\n", acts.join("; ")))
    };
    include_str!("escapes/page.md")
        .replace("@count@", &acts.len().to_string())
        .replace("@families@", &families.len().to_string())
        .replace("@table@", table)
        .replace("@units@", &list(expected::UNITS_LEAVE))
        .replace("@daemons@", &list(expected::DAEMONS_UNITS_LEAVE))
        .replace("@keepers@", &list(expected::KEEPERS_UNITS_LEAVE))
        .replace("@keeper@", &list(expected::KEEPER_LEAVES))
        .replace("@readers@", &list(expected::READERS_LEAVE))
        .replace("@landlock@", &list(expected::LANDLOCK_LEAVES))
        .replace("@reach@", &reach_table())
}

/// What a hijacked process can still do, by kind of process.
fn reach_table() -> String {
    let names = |services: &mut dyn Iterator<Item = &'static str>| services.map(str::to_owned).collect::<BTreeSet<_>>();
    let mut rows = Vec::new();
    for (peers, process) in reach::PROCESSES {
        rows.push(vec![format!("**{process}**"), String::new(), String::new(), String::new()]);
        let there_are = audit::combinations().filter(|(_, peer)| peers.contains(peer));
        let there_are = names(&mut there_are.map(|(service, _)| service));
        for line in reach::LIST.iter().filter(|line| line.peers == *peers) {
            let some: Vec<_> = there_are.iter().filter(|name| (line.services)(name)).map(String::as_str).collect();
            let services = if some.len() == there_are.len() { "all".to_owned() } else { some.join(", ") };
            let call = format!("`{}` {}", line.call, line.how);
            let on: Vec<_> = line.on.iter().map(|(name, _)| *name).collect();
            rows.push(vec![call.trim().to_owned(), on.join(", "), services, line.means.to_owned()]);
        }
    }
    support::attack::table(&["call", "on", "services", "so that an attacker"], &rows)
}

const DONE: &str = "**done**";

fn show(outcome: Outcome, meaningful: bool) -> String {
    match outcome {
        Outcome::Done => DONE.to_owned(),
        Outcome::Killed(SIGSYS) => "killed".to_owned(),
        Outcome::Killed(SIGXFSZ) => "killed by SIGXFSZ".to_owned(),
        Outcome::Killed(signal) => format!("signal {signal}"),
        Outcome::Refused(errno) => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
            if meaningful { text } else { format!("({text})") }
        }
    }
}

#[test]
fn the_page_says_what_is_expected() {
    const WRITE: &str = "docs/escapes.md is another than `make attack` writes";
    let committed = fs::read_to_string(support::repository().join("docs/escapes.md")).unwrap();
    let rows = committed.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.collect();
    let written = page(&(rows.join("\n") + "\n"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(support::repository().join("docs/escapes.md"), written).unwrap();
    } else {
        assert_eq!(written, committed, "{WRITE}");
    }
    for (family, act) in acts() {
        let row = rows.iter().find(|row| row.starts_with(&format!("| {act} |")));
        let row = row.unwrap_or_else(|| panic!("{WRITE}: {act}"));
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, nothing, landlock, program, forked, datagrams, keeper, units @ ..] = &cells[..] else {
            panic!("{row}")
        };
        assert!(*nothing == DONE || expected::NOT_EVERYWHERE.contains(&act.as_str()), "{WRITE}: {act}");
        if expected::FILES_AND_NETWORKS.contains(&family.as_str()) {
            assert_eq!(*landlock == DONE, listed(expected::LANDLOCK_LEAVES, &act), "{WRITE}: {act}");
        }
        assert_eq!([*program, *forked, *datagrams], ["killed"; 3], "{WRITE}: {act}");
        let left = listed(expected::KEEPER_LEAVES, &act);
        assert_eq!(*keeper, if left { DONE } else { "killed" }, "{WRITE}: {act}");
        let left: Vec<_> = units.iter().map(|cell| *cell == DONE).collect();
        let expected: Vec<_> = (0..COLUMNS.len()).map(|column| unit_leaves(column, &act)).collect();
        assert_eq!(left, expected, "{WRITE}: {act}");
    }
}
