//! A real systemd: tests/machine.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::Result;

/// A booted systemd, shut down with the value.
pub struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The output of a command inside the machine (`run`), or outside in its network (`net`): see tests/machine.
pub fn run(verb: &str, folder: &Path, command: &[&str]) -> Result<String> {
    let output = Command::new("tests/machine").arg(verb).arg(folder).args(command).stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Boots the systemd of a Debian release.
pub fn boot(folder: &Path, release: &str) -> Result<Machine> {
    // The leftovers of a killed run would be mistaken for this one's.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "tests/machine", "boot"]).arg(folder).arg(release).stdin(Stdio::null());
    let mut machine = Machine(command.spawn()?);
    let start = Instant::now();
    while !folder.join("leader").exists() {
        if machine.0.try_wait()?.is_some() || start.elapsed() > Duration::from_mins(2) {
            return Err("the machine did not boot".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(machine)
}

/// The ports of the units of [`serve`].
pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 3100 + u16::try_from(index).unwrap_or(0)))
}

/// Starts these units as `variant0@.service` and so on, an instance for each connection.
pub fn serve<'a>(folder: &Path, units: impl ExactSizeIterator<Item = &'a str>) -> Result<()> {
    let last = units.len() - 1;
    let mut script = String::from("cd /run/systemd/system\n");
    for (index, unit) in units.enumerate() {
        let port = address(index).port();
        let _ = write!(
            script,
            "printf '[Socket]\\nListenStream={port}\\nAccept=yes\\nTriggerLimitIntervalSec=0\\n' > variant{index}.socket\n\
             cat > variant{index}@.service <<'END'\n[Unit]\nCollectMode=inactive-or-failed\n{unit}\nEND\n"
        );
    }
    let _ = write!(script, "systemctl daemon-reload && systemctl start variant{{0..{last}}}.socket");
    run("run", folder, &["bash", "-c", &script]).map(|_| ())
}

/// Runs this benchmark again, as a client in the machine's network, with these variables.
pub fn measure_inside<'a>(folder: &Path, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let mut again = Command::new("tests/machine");
    again.arg("net").arg(folder).arg(env::current_exe()?).envs(variables).process_group(0);
    if again.status()?.success() { Ok(()) } else { Err("the units could not be measured".into()) }
}

/// The processor time of the whole machine, including its systemd (`cpu.stat` of its control group), in milliseconds. Unlike
/// wall-clock time it hardly depends on the host's other load.
pub fn processor_time(folder: &Path) -> Result<f64> {
    let leader = fs::read_to_string(folder.join("leader"))?;
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", leader.trim()))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or("no control group")?;
    let group = group.split('/').find(|part| part.starts_with("small-services-")).ok_or("not the machine's group")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).ok_or("no cgroup2")?;
    let folder = Path::new(mount.split(' ').nth(1).ok_or("no cgroup2")?).join(group);
    let statistics = fs::read_to_string(folder.join("cpu.stat"))?;
    let used = statistics.lines().find_map(|line| line.strip_prefix("usage_usec ")).ok_or("no usage")?;
    Ok(used.trim().parse::<f64>()? / 1e3)
}

/// Waits until the machine is idle, and returns its processor time then.
pub fn settle(folder: &Path) -> Result<f64> {
    const QUIET: Duration = Duration::from_millis(12);
    const MAX_WAIT: Duration = Duration::from_secs(20);
    let start = Instant::now();
    let mut used = processor_time(folder)?;
    loop {
        thread::sleep(QUIET);
        let now = processor_time(folder)?;
        if now - used < 0.001 {
            return Ok(now);
        }
        if start.elapsed() > MAX_WAIT {
            return Err("the machine does not come to rest".into());
        }
        used = now;
    }
}
