//! docs/hardening.md: the text of page.md, around tables of results.

use super::directives::{Group, shown};
use super::map::Row;
use super::support::attack::table;

/// The sections of the page, each with its families of actions.
pub const SECTIONS: &[(&str, &[&str])] = &[
    ("files", &["files"]),
    ("execution", &["execution", "executable memory", "other system call tables"]),
    ("processes", &["processes and threads", "signals", "other processes' memory", "neighbours"]),
    ("network", &["new sockets", "connections", "local sockets", "the client's socket", "sockets that it was given"]),
    ("kernel", &["namespaces and mounts", "parts of the kernel"]),
    ("rights", &["limits and identity", "undoing the lock-down"]),
    ("resources", &[]),
];

/// How many attacks a group stops alone, and how many nothing else in the unit stops.
fn counts(rows: &[Row], group: &Group) -> (usize, usize) {
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    (
        count(&|row| row.alone.contains(&group.name) || row.nobody.contains(&group.name)),
        count(&|row| row.only.contains(&group.name)),
    )
}

/// Names of groups with semicolons between them.
fn listed(names: &[String]) -> String {
    names.iter().map(|name| shown(name)).collect::<Vec<_>>().join("; ")
}

/// What stops an attack, in words.
fn stops(row: &Row) -> String {
    if !row.open {
        return "*not possible on the test machine*".to_owned();
    }
    let mut words = Vec::new();
    if !row.alone.is_empty() && row.alone != row.only {
        words.push(listed(&row.alone));
    }
    if !row.nobody.is_empty() {
        words.push(format!("for nobody {}", listed(&row.nobody)));
    }
    if !row.unit {
        words.push("**the unit allows it**".to_owned());
    } else if !row.only.is_empty() {
        words.push(format!("only {}", listed(&row.only)));
    } else if row.alone.len() + row.nobody.len() < 2 {
        words.push("several others together".to_owned());
    }
    words.join("; ")
}

/// The attacks of some families, those that the same directives stop in one line.
fn acts(rows: &[Row], families: &[&str]) -> String {
    let mut lines: Vec<(Vec<String>, String)> = Vec::new();
    for row in rows.iter().filter(|row| families.contains(&row.family.as_str())) {
        // Where nobody may do it, only a killed process shows something.
        let landlock = if row.layers[0] && row.open { "†" } else { "" };
        let seccomp = if row.layers[1] { "" } else { " (not seccomp)" };
        let name = format!("{}{landlock}{seccomp}", row.act);
        let words = stops(row);
        match lines.iter_mut().find(|(_, known)| *known == words) {
            Some((acts, _)) => acts.push(name),
            None => lines.push((vec![name], words)),
        }
    }
    let line = |(acts, words): (Vec<String>, String)| vec![acts.join("; "), words];
    table(&["attacks", "stopped alone by"], &lines.into_iter().map(line).collect::<Vec<_>>())
}

fn number(count: usize) -> String {
    if count == 0 { "–".to_owned() } else { count.to_string() }
}

/// The directives of a section, those first that stop most.
fn directives(rows: &[Row], groups: &[Group], there: &[&Group], section: &str) -> String {
    let mut groups: Vec<_> =
        groups.iter().filter(|group| group.section == section).map(|group| (counts(rows, group), group)).collect();
    groups.sort_by_key(|(counts, _)| std::cmp::Reverse(*counts));
    let lines = groups.iter().map(|((alone, only), group)| {
        let here = if there.iter().any(|it| it.name == group.name) { "" } else { " (not here)" };
        vec![group.shown() + here, group.promise.clone(), number(*alone), number(*only)]
    });
    table(&["directive", "systemd's promise", "alone", "only"], &lines.collect::<Vec<_>>())
}

/// Why directives change nothing in the unit, and which of them stop no attack either.
fn idle(rows: &[Row], groups: &[&Group]) -> String {
    let reasons = groups.iter().filter_map(|group| group.idle.as_ref());
    let list = reasons.fold(String::new(), |list, why| list + &format!("- {why}.\n"));
    let none = |group: &Group| counts(rows, group) == (0, 0);
    let whole = |group: &&&Group| group.name.split(' ').all(|name| group.is_idle(name)) && none(group);
    let candidates: Vec<_> = groups.iter().filter(whole).map(|group| group.shown()).collect();
    format!("{list}\nOf these, {} stop no attack either: removing them loses nothing here.\n", candidates.join(", "))
}

/// What the per-connection unit leaves out.
fn left_out(rows: &[Row], groups: &[Group], there: &[&Group]) -> String {
    let left_out = groups.iter().filter(|group| !there.iter().any(|it| it.name == group.name));
    let lines =
        left_out.filter_map(|group| Some(vec![group.shown(), number(counts(rows, group).0), group.idle.clone()?]));
    table(&["directive", "stops alone", "why it is omitted"], &lines.collect::<Vec<_>>())
}

/// The page, with the groups that are in the unit.
pub fn page(rows: &[Row], groups: &[Group], there: &[&Group]) -> String {
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count().to_string();
    let several = |row: &&Row| row.open && row.unit && row.only.is_empty();
    let mut page = include_str!("page.md")
        .replace("@count@", &rows.len().to_string())
        .replace("@possible@", &count(&|row| row.open))
        .replace("@stopped@", &count(&|row| row.open && row.unit))
        .replace("@several@", &rows.iter().filter(several).count().to_string())
        .replace("@idle@\n", &idle(rows, there))
        .replace("@left out@\n", &left_out(rows, groups, there));
    for (section, families) in SECTIONS {
        page = page
            .replace(&format!("@acts {section}@\n"), &acts(rows, families))
            .replace(&format!("@directives {section}@\n"), &directives(rows, groups, there, section));
    }
    for left in ["@acts", "@directives", "@idle", "@left out"] {
        assert!(!page.contains(left), "`tests/walls/page.md` has a {left} that nothing fills");
    }
    page
}
