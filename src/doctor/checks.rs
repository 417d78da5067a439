//! The checks, in the order in which an administrator would proceed.

use super::service::Service;
use super::{Findings, host, processes, systemd};
use crate::{services, units};

/// lunchd's sockets, with their ports. They start the same service.
const WEB: [(&str, u16); 2] = [("lunchd-http", 80), ("lunchd-https", 443)];

/// Runs all checks.
pub(super) fn examine() -> Findings {
    let mut findings = Findings::default();
    if !systemd::is_running() {
        host::examine_kernel(true, &mut findings);
        processes::examine(&[], &mut findings);
        let advice = "use inetd.conf, xinetd.d or tcpserver in share/small-services with another super-server";
        findings.problem(None, "systemd does not run on this host", advice);
        return findings;
    }
    let small = services::all().map(|row| Service::ask(row.unit, row.port, true));
    let web = WEB.iter().map(|&(name, port)| Service::ask_web(name, port));
    let others = units::made().into_iter().map(|(name, port)| Service::ask(&name, port, false));
    let services: Vec<_> = small.chain(web).chain(others).collect();
    processes::examine(&services, &mut findings);
    let installed: Vec<_> =
        services.iter().filter(|service| service.sockets.iter().any(|socket| socket.unit.exists())).collect();
    if installed.is_empty() {
        host::examine_kernel(true, &mut findings);
        findings.problem(None, "no unit of small-services is installed", "run `make install`");
        return findings;
    }
    if !services
        .iter()
        .flat_map(|service| &service.sockets)
        .any(|socket| socket.unit.is_active() || socket.unit.is_enabled())
    {
        findings.problem(
            None,
            "no socket is enabled",
            "enable one, for example with `systemctl enable --now fortune.socket`",
        );
    }
    host::examine(&installed, &mut findings);
    let running = installed.iter().flat_map(|service| &service.sockets).filter(|socket| socket.is_meant_to_run());
    let names: Vec<_> = running.flat_map(|socket| [socket.name.clone(), socket.instance()]).collect();
    let verified = systemd::verify(&names);
    for service in installed {
        service.examine(&verified, &mut findings);
    }
    findings
}
