//! Real kernels, in virtual machines: what is served, said, stopped and left on each. `make attack` writes docs/kernels.md.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;

use hunker::Rights;
use support::attack::{bounded, full, table, write_page};
use support::{Folder, helper, program, programs, repository, tool};

#[allow(dead_code)] // tests/escapes.rs uses the rest
#[path = "escapes/expected.rs"]
mod expected;

/// A kernel of tests/kernel's.
struct Kernel {
    name: &'static str,
    /// On the page.
    title: &'static str,
    /// Of Landlock; the newest kernel may have a newer one.
    abi: u32,
    /// In `make test` too.
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

/// What one kernel's machine said: section, row and cell.
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

/// Boots a kernel, and returns what it is like there.
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

/// Builds the programs for aarch64, and returns where they are.
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

/// Whether a mode serves where Landlock has this version.
fn serves(mode: &str, abi: u32) -> bool {
    abi >= match mode {
        "best-effort" => 0,
        "strict" => 1,
        "full" => Rights::all().iter().map(|right| right.abi).max().unwrap(),
        other => panic!("{other}?"),
    }
}

/// Version 1 cannot allow what version 2 has a right for, and so forbids it.
fn lacks(abi: u32, right: &hunker::Right) -> bool {
    right.abi > abi && !(abi == 1 && right.name == "fs_refer")
}

/// What Landlock of a version cannot forbid, in words; where datagrams are sent, that is not asked.
fn lacking(abi: u32, sends_datagrams: bool) -> Option<String> {
    let all = Rights::all();
    let words = all.iter().filter(|it| lacks(abi, it) && !(sends_datagrams && it.name == "net_connect_send_udp"));
    let words: Vec<_> = words.map(|it| it.act).collect();
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
            // One that answers datagrams may send them; a keeper may end its processes.
            let keeper = way == "keeper";
            let signals = if keeper && abi < 6 { ", but for signals to other processes" } else { "" };
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
        assert!(acts >= 50, "{title}: {acts} acts");
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
fn all_layers_stop_every_act_but_what_a_keeper_is_for() {
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
            // Without Landlock, who reads files again may read any, and that is all.
            let files = run.abi() == 0 && reads && {
                let done = cell.strip_prefix("all stopped but: ").unwrap_or_default().split("; ");
                let by_reading = |act: &str| ["read ", "list ", "open a device"].iter().any(|it| act.starts_with(it));
                done.filter(|act| !all(expected::KEEPER_LEAVES).contains(act)).all(by_reading)
            };
            // Not every one that reads files lists directories.
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
                0..6 if process.contains("Keeper") => "as listed, and: kill  another process",
                _ => "as listed",
            };
            // Without Landlock, who reads files again may read any.
            let files = run.abi() == 0 && process.ends_with("AndFiles");
            assert!(cell == expected || files && cell.starts_with("as listed, and: "), "{title}: {process}: {cell}");
        }
    }
}

const WRITE: &str = "docs/kernels.md is another than `make attack` writes";

/// The tables of the page: the section of the machines' lines, and the heading of the first column.
const TABLES: [(&str, &str); 7] = [
    ("kernel", ""),
    ("served", "service"),
    ("acts", "act"),
    ("siblings", "act"),
    ("layers", "process"),
    ("calls", "process"),
    ("reach", "process"),
];

/// The rows of a section, and in each what every kernel says. Of what is served, the modes that serve.
fn rows(section: &str) -> Vec<Vec<String>> {
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
        [(*row).to_owned()].into_iter().chain(cells).collect()
    };
    names.iter().map(of).collect()
}

/// What one daemon of each kind and the doctor said on a kernel.
fn said(run: &Run) -> String {
    let mut list = String::new();
    let mode = if run.abi() == 0 { "best-effort" } else { "strict" };
    for way in ["keeper", "one process for all"] {
        let row = format!("echo, {way}, {mode}");
        let line = run.section("said").find(|(it, _)| *it == row).map_or("nothing", |(_, line)| line);
        let _ = writeln!(list, "- {}, the log of {way}, `--sandbox {mode}`: {line}", run.kernel.title);
    }
    let doctor = run.cell("said", "doctor").replace("\\n", "\n");
    let line = doctor.lines().find(|line| line.contains("Landlock")).expect("a word of Landlock");
    let _ = writeln!(list, "- {}, `small-services doctor`: {}", run.kernel.title, line.trim());
    let json: serde_json::Value =
        serde_json::from_str(&run.cell("said", "doctor --json").replace("\\n", "\n")).unwrap();
    let _ = writeln!(list, "- {}, `doctor --json`: `\"landlock\": {}`", run.kernel.title, json["landlock"]);
    list
}

#[test]
fn the_page_is_what_the_machines_say() {
    let titles: Vec<_> = RUNS.iter().map(|run| run.kernel.title).collect();
    if full() {
        let mut page = include_str!("kernels/page.md").to_owned();
        for (section, head) in TABLES {
            page = page.replace(&format!("@{section}@"), &table(&[&[head], &titles[..]].concat(), &rows(section)));
        }
        write_page("kernels.md", &page.replace("@said@", &RUNS.iter().map(said).collect::<String>()));
    }
    let page = fs::read_to_string(repository().join("docs/kernels.md")).unwrap();
    let there: BTreeMap<(&str, &str, &str), &str> =
        TABLES.iter().zip(tables(&page)).flat_map(|(it, table)| cells(it.0, &table)).collect();
    for run in RUNS.iter() {
        let title = run.kernel.title;
        // A newer kernel than the page's newest may know more.
        if there.get(&("kernel", ABI, title)) != Some(&run.cell("kernel", ABI)) {
            assert_eq!(run.kernel.name, NEWEST, "{WRITE}: {title}");
            continue;
        }
        for line in said(run).lines() {
            assert!(page.lines().any(|known| known == line), "{WRITE}: {line}");
        }
        for [section, row, cell] in &run.lines {
            let Some(known) = there.get(&(section.as_str(), row.as_str(), title)) else {
                assert!(section == "said", "{WRITE}: {title}: no {row}");
                continue;
            };
            let agrees = match (section.as_str(), cell.split_once(": ")) {
                ("served", Some((mode, outcome))) => known.split(", ").any(|it| it == mode) == (outcome == "served"),
                ("kernel", _) if row == "Linux" => run.kernel.name == NEWEST || minor(known) == minor(cell),
                _ => *known == cell.trim(),
            };
            assert!(agrees, "{WRITE}: {title}: {row}: {cell}, where the page has {known}");
        }
    }
}

/// Of a release, `6.1`.
fn minor(release: &str) -> Vec<&str> {
    release.split(['.', '-']).take(2).collect()
}

/// The tables of a page, each as its lines.
fn tables(page: &str) -> Vec<Vec<&str>> {
    page.split("\n\n")
        .map(|it| it.lines().filter(|line| line.starts_with('|')).collect())
        .filter(|it: &Vec<_>| !it.is_empty())
        .collect()
}

/// Of a table, each cell with the section, the row and the column.
fn cells<'a>(section: &'a str, table: &[&'a str]) -> Vec<((&'a str, &'a str, &'a str), &'a str)> {
    let split = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let head = split(table[0]);
    let rows = table[2..].iter().map(|line| split(line));
    rows.flat_map(|row| (1..row.len()).map(|at| ((section, row[0], head[at]), row[at])).collect::<Vec<_>>()).collect()
}
