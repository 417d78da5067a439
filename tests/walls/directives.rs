//! docs/data/directives: which directives belong together, and what systemd promises of them.

use std::fs;

use super::support::repository;

/// Directives that belong together: a line of the list.
pub struct Group {
    /// Of the page.
    pub section: String,
    /// Their names, separated by spaces.
    pub name: String,
    pub promise: String,
    /// Why some of it changes nothing in the per-connection unit, or is left out there, if so.
    pub idle: Option<String>,
}

impl Group {
    pub fn has(&self, directive: &str) -> bool {
        self.name.split(' ').any(|name| name == directive)
    }

    /// Whether a unit has one of them.
    pub fn is_in(&self, unit: &str) -> bool {
        lines(unit).any(|(name, _)| self.has(name))
    }

    /// Whether the list gives a reason why one of them changes nothing.
    pub fn is_idle(&self, directive: &str) -> bool {
        self.idle.as_ref().is_some_and(|why| why.contains(&format!("`{directive}`")))
    }

    /// As the page shows it.
    pub fn shown(&self) -> String {
        shown(&self.name)
    }
}

/// The names of a group as the page shows them.
pub fn shown(name: &str) -> String {
    name.split(' ').map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

pub fn groups() -> Vec<Group> {
    let list = fs::read_to_string(repository().join("docs/data/directives")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let groups = lines.map(|line| {
        let [section, name, promise, idle @ ..] = &line.split('\t').map(str::to_owned).collect::<Vec<_>>()[..] else {
            panic!("docs/data/directives: fewer than three columns: {line}")
        };
        let (section, name, promise) = (section.clone(), name.clone(), promise.clone());
        Group { section, name, promise, idle: idle.first().cloned() }
    });
    groups.collect()
}

/// The directives of a unit's service, in the order of its lines, each with its line.
pub fn lines(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    let services = unit.split("[Service]\n").skip(1).map(|rest| rest.split("\n[").next().unwrap_or(rest));
    let lines = services.flat_map(str::lines).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some((line.split_once('=')?.0, line)))
}
