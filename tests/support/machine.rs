//! A temporary machine with a real systemd as PID 1 (tests/machine), removed with the value.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::{Folder, Process, assert_fortune, built_in_fortunes, repository, units, wait_until};

pub struct Machine {
    folder: Folder,
    process: Process,
}

impl Machine {
    /// Boots one, with Debian 12's systemd or that of the release in RELEASE.
    pub fn boot(name: &str) -> Self {
        let release = env::var("RELEASE").unwrap_or_else(|_| "bookworm".to_owned());
        Self::boot_release(name, &release, &[])
    }

    /// Boots one with a Debian release, in particular its systemd, and with additional options for systemd-nspawn.
    pub fn boot_release(name: &str, release: &str, options: &[&str]) -> Self {
        let folder = Folder::new(&format!("machine-{name}"));
        let process = Process::start(
            Command::new("setpriv")
                .args(["--pdeathsig", "TERM"]) // if the test is killed
                .arg(script())
                .arg("boot")
                .arg(folder.path())
                .arg(release)
                .args(options)
                .stdin(Stdio::null()),
        );
        let mut machine = Self { folder, process };
        machine.wait_until_booted();
        machine
    }

    fn wait_until_booted(&mut self) {
        wait_until(|| {
            let ended = self.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "the machine did not boot");
            self.folder.path().join("leader").exists()
        });
    }

    /// Boots it again, with the same disk.
    pub fn reboot(&mut self) {
        let before = self.leader();
        // The command may not return, since it ends with the machine.
        self.command("run", "systemctl reboot");
        wait_until(|| !self.folder.path().join("leader").exists() || self.leader() != before);
        self.wait_until_booted();
    }

    /// The host's number of its PID 1.
    pub fn leader(&self) -> String {
        fs::read_to_string(self.folder.path().join("leader")).unwrap_or_default().trim().to_owned()
    }

    /// Boots one, runs `make install` in it as its administrator would, and enables the sockets: `NAME.socket`, or with the kind
    /// `-daemon` `NAME-daemon.socket`.
    pub fn with_services(name: &str, kind: &str) -> Self {
        let machine = Self::boot(name);
        machine.shell(&format!("make -C {} install", repository().display()));
        // Without logind nobody is logged in.
        machine.shell("mkdir -p /run/systemd/sessions");
        machine.shell(&format!("systemctl enable --now {}{kind}.socket 2>&1", units()));
        machine
    }

    /// Also enables lunchd, over plain HTTP.
    pub fn enable_lunchd(&self) {
        self.shell("systemctl enable --now lunchd-http.socket 2>&1");
    }

    /// A folder on the host, for clients. [`Self::client`] sees it, too.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn command(&self, verb: &str, shell: &str) -> Output {
        Command::new(script())
            .arg(verb)
            .arg(self.folder.path())
            .args(["bash", "-o", "pipefail", "-c", shell])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a shell command inside, and returns its output. The test fails if the command does.
    pub fn shell(&self, command: &str) -> String {
        let output = self.command("run", command);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert!(
            output.status.success(),
            "{command}: {}\n{}",
            output.status,
            text(&output.stderr) + &text(&output.stdout)
        );
        text(&output.stdout)
    }

    /// Fills its disk to the last byte. The disk is memory of a fixed size from now on.
    pub fn fill_the_disk(&self) {
        // On such a disk, mapping a hole in a file allocates memory. The programs no longer have holes.
        self.shell(
            "cd /usr/local/libexec/small-services && for it in *; do cp -p --sparse=never $it .copy && mv .copy $it; done",
        );
        let disk = self.folder.path().join("mem");
        let script = format!(
            "outside=$(ps -o ppid= -p {}) && used=$(nsenter -t $outside -m df --output=used -k {1} | tail -n 1) && \
             nsenter -t $outside -m mount -o remount,size=$((used + 1024))k {1}",
            self.leader(),
            disk.display()
        );
        assert!(Command::new("bash").args(["-ec", &script]).status().unwrap().success());
        self.shell("! cat /dev/zero > /var/full 2>/dev/null; ! (echo x > /var/fuller) 2>/dev/null");
    }

    /// Waits until a shell command inside succeeds.
    pub fn wait_for(&self, command: &str) {
        wait_until(|| self.command("run", command).status.success());
    }

    /// Runs a shell command outside, only in the machine's network, and returns its output.
    pub fn client(&self, command: &str) -> Vec<u8> {
        let output = self.command("net", command);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The lines of the journal that `journalctl` finds with these arguments.
    pub fn journal(&self, arguments: &str) -> String {
        self.shell(&format!("journalctl --sync && journalctl --quiet --no-pager --output=short {arguments}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ends it cleanly: the script unmounts, and removes its control groups.
        let _ = Command::new("kill").arg(self.process.0.id().to_string()).status();
        let _ = self.process.0.wait();
    }
}

fn script() -> PathBuf {
    let script = repository().join("tests/machine");
    assert!(fs::metadata(&script).unwrap().permissions().mode() & 0o111 != 0);
    script
}

/// Asserts that all services answer correctly on these addresses, to a real `nc` on another host; except chargen over UDP, which is
/// served only on request.
pub fn assert_all_answer(machine: &Machine, tcp: &[&str], udp: &[&str]) {
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    for ip in tcp {
        let ask = |how: &str, port: u16| machine.client(&format!("{how} {ip} {port}"));
        let fortune = assert_fortune(&ask("nc -d", 17));
        assert!(built_in_fortunes().contains(&fortune), "{fortune}");
        assert_eq!(text(ask("echo hello | nc -N", 7)), "hello\n");
        assert_eq!(text(ask("echo hello | nc -N", 9)), "");
        assert_eq!(ask("nc -d", 13).len(), 26);
        assert_eq!(ask("nc -d", 37).len(), 4);
        assert_eq!(text(ask("nc -d", 11)), "nobody is logged in\r\n");
        let lines = text(machine.client(&format!("set +o pipefail; nc -d {ip} 19 | head -n 3")));
        assert!(lines.starts_with(" !\"#$%&'()*+,-./0123456789") && lines.lines().count() == 3, "{lines}");
        // Something large, in order.
        machine.client(&format!(
            "head -c 10000000 /dev/zero | nc -N {ip} 7 | cmp -n 10000000 - /dev/zero && head -c 10000000 /dev/zero | nc -N {ip} 9"
        ));
    }
    for ip in udp {
        let ask = |port| ask_over_udp(machine, ip, port);
        assert_fortune(&ask(17));
        assert_eq!(ask(7), b"hello");
        assert_eq!((ask(13).len(), ask(37).len(), ask(11).len()), (26, 4, 21));
        machine.client(&format!("echo hello | nc -u -w 1 {ip} 9 | wc -c | grep -qx 0"));
    }
}

/// Asserts that chargen answers over UDP.
pub fn assert_chargen_answers_over_udp(machine: &Machine, ips: &[&str]) {
    for ip in ips {
        assert!(ask_over_udp(machine, ip, 19).len() <= 512);
    }
}

/// Sends one datagram, and returns the first answer.
fn ask_over_udp(machine: &Machine, ip: &str, port: u16) -> Vec<u8> {
    machine.client(&format!(
        "python3 -c \"
import socket, sys
address = socket.getaddrinfo('{ip}', {port}, type=socket.SOCK_DGRAM)[0]
client = socket.socket(address[0], socket.SOCK_DGRAM)
client.settimeout(60)
client.sendto(b'hello', address[4])
sys.stdout.buffer.write(client.recv(65535))\""
    ))
}
