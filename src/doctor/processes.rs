//! Finds processes that still run a replaced program, whether a unit, an inetd or a person started them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::Findings;
use super::service::Service;
use crate::services;

/// The programs that are not in the table.
const MORE: [&str; 2] = ["fortune", "lunchd"];
/// The suffix of a deleted program in `/proc/PID/exe` (proc(5)).
const DELETED: &str = " (deleted)";

/// Checks all processes that this user can see; usually, only root sees the programs of services.
pub(super) fn examine(services: &[Service], findings: &mut Findings) {
    let beside = env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let units: Vec<_> = services.iter().flat_map(|service| &service.sockets).collect();
    let is_ours = |program: &Path| {
        let directory = program.parent().unwrap_or(program);
        let known = directory.ends_with("small-services") || Some(directory) == beside.as_deref();
        let named = services::all().map(|row| row.program).chain(MORE).any(|name| program.ends_with(name));
        (known && named) || units.iter().any(|socket| socket.started.program() == Some(program))
    };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if !replaced(&process.path()).is_some_and(|program| is_ours(&program)) {
            continue;
        }
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        let text = "a program that was replaced since it was started";
        match unit_of(&groups) {
            // A per-connection process ends by itself.
            Some(unit) if units.iter().any(|socket| is_instance(unit, &socket.starts)) => {}
            Some(unit) => findings.problem(
                Some(unit),
                format!("it runs {text}"),
                format!("run `systemctl restart {unit}`; the sockets of its socket unit stay open"),
            ),
            None => {
                let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
                findings.problem(
                    None,
                    format!("process {pid}, `{line}`, runs {text}"),
                    format!("run `kill {pid}`, and start it again"),
                );
            }
        }
    }
}

/// The program of a process, if its file was deleted.
fn replaced(process: &Path) -> Option<PathBuf> {
    let program = fs::read_link(process.join("exe")).ok()?;
    program.to_str()?.strip_suffix(DELETED).map(PathBuf::from)
}

/// The system service of a process, from its control groups (cgroups(7)); not a service of a user's manager, nor one outside this
/// container.
fn unit_of(groups: &str) -> Option<&str> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let of_the_system = paths.filter(|path| !path.contains("/user@") && !path.starts_with("/../"));
    let units = of_the_system.filter_map(|path| path.rsplit('/').next());
    units.into_iter().find(|unit| unit.ends_with(".service"))
}

/// Whether a unit is an instance of a template: `echo@1.service` of `echo@.service`.
fn is_instance(unit: &str, template: &str) -> bool {
    template.split_once("@.").is_some_and(|(name, _)| unit.strip_prefix(name).is_some_and(|rest| rest.starts_with('@')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_process_is_told_by_its_control_group() {
        let unified = "0::/system.slice/system-smallservices.slice/echo-daemon.service\n";
        assert_eq!(unit_of(unified), Some("echo-daemon.service"));
        let hybrid = "4:memory:/user.slice\n1:name=systemd:/system.slice/inetd.service\n0::/\n";
        assert_eq!(unit_of(hybrid), Some("inetd.service"));
        for no_unit in [
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/own.service\n",
            "0::/../../system.slice/runner.service\n",
            "0::/\n",
            "",
        ] {
            assert_eq!(unit_of(no_unit), None, "{no_unit}");
        }
    }

    #[test]
    fn an_instance_is_told_from_other_units() {
        assert!(is_instance("echo@0-127.0.0.1:7.service", "echo@.service"));
        assert!(!is_instance("echo-daemon.service", "echo@.service"));
        assert!(!is_instance("echo-daemon.service", "echo-daemon.service"));
    }
}
