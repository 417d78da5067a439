//! Units and files for other super-servers, made from the templates in `units/templates`: for the services of the table and for
//! any other program.

mod check;
mod directory;
mod ours;
mod program;
mod template;

pub use ours::files;
pub(crate) use program::Units;

use std::collections::BTreeSet;
use std::fs;

use crate::services::Kind;
use directory::SEARCHED;
use template::{Value, Values, fill};

/// The templates of a service's units, each with the suffix of the unit's name.
const CONNECTION: [(&str, &str); 2] = [
    (".socket", include_str!("../../units/templates/connection.socket")),
    ("@.service", include_str!("../../units/templates/connection.service")),
];
const DAEMON: [(&str, &str); 2] = [
    ("-daemon.socket", include_str!("../../units/templates/daemon.socket")),
    ("-daemon.service", include_str!("../../units/templates/daemon.service")),
];

/// The start of the units of other programs.
pub(crate) const MADE_BY: &str = "# Made by `small-services units`";

/// The names and ports of the units for other programs on this host.
pub(crate) fn made() -> Vec<(String, u16)> {
    let entries = SEARCHED.iter().flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten());
    let sockets = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "socket"));
    let made: BTreeSet<_> = sockets
        .filter_map(|path| {
            let unit = fs::read_to_string(path).ok()?;
            let mut words = unit.lines().next()?.strip_prefix(MADE_BY)?.split(' ');
            let name = words.find(|word| *word == "--name").and_then(|_| words.next())?;
            let port = words.find(|word| *word == "--port").and_then(|_| words.next())?;
            Some((name.to_owned(), port.parse().ok()?))
        })
        .collect();
    made.into_iter().collect()
}

/// The values that the units of every service need.
fn values(unit: &str, title: String, port: u16, kind: Kind) -> Values {
    Values::from([
        ("unit", unit.to_owned().into()),
        ("title", title.into()),
        ("port", port.to_string().into()),
        ("buffers", Value::Part(format!("buffers-{}", kind.name()))),
        ("lifetime", Value::Part(format!("lifetime-{}", kind.name()))),
    ])
}

/// Fills in units. Returns their names and contents.
fn units(unit: &str, templates: &[(&str, &str)], values: &Values) -> Vec<(String, String)> {
    let file = |(suffix, template): &(&str, &str)| {
        let name = format!("{unit}{suffix}");
        let socket = name.trim_end_matches(".socket").to_owned();
        let mut values = values.clone();
        values.insert("socket", socket.into());
        (name, fill(template, &values))
    };
    templates.iter().map(file).collect()
}
