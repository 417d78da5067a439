//! Finds why a service does not start, or does not match its files.

use std::path::Path;
use std::time::SystemTime;

use super::Findings;
use super::service::Socket;
use super::systemd;
use crate::executable::{self, Unfit};

/// The highest exposure of the shipped units, even without user namespaces (docs/troubleshooting.md).
const HIGHEST_EXPOSURE: f64 = 0.7;

impl Socket {
    /// Checks the service of the socket: the socket must be enabled instead of it, and its program must exist.
    pub(super) fn examine_service(&self, findings: &mut Findings) {
        if !self.started.is_loaded() {
            return;
        }
        let restarts = self.started.get("NRestarts");
        let (state, again) = (self.started.get("ActiveState"), !matches!(restarts, "" | "0"));
        if state == "failed" || (again && state != "active") {
            findings.problem(
                Some(&self.starts),
                format!("it keeps failing ({state}), and was restarted {restarts} times{}", self.last_message(None)),
                format!("see `journalctl -u {}`", self.starts),
            );
        }
        let wanted: Vec<_> = self.started.wanted_by().into_iter().filter(|by| !by.ends_with(".socket")).collect();
        if !wanted.is_empty() && !self.unit.is_enabled() {
            findings.problem(
                Some(&self.starts),
                format!("it is enabled (by {}), but its socket {} is not", wanted.join(", "), self.name),
                format!("run `systemctl disable {}`, then `systemctl enable --now {}`", self.starts, self.name),
            );
        }
        self.examine_files(findings);
        let exposure = if self.is_meant_to_run() { self.exposure() } else { None };
        if let Some(level) = exposure.filter(|&level| level > HIGHEST_EXPOSURE) {
            findings.problem(
                Some(&self.starts),
                format!("its exposure is {level:.1}, above {HIGHEST_EXPOSURE}: a drop-in weakens the shipped unit"),
                format!("see `systemctl cat {}` and `systemd-analyze security`", self.starts),
            );
        }
    }

    /// The service's last message since a time or the boot; without one, systemd's last message about it.
    pub(super) fn last_message(&self, since: Option<SystemTime>) -> String {
        let unit = self.starts.replace("@.", "@*.");
        systemd::last_message(&unit, since).map_or_else(String::new, |text| format!("; its last message: {text}"))
    }

    /// Compares the files of the socket and the service with what systemd has read. `verified` is the output of
    /// systemd-analyze.
    pub(super) fn examine_loading(&self, verified: &str, findings: &mut Findings) {
        for (name, unit) in [(&self.name, &self.unit), (&self.starts, &self.started)] {
            if unit.get("NeedDaemonReload") == "yes" {
                let text = "its files have changed since systemd read them";
                findings.problem(
                    Some(name),
                    text,
                    format!("run `systemctl daemon-reload`, then `systemctl restart {}`", self.name),
                );
            }
            for line in unit.complaints(verified) {
                let advice = format!("correct that line; for a drop-in, use `systemctl edit {name}`");
                findings.problem(Some(name), line, advice);
            }
        }
    }

    /// Checks the program and its root directory.
    fn examine_files(&self, findings: &mut Findings) {
        let root = self.started.get("RootDirectory");
        // The sockets of other programs create it when they start.
        let (by_socket, is_needed) = (!self.unit.get("ExecStartPre").is_empty(), self.unit.is_active());
        if !root.is_empty() && !Path::new(root).is_dir() && (is_needed || !by_socket) {
            let advice = if by_socket {
                format!("run `systemctl restart {}`, which creates it", self.name)
            } else {
                "run `systemd-tmpfiles --create`; if that does not create it, run `make install` again".to_owned()
            };
            findings.problem(Some(&self.starts), format!("its root directory {root} is missing"), advice);
        }
        let Some(program) = self.started.program() else { return };
        if let Some(unfit) = executable::unfit(program) {
            let advice = match unfit {
                Unfit::Missing(_) | Unfit::Closed => "run `make install` again, or correct ExecStart=",
                Unfit::Dynamic => "run `make`, which links it statically, then `make install`",
                Unfit::NotAFile | Unfit::Script => "correct ExecStart=",
            };
            findings.problem(Some(&self.starts), format!("its program {} {unfit}", program.display()), advice);
        }
    }
}
