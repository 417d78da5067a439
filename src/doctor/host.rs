//! Checks what all units need of the host.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use hunker::{Landlock, Rights};

use super::service::{Service, Socket};
use super::{Findings, systemd};
use crate::runtime::sandbox::shortfall;

/// The oldest systemd with everything that the units require.
const SYSTEMD: u32 = 249;
/// The versions of systemd with drop-ins in `units`. `make install` installs those up to the host's version.
const STEPS: &[u32] = &[257];

/// Checks the host.
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
                format!("it is started with --sandbox full, but {shortfall}"),
                format!("boot Linux {kernel} or newer, or start it with --sandbox strict"),
            );
        }
    }
    let manager = fs::read_to_string("/proc/1/status").unwrap_or_default();
    if may_mount(&manager) == Some(false) {
        findings.problem(
            None,
            "its systemd lacks CAP_SYS_ADMIN, usually because it runs in a container, and cannot start units that require \
             namespaces (225/NETWORK, 226/NAMESPACE)",
            "give the container this capability, or serve without units: with --listen, or with the image of one program \
             (docs/operating.md)",
        );
    }
    let namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let wanting: Vec<_> = sockets.iter().filter(|socket| socket.started.get("PrivateUsers") == "yes").collect();
    if namespaces.trim() == "0" {
        for socket in wanting {
            findings.problem(
                Some(&socket.starts),
                "user.max_user_namespaces is 0 on this host, but PrivateUsers=yes requires a namespace (217/USER)",
                format!(
                    "run `systemctl edit {}`, and set PrivateUsers=no in [Service]; or raise that limit (sysctl)",
                    socket.starts
                ),
            );
        }
    }
}

/// Checks that the units fit this systemd: their drop-ins must be neither for older versions only, nor for a newer one.
fn examine_version(version: u32, services: &[&Service], findings: &mut Findings) {
    if version < SYSTEMD {
        let text = format!("its systemd {version} is older than {SYSTEMD}, which the units require");
        findings.problem(None, text, "use inetd, xinetd or tcpserver (share/small-services), or --listen");
    }
    let sockets = services.iter().flat_map(|service| &service.sockets);
    // Packages are for all versions of systemd, and have no drop-ins.
    let own: Vec<_> = sockets.filter(|it| !it.started.get("FragmentPath").starts_with("/usr/lib/")).collect();
    if own.is_empty() {
        return;
    }
    let paths = own.iter().map(|socket| socket.started.get("DropInPaths"));
    let known = STEPS.iter().copied().filter(|&step| step <= version).max();
    let installed = paths.flat_map(str::split_whitespace).filter_map(step_of).max();
    match (installed, known) {
        (Some(step), _) if step > version => {
            let text = format!("the units have drop-ins for systemd {step}, but this is {version}");
            findings.problem(None, text, "run `make install` again");
        }
        (installed, Some(step)) if installed < Some(step) => {
            findings.state("systemd", format!("{version}; `make install` would add drop-ins for {step} to the units"));
        }
        _ => {}
    }
}

/// The version of systemd that a drop-in of `make install` is for.
fn step_of(path: &str) -> Option<u32> {
    path.rsplit_once("/10-systemd-")?.1.strip_suffix(".conf")?.parse().ok()
}

/// The mode of the sandbox that a service is started with.
fn mode(socket: &Socket) -> &str {
    socket.started.option("--sandbox").unwrap_or("strict")
}

/// Whether a process may mount file systems: whether its status in /proc has `CAP_SYS_ADMIN` in the bounding set.
fn may_mount(status: &str) -> Option<bool> {
    const CAP_SYS_ADMIN: u32 = 21;
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    Some(u64::from_str_radix(bound.trim(), 16).ok()? >> CAP_SYS_ADMIN & 1 == 1)
}

/// Checks that the kernel has every layer of the lock-down, by running the qotd beside this program as a filter. A missing
/// layer is a problem if it is `demanded`: if any service requires all layers. Also reports what the kernel's Landlock cannot
/// forbid, which per-connection processes do not log.
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
            findings.state("kernel", format!("every layer of the lock-down is available; {rights}"));
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let text =
                if said.is_empty() { format!("{} ended with {}", program.display(), output.status) } else { said };
            if demanded {
                // The message of a program that refuses includes the next step.
                let (text, advice) = text.split_once("; ").unwrap_or((&text, "run it by hand, and read its messages"));
                findings.problem(None, text, advice);
            } else {
                findings.state("kernel", format!("{text}; --sandbox best-effort serves without it"));
            }
        }
        Err(error) => {
            let text = format!("cannot run {}: {error}", program.display());
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
