//! Outages of the system around the services: no journal, a full disk, and a clock that is set back.

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::process::{Command, Stdio};

use support::machine::Machine;
use support::web::assert_dish;
use support::{Daemon, Process, assert_fortune, built_in_fortunes, helper, program, read_all};

/// Each of the six answers a new client, and so does lunchd.
fn assert_answers(machine: &Machine, about: &str) {
    let ask = |how: &str| machine.client(how);
    assert_fortune(&ask("nc -d 127.0.0.1 17"));
    assert_eq!(ask("echo hello | nc -N 127.0.0.1 7"), b"hello\n", "{about}");
    assert_eq!(ask("echo hello | nc -N 127.0.0.1 9"), b"", "{about}");
    assert_eq!(ask("nc -d 127.0.0.1 13").len(), 26, "{about}");
    assert_eq!(ask("nc -d 127.0.0.1 37").len(), 4, "{about}");
    assert_eq!(ask("set +o pipefail; nc -d 127.0.0.1 19 | head -c 100").len(), 100, "{about}");
    assert_dish(&String::from_utf8(ask("curl -sS http://127.0.0.1/")).unwrap());
}

fn without_a_journal_and_with_a_full_disk(name: &str, kind: &str) {
    let machine = Machine::with_services(name, kind);
    machine.enable_lunchd();
    // Some of them are already running when it happens, the others must be started.
    assert_eq!(machine.client("echo hello | nc -N 127.0.0.1 7"), b"hello\n");
    machine.fill_the_disk();
    assert_answers(&machine, "with a full disk");
    machine.shell(
        "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket \
         systemd-journald.service 2>/dev/null; systemctl mask --runtime systemd-journald.service 2>/dev/null; \
         ! pgrep -x systemd-journal",
    );
    assert_answers(&machine, "without a journal");
    // A message that nothing receives: a daemon logs what it serves when it restarts.
    machine.shell("systemctl kill --signal=KILL lunchd.service 'echo*.service' || true");
    machine.wait_for("echo again | nc -N 127.0.0.1 7 | grep -qx again");
    machine.wait_for("curl -sSf http://127.0.0.1/");
}

#[test]
fn a_process_for_each_connection_serves_without_a_journal_and_with_a_full_disk() {
    without_a_journal_and_with_a_full_disk("outage-each", "");
}

#[test]
fn one_process_for_all_serves_without_a_journal_and_with_a_full_disk() {
    without_a_journal_and_with_a_full_disk("outage-one", "-daemon");
}

/// A daemon whose clock (`CLOCK_REALTIME`) is set back before each check, each time by this many more seconds.
fn with_a_clock_that_goes_back(seconds: u32, name: &str, arguments: &[&str]) -> Daemon {
    let mut command = Command::new(helper("fault"));
    command.args(["clock", &seconds.to_string()]).arg(program(name)).args(arguments);
    command.args(["--listen", "tcp://127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let address = process.serving_on("tcp://");
    Daemon { process, address }
}

fn can_change_a_clock() -> bool {
    // Only root may write the memory of a process that is not dumpable.
    cfg!(target_arch = "x86_64") && rustix::process::geteuid().is_root()
}

#[test]
fn the_time_goes_back_with_the_clock() {
    if !can_change_a_clock() {
        return;
    }
    let mut daytime = with_a_clock_that_goes_back(3600, "daytime", &["--utc", "--format", "iso8601"]);
    let mut time = with_a_clock_that_goes_back(3600, "time", &[]);
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    for _ in 0..50 {
        let now = (read_all(&mut daytime.connect()), read_all(&mut time.connect()));
        assert!(now.0.len() >= 20 && now.0.ends_with(b"\r\n") && now.1.len() == 4, "{now:?}");
        if let Some(last) = last {
            assert!(now.0 < last.0 && now.1 < last.1, "{now:?} after {last:?}");
        }
        last = Some(now);
    }
    for daemon in [&mut daytime, &mut time] {
        daemon.process.signal("TERM");
        assert!(daemon.process.wait().success());
    }
}

#[test]
fn the_fortunes_of_days_past_are_those_of_their_days() {
    if !can_change_a_clock() {
        return;
    }
    let known = built_in_fortunes();
    let days = |seconds: u32, count: usize| -> Vec<String> {
        let daemon = with_a_clock_that_goes_back(seconds, "qotd", &["--daily", "--key", "outages"]);
        (0..count).map(|_| assert_fortune(&read_all(&mut daemon.connect()))).collect()
    };
    let back = days(86_400, 30);
    for fortune in &back {
        assert!(known.contains(fortune));
    }
    let different: std::collections::HashSet<_> = back.iter().collect();
    assert!(different.len() >= 29, "a fortune a day, going back: {} of 30", different.len());
    // Every second day is the same past day, unless midnight was in between.
    let even: Vec<_> = days(2 * 86_400, 5);
    assert!(even.iter().filter(|fortune| back.contains(fortune)).count() >= 4);
}

#[test]
fn a_clock_that_is_set_back_neither_closes_a_connection_nor_keeps_it() {
    if !can_change_a_clock() {
        return;
    }
    let daemon = with_a_clock_that_goes_back(86_400, "echo", &["--idle-timeout", "1"]);
    let mut silent = daemon.connect();
    let mut client = daemon.connect();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"hello");
    assert_eq!(read_all(&mut silent), b"", "closed after a second, whatever the clock says");
}
