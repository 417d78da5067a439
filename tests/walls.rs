//! Which directive of a unit stops which attack of a hijacked program, alone, and as the only one in the whole unit? Which
//! attacks does the program stop alone? `ATTACK=full tests/run walls` writes docs/data/attacks.csv, and docs/hardening.md from it.

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::attack::{full, write_page};
use support::{Folder, helper, repository};

#[path = "escapes/attack.rs"]
mod attack;
#[path = "walls/directives.rs"]
mod directives;
#[path = "walls/map.rs"]
mod map;
#[path = "walls/page.rs"]
mod page;
#[path = "escapes/surroundings.rs"]
mod surroundings;
#[path = "walls/units.rs"]
mod units;

use directives::{Group, groups, lines};
use map::Row;
use surroundings::{Outcome, Surroundings};
use units::{Unit, Units};

/// What a per-connection unit has besides: it is not confinement.
const OTHERS: [&str; 5] = ["ExecStart", "StandardInput", "StandardOutput", "StandardError", "LogLevelMax"];

fn shipped() -> String {
    unit("echo@.service")
}

fn unit(name: &str) -> String {
    fs::read_to_string(repository().join("units").join(name)).unwrap()
}

/// The groups that the per-connection unit has directives of.
fn in_the_unit(groups: &[Group]) -> impl Iterator<Item = &Group> {
    let unit = shipped();
    groups.iter().filter(move |group| group.is_in(&unit))
}

/// These, and those only in the units of daemons: also tried alone.
fn tried(groups: &[Group]) -> impl Iterator<Item = &Group> {
    let units = [shipped(), unit("echo-daemon.service")];
    groups.iter().filter(move |group| units.iter().any(|unit| group.is_in(unit)))
}

#[test]
fn every_directive_of_the_units_is_on_the_list_with_what_it_promises() {
    let groups = groups();
    for (name, _) in lines(&shipped()).filter(|(name, _)| !OTHERS.contains(name)) {
        let known = groups.iter().filter(|group| group.has(name)).count();
        assert_eq!(known, 1, "{name} of echo@.service has to be in one line of docs/data/directives");
    }
    let mut units = String::new();
    for folder in ["units", "units/257"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            units += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        }
    }
    for Group { section, name, promise, .. } in &groups {
        for directive in name.split(' ') {
            let there = units.contains(&format!("\n{directive}="));
            assert!(there, "no unit has {directive}: take it from docs/data/directives");
        }
        assert!(promise.len() > 10, "docs/data/directives does not say what {name} promises");
        assert!(page::SECTIONS.iter().any(|(known, ..)| known == section), "{name}: there is no section {section}");
    }
}

#[test]
fn the_map_has_every_attack_and_the_directives_of_the_unit() {
    if full() {
        return; // it is being made
    }
    let rows = map::read();
    let acts = surroundings::acts(&helper("hijacked"));
    let listed: Vec<_> = rows.iter().map(|row| (row.family.clone(), row.act.clone())).collect();
    assert_eq!(listed, acts, "docs/data/attacks.csv has other attacks: run `ATTACK=full tests/run walls`");
    for (family, _) in &acts {
        let sections = page::SECTIONS.iter().filter(|(_, families)| families.contains(&family.as_str()));
        assert_eq!(sections.count(), 1, "{family} has to be in one section of docs/hardening.md");
    }
    let groups = groups();
    let names: Vec<_> = tried(&groups).map(|group| group.name.as_str()).collect();
    for name in rows.iter().flat_map(|row| row.alone.iter().chain(&row.nobody).chain(&row.only)) {
        let known = names.contains(&name.as_str());
        assert!(known, "no unit has {name}, and docs/data/attacks.csv names it: run `ATTACK=full tests/run walls`");
    }
}

#[test]
fn the_page_is_made_of_the_map_and_the_costs() {
    if full() {
        return; // both are being made
    }
    let groups = groups();
    let there: Vec<_> = in_the_unit(&groups).collect();
    let written = page::page(&map::read(), &groups, &there);
    let path = repository().join("docs/hardening.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, written).unwrap();
    } else {
        let committed = fs::read_to_string(path).unwrap();
        assert!(written == committed, "docs/hardening.md is not what `UPDATE=yes tests/run walls` writes");
    }
}

/// Asserts that the list gives the reason for each directive that changes nothing.
fn assert_what_is_so_anyway_is_said(units: &Units, groups: &[Group], lack: &[Unit]) {
    let whole = units.settings(&Unit::Whole);
    for unit in lack.iter().filter(|unit| units.settings(unit) == whole) {
        let Unit::Lacking(directive) = unit else { continue };
        let said = groups.iter().any(|group| group.has(directive) && group.is_idle(directive));
        assert!(said, "the unit is the same without {directive}: docs/data/directives has to say why");
    }
}

/// The attacks that each group stops alone, and those that only this group stops in the unit; and the machine.
fn measured(groups: &[Group], acts: &[(String, String)]) -> (String, Vec<Row>) {
    let names: Vec<_> = tried(groups).map(|group| group.name.clone()).collect();
    let there: Vec<_> = in_the_unit(groups).map(|group| group.name.clone()).collect();
    let alone: Vec<_> = names.iter().cloned().map(Unit::Alone).collect();
    let nobody: Vec<_> = names.iter().cloned().map(Unit::NobodyAlone).collect();
    let without: Vec<_> = there.iter().cloned().map(Unit::Without).collect();
    let lacking: BTreeSet<_> = lines(&shipped()).map(|(name, _)| name.to_owned()).collect();
    let lack = lacking.into_iter().filter(|name| !OTHERS.contains(&name.as_str())).map(Unit::Lacking);
    let lack: Vec<_> = lack.collect();
    let all = [&[Unit::Open, Unit::Nobody, Unit::Whole], &alone[..], &nobody[..], &without[..], &lack[..]].concat();
    let units = Units::start("walls-full", groups, all);
    assert_what_is_so_anyway_is_said(&units, groups, &lack);
    let done = |unit: &Unit, acts: &[&str]| -> BTreeSet<String> {
        let tries: Vec<_> = acts.iter().map(|act| (unit, *act)).collect();
        let done = units.are_done(&tries);
        acts.iter().zip(done).filter(|(_, done)| *done).map(|(act, _)| (*act).to_owned()).collect()
    };
    let every: Vec<_> = acts.iter().map(|(_, act)| act.as_str()).collect();
    let (open, whole) = (done(&Unit::Open, &every), done(&Unit::Whole, &every));
    let possible: Vec<_> = every.iter().copied().filter(|act| open.contains(*act)).collect();
    let stopped: Vec<_> = possible.iter().copied().filter(|act| !whole.contains(*act)).collect();
    let each = |units: &[Unit], acts: &[&str]| -> Vec<BTreeSet<String>> {
        units.iter().map(|unit| done(unit, acts)).collect()
    };
    let (left, again) = (each(&alone, &possible), each(&without, &stopped));
    let as_nobody = done(&Unit::Nobody, &possible);
    let possible_as_nobody: Vec<_> = possible.iter().copied().filter(|act| as_nobody.contains(*act)).collect();
    let left_as_nobody = each(&nobody, &possible_as_nobody);
    let those_that = |names: &[String], is: &dyn Fn(usize) -> bool| {
        (0..names.len()).filter(|at| is(*at)).map(|at| names[at].clone()).collect()
    };
    let folder = Folder::new("walls");
    let surroundings = Surroundings::new(helper("hijacked"), "walls", folder.path());
    let layer = |layers, act: &str| surroundings.outcome("echo", "Connection", layers, act) != Outcome::Done;
    let rows = acts.iter().map(|(family, act)| Row {
        open: open.contains(act),
        unit: !whole.contains(act),
        alone: those_that(&names, &|at| open.contains(act) && !left[at].contains(act)),
        nobody: those_that(&names, &|at| {
            as_nobody.contains(act) && left[at].contains(act) && !left_as_nobody[at].contains(act)
        }),
        only: those_that(&there, &|at| again[at].contains(act)),
        layers: [layer("NoNewPrivileges,Landlock", act), layer("Seccomp", act)],
        act: act.clone(),
        family: family.clone(),
    });
    (units.machine(), rows.collect())
}

#[test]
fn each_directive_stops_what_the_map_says() {
    let groups = groups();
    if full() {
        let (machine, rows) = measured(&groups, &surroundings::acts(&helper("hijacked")));
        map::write(&machine, &rows);
        write_page("hardening.md", &page::page(&rows, &groups, &in_the_unit(&groups).collect::<Vec<_>>()));
        return;
    }
    // A few attacks for each group: two that it stops alone and one that it does not, and two that only it stops.
    let rows = map::read();
    let mut expected: Vec<(Unit, &str, bool)> = Vec::new();
    for Group { name, .. } in tried(&groups) {
        let of = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| row.open && is(row)).collect::<Vec<_>>();
        let (alone, without) = (Unit::Alone(name.clone()), Unit::Without(name.clone()));
        expected.extend(ends(&of(&|row| row.alone.contains(name))).map(|act| (alone.clone(), act, false)));
        let nobody = Unit::NobodyAlone(name.clone());
        expected.extend(ends(&of(&|row| row.nobody.contains(name))).map(|act| (nobody.clone(), act, false)));
        expected.extend(ends(&of(&|row| !row.alone.contains(name))).take(1).map(|act| (alone.clone(), act, true)));
        expected.extend(ends(&of(&|row| row.only.contains(name))).map(|act| (without.clone(), act, true)));
    }
    let mut units = vec![Unit::Open];
    units.extend(expected.iter().map(|(unit, ..)| unit.clone()));
    units.dedup();
    let units = Units::start("walls", &groups, units);
    let done = units.are_done(&expected.iter().map(|(unit, act, _)| (unit, *act)).collect::<Vec<_>>());
    // What this machine's kernel lacks shows nothing.
    let acts: BTreeSet<_> = expected.iter().map(|(_, act, _)| *act).collect();
    let open = units.are_done(&acts.iter().map(|act| (&Unit::Open, *act)).collect::<Vec<_>>());
    let possible: BTreeSet<_> = acts.iter().zip(open).filter(|(_, open)| *open).map(|(act, _)| *act).collect();
    let others: Vec<_> = expected
        .iter()
        .zip(done)
        .filter(|((_, act, expected), done)| possible.contains(act) && expected != done)
        .map(|((unit, act, _), done)| format!("{unit:?}: {act}: {}", if done { "done" } else { "stopped" }))
        .collect();
    assert!(
        others.is_empty(),
        "not what docs/data/attacks.csv says; `ATTACK=full tests/run walls` writes it: {others:#?}"
    );
}

/// The first and the last of some attacks.
fn ends<'a>(rows: &[&'a Row]) -> impl Iterator<Item = &'a str> {
    let last = rows.iter().skip(1).next_back();
    rows.first().into_iter().chain(last).map(|row| row.act.as_str())
}
