//! A service with its units, and the checks of these.

use super::systemd::{self, Unit};
use super::{Findings, Problem, ports};

/// The service of lunchd's sockets.
const LUNCHD: &str = "lunchd.service";

/// A service: its socket units, and the services that they start. Only one of the sockets can have the port.
pub(super) struct Service {
    pub(super) name: String,
    /// Whether the doctor knows its protocol; `false` for other programs' units (`small-services units`).
    pub(super) is_known: bool,
    pub(super) port: u16,
    pub(super) sockets: Vec<Socket>,
}

/// A socket unit, and the unit that it starts.
pub(super) struct Socket {
    pub(super) name: String,
    pub(super) unit: Unit,
    /// The name of the service that it starts, according to its `Accept=`.
    pub(super) starts: String,
    /// That service; for a template, an instance that does not exist.
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
                format!("both it and {} are enabled, but only one can listen on the port", all.name),
                format!("disable one of them, for example with `systemctl disable {}`", one.name),
            );
        }
    }
}

impl Socket {
    /// Queries a socket unit and its service: `starts`, or the one with the socket's name.
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

    /// Adds the states of the socket and the service.
    fn show(&self, service: &Service, findings: &mut Findings) {
        let unit = &self.unit;
        let enabled = if unit.is_enabled() { "enabled" } else { "not enabled" };
        if !unit.is_loaded() {
            return findings.state(&self.name, unit.get("LoadState"));
        }
        let mut state = format!("{} ({}), {enabled}", unit.get("ActiveState"), unit.get("SubState"));
        let holder = ports::holder(service.port, "tcp");
        if let Some(holder) = holder.filter(|_| !service.sockets.iter().any(|socket| socket.unit.is_active())) {
            state = format!("{state}, the port is used by {holder}");
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
                    Some(false) => ", a process per connection",
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

    /// The name of the service that it starts; for a template, of an instance that does not exist.
    pub(super) fn instance(&self) -> String {
        self.starts.replace("@.", "@doctor.")
    }

    fn examine(&self, service: &Service, verified: &str, findings: &mut Findings) {
        let name = self.name.as_str();
        if !self.unit.is_loaded() {
            // A masked unit is intentional.
            if self.unit.get("LoadState") != "masked" {
                let text = format!("systemd cannot load it ({})", self.unit.get("LoadState"));
                findings.problem(Some(name), text, format!("see `systemd-analyze verify {name}`"));
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
                format!("with Accept={}, it starts {}, which does not exist", self.unit.get("Accept"), self.starts),
                "set Accept=yes for a template (NAME@.service), or Accept=no for a single service (NAME.service)",
            );
        } else if !self.started.is_loaded() {
            findings.problem(
                Some(name),
                format!("systemd cannot load {}, which it starts ({})", self.starts, self.started.get("LoadState")),
                format!("run `systemctl unmask {0}` if it is masked, else `systemd-analyze verify {0}`", self.starts),
            );
        }
        self.examine_state(service, findings);
        self.examine_access(findings);
        let known = |problem: &Problem| problem.unit.as_ref().is_some_and(|it| *it == self.name || *it == self.starts);
        if self.unit.is_active() && !findings.problems.iter().any(known) {
            self.examine_answers(service, findings);
        }
    }
}
