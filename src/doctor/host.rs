//! The host: what every unit needs of it.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use hunker::{Landlock, Rights};

use super::service::{Service, Socket};
use super::{Findings, systemd};
use crate::runtime::sandbox::shortfall;

/// The oldest systemd that has all that the units ask for.
const SYSTEMD: u32 = 249;
/// The versions that there are drop-ins for, in `units`: `make install` puts in those that the host's systemd knows.
const STEPS: &[u32] = &[257];

/// Walks the checks of the host.
pub(super) fn examine(services: &[&Service], findings: &mut Findings) {
    if let Some(version) = systemd::version() {
        examine_version(version, services, findings);
    }
    let sockets: Vec<_> =
        services.iter().flat_map(|service| &service.sockets).filter(|it| it.is_meant_to_run()).collect();
    let demanded = sockets.is_empty() || sockets.iter().any(|it| ["full", "strict"].contains(&mode(it)));
    examine_kernel(demanded, findings);
    if let Some(shortfall) = findings.landlock.as_ref().and_then(shortfall) {
        for socket in sockets.iter().filter(|it| mode(it) == "full") {
            let kernel = Rights::all().kernel();
            findings.problem(
                Some(&socket.starts),
                format!("it is started with --sandbox full, and {shortfall}"),
                format!("boot Linux {kernel} or newer, or have it start with --sandbox strict"),
            );
        }
    }
    let manager = fs::read_to_string("/proc/1/status").unwrap_or_default();
    if may_mount(&manager) == Some(false) {
        findings.problem(
            None,
            "its systemd has no CAP_SYS_ADMIN, that of a container as a rule, and can start no unit that asks for namespaces \
             (225/NETWORK, 226/NAMESPACE)",
            "give the container that capability, or serve without units: with --listen, or by an image of one program \
             (docs/operating.md)",
        );
    }
    let namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let wanting: Vec<_> = sockets.iter().filter(|socket| socket.started.get("PrivateUsers") == "yes").collect();
    if namespaces.trim() == "0" {
        for socket in wanting {
            findings.problem(
                Some(&socket.starts),
                "user.max_user_namespaces is 0 on this host, and PrivateUsers=yes needs one (217/USER)",
                format!(
                    "`systemctl edit {}`, and set PrivateUsers=no in [Service]; or raise that limit (sysctl)",
                    socket.starts
                ),
            );
        }
    }
}

/// Whether the units are for this systemd: the newest version that their drop-ins are for is neither older nor newer.
fn examine_version(version: u32, services: &[&Service], findings: &mut Findings) {
    if version < SYSTEMD {
        let text = format!("its systemd {version} is older than the {SYSTEMD} that the units are for");
        findings.problem(None, text, "use an inetd, xinetd or tcpserver there (share/small-services), or --listen");
    }
    let sockets = services.iter().flat_map(|service| &service.sockets);
    let paths = sockets.map(|socket| socket.started.get("DropInPaths"));
    let known = STEPS.iter().copied().filter(|&step| step <= version).max();
    let installed = paths.flat_map(str::split_whitespace).filter_map(step_of).max();
    match (installed, known) {
        (Some(step), _) if step > version => {
            let text = format!("the units have drop-ins for systemd {step}, and this is {version}");
            findings.problem(None, text, "run `make install` again");
        }
        (installed, Some(step)) if installed < Some(step) => {
            findings.state("systemd", format!("{version}; `make install` would add drop-ins for {step} to the units"));
        }
        _ => {}
    }
}

/// The version that a drop-in of ours is for.
fn step_of(path: &str) -> Option<u32> {
    path.rsplit_once("/10-systemd-")?.1.strip_suffix(".conf")?.parse().ok()
}

/// What it does where the kernel lacks a layer.
fn mode(socket: &Socket) -> &str {
    socket.started.option("--sandbox").unwrap_or("strict")
}

/// Whether a process may mount anything, by its status in /proc: whether its capabilities are bounded to fewer.
fn may_mount(status: &str) -> Option<bool> {
    const CAP_SYS_ADMIN: u32 = 21;
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    Some(u64::from_str_radix(bound.trim(), 16).ok()? >> CAP_SYS_ADMIN & 1 == 1)
}

/// Whether the kernel has every layer of the lock-down: the qotd beside this program tries, as a filter. It is `demanded` where any
/// service is told to serve with all of them only. What the kernel's Landlock cannot forbid is named as well: where each
/// connection has a process, none of them logs it.
pub(super) fn examine_kernel(demanded: bool, findings: &mut Findings) {
    let landlock = Landlock::of_kernel().unwrap_or(Landlock { abi: 0, missing: Rights::all() });
    findings.landlock = Some(landlock);
    let Some(program) = env::current_exe().ok().map(|path| path.with_file_name("qotd")).filter(|path| path.exists())
    else {
        return;
    };
    let mut command = Command::new("timeout");
    command.arg("20").arg(&program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.output() {
        Ok(output) if output.status.success() => {
            let rights = match shortfall(&landlock) {
                Some(shortfall) => format!("{shortfall}; seccomp does"),
                None => format!("Landlock (ABI {}) with every right", landlock.abi),
            };
            findings.state("kernel", format!("every layer of the lock-down is there; {rights}"));
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let text =
                if said.is_empty() { format!("{} ended with {}", program.display(), output.status) } else { said };
            if demanded {
                // A program that refuses says what to do.
                let (text, advice) = text.split_once("; ").unwrap_or((&text, "run it by hand, and see what it says"));
                findings.problem(None, text, advice);
            } else {
                findings.state("kernel", format!("{text}; --sandbox best-effort serves all the same"));
            }
        }
        Err(error) => {
            let text = format!("{} cannot be run: {error}", program.display());
            findings.problem(None, text, "run `make install` again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_step_for_each_folder_of_drop_ins() {
        let folders = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/units")).unwrap();
        let mut steps: Vec<u32> =
            folders.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect();
        steps.sort_unstable();
        assert_eq!(steps, STEPS);
        assert_eq!(step_of("/etc/systemd/system/echo@.service.d/10-systemd-257.conf"), Some(257));
        assert_eq!(step_of("/etc/systemd/system/echo@.service.d/own.conf"), None);
    }

    #[test]
    fn what_a_process_is_bounded_to_is_read_bit_by_bit() {
        assert_eq!(may_mount("CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n"), Some(true));
        assert_eq!(may_mount("CapBnd:\t00000000a80425fb\n"), Some(false));
        assert_eq!(may_mount(""), None);
    }
}
