//! Units with some of the directives, each with a hijacked program, in one machine.

use std::fmt::Write as _;

use super::attack::attack;
use super::directives::{Group, lines};
use super::support::attack::this_machine;
use super::support::helper;
use super::support::machine::Machine;
use super::surroundings::Outcome;

/// What each unit has in any case.
const NEEDED: &str = "Environment=TCP=4444\n\
                      ExecStart=/usr/local/libexec/small-services/hijacked echo Connection served\nStandardInput=socket\n";
/// Required so that the actions do no harm. It stops none: their mounts are private.
const OPEN: &str = "PrivateMounts=yes";
const NOBODY: &str = "User=nobody";
/// If an action always fails, a directive that refuses it shows no effect. So the machine has every capability of this host, and
/// the calls that need them.
const MACHINE: [&str; 2] = [
    "--capability=all",
    "--system-call-filter=@clock @module @raw-io @keyring @swap @reboot @privileged @debug perf_event_open bpf syslog kexec_load",
];

/// A unit, by the directives that it has of the shipped one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unit {
    /// None.
    Open,
    /// None, and the user is not root.
    Nobody,
    /// All.
    Whole,
    /// Only this group.
    Alone(String),
    /// Only this group, and the user is not root.
    NobodyAlone(String),
    /// All except this group.
    Without(String),
    /// All except this directive.
    Lacking(String),
}

pub struct Units {
    machine: Machine,
    units: Vec<Unit>,
}

/// `daemon` has what `shipped` leaves out.
fn text(unit: &Unit, shipped: &str, daemon: &str, groups: &[Group]) -> String {
    let group = |name: &str| groups.iter().find(|group| group.name == name).unwrap_or_else(|| panic!("no {name}"));
    let own = lines(shipped).filter(|(name, _)| !["ExecStart", "StandardInput"].contains(name));
    let mut text = format!("[Unit]\nCollectMode=inactive-or-failed\n[Service]\n{NEEDED}");
    let mut add = |line: &str| writeln!(text, "{line}").unwrap();
    match unit {
        Unit::Open => add(OPEN),
        Unit::Nobody => [OPEN, NOBODY].into_iter().for_each(&mut add),
        Unit::Whole => own.for_each(|(_, line)| add(line)),
        Unit::Alone(name) | Unit::NobodyAlone(name) => {
            let group = group(name);
            add(OPEN);
            if matches!(unit, Unit::NobodyAlone(_)) {
                add(NOBODY);
            }
            let from = if group.is_in(shipped) { shipped } else { daemon };
            lines(from).filter(|(name, _)| group.has(name)).for_each(|(_, line)| add(line));
        }
        Unit::Without(name) => {
            let group = group(name);
            own.filter(|(name, _)| !group.has(name)).for_each(|(_, line)| add(line));
            // Without its dynamic user it would be root.
            if group.has("DynamicUser") {
                add(NOBODY);
            }
        }
        Unit::Lacking(lacking) => own.filter(|(name, _)| name != lacking).for_each(|(_, line)| add(line)),
    }
    text
}

impl Units {
    /// Boots a machine with these units.
    pub fn start(name: &str, groups: &[Group], units: Vec<Unit>) -> Self {
        let machine = Machine::boot_release(name, "bookworm", &MACHINE);
        let repository = super::support::repository();
        // The journal records each end of a process, however many there are. Connecting gives up soon where packets are dropped.
        machine.shell(&format!(
            "make -C {} install && install -m 711 -s {} /usr/local/libexec/small-services && \
             mkdir -p /run/systemd/journald.conf.d && \
             printf '[Journal]\nRateLimitIntervalSec=0\n' > /run/systemd/journald.conf.d/all.conf && \
             systemctl restart systemd-journald && echo 1 > /proc/sys/net/ipv4/tcp_syn_retries",
            repository.display(),
            helper("hijacked").display()
        ));
        // As installed.
        let shipped = machine.shell("systemctl cat echo@.service");
        let daemon = machine.shell("systemctl cat echo-daemon.service");
        let started = Self { machine, units };
        for (unit, port) in started.units.iter().zip(started.ports()) {
            let text = text(unit, &shipped, &daemon, groups);
            started.machine.shell(&format!(
                "cd /run/systemd/system && \
                 printf '[Socket]\nListenStream={port}\nAccept=yes\nTriggerLimitIntervalSec=0\n' > wall{port}.socket && \
                 cat > wall{port}@.service <<'END'\n{text}END\n"
            ));
        }
        started
            .machine
            .shell("systemctl daemon-reload && systemctl start $(cd /run/systemd/system && echo wall*.socket)");
        started
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        (3100..).take(self.units.len())
    }

    fn port(&self, unit: &Unit) -> u16 {
        self.units.iter().zip(self.ports()).find(|(known, _)| *known == unit).unwrap().1
    }

    /// The service manager's properties of a unit, including those that directives imply and defaults.
    pub fn settings(&self, unit: &Unit) -> String {
        let port = self.port(unit);
        let settings = self.machine.shell(&format!("systemctl show wall{port}@1.service | grep -v ^After= | sort"));
        settings.replace(&port.to_string(), "PORT")
    }

    /// The date and the machine of this measurement.
    pub fn machine(&self) -> String {
        this_machine(&self.machine)
    }

    /// Whether each of these actions succeeds, in its unit.
    pub fn are_done(&self, tries: &[(&Unit, &str)]) -> Vec<bool> {
        let tries: Vec<_> = tries.iter().map(|(unit, act)| (self.port(unit), (*act).to_owned())).collect();
        let outcomes = attack(&self.machine, "wall*@*", 4, "none", &tries);
        outcomes.into_iter().map(|outcome| outcome == Outcome::Done).collect()
    }
}
