//! The units that are attacked.

use small_services::services::{self, Row};

use super::Io;
use super::support::attack::bounded;
use super::support::machine::Machine;

/// A unit that is attacked.
pub struct Unit {
    pub socket: String,
    pub name: String,
    pub service: &'static str,
    pub peer: Io,
    pub port: u16,
    /// Its column on the page.
    pub column: usize,
}

/// The page's columns for units. The first is for per-connection units, the others for daemons.
pub const COLUMNS: [&str; 3] = ["the per-connection unit alone", "the daemon's unit alone", "lunchd's unit alone"];

/// All units, or for `make test` those of one service and lunchd's.
pub fn units() -> Vec<Unit> {
    let mut small: Vec<_> = services::all().collect();
    small.sort_by_key(|row| row.program != "echo");
    small.truncate(bounded(1, small.len()));
    let mut units = Vec::new();
    for Row { unit: name, program: service, port, .. } in small {
        for (column, kind, peer, started) in [(0, "", Io::Connection, "@"), (1, "-daemon", Io::Keeper, "-daemon")] {
            let (socket, name) = (format!("{name}{kind}.socket"), format!("{name}{started}.service"));
            units.push(Unit { socket, name, service, peer, port, column });
        }
    }
    let (socket, name) = ("lunchd-http.socket".to_owned(), "lunchd.service".to_owned());
    units.push(Unit { socket, name, service: "lunchd", peer: Io::ListenersAndFiles, port: 80, column: 2 });
    units
}

/// A hijacked program in place of a unit's, with the unit's whole confinement.
pub fn hijack(machine: &Machine, Unit { name, service, peer, .. }: &Unit) {
    let alone = if *peer == Io::Connection { "" } else { "Type=simple\nRestart=no\nWatchdogSec=0\n" };
    machine.shell(&format!(
        "mkdir -p /run/systemd/system/{name}.d && printf '[Service]\nExecStart=\n\
         ExecStart=/usr/local/libexec/small-services/hijacked {service} {peer:?} served\n\
         Environment=TCP=4444\n{alone}' > /run/systemd/system/{name}.d/hijacked.conf"
    ));
}
