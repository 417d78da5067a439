//! docs/data/attacks.csv: what stops each action.

use std::fmt::Write as _;
use std::fs;

use super::support::repository;

/// An action, and what stops it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub act: String,
    pub family: String,
    /// Whether it succeeds in a unit without any directive, as root. If not, this machine cannot show what stops it.
    pub open: bool,
    /// Whether the whole unit stops it.
    pub unit: bool,
    /// The groups of directives that stop it on their own.
    pub alone: Vec<String>,
    /// Those that do so if the user is not root, but did not for root.
    pub nobody: Vec<String>,
    /// Those without which the unit no longer stops it.
    pub only: Vec<String>,
    /// Whether the program's Landlock alone stops it, and its seccomp alone.
    pub layers: [bool; 2],
}

const HEAD: &str = "act,family,possible without any,stopped by the unit,stopped alone by,stopped alone for nobody by,possible again without,\
                    stopped by Landlock alone,stopped by seccomp alone";

fn path() -> std::path::PathBuf {
    repository().join("docs/data/attacks.csv")
}

const fn said(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}

/// With when and on what they were found.
pub fn write(machine: &str, rows: &[Row]) {
    let mut text = format!("# {machine}\n{HEAD}\n");
    for row in rows {
        // Some have a comma.
        let [alone, nobody, only] = [&row.alone, &row.nobody, &row.only].map(|names| names.join(";"));
        let [landlock, seccomp] = row.layers.map(said);
        let [open, unit] = [row.open, row.unit].map(said);
        writeln!(text, "\"{}\",{},{open},{unit},{alone},{nobody},{only},{landlock},{seccomp}", row.act, row.family)
            .unwrap();
    }
    fs::write(path(), text).unwrap();
}

pub fn read() -> Vec<Row> {
    const WRITE: &str = "docs/data/attacks.csv is not what `ATTACK=full tests/run walls` writes";
    let text = fs::read_to_string(path()).unwrap_or_else(|_| panic!("{WRITE}"));
    let mut lines = text.lines();
    let machine = lines.next().and_then(|line| line.strip_prefix("# "));
    assert!(machine.is_some_and(|it| it.contains("Linux ") && it.contains("systemd ")), "{WRITE}: {machine:?}");
    assert_eq!(lines.next(), Some(HEAD), "{WRITE}");
    let list = |cell: &str| cell.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let rows = lines.map(|line| {
        let (act, rest) = line.strip_prefix('"').and_then(|line| line.split_once("\",")).expect(WRITE);
        let [family, open, unit, alone, nobody, only, landlock, seccomp] = rest.split(',').collect::<Vec<_>>()[..]
        else {
            panic!("{WRITE}: {line}")
        };
        let [open, unit, landlock, seccomp] = [open, unit, landlock, seccomp].map(|cell| cell == "yes");
        let (act, family) = (act.to_owned(), family.to_owned());
        Row {
            act,
            family,
            open,
            unit,
            alone: list(alone),
            nobody: list(nobody),
            only: list(only),
            layers: [landlock, seccomp],
        }
    });
    rows.collect()
}
