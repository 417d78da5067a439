//! A real systemd: tests/machine.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;

/// A booted systemd, off with the value.
pub struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// What a command prints inside the machine (`run`), or outside in its network (`net`): see tests/machine.
pub fn run(verb: &str, folder: &Path, command: &[&str]) -> Result<String> {
    let output = Command::new("tests/machine").arg(verb).arg(folder).args(command).stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

pub fn boot(folder: &Path) -> Result<Machine> {
    // What is left of a run that was killed would be taken for this one's.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "tests/machine", "boot"]).arg(folder).stdin(Stdio::null());
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
