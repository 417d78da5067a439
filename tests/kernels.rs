//! Real kernels, in virtual machines: what is served, said, stopped and left on each. `make attack` writes the page and its data.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;

use hunker::Rights;
use page::Data;
use support::attack::{bounded, full, write_page};
use support::{Folder, helper, program, programs, repository, tool};

#[allow(dead_code)] // tests/escapes.rs uses the rest
#[path = "escapes/expected.rs"]
mod expected;
#[path = "kernels/page.rs"]
mod page;

/// A kernel of tests/kernel.
struct Kernel {
    name: &'static str,
    /// Its name on the page.
    title: &'static str,
    /// Landlock's version. The newest kernel may have a newer one.
    abi: u32,
    /// Also in `make test`.
    bounded: bool,
}

const fn kernel(name: &'static str, title: &'static str, abi: u32, bounded: bool) -> Kernel {
    Kernel { name, title, abi, bounded }
}

const NEWEST: &str = "sid";
const KERNELS: [Kernel; 6] = [
    kernel("5.10", "5.10, Debian 11", 0, true),
    kernel("5.15", "5.15, Ubuntu 22.04", 1, false),
    kernel("6.1", "6.1, Debian 12", 2, true),
    kernel("6.12", "6.12, Debian 13", 6, false),
    kernel(NEWEST, "the newest, Debian sid", 10, true),
    kernel("aarch64", "6.12, Debian 13, aarch64", 6, true),
];

/// The output of one kernel's machine: section, row and cell.
struct Run {
    kernel: &'static Kernel,
    lines: Vec<[String; 3]>,
}

impl Run {
    fn section<'a>(&'a self, section: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.lines.iter().filter(move |line| line[0] == section).map(|[_, row, cell]| (row.as_str(), cell.as_str()))
    }

    fn cell(&self, section: &str, row: &str) -> &str {
        let mut rows = self.section(section);
        rows.find(|(known, _)| *known == row).unwrap_or_else(|| panic!("{}: no {row}", self.kernel.title)).1
    }

    fn abi(&self) -> u32 {
        self.cell("kernel", ABI).parse().unwrap()
    }
}

const ABI: &str = "Landlock's version";

/// All machines, two at a time, once for all tests.
static RUNS: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let waiting: Mutex<VecDeque<_>> = Mutex::new(KERNELS.iter().filter(|it| full() || it.bounded).collect());
    let runs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(kernel) = { waiting.lock().unwrap().pop_back() } {
                    let run = boot(kernel);
                    runs.lock().unwrap().push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap();
    runs.sort_by_key(|run| KERNELS.iter().position(|it| it.name == run.kernel.name));
    runs
});

/// Boots a kernel, and returns the results there.
fn boot(kernel: &'static Kernel) -> Run {
    let folder = Folder::new(&format!("kernel-{}", kernel.name));
    let mut there = Vec::new();
    if kernel.name == "aarch64" {
        let built = cross();
        there.extend(programs().chain(["lunchd", "small-services"]).map(|name| built.join(name)));
        there.extend(["hijacked", "on_kernel"].map(|name| built.join("examples").join(name)));
    } else {
        there.extend(programs().chain(["lunchd", "small-services"]).map(program));
        for name in ["hijacked", "on_kernel"] {
            let copy = folder.path().join(name);
            assert!(tool("strip").arg("-o").arg(&copy).arg(helper(name)).status().unwrap().success());
            there.push(copy);
        }
    }
    let script = format!(
        "echo 'root:x:0:0::/:/bin/sh' >/etc/passwd && cp /etc/passwd /etc/shadow && cp /etc/passwd /etc/hosts\n\
         /programs/on_kernel {}\n",
        bounded("bounded", "full")
    );
    let mut guest = Command::new(repository().join("tests/guest"));
    guest.arg(folder.path()).args(there).env("KERNEL", kernel.name).env("LIMIT", bounded("600", "3000"));
    guest.stdin(fs::File::open(folder.file("commands", script)).unwrap()).stdout(Stdio::piped());
    let output = guest.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}{}", kernel.title, String::from_utf8_lossy(&output.stderr));
    let lines = said.lines().filter_map(|line| {
        let fields: Vec<_> = line.splitn(3, '\t').map(str::to_owned).collect();
        <[String; 3]>::try_from(fields).ok()
    });
    Run { kernel, lines: lines.collect() }
}

/// Builds the programs for aarch64, and returns their folder.
fn cross() -> std::path::PathBuf {
    let output = Command::new(repository().join("tests/cross")).arg("build").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn every_service_is_served_in_each_way_or_refused_as_the_mode_says() {
    for run in RUNS.iter() {
        let (title, abi) = (run.kernel.title, run.abi());
        assert!(abi == run.kernel.abi || run.kernel.name == NEWEST && abi > run.kernel.abi, "{title}: {abi}");
        for (row, cell) in run.section("served") {
            let (mode, outcome) = cell.split_once(": ").unwrap();
            let serves = serves(mode, abi);
            assert_eq!(outcome, if serves { "served" } else { "refused" }, "{title}: {row}, {mode}");
            if !serves {
                let said = run.cell("said", &format!("{row}, {mode}"));
                let why = if abi == 0 {
                    "Landlock is missing (this kernel has no Landlock"
                } else {
                    "Landlock is incomplete ("
                };
                assert!(said.contains(&format!("refuses to serve: the sandbox layer {why}")), "{title}: {row}: {said}");
            }
        }
        let rows: Vec<_> = run.section("served").map(|(row, _)| row).collect();
        for name in programs() {
            for way in ["under a super-server", "keeper", "one process for all", "filter"] {
                assert!(rows.contains(&format!("{name}, {way}").as_str()), "{title}: {name}, {way}");
            }
        }
        assert!(rows.contains(&"lunchd, one process for all"), "{title}");
    }
}

/// Whether a mode serves with this version of Landlock.
fn serves(mode: &str, abi: u32) -> bool {
    abi >= match mode {
        "best-effort" => 0,
        "strict" => 1,
        "full" => Rights::all().iter().map(|right| right.abi).max().unwrap(),
        other => panic!("{other}?"),
    }
}

/// Version 1 always forbids moving files, since it cannot allow it.
fn lacks(abi: u32, right: &hunker::Right) -> bool {
    right.abi > abi && !(abi == 1 && right.name == "fs_refer")
}

/// What this version of Landlock cannot forbid, in words. A service that answers datagrams does not ask to forbid sending them.
fn lacking(abi: u32, sends_datagrams: bool) -> Option<String> {
    let all = Rights::all();
    let words = all.iter().filter(|it| lacks(abi, it) && !(sends_datagrams && it.name == "net_connect_send_udp"));
    let words: Vec<_> = words.map(|it| it.action).collect();
    let (last, others) = words.split_last()?;
    let acts = if others.is_empty() { (*last).to_owned() } else { format!("{} or {last}", others.join(", ")) };
    Some(format!("this kernel (Landlock ABI {abi}) cannot forbid {acts}"))
}

#[test]
fn the_log_and_the_doctor_name_what_landlock_cannot_forbid() {
    for run in RUNS.iter() {
        let (title, abi) = (run.kernel.title, run.abi());
        let json = run.cell("said", "doctor --json").replace("\\n", "\n");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names: Vec<_> = Rights::all().iter().filter(|it| lacks(abi, it)).map(|it| it.name).collect();
        assert_eq!(json["landlock"], serde_json::json!({ "abi": abi, "missing": names }), "{title}");
        let doctor = run.cell("said", "doctor");
        if abi == 0 {
            assert!(
                doctor.contains("the sandbox layer Landlock is missing (this kernel has no Landlock"),
                "{title}: {doctor}"
            );
            for (row, cell) in run.section("said").filter(|(row, _)| row.ends_with("best-effort")) {
                assert!(
                    cell.contains("is missing (") && cell.ends_with("); serving without it"),
                    "{title}: {row}: {cell}"
                );
            }
            continue;
        }
        let sentence = lacking(abi, false).map_or("with every right".to_owned(), |it| format!("{it}; seccomp does"));
        assert!(doctor.contains(&sentence), "{title}: {doctor}");
        for (row, cell) in run.section("served").filter(|(_, cell)| cell.ends_with(": served")) {
            let mode = cell.split_once(": ").unwrap().0;
            let said: Vec<_> = run.section("said").filter(|(it, _)| *it == format!("{row}, {mode}")).collect();
            let (name, way) = row.split_once(", ").unwrap();
            // A service that answers datagrams may send them. A keeper may end its processes.
            let keeper = way == "keeper";
            let signals = if keeper && abi < 6 { ", except for signals to other processes" } else { "" };
            let sends = !["discard", "lunchd"].contains(&name);
            let line = lacking(abi, sends).map(|it| format!("{name}: {it}; seccomp does{signals}"));
            match line.filter(|_| keeper || way == "one process for all") {
                Some(line) => assert_eq!(said, [(format!("{row}, {mode}").as_str(), line.as_str())], "{title}"),
                None => assert_eq!(said, [], "{title}"),
            }
        }
    }
}

#[test]
fn landlock_alone_stops_what_its_version_has_a_right_for() {
    for run in RUNS.iter() {
        let (title, abi) = (run.kernel.title, run.abi());
        let mut acts = 0;
        for (act, cell) in run.section("acts").filter(|(_, cell)| *cell != "cannot be done") {
            // The machine's shell is a static program: no file is opened to load it.
            let left = abi == 0 || expected::landlock_leaves(abi, act) || act == "execute a program in memory";
            assert_eq!(cell, if left { "**done**" } else { "refused" }, "{title}: {act}");
            acts += 1;
        }
        assert!(acts >= 50, "{title}: {acts} attacks");
        let mut siblings = 0;
        for (act, cell) in run.section("siblings") {
            let expected = match act.contains("Landlock") {
                // Landlock has scopes from version 6 on.
                true if abi < 6 && act.starts_with("signal") => "**done**",
                true => "refused",
                false => "killed",
            };
            assert_eq!(cell, expected, "{title}: {act}");
            siblings += 1;
        }
        assert_eq!(siblings, if abi == 0 { 6 } else { 12 }, "{title}");
    }
}

#[test]
fn all_layers_stop_every_attack_except_what_a_keeper_needs() {
    let all =
        |lists: &[(&[&str], &str)]| lists.iter().flat_map(|(acts, _)| acts.to_vec()).collect::<Vec<_>>().join("; ");
    for run in RUNS.iter() {
        let mut processes = 0;
        for (process, cell) in run.section("layers") {
            let keeper = process.contains("Keeper");
            let reads = process.ends_with("AndFiles");
            let left = match (keeper, reads) {
                (true, true) => [all(expected::READERS_LEAVE), all(expected::KEEPER_LEAVES)].join("; "),
                (true, false) => all(expected::KEEPER_LEAVES),
                (false, true) => all(expected::READERS_LEAVE),
                (false, false) => String::new(),
            };
            let expected = if left.is_empty() { "all stopped".to_owned() } else { format!("all stopped but: {left}") };
            // Without Landlock, a process that rereads files may read any file, and nothing more.
            let files = run.abi() == 0 && reads && {
                let done = cell.strip_prefix("all stopped but: ").unwrap_or_default().split("; ");
                let by_reading = |act: &str| ["read ", "list ", "open a device"].iter().any(|it| act.starts_with(it));
                done.filter(|act| !all(expected::KEEPER_LEAVES).contains(act)).all(by_reading)
            };
            // Not every process that reads files lists directories.
            let fewer = reads && cell == expected.replace(&format!(" but: {}", all(expected::READERS_LEAVE)), "");
            assert!(cell == expected || files || fewer, "{}: {process}: {cell}", run.kernel.title);
            processes += 1;
        }
        assert_eq!(processes, bounded(2, 5), "{}", run.kernel.title);
    }
}

#[test]
fn the_calls_that_survive_are_those_of_the_policy_and_do_what_is_listed() {
    for run in RUNS.iter() {
        let title = run.kernel.title;
        for (process, cell) in run.section("calls") {
            assert!(cell.parse::<usize>().is_ok(), "{title}: {process}: {cell}");
        }
        for (process, cell) in run.section("reach") {
            let expected = match run.abi() {
                0 if process.contains("Keeper") => "not tried",
                0..6 if process.contains("Keeper") => "as listed, and: kill another process",
                _ => "as listed",
            };
            // Without Landlock, a process that rereads files may read any file.
            let files = run.abi() == 0 && process.ends_with("AndFiles");
            assert!(cell == expected || files && cell.starts_with("as listed, and: "), "{title}: {process}: {cell}");
        }
    }
}

const WRITE: &str = "docs/data/kernels.tsv is another than `make attack` writes";
/// The sections of what the machines say, in the order of the page.
const SECTIONS: [&str; 8] = ["kernel", "served", "said", "acts", "siblings", "layers", "calls", "reach"];

/// The rows of a section, and in each what every kernel says. Of what is served, the modes that serve.
fn rows(section: &str) -> Vec<(String, String, Vec<String>)> {
    if section == "said" {
        let all: Vec<_> = RUNS.iter().map(said).collect();
        let row = |at: usize| {
            let cells = all.iter().map(|lines| lines[at].1.clone()).collect();
            (section.to_owned(), all[0][at].0.to_owned(), cells)
        };
        return (0..all[0].len()).map(row).collect();
    }
    let mut names: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for run in RUNS.iter() {
        for (row, cell) in run.section(section) {
            if !names.contains(&row) {
                names.push(row);
            }
            let cell = if section == "served" { cell.strip_suffix(": served") } else { Some(cell) };
            cells.entry((row, run.kernel.name)).or_default().extend(cell);
        }
    }
    let of = |row: &&str| {
        let cells = RUNS.iter().map(|run| cells.get(&(row, run.kernel.name)).map_or(String::new(), |it| it.join(", ")));
        (section.to_owned(), (*row).to_owned(), cells.map(|it| it.trim().to_owned()).collect())
    };
    names.iter().map(of).collect()
}

/// What one daemon of each kind and the doctor said on a kernel.
fn said(run: &Run) -> Vec<(&'static str, String)> {
    let mode = if run.abi() == 0 { "best-effort" } else { "strict" };
    let of =
        |row: String| run.section("said").find(|(it, _)| *it == row).map_or("nothing", |(_, line)| line).to_owned();
    let log = |way: &str| of(format!("echo, {way}, {mode}"));
    let doctor = run.cell("said", "doctor").replace("\\n", "\n");
    let line = doctor.lines().find(|line| line.contains("Landlock")).expect("a word of Landlock");
    let json: serde_json::Value =
        serde_json::from_str(&run.cell("said", "doctor --json").replace("\\n", "\n")).unwrap();
    vec![
        ("the log of keeper", log("keeper")),
        ("the log of one process for all", log("one process for all")),
        ("doctor", line.trim().to_owned()),
        ("doctor --json", json["landlock"].to_string()),
    ]
}

#[test]
fn the_page_is_what_the_machines_say() {
    if full() {
        let titles = RUNS.iter().map(|run| run.kernel.title.to_owned()).collect();
        let data = Data { titles, rows: SECTIONS.iter().flat_map(|section| rows(section)).collect() };
        data.write();
        write_page("kernels.md", &data.page());
    }
    let data = Data::read();
    for run in RUNS.iter() {
        let title = run.kernel.title;
        // A newer kernel than the page's newest may know more.
        if data.cell("kernel", ABI, title) != Some(run.cell("kernel", ABI)) {
            assert_eq!(run.kernel.name, NEWEST, "{WRITE}: {title}");
            continue;
        }
        for (row, line) in said(run) {
            assert_eq!(data.cell("said", row, title), Some(line.as_str()), "{WRITE}: {title}: {row}");
        }
        for [section, row, cell] in run.lines.iter().filter(|line| line[0] != "said") {
            let Some(known) = data.cell(section, row, title) else { panic!("{WRITE}: {title}: no {row}") };
            let agrees = match (section.as_str(), cell.split_once(": ")) {
                ("served", Some((mode, outcome))) => known.split(", ").any(|it| it == mode) == (outcome == "served"),
                ("kernel", _) if row == "Linux" => run.kernel.name == NEWEST || minor(known) == minor(cell),
                _ => known == cell.trim(),
            };
            assert!(agrees, "{WRITE}: {title}: {row}: {cell}, where it has {known}");
        }
    }
}

#[test]
fn the_page_is_made_of_what_the_machines_said() {
    if full() {
        return; // it is being made
    }
    let (page, path) = (Data::read().page(), repository().join("docs/kernels.md"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == page, "UPDATE=yes tests/run kernels writes docs/kernels.md anew");
}

/// Of a release, `6.1`.
fn minor(release: &str) -> Vec<&str> {
    release.split(['.', '-']).take(2).collect()
}
