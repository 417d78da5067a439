//! Private hosts for a test: network namespaces with links between them. They have no names outside, and disappear when dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Process, tool};

pub struct Host {
    /// Keeps the namespace alive.
    process: Process,
    namespace: File,
}

impl Host {
    /// A host with nothing but loopback.
    pub fn new() -> Self {
        let mut command = tool("setpriv");
        // In case the test is killed.
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c"]);
        command.args(["ip link set lo up && echo && exec sleep infinity"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        process.0.stdout.as_mut().unwrap().read_exact(&mut [0]).expect("a network namespace, which takes root");
        let namespace = File::open(format!("/proc/{}/ns/net", process.0.id())).unwrap();
        Self { process, namespace }
    }

    /// A command that runs a program in the host's network. The program does not outlive the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = tool("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net=/proc/{}/ns/net", self.process.0.id()));
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a shell script that must succeed in the host's network, and returns its output.
    pub fn shell(&self, script: &str) -> String {
        let output = self.command("bash").args(["-o", "pipefail", "-ec", script]).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Links an interface of this host to one of another. Both still have to be brought up.
    pub fn link(&self, name: &str, other: &Self, other_name: &str) {
        let (one, two) = (self.process.0.id(), other.process.0.id());
        let script = format!("ip link add {name} netns {one} type veth peer name {other_name} netns {two}");
        let output = tool("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `act` in the host's network, on its own thread.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let act = || {
            move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// One of the host's TCP counters: `PassiveOpens` counts connections that were made to it, `AttemptFails` those that were
    /// abandoned before they were made.
    pub fn count(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/net/snmp", self.process.0.id())).unwrap();
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let mut columns = rows.next().unwrap().split(' ').zip(rows.next().unwrap().split(' '));
        columns.find_map(|(column, value)| (column == name).then(|| value.parse().unwrap())).unwrap()
    }

    /// The traffic of an interface so far: octets and packets received, octets and packets sent.
    pub fn traffic(&self, interface: &str) -> [u64; 4] {
        let text = fs::read_to_string(format!("/proc/{}/net/dev", self.process.0.id())).unwrap();
        let row = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':')).unwrap();
        let numbers: Vec<u64> = row.split_whitespace().map(|number| number.parse().unwrap()).collect();
        [0, 1, 8, 9].map(|column| numbers[column])
    }
}
