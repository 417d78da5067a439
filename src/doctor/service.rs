//! A service as its units have it, and what is wrong with these.

use super::systemd::{self, Unit};
use super::{Findings, Problem, ports};

/// What lunchd's sockets start.
const LUNCHD: &str = "lunchd.service";

/// One service: its socket units, and what they start. Only one of them can have the port.
pub(super) struct Service {
    pub(super) name: String,
    /// Whether it is known what it answers: it is no other program's, by `small-services units`.
    pub(super) is_known: bool,
    pub(super) port: u16,
    pub(super) sockets: Vec<Socket>,
}

/// A socket unit, and the unit that it starts.
pub(super) struct Socket {
    pub(super) name: String,
    pub(super) unit: Unit,
    /// What it should start, by its `Accept=`.
    pub(super) starts: String,
    /// That unit; of a template, an instance that never was.
    pub(super) started: Unit,
}

impl Service {
    pub(super) fn ask(name: &str, port: u16, is_known: bool) -> Self {
        let sockets = vec![Socket::ask(name, None), Socket::ask(&format!("{name}-daemon"), None)];
        Self { name: name.to_owned(), is_known, port, sockets }
    }

    pub(super) fn ask_web(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), is_known: true, port, sockets: vec![Socket::ask(name, Some(LUNCHD))] }
    }

    pub(super) fn examine(&self, verified: &str, findings: &mut Findings) {
        for socket in self.sockets.iter().filter(|socket| socket.unit.exists()) {
            socket.show(self, findings);
            socket.examine(self, verified, findings);
        }
        let enabled: Vec<_> = self.sockets.iter().filter(|socket| socket.unit.is_enabled()).collect();
        if let [one, all] = enabled[..] {
            findings.problem(
                Some(&one.name),
                format!("both it and {} are enabled, and only one of them can have the port", all.name),
                format!("disable one of them, say `systemctl disable {}`", one.name),
            );
        }
    }
}

impl Socket {
    /// Asks for a socket unit, and for the service that it names or else has its name.
    fn ask(name: &str, starts: Option<&str>) -> Self {
        let unit = Unit::show(&format!("{name}.socket"));
        let accept = unit.get("Accept") == "yes";
        let own = if accept { format!("{name}@.service") } else { format!("{name}.service") };
        let starts = starts.map_or(own, str::to_owned);
        let started = Unit::show(&if accept { format!("{name}@doctor.service") } else { starts.clone() });
        Self { name: format!("{name}.socket"), unit, starts, started }
    }

    pub(super) fn is_meant_to_run(&self) -> bool {
        self.unit.is_enabled() || self.unit.is_active() || self.unit.get("ActiveState") == "failed"
    }

    /// Socket and service side by side.
    fn show(&self, service: &Service, findings: &mut Findings) {
        let unit = &self.unit;
        let enabled = if unit.is_enabled() { "enabled" } else { "not enabled" };
        if !unit.is_loaded() {
            return findings.state(&self.name, unit.get("LoadState"));
        }
        let mut state = format!("{} ({}), {enabled}", unit.get("ActiveState"), unit.get("SubState"));
        let holder = ports::holder(service.port, "tcp");
        if let Some(holder) = holder.filter(|_| !service.sockets.iter().any(|socket| socket.unit.is_active())) {
            state = format!("{state}, the port is taken by {holder}");
        }
        if unit.is_active() {
            let addresses: Vec<_> =
                unit.listens_on().iter().map(|(address, kind)| format!("{address} {}", kind.to_lowercase())).collect();
            state = format!("{state}, systemd listens on {}", addresses.join(" and "));
            if unit.get("Accept") == "yes" {
                let (now, ever) = (unit.get("NConnections"), unit.get("NAccepted"));
                state = format!("{state}, {now} connections now, {ever} so far, {} refused", unit.get("NRefused"));
            }
        }
        findings.state(&self.name, state);
        if self.started.is_loaded() {
            let active = if self.starts.ends_with("@.service") {
                "started for each connection".to_owned()
            } else {
                let way = match self.starts.ends_with("-daemon.service").then(|| self.is_shared()) {
                    Some(false) => ", a process for each connection",
                    Some(true) => ", one process for all connections",
                    None => "",
                };
                format!("{} ({}){way}", self.started.get("ActiveState"), self.started.get("SubState"))
            };
            let exposure = self.exposure().map_or("unknown".to_owned(), |level| format!("{level:.1}"));
            findings.state(&self.starts, format!("{active}, exposure {exposure} of 10"));
            // What a daemon tells systemd of itself (STATUS= in sd_notify(3)).
            let told = self.started.get("StatusText");
            if self.started.is_active() && !told.is_empty() {
                findings.state(&self.starts, told);
            }
        }
    }

    pub(super) fn exposure(&self) -> Option<f64> {
        systemd::exposure(&self.instance())
    }

    /// What it starts; of a template, an instance that never was.
    pub(super) fn instance(&self) -> String {
        self.starts.replace("@.", "@doctor.")
    }

    fn examine(&self, service: &Service, verified: &str, findings: &mut Findings) {
        let name = self.name.as_str();
        if !self.unit.is_loaded() {
            // Masked is what somebody wanted.
            if self.unit.get("LoadState") != "masked" {
                let text = format!("systemd cannot load it ({})", self.unit.get("LoadState"));
                findings.problem(Some(name), text, format!("look at `systemd-analyze verify {name}`"));
            }
            return;
        }
        self.examine_service(findings);
        if !self.is_meant_to_run() {
            return;
        }
        self.examine_loading(verified, findings);
        self.examine_slots(findings);
        self.examine_credentials(findings);
        self.examine_fortunes(findings);
        if !self.started.exists() {
            findings.problem(
                Some(name),
                format!("Accept={} makes it start {}, which does not exist", self.unit.get("Accept"), self.starts),
                "set Accept=yes for a template (NAME@.service) and Accept=no for one service (NAME.service)",
            );
        } else if !self.started.is_loaded() {
            findings.problem(
                Some(name),
                format!("{}, which it starts, cannot be loaded ({})", self.starts, self.started.get("LoadState")),
                format!("`systemctl unmask {0}` if it is masked, else `systemd-analyze verify {0}`", self.starts),
            );
        }
        self.examine_state(service, findings);
        self.examine_access(findings);
        let known = |problem: &Problem| problem.unit.as_ref().is_some_and(|it| *it == self.name || *it == self.starts);
        if self.unit.is_active() && !findings.problems.iter().any(known) {
            self.ask_for_an_answer(service, findings);
        }
    }
}
