//! The commands of the pages, as tests/pages/commands lists them, in a machine with a real systemd where everything is installed.

mod support;

use support::machine::Machine;
use support::page::listed;
use support::repository;

#[test]
fn the_commands_of_the_pages_work() {
    let machine = Machine::boot("commands");
    machine.shell(&format!("make -C {} install", repository().display()));
    // What the pages take for granted: a program of one's own, and a socket to ask about.
    machine.shell("install -m 711 /usr/local/libexec/small-services/qotd /usr/local/libexec/finger");
    machine.shell("systemctl start fortune.socket");
    let rows = listed();
    let rows: Vec<_> = rows.iter().filter(|row| row.file == "tests/commands.rs").collect();
    for row in &rows {
        machine.shell(row.command);
    }
    assert!(rows.len() >= 15, "{} commands", rows.len());
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
}
