//! docs/escapes.md.

use std::collections::{BTreeMap, BTreeSet};

use super::attack::SIGXFSZ;
use super::support::attack::table as markdown;
use super::support::audit;
use super::surroundings::{Outcome, SIGSYS};
use super::{COLUMNS, FORKS, Io, LANDLOCK, Surroundings, acts, expected, reach};

pub type Measured = BTreeMap<(String, usize), (Outcome, bool)>;

/// The table of the page.
pub fn table(units: &Measured) -> String {
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
    markdown(&head, &rows)
}

/// docs/escapes.md, around its table.
pub fn page(table: &str) -> String {
    let acts = acts();
    let families: BTreeSet<_> = acts.iter().map(|(family, _)| family).collect();
    let list = |lists: &[(&[&str], &str)]| {
        lists.iter().fold(String::new(), |all, (acts, why)| all + &format!("- {}: {why}.\n", acts.join("; ")))
    };
    include_str!("page.md")
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
    markdown(&["call", "on", "services", "so that an attacker"], &rows)
}

pub const DONE: &str = "**done**";

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
