//! Why a service does not start, or is not what its files say.

use std::path::Path;
use std::time::SystemTime;

use super::Findings;
use super::service::Socket;
use super::systemd;
use crate::executable::{self, Unfit};

/// The shipped units have no more, even without user namespaces (docs/troubleshooting.md).
const HIGHEST_EXPOSURE: f64 = 0.7;

impl Socket {
    /// The service behind it: it is the socket that has to be enabled, and its program has to be there.
    pub(super) fn examine_service(&self, findings: &mut Findings) {
        if !self.started.is_loaded() {
            return;
        }
        let restarts = self.started.get("NRestarts");
        let (state, again) = (self.started.get("ActiveState"), !matches!(restarts, "" | "0"));
        if state == "failed" || (again && state != "active") {
            findings.problem(
                Some(&self.starts),
                format!(
                    "it does not stay up ({state}), and was started again {restarts} times{}",
                    self.last_words(None)
                ),
                format!("`journalctl -u {}` has the rest", self.starts),
            );
        }
        let wanted: Vec<_> = self.started.wanted_by().into_iter().filter(|by| !by.ends_with(".socket")).collect();
        if !wanted.is_empty() && !self.unit.is_enabled() {
            findings.problem(
                Some(&self.starts),
                format!("it is enabled (by {}), and its socket {} is not", wanted.join(", "), self.name),
                format!("`systemctl disable {}`, then `systemctl enable --now {}`", self.starts, self.name),
            );
        }
        self.examine_files(findings);
        let exposure = if self.is_meant_to_run() { self.exposure() } else { None };
        if let Some(level) = exposure.filter(|&level| level > HIGHEST_EXPOSURE) {
            findings.problem(
                Some(&self.starts),
                format!("its exposure is {level:.1}, more than {HIGHEST_EXPOSURE}: a drop-in opens what the shipped unit closes"),
                format!("look at `systemctl cat {}` and `systemd-analyze security`", self.starts),
            );
        }
    }

    /// What it said last, and if it said nothing, what systemd says of it; since some time, or since the boot.
    pub(super) fn last_words(&self, since: Option<SystemTime>) -> String {
        let unit = self.starts.replace("@.", "@*.");
        systemd::last_words(&unit, since).map_or_else(String::new, |words| format!("; it said last: {words}"))
    }

    /// What is on the disk and what systemd has read of it, for the socket and for the service;
    /// `verified` is what systemd-analyze says.
    pub(super) fn examine_loading(&self, verified: &str, findings: &mut Findings) {
        for (name, unit) in [(&self.name, &self.unit), (&self.starts, &self.started)] {
            if unit.get("NeedDaemonReload") == "yes" {
                let text = "its files were changed since systemd read them";
                findings.problem(
                    Some(name),
                    text,
                    format!("`systemctl daemon-reload`, then `systemctl restart {}`", self.name),
                );
            }
            for line in unit.complaints(verified) {
                let advice = format!("correct that line, with `systemctl edit {name}` where it is a drop-in's");
                findings.problem(Some(name), line, advice);
            }
        }
    }

    /// The program and its root directory.
    fn examine_files(&self, findings: &mut Findings) {
        let root = self.started.get("RootDirectory");
        // Other programs' sockets make it when they are started.
        let (by_socket, is_needed) = (!self.unit.get("ExecStartPre").is_empty(), self.unit.is_active());
        if !root.is_empty() && !Path::new(root).is_dir() && (is_needed || !by_socket) {
            let advice = if by_socket {
                format!("`systemctl restart {}` makes it", self.name)
            } else {
                "`systemd-tmpfiles --create` makes it; if it does not, `make install` again".to_owned()
            };
            findings.problem(Some(&self.starts), format!("its root directory {root} is missing"), advice);
        }
        let Some(program) = self.started.program() else { return };
        if let Some(unfit) = executable::unfit(program) {
            let advice = match unfit {
                Unfit::Missing(_) | Unfit::Closed => "run `make install` again, or correct ExecStart=",
                Unfit::Dynamic => "build it with `make`, which links it statically, and `make install` it",
                Unfit::Script => "correct ExecStart=",
            };
            findings.problem(Some(&self.starts), format!("its program {} {unfit}", program.display()), advice);
        }
    }
}
