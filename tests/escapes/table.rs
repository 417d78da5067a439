//! docs/data/escapes.csv: how each attack ended, in each of the surroundings; and docs/data/reach.csv.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::attack::SIGXFSZ;
use super::support::{audit, repository};
use super::surroundings::{Outcome, SIGSYS};
use super::{COLUMNS, FORKS, Io, LANDLOCK, Surroundings, acts, expected, reach};

/// By attack and column of [`COLUMNS`]; and whether it shows something.
pub type Measured = BTreeMap<(String, usize), (Outcome, bool)>;

pub const DONE: &str = "done";
const WRITE: &str = "docs/data/escapes.csv is not what `make attack` writes";

pub struct Table {
    /// When, and on what it was measured.
    pub machine: String,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub act: String,
    pub family: String,
    /// How it ended in each of the surroundings.
    pub cells: Vec<String>,
}

/// The names of the surroundings.
pub fn surroundings() -> Vec<&'static str> {
    let forks = FORKS.map(|(name, ..)| name);
    [&["no lock-down", "Landlock alone", "the program alone"][..], &forks, &COLUMNS].concat()
}

fn head() -> Vec<&'static str> {
    [&["act", "family"][..], &surroundings(), &["why a unit leaves it", "why Landlock leaves it"]].concat()
}

fn path(name: &str) -> PathBuf {
    repository().join("docs/data").join(name)
}

impl Table {
    /// Of what units alone did, and of all layers in other surroundings.
    pub fn new(machine: String, units: &Measured) -> Self {
        let there = Surroundings::new("page");
        let rows = acts().into_iter().map(|(family, act)| {
            let one = |io, layers: &str| show(there.outcome("qotd", io, layers, &act), true);
            let unit = |column| units.get(&(act.clone(), column)).map_or(String::new(), |it| show(it.0, it.1));
            let mut cells: Vec<_> = ["none", LANDLOCK, "all"].map(|layers| one(Io::Connection, layers)).into();
            cells.extend(FORKS.map(|(_, io, layers)| one(io, layers)));
            cells.extend((0..COLUMNS.len()).map(unit));
            Row { act, family, cells }
        });
        Self { machine, rows: rows.collect() }
    }

    pub fn read() -> Self {
        let text = fs::read_to_string(path("escapes.csv")).expect(WRITE);
        let mut lines = text.lines();
        let machine = lines.next().and_then(|line| line.strip_prefix("# ")).expect(WRITE).to_owned();
        assert!(machine.contains("Linux ") && machine.contains("systemd "), "{WRITE}: {machine}");
        assert_eq!(lines.next().map(split), Some(head().into_iter().map(str::to_owned).collect()), "{WRITE}");
        let rows = lines.map(|line| {
            let mut cells = split(line);
            assert_eq!(cells.len(), head().len(), "{WRITE}: {line}");
            cells.truncate(head().len() - 2); // the reasons are not measured
            let outcomes = cells.split_off(2);
            Row { act: cells[0].clone(), family: cells[1].clone(), cells: outcomes }
        });
        Self { machine, rows: rows.collect() }
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = format!("# {}\n{}\n", self.machine, joined(&head()));
        for Row { act, family, cells } in &self.rows {
            let units: Vec<_> = [
                expected::UNITS_LEAVE,
                expected::NEIGHBOURS_UNITS_LEAVE,
                expected::DAEMONS_UNITS_LEAVE,
                expected::KEEPERS_UNITS_LEAVE,
            ]
            .concat();
            let outcomes: Vec<_> = cells.iter().map(String::as_str).collect();
            let reasons = [why(&units, act), why(expected::LANDLOCK_LEAVES, act)];
            writeln!(text, "{}", joined(&[&[act.as_str(), family.as_str()][..], &outcomes, &reasons].concat()))
                .unwrap();
        }
        text
    }

    pub fn write(&self) {
        fs::write(path("escapes.csv"), self.text()).unwrap();
    }
}

/// Why a list has an attack.
fn why<'a>(lists: &[(&[&str], &'a str)], act: &str) -> &'a str {
    lists.iter().find(|(acts, _)| acts.contains(&act)).map_or("", |(_, why)| why)
}

/// A line of cells, those with a comma in quotes.
fn joined(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| if cell.contains(',') { format!("\"{cell}\"") } else { (*cell).to_owned() });
    cells.collect::<Vec<_>>().join(",")
}

fn split(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    for (number, part) in line.split('"').enumerate() {
        let mut parts = if number % 2 == 1 { vec![part] } else { part.split(',').collect() }.into_iter();
        cells.last_mut().unwrap().push_str(parts.next().unwrap_or_default());
        cells.extend(parts.map(str::to_owned));
    }
    cells
}

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

/// docs/data/reach.csv: what a hijacked process can still do, by kind of process.
pub fn reach_text() -> String {
    let mut text = joined(&["process", "call", "how", "on", "services", "so that an attacker"]) + "\n";
    for (peers, process) in reach::PROCESSES {
        let there_are = audit::combinations().filter(|(_, peer)| peers.contains(peer));
        let there_are: BTreeSet<_> = there_are.map(|(service, _)| service).collect();
        for line in reach::LIST.iter().filter(|line| line.peers == *peers) {
            let some: Vec<_> = there_are.iter().copied().filter(|name| (line.services)(name)).collect();
            let services = if some.len() == there_are.len() { "all".to_owned() } else { some.join("; ") };
            let on = line.on.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("; ");
            writeln!(text, "{}", joined(&[process, line.call, line.how, &on, &services, line.means])).unwrap();
        }
    }
    text
}

/// Where that is.
pub fn reach_path() -> PathBuf {
    path("reach.csv")
}
