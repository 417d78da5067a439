//! Finds why a socket does not listen, or why clients cannot reach it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::service::{Service, Socket};
use super::{Findings, ports, systemd};

impl Socket {
    /// Finds why the socket does not listen.
    pub(super) fn examine_state(&self, service: &Service, findings: &mut Findings) {
        let (name, unit) = (self.name.as_str(), &self.unit);
        let again = format!("run `systemctl reset-failed {name}`, then `systemctl start {name}`");
        if unit.get("Result").ends_with("-limit-hit") {
            findings.problem(
                Some(name),
                format!("it exceeded a limit ({}), so its port is closed", unit.get("Result")),
                match unit.get("Result") {
                    "start-limit-hit" => {
                        format!("set StartLimitIntervalSec=0 in [Unit], as in the shipped unit; {again}")
                    }
                    _ => format!("set TriggerLimitIntervalSec=0, as in the shipped unit; {again}"),
                },
            );
            return;
        }
        if unit.is_active() {
            if unit.listens_on().iter().any(|(_, kind)| *kind == "Datagram") {
                for (at, by) in ports::others_with_udp(service.port, self.started.get("MainPID")) {
                    findings.problem(
                        Some(name),
                        format!("datagrams to udp port {} at {at} go to {by}", service.port),
                        format!("stop that program, then run `systemctl restart {name}`"),
                    );
                }
            }
            return;
        }
        for (address, kind) in unit.listens_on() {
            let protocol = if kind == "Datagram" { "udp" } else { "tcp" };
            let absent = address.parse::<SocketAddr>().ok().filter(|address| !ports::is_local(address.ip()));
            if let Some(address) = absent {
                findings.problem(
                    Some(name),
                    format!("{} is not an address of this host", address.ip()),
                    "correct ListenStream= or ListenDatagram=, set FreeBind=yes, or add the address",
                );
                return;
            }
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(service.port);
            if let Some(by) = ports::holder(port, protocol) {
                let by = if by == "systemd (process 1)" {
                    "another socket unit; see `systemctl list-sockets`".to_owned()
                } else {
                    by
                };
                let ours = service.sockets.iter().any(|other| other.unit.is_active());
                // It is no problem if the other socket of the same service has the port.
                if !ours || unit.get("ActiveState") == "failed" {
                    findings.problem(
                        Some(name),
                        format!("{protocol} port {port} is used by {by}"),
                        format!("stop that program; {again}"),
                    );
                }
                return;
            }
        }
        if unit.get("Accept") != "yes" && self.started.is_active() {
            findings.problem(
                Some(name),
                format!(
                    "it is enabled, but {}, while {} runs: the socket must start first",
                    unit.get("ActiveState"),
                    self.starts
                ),
                format!("run `systemctl stop {}`, then `systemctl start {name}`", self.starts),
            );
            return;
        }
        let reason = match (unit.get("ActiveState"), unit.get("Result")) {
            ("failed", result) => {
                let why =
                    systemd::listen_failure(name).map_or_else(String::new, |why| format!("; systemd says: {why}"));
                format!("it failed ({result}), so its port is closed{why}")
            }
            (state, _) => format!("it is enabled, but {state}"),
        };
        let advice = format!(
            "{again}; if it fails again, set LogLevelMax=info in [Socket] with `systemctl edit {name}`, and see \
             `journalctl -u {name}`"
        );
        findings.problem(Some(name), reason, advice);
    }

    /// Finds what keeps clients from the socket.
    pub(super) fn examine_access(&self, findings: &mut Findings) {
        let (name, unit) = (self.name.as_str(), &self.unit);
        if unit.get("PrivateNetwork") == "yes" {
            findings.problem(
                Some(name),
                "PrivateNetwork=yes puts its sockets into a network without clients",
                "remove PrivateNetwork= from the socket unit; it belongs to the service",
            );
        }
        let (deny, allow) = (unit.get("IPAddressDeny"), unit.get("IPAddressAllow"));
        let denies_all = deny.split_whitespace().any(|network| matches!(network, "0.0.0.0/0" | "::/0"));
        if denies_all && allow.is_empty() {
            findings.problem(
                Some(name),
                format!("IPAddressDeny={deny} refuses all clients, since IPAddressAllow= is not set"),
                format!("run `systemctl edit {name}`, and add IPAddressAllow= with the networks that may connect"),
            );
        } else if denies_all {
            findings.state(name, format!("only {allow} may connect (IPAddressAllow=)"));
        }
        for (path, _) in unit.listens_on().into_iter().filter(|(path, _)| path.starts_with('/')) {
            match fs::metadata(path) {
                Err(error) if unit.is_active() => {
                    let advice = format!("run `systemctl restart {name}`, which creates it again");
                    findings.problem(Some(name), format!("clients cannot find {path}: {error}"), advice);
                }
                Ok(file) if file.permissions().mode() & 0o022 == 0 => findings.problem(
                    Some(name),
                    format!("only the owner of {path} may connect (SocketMode={})", unit.get("SocketMode")),
                    format!(
                        "run `systemctl edit {name}`, and set SocketMode=0666, or SocketGroup= and SocketMode=0660"
                    ),
                ),
                _ => {}
            }
        }
    }
}
