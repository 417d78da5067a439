//! Escapes: a program in place of a hijacked service tries what an attacker would try, against the program's layers, the unit's,
//! and both. `make attack` writes the results to docs/data/escapes.csv, and docs/escapes.md from it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use small_services::policy::Io;
use support::attack::{bounded, full, this_machine};
use support::machine::Machine;
use support::manager::Manager;
use support::{Folder, Process, audit, helper, repository};

#[path = "escapes/attack.rs"]
mod attack;
#[path = "escapes/expected.rs"]
mod expected;
#[path = "escapes/page.rs"]
mod page;
#[path = "escapes/reach.rs"]
mod reach;
#[path = "escapes/reached.rs"]
mod reached;
#[path = "escapes/surroundings.rs"]
mod surroundings;
#[path = "escapes/table.rs"]
mod table;
#[path = "escapes/units.rs"]
mod units;

use page::page;
use reached::{Done, assumed, listed_for, reached};
use surroundings::{Outcome, SIGSYS};
use table::{DONE, Table, reach_path, reach_text};
use units::{COLUMNS, Unit, hijack, units};

/// All attacks, each with its family.
fn acts() -> Vec<(String, String)> {
    surroundings::acts(&helper("hijacked"))
}

/// The targets of the attacks, removed when the value is dropped.
struct Surroundings(surroundings::Surroundings, #[allow(dead_code)] Folder);

impl Surroundings {
    fn new(test: &str) -> Self {
        let folder = Folder::new(test);
        Self(surroundings::Surroundings::new(helper("hijacked"), test, folder.path()), folder)
    }

    fn outcome(&self, service: &str, peer: Io, layers: &str, act: &str) -> Outcome {
        self.0.outcome(service, &format!("{peer:?}"), layers, act)
    }
}

/// The columns of the page for the keeper and its processes, with all layers of the program.
const FORKS: [(&str, Io, &str); 3] = [
    ("the keeper's per-connection process", Io::Connection, "forked"),
    ("the keeper's process for datagrams", Io::Datagrams, "all"),
    ("the keeper", Io::Keeper, "all"),
];

/// Runs attacks in the hijacked program of a unit, behind a port.
fn attack(
    machine: &Machine,
    unit: &str,
    port: u16,
    at_once: usize,
    layers: &str,
    acts: &[String],
) -> BTreeMap<String, Outcome> {
    let tries: Vec<_> = acts.iter().map(|act| (port, act.clone())).collect();
    let outcomes = attack::attack(machine, &unit.replace('@', "@*"), at_once, layers, &tries);
    acts.iter().cloned().zip(outcomes).collect()
}

fn names() -> Vec<String> {
    acts().into_iter().map(|(_, act)| act).collect()
}

fn listed(lists: &[(&[&str], &str)], act: &str) -> bool {
    lists.iter().any(|(acts, _)| acts.contains(&act))
}

/// Whether the unit of a column does not stop an attack on its own.
fn unit_leaves(column: usize, act: &str) -> bool {
    listed(expected::UNITS_LEAVE, act)
        || column < 2 && listed(expected::NEIGHBOURS_UNITS_LEAVE, act)
        || column > 0 && listed(expected::DAEMONS_UNITS_LEAVE, act)
        || column == 1 && listed(expected::KEEPERS_UNITS_LEAVE, act)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_attacks_are_many_and_succeed_without_the_lock_down() {
    let acts = acts();
    let families: BTreeSet<_> = acts.iter().map(|(family, _)| family).collect();
    assert!(acts.len() >= 100 && families.len() >= 12, "{} attacks in {} families", acts.len(), families.len());
    for list in [
        expected::LANDLOCK_LEAVES,
        expected::READERS_LEAVE,
        expected::KEEPER_LEAVES,
        expected::UNITS_LEAVE,
        expected::NEIGHBOURS_UNITS_LEAVE,
        expected::DAEMONS_UNITS_LEAVE,
        expected::KEEPERS_UNITS_LEAVE,
    ] {
        for act in list.iter().flat_map(|(acts, _)| *acts) {
            assert!(acts.iter().any(|(_, known)| known == act), "no such attack: {act}");
        }
    }
    if !is_root() {
        return; // only root may do most of them
    }
    let surroundings = Surroundings::new("without");
    for (_, act) in acts.iter().filter(|(_, act)| !expected::NOT_EVERYWHERE.contains(&act.as_str())) {
        assert_eq!(surroundings.outcome("qotd", Io::Connection, "none", act), Outcome::Done, "{act}");
    }
}

#[test]
fn the_program_alone_stops_every_attack_in_every_service() {
    let surroundings = Surroundings::new("program");
    let acts = names();
    // In `make test` each attack runs in a third of the processes, in turn.
    let turns = bounded(3, 1);
    for (number, (service, peer, layers)) in processes().enumerate() {
        assert_eq!(surroundings.outcome(service, peer, layers, "nothing"), Outcome::Done);
        for act in acts.iter().skip(number % turns).step_by(turns) {
            let outcome = surroundings.outcome(service, peer, layers, act);
            // Landlock decides which files can be reread.
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

/// Every process that a service can have, with all layers. The process for one connection also as a child of the keeper.
fn processes() -> impl Iterator<Item = (&'static str, Io, &'static str)> {
    let forked = audit::combinations().filter(|(_, io)| *io == Io::Connection).map(|(name, io)| (name, io, "forked"));
    audit::combinations().map(|(name, io)| (name, io, "all")).chain(forked)
}

#[test]
fn seccomp_without_landlock_stops_every_attack() {
    let surroundings = Surroundings::new("seccomp");
    for (service, peer) in [("qotd", Io::Connection), ("echo", Io::Sockets), ("echo", Io::Datagrams)] {
        assert_eq!(surroundings.outcome(service, peer, "Seccomp", "nothing"), Outcome::Done);
        for act in names() {
            assert_eq!(surroundings.outcome(service, peer, "Seccomp", &act), Outcome::Killed(SIGSYS), "{act}");
        }
    }
}

#[test]
fn landlock_without_seccomp_stops_every_attack_that_it_has_a_right_for() {
    if !is_root() {
        return; // more than Landlock stops the others
    }
    let surroundings = Surroundings::new("landlock");
    let abi = hunker::Landlock::of_kernel().unwrap().abi;
    for (family, act) in acts() {
        if expected::FILES_AND_NETWORKS.contains(&family.as_str()) {
            let outcome = surroundings.outcome("qotd", Io::Connection, LANDLOCK, &act);
            let left = expected::landlock_leaves(abi, &act);
            assert_eq!(outcome == Outcome::Done, left, "{act}: {outcome:?}");
        }
    }
}

const LANDLOCK: &str = "NoNewPrivileges,Landlock";

/// By either layer alone, as far as the kernel's Landlock supports it: signals from ABI 6 on.
#[test]
fn each_of_two_layers_keeps_the_keeper_s_processes_from_each_other_and_from_it() {
    if !is_root() {
        return; // more than these stop the others
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

#[test]
fn a_hijacked_process_can_do_what_the_page_lists_and_nothing_else() {
    if !is_root() {
        return; // the kernel refuses more to the others
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
        let manager = Manager::new(folder.path().join(format!("notify-{number}")));
        let mut command = Command::new(support::program(service));
        command.args(arguments).env("NOTIFY_SOCKET", manager.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command);
        assert_eq!(manager.next(), "READY=1");
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

#[test]
fn the_unit_alone_stops_every_attack_except_those_that_the_page_lists() {
    let acts = names();
    let newer = std::env::var("RELEASE").is_ok_and(|release| release != "bookworm");
    let machine = Machine::with_services("escapes", "");
    machine.shell(&format!("install -m 711 -s {} /usr/local/libexec/small-services", helper("hijacked").display()));
    // A unit without any confinement shows what the machine itself does not allow.
    machine.shell(
        "cd /run/systemd/system && printf '[Socket]\nListenStream=1000\nAccept=yes\nTriggerLimitIntervalSec=0\n' > \
         open.socket && printf '[Unit]\nCollectMode=inactive-or-failed\n[Service]\nStandardInput=socket\nPrivateMounts=yes\n\
         Environment=TCP=4444\nExecStart=/usr/local/libexec/small-services/hijacked Echo Connection served\n' > open@.service",
    );
    let units = units();
    for unit in &units {
        hijack(&machine, unit);
    }
    // systemd passes the certificate and its key, whatever their content.
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
            // What an unconfined unit is refused as well shows nothing, unless this unit kills.
            let meaningful = open[act] == Outcome::Done || matches!(outcome, Outcome::Killed(_));
            let (done, leaves) = (outcome == Outcome::Done, unit_leaves(*column, act));
            // A newer systemd may stop more than the page lists, but not less.
            if done && !leaves || leaves && !done && !newer {
                others.push(format!("{name} alone: {act}: {outcome:?}"));
            }
            measured.entry((act.clone(), *column)).or_insert((outcome, meaningful));
        }
        // First the program's layers: a few attacks show that they also hold in the unit.
        let some: Vec<_> = acts.iter().step_by(bounded(8, 1)).cloned().collect();
        let mut both = attack(&machine, name, *port, at_once, "all", &some);
        both.retain(|act, _| !(reads(*peer) && listed(expected::READERS_LEAVE, act)));
        both.retain(|act, _| !(KEEPERS.contains(peer) && listed(expected::KEEPER_LEAVES, act)));
        assert_eq!(both.into_iter().find(|(_, outcome)| *outcome == Outcome::Done), None, "{name}");
    }
    assert!(others.is_empty(), "other outcomes than the page lists: {others:#?}");
    if full() || updates() {
        let table = Table::new(this_machine(&machine), &measured);
        table.write();
        fs::write(repository().join(PAGE), page(&table)).unwrap();
    }
}

const PAGE: &str = "docs/escapes.md";

/// Whether what the committed files say is written anew.
fn updates() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Asserts that a committed file is what it is made of, or writes it so.
fn assert_is(path: &Path, written: &str) {
    if updates() {
        fs::write(path, written).unwrap();
    } else {
        let committed = fs::read_to_string(path).unwrap_or_default();
        let how = "UPDATE=yes cargo test --test escapes -- the_page_says";
        assert!(committed == written, "{} is another than `{how}` writes", path.display());
    }
}

#[test]
fn the_page_says_what_is_expected() {
    const WRITE: &str = "docs/data/escapes.csv is not what `make attack` writes";
    if full() {
        return; // it is being made
    }
    let table = Table::read();
    assert_is(&repository().join("docs/data/escapes.csv"), &table.text());
    assert_is(&reach_path(), &reach_text());
    assert_is(&repository().join(PAGE), &page(&table));
    let listed_acts: Vec<_> = table.rows.iter().map(|row| (row.family.clone(), row.act.clone())).collect();
    assert_eq!(listed_acts, acts(), "{WRITE}");
    for row in &table.rows {
        let (act, cells): (_, Vec<_>) = (&row.act, row.cells.iter().map(String::as_str).collect());
        let [nothing, landlock, program, forked, datagrams, keeper, units @ ..] = &cells[..] else {
            panic!("{WRITE}: {act}")
        };
        assert!(*nothing == DONE || expected::NOT_EVERYWHERE.contains(&act.as_str()), "{WRITE}: {act}");
        if expected::FILES_AND_NETWORKS.contains(&row.family.as_str()) {
            assert_eq!(*landlock == DONE, listed(expected::LANDLOCK_LEAVES, act), "{WRITE}: {act}");
        }
        assert_eq!([*program, *forked, *datagrams], ["killed"; 3], "{WRITE}: {act}");
        let left = listed(expected::KEEPER_LEAVES, act);
        assert_eq!(*keeper, if left { DONE } else { "killed" }, "{WRITE}: {act}");
        let left: Vec<_> = units.iter().map(|cell| *cell == DONE).collect();
        let expected: Vec<_> = (0..COLUMNS.len()).map(|column| unit_leaves(column, act)).collect();
        assert_eq!(left, expected, "{WRITE}: {act}");
    }
}
