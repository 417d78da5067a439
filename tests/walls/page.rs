//! docs/hardening.md: the text of page.md, around tables of what was found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::directives::{Group, shown};
use super::map::Row;
use super::support::attack::table;
use super::support::repository;

/// The sections of the page, each with the families of acts that it is about.
pub const SECTIONS: &[(&str, &[&str])] = &[
    ("files", &["files"]),
    ("execution", &["execution", "executable memory", "other system call tables"]),
    ("processes", &["processes and threads", "signals", "other processes' memory", "neighbours"]),
    ("network", &["new sockets", "connections", "local sockets", "the client's socket", "sockets that it was given"]),
    ("kernel", &["namespaces and mounts", "parts of the kernel"]),
    ("rights", &["limits and identity", "undoing the lock-down"]),
    ("resources", &[]),
];

/// `make bench-units` writes it, for the systemd of the map.
const COSTS: &str = "docs/data/units-252.csv";

/// What each group costs in milliseconds, added to a unit with none and taken from the whole one.
struct Costs(Option<BTreeMap<(String, String), String>>);

impl Costs {
    fn read() -> Self {
        let Ok(text) = fs::read_to_string(repository().join(COSTS)) else { return Self(None) };
        let rows: Vec<Vec<_>> = text.lines().skip(2).map(|line| line.split(',').collect()).collect();
        let costs = rows.iter().map(|cells| {
            let number = |at: usize| cells[at].parse::<f64>();
            let base = rows.iter().find(|row| row[0] == if cells[1] == "added" { "Added" } else { "Taken" });
            let count = |row: &[&str], at: usize| row[at].parse::<i64>().unwrap_or(0);
            let sign = if cells[1] == "taken" { -1 } else { 1 };
            // One interval of twenty misses: what spares no call, mount or filter saves nothing.
            let spares = base.is_some_and(|base| (5..11).any(|at| sign * (count(cells, at) - count(base, at)) < 0));
            let cost = match (number(2), number(3), number(4)) {
                (_, Ok(from), Ok(to)) if from <= 0.0 && (to >= 0.0 || !spares) => "–".to_owned(),
                (Ok(median), Ok(from), Ok(to)) if to < 0.0 => {
                    format!("saves {:.2} ({:.2} to {:.2})", -median, -to, -from)
                }
                (Ok(median), Ok(from), Ok(to)) => format!("{median:.2} ({from:.2} to {to:.2})"),
                _ => cells[2].to_owned(),
            };
            ((cells[0].to_owned(), cells[1].to_owned()), cost)
        });
        Self(Some(costs.collect()))
    }

    fn of(&self, group: &Group, way: &str) -> String {
        let Some(costs) = &self.0 else { return "[costs.md](costs.md)".to_owned() };
        costs.get(&(group.name.clone(), way.to_owned())).cloned().unwrap_or_else(|| "not measured".to_owned())
    }
}

/// How many acts a group stops alone, and how many nothing else in the unit stops.
fn counts(rows: &[Row], group: &Group) -> (usize, usize) {
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    (
        count(&|row| row.alone.contains(&group.name) || row.nobody.contains(&group.name)),
        count(&|row| row.only.contains(&group.name)),
    )
}

/// Names with commas between them, or another word where there are none.
fn listed(names: &[String], none: &str) -> String {
    let names: Vec<_> = names.iter().map(|name| shown(name)).collect();
    if names.is_empty() { none.to_owned() } else { names.join("; ") }
}

/// The acts of some families, those with the same words in one line.
fn acts(rows: &[Row], families: &[&str]) -> String {
    let mut lines: Vec<(Vec<String>, [String; 3])> = Vec::new();
    for row in rows.iter().filter(|row| families.contains(&row.family.as_str())) {
        // Where nobody may do it, only a killed process shows something.
        let program = match [row.layers[0] && row.open, row.layers[1]] {
            [true, true] => "Landlock, seccomp",
            [true, false] => "Landlock",
            [false, true] => "seccomp",
            [false, false] => "–",
        };
        let without = match (row.open, row.unit) {
            (false, _) => "*nobody may do it in this machine*".to_owned(),
            (_, false) => "**the unit leaves it**".to_owned(),
            _ if row.only.is_empty() && row.alone.len() + row.nobody.len() < 2 => "*several together*".to_owned(),
            _ => listed(&row.only, "–"),
        };
        let mut alone = if row.open { listed(&row.alone, "none") } else { String::new() };
        if !row.nobody.is_empty() {
            alone = format!("{alone}; for nobody {}", listed(&row.nobody, ""));
        }
        let words = [alone, without, program.to_owned()];
        match lines.iter_mut().find(|(_, known)| *known == words) {
            Some((acts, _)) => acts.push(row.act.clone()),
            None => lines.push((vec![row.act.clone()], words)),
        }
    }
    let head = ["acts", "stopped alone by", "possible again without", "the program alone"];
    let line = |(acts, words): (Vec<String>, [String; 3])| [&[acts.join("; ")], &words[..]].concat();
    table(&head, &lines.into_iter().map(line).collect::<Vec<_>>())
}

/// The directives of a section.
fn directives(rows: &[Row], groups: &[Group], there: &[&Group], section: &str) -> String {
    let costs = Costs::read();
    let lines = groups.iter().filter(|group| group.section == section).map(|group| {
        let mut stops = match counts(rows, group) {
            (0, 0) => "none of these acts".to_owned(),
            (alone, 0) => format!("{alone} alone"),
            (alone, only) => format!("{alone} alone; {only} that nothing else stops"),
        };
        if !there.iter().any(|it| it.name == group.name) {
            stops += "; not in this unit";
        }
        vec![group.shown(), group.promise.clone(), stops, costs.of(group, "added")]
    });
    table(&["directive", "what systemd promises", "stops, of all acts", "costs, ms"], &lines.collect::<Vec<_>>())
}

/// All directives of the unit, those first that stop most.
fn summary(rows: &[Row], groups: &[&Group]) -> String {
    let costs = Costs::read();
    let mut groups: Vec<_> = groups.iter().map(|group| (counts(rows, group), *group)).collect();
    groups.sort_by_key(|((alone, only), _)| std::cmp::Reverse((*alone, *only)));
    let lines = groups.iter().map(|((alone, only), group)| {
        let number = |count: usize| if count == 0 { "–".to_owned() } else { count.to_string() };
        let (added, taken) = (costs.of(group, "added"), costs.of(group, "taken"));
        vec![group.shown(), number(*alone), number(*only), added, taken]
    });
    let head = ["directive", "stops alone", "only it stops", "added to none, ms", "taken from all, ms"];
    table(&head, &lines.collect::<Vec<_>>())
}

/// Whether a group stops no act.
fn stops_none(rows: &[Row], group: &Group) -> bool {
    counts(rows, group) == (0, 0)
}

/// The directives that stop no act, each with what is promised of it all the same.
fn none(rows: &[Row], groups: &[&Group]) -> String {
    let none = groups.iter().filter(|group| stops_none(rows, group));
    none.fold(String::new(), |list, group| {
        list + &format!("- {}: none of these acts; systemd's manual promises: {}.\n", group.shown(), group.promise)
    })
}

/// Why directives change nothing in the unit, and which of them stop no act either.
fn idle(rows: &[Row], groups: &[&Group]) -> String {
    let reasons = groups.iter().filter_map(|group| group.idle.as_ref());
    let list = reasons.fold(String::new(), |list, why| list + &format!("- {why}.\n"));
    let whole = |group: &&&Group| group.name.split(' ').all(|name| group.is_idle(name)) && stops_none(rows, group);
    let candidates: Vec<_> = groups.iter().filter(whole).map(|group| group.shown()).collect();
    format!(
        "{list}\nOf these, {} stop none of the acts either: nothing would be lost here without them.\n",
        candidates.join(", ")
    )
}

/// What the unit for one connection does without.
fn left_out(rows: &[Row], groups: &[Group], there: &[&Group]) -> String {
    let left_out = groups.iter().filter(|group| !there.iter().any(|it| it.name == group.name));
    let lines = left_out.filter_map(|group| {
        let (alone, _) = counts(rows, group);
        let alone = if alone == 0 { "–".to_owned() } else { alone.to_string() };
        Some(vec![group.shown(), alone, Costs::read().of(group, "tried"), group.idle.clone()?])
    });
    table(&["directive", "stops alone", "added to this unit, ms", "why it is left out"], &lines.collect::<Vec<_>>())
}

/// The acts that only one group stops, by group.
fn only(rows: &[Row], groups: &[&Group]) -> String {
    let mut list = String::new();
    for group in groups {
        let acts: Vec<_> = rows.iter().filter(|row| row.only == [group.name.clone()]).collect();
        let acts: Vec<_> = acts.iter().map(|row| row.act.as_str()).collect();
        if !acts.is_empty() {
            writeln!(list, "- {}: {}.", group.shown(), acts.join("; ")).unwrap();
        }
    }
    list
}

/// The page, with those of the groups that are in the unit.
pub fn page(rows: &[Row], groups: &[Group], there: &[&Group]) -> String {
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count().to_string();
    let several = |row: &&Row| row.open && row.unit && row.only.is_empty();
    let mut page = include_str!("page.md")
        .replace("@count@", &rows.len().to_string())
        .replace("@possible@", &count(&|row| row.open))
        .replace("@stopped@", &count(&|row| row.open && row.unit))
        .replace("@several@", &rows.iter().filter(several).count().to_string())
        .replace("@summary@\n", &summary(rows, there))
        .replace("@none@\n", &none(rows, there))
        .replace("@idle@\n", &idle(rows, there))
        .replace("@only@\n", &only(rows, there))
        .replace("@left out@\n", &left_out(rows, groups, there));
    for (section, families) in SECTIONS {
        page = page
            .replace(&format!("@acts {section}@\n"), &acts(rows, families))
            .replace(&format!("@directives {section}@\n"), &directives(rows, groups, there, section));
    }
    for left in ["@acts", "@directives", "@summary", "@none", "@idle", "@only", "@left out"] {
        assert!(!page.contains(left), "tests/walls/page.md has a {left} that nothing fills");
    }
    page
}
