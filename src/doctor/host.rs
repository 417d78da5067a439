//! The host: what every unit needs of it.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use super::service::Service;
use super::{Findings, systemd};

/// The oldest systemd that has all that the units ask for.
const SYSTEMD: u32 = 249;
/// The first kernel with Landlock.
const KERNEL: (u32, u32) = (5, 13);

/// Walks the checks of the host.
pub(super) fn examine(services: &[&Service], findings: &mut Findings) {
    if let Some(version) = systemd::version().filter(|&version| version < SYSTEMD) {
        let text = format!("its systemd {version} is older than the {SYSTEMD} that the units are for");
        findings.problem(None, text, "use an inetd, xinetd or tcpserver there (share/small-services), or --listen");
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let sockets: Vec<_> =
        services.iter().flat_map(|service| &service.sockets).filter(|it| it.is_meant_to_run()).collect();
    let demanded = sockets.is_empty()
        || sockets.iter().any(|socket| socket.started.option("--sandbox").is_none_or(|it| it == "strict"));
    if let Some(version) = kernel(&release).filter(|&version| demanded && version < KERNEL) {
        let text = format!("its kernel {}.{} is older than 5.13, the first with Landlock", version.0, version.1);
        findings.problem(None, text, "boot a newer kernel, or have the services start with --sandbox best-effort");
    } else {
        examine_kernel(demanded, findings);
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

/// Whether a process may mount anything, by its status in /proc: whether its capabilities are bounded to fewer.
fn may_mount(status: &str) -> Option<bool> {
    const CAP_SYS_ADMIN: u32 = 21;
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    Some(u64::from_str_radix(bound.trim(), 16).ok()? >> CAP_SYS_ADMIN & 1 == 1)
}

/// The first two numbers of a kernel's release.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|octet: char| !octet.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether the kernel has every layer of the lock-down: the qotd beside this program tries, as a filter. It is `demanded` where any
/// service is told to serve with all of them only.
fn examine_kernel(demanded: bool, findings: &mut Findings) {
    let Some(program) = env::current_exe().ok().map(|path| path.with_file_name("qotd")).filter(|path| path.exists())
    else {
        return;
    };
    let mut command = Command::new("timeout");
    command.arg("20").arg(&program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.output() {
        Ok(output) if output.status.success() => findings.state("kernel", "every layer of the lock-down is there"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let text =
                if said.is_empty() { format!("{} ended with {}", program.display(), output.status) } else { said };
            let forbidden = text.contains("a filter outside of the program forbids");
            let advice = if forbidden {
                "have the container's filter allow the landlock_* calls: `--system-call-filter=` of systemd-nspawn, or the \
                 seccomp profile of others"
            } else {
                "boot a kernel with Landlock and seccomp, and landlock in its lsm= list"
            };
            if demanded {
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
    fn what_a_process_is_bounded_to_is_read_bit_by_bit() {
        assert_eq!(may_mount("CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n"), Some(true));
        assert_eq!(may_mount("CapBnd:\t00000000a80425fb\n"), Some(false));
        assert_eq!(may_mount(""), None);
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(kernel("6.1.0-56-cloud-amd64\n"), Some((6, 1)));
        assert_eq!(kernel("5.10\n"), Some((5, 10)));
        assert_eq!(kernel(""), None);
        assert!((5, 9) < KERNEL && (6, 1) > KERNEL);
    }
}
