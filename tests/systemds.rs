//! The units under the systemds of newer Debians, with the drop-ins for what only these support. Other distributions have the same
//! versions. tests/systemd.rs covers the oldest, Debian 12's, and what does not depend on the version.

mod support;

use std::fs;
use std::process::Command;

use small_services::services::{self, Row};
use support::machine::{Machine, assert_all_answer};
use support::web::{Authority, EC, assert_dish};
use support::{assert_fortune, repository, steps, units};

const BOTH: [&str; 2] = ["127.0.0.1", "::1"];

#[test]
fn it_serves_under_the_systemd_of_debian_13() {
    serves("trixie", 257..=257);
}

/// The current state of Debian sid, which other distributions will have later. If it cannot be installed, the test is skipped.
#[test]
fn it_serves_under_the_systemd_of_debian_sid() {
    let root = Command::new(repository().join("tests/root")).arg("sid").output().unwrap();
    if !root.status.success() {
        return eprintln!("there is no Debian sid: {}", String::from_utf8_lossy(&root.stderr));
    }
    serves("sid", 262..=u32::MAX);
}

/// Installs, serves in all ways, and checks the confinement of the units.
fn serves(release: &str, expected: std::ops::RangeInclusive<u32>) {
    let machine = Machine::boot_release(&format!("systemds-{release}"), release, &[]);
    let version = machine.shell("systemctl --version");
    let version: u32 = version.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(expected.contains(&version), "{version}");
    install(&machine, "");
    machine.shell("mkdir -p /run/systemd/sessions"); // without logind nobody is logged in
    for step in steps() {
        let there = machine.shell(&format!("ls /usr/local/lib/systemd/system/*.d/10-systemd-{step}.conf | wc -l"));
        assert_eq!(there != "0\n", step <= version, "units/{step}");
    }
    each_connection(&machine);
    daemons(&machine);
    lunch(&machine);
    are_free_of_warnings_and_hardly_exposed(&machine);
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
    follow_systemd_down_and_up(&machine);
}

fn install(machine: &Machine, arguments: &str) {
    machine.shell(&format!("make --no-print-directory -C {} install {arguments}", repository().display()));
}

/// Replies to concurrent clients.
fn burst(machine: &Machine, connections: usize) {
    let script = machine.folder().file(
        "burst",
        format!(
            "import socket
clients = [socket.create_connection(('127.0.0.1', 17), None, (f'127.0.0.{{n % 8 + 1}}', 0)) for n in range({connections})]
for client in clients:
    client.settimeout(120)
    print(b''.join(iter(lambda: client.recv(4096), b'')).hex())"
        ),
    );
    let printed = String::from_utf8(machine.client(&format!("python3 {}", script.display()))).unwrap();
    assert_eq!(printed.lines().count(), connections);
    for line in printed.lines() {
        let octet = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        assert_fortune(&(0..line.len()).step_by(2).map(octet).collect::<Vec<_>>());
    }
}

/// Nothing was logged.
fn assert_quiet(machine: &Machine, units: &str) {
    assert_eq!(machine.journal(&format!("--priority=warning {units}")), "");
}

fn each_connection(machine: &Machine) {
    machine.shell(&format!("systemctl enable --now {}.socket 2>&1", units()));
    assert_all_answer(machine, &BOTH, &[]);
    burst(machine, 60);
    // While it serves: no socket of the journal, and nothing of it on the host's disk.
    machine.shell("mkfifo /run/in; (nc 127.0.0.1 7 < /run/in >/run/out &) 2>/dev/null >&2; (sleep 1000 > /run/in &) 2>/dev/null >&2");
    machine.wait_for("pgrep -x echo");
    assert_eq!(machine.shell("ls /proc/$(pgrep -ox echo)/root/run/systemd/journal 2>/dev/null || true"), "");
    assert_eq!(machine.shell("ls /tmp /var/tmp | grep -e echo@ || true"), "");
    machine.shell("pkill -x sleep; true");
    machine.wait_for(&format!("! systemctl list-units --no-legend --plain {}@* | grep .", units()));
    for Row { unit, .. } in services::all() {
        assert_eq!(machine.shell(&format!("systemctl is-active {unit}.socket")), "active\n");
        // Too expensive per connection. The directives of the drop-ins are in the running units.
        let shown = machine.shell(&format!("systemctl show -P SocketBindDeny -P PrivateTmpEx {unit}@1.service"));
        assert_eq!(shown.trim(), "disconnected", "{unit}");
    }
    assert_quiet(machine, &format!("-u '{}@*' -u '{}.socket'", units(), units()));
    machine.shell(&format!("systemctl disable --now {}.socket 2>&1", units()));
}

fn daemons(machine: &Machine) {
    machine.shell(&format!("systemctl enable --now {}-daemon.socket 2>&1", units()));
    assert_all_answer(machine, &BOTH, &BOTH);
    burst(machine, 400);
    for Row { unit, .. } in services::all() {
        let pid = machine.shell(&format!("systemctl show -P MainPID {unit}-daemon.service"));
        // The names of control groups list other units and their clients.
        assert_eq!(machine.shell(&format!("ls -A /proc/{}/root/sys", pid.trim())), "", "{unit}");
    }
    assert_eq!(machine.shell("ls /tmp /var/tmp | grep -e -daemon || true"), "");
    assert_eq!(machine.shell("systemctl show -P NRestarts echo-daemon.service"), "0\n");
    machine.shell("systemctl stop echo-daemon.service");
    assert_eq!(machine.shell("systemctl show -P Result echo-daemon.service"), "success\n");
    assert_eq!(machine.shell("echo again | nc -N 127.0.0.1 7"), "again\n");
}

fn lunch(machine: &Machine) {
    let authority = Authority::new(&machine.leader());
    authority.certify("site", EC, 1);
    let put = |file: &str, path: &str| {
        let text = fs::read_to_string(authority.path(file)).unwrap();
        machine.shell(&format!("umask 077; cat >{path} <<'end'\n{text}end"));
    };
    machine.shell("mkdir -m 700 /etc/lunchd");
    put("site.pem", "/etc/lunchd/certificate.pem");
    put("site.key", "/etc/lunchd/key.pem");
    put("ca.pem", "/run/ca.pem");
    machine.shell("systemctl enable --now lunchd-http.socket lunchd-https.socket 2>&1");
    let ask = "curl -sSL --cacert /run/ca.pem http://localhost/";
    assert_dish(&machine.shell(ask));
    machine.shell("systemctl reload lunchd.service");
    assert_dish(&machine.shell(ask));
    assert_eq!(machine.journal("--priority=warning -u 'lunchd*'"), "");
}

fn are_free_of_warnings_and_hardly_exposed(machine: &Machine) {
    let mut names = vec!["lunchd-http.socket".to_owned(), "lunchd-https.socket".to_owned()];
    let mut confined = vec!["lunchd.service".to_owned()];
    for Row { unit, .. } in services::all() {
        names.extend([format!("{unit}.socket"), format!("{unit}-daemon.socket")]);
        confined.extend([format!("{unit}@1.service"), format!("{unit}-daemon.service")]);
    }
    let all = [names, confined.clone()].concat().join(" ");
    assert_eq!(machine.shell(&format!("systemd-analyze verify --man=no {all} 2>&1")), "");
    let report = machine.shell(&format!(
        "for unit in {}; do systemd-analyze security --no-pager $unit | grep Overall; done",
        confined.join(" ")
    ));
    assert_eq!(report.lines().count(), confined.len());
    for line in report.lines() {
        let level = line.rsplit_once(": ").unwrap().1.split(' ').next().unwrap();
        assert!(level.parse::<f64>().unwrap() <= 0.5, "{line}");
    }
}

/// `make install` removes drop-ins that its systemd does not support, and adds them again.
fn follow_systemd_down_and_up(machine: &Machine) {
    let shown = || machine.shell("systemctl show -P DropInPaths fortune@1.service");
    assert!(shown().contains("/10-systemd-"), "{}", shown());
    let doctor = || machine.shell("small-services doctor || true");
    let older = "`make install` would add drop-ins for";
    assert!(!doctor().contains(older), "{}", doctor());
    install(machine, "systemd=252");
    assert_eq!(shown(), "\n");
    assert!(doctor().contains(older), "{}", doctor());
    install(machine, "");
    assert!(shown().contains("/10-systemd-"), "{}", shown());
    // As after a downgrade of systemd, or with a unit folder copied from elsewhere.
    let units = "/usr/local/lib/systemd/system/fortune@.service.d";
    machine.shell(&format!("touch {units}/10-systemd-999.conf && systemctl daemon-reload"));
    let said = doctor();
    assert!(
        said.contains("problem: this host: the units have drop-ins for systemd 999") && said.contains("`make install`"),
        "{said}"
    );
    machine.shell(&format!("make --no-print-directory -C {} uninstall 2>&1", repository().display()));
    assert_eq!(machine.shell("find /usr/local/lib/systemd /etc/systemd/system -name '10-systemd-*'"), "");
}
