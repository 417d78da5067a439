//! Queries systemd about units, with systemctl(1), systemd-analyze(1) and journalctl(1).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// The properties of one unit, as `systemctl show` prints them.
#[derive(Debug, Default)]
pub(super) struct Unit {
    properties: HashMap<String, Vec<String>>,
}

impl Unit {
    /// Queries a unit. If it does not exist, its `LoadState` is `not-found`.
    pub(super) fn show(name: &str) -> Self {
        Self::parse(&run("systemctl", &["show", "--no-pager", "--", name]).unwrap_or_default())
    }

    /// Parses the output of systemctl.
    pub(super) fn parse(output: &str) -> Self {
        let mut properties: HashMap<_, Vec<_>> = HashMap::new();
        for (key, value) in output.lines().filter_map(|line| line.split_once('=')) {
            properties.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Self { properties }
    }

    /// A property; empty if the unit does not have it.
    pub(super) fn get(&self, property: &str) -> &str {
        self.all(property).first().map_or("", String::as_str)
    }

    /// All values of a property.
    pub(super) fn all(&self, property: &str) -> &[String] {
        self.properties.get(property).map_or(&[], Vec::as_slice)
    }

    /// Whether it has a file, even one that cannot be loaded.
    pub(super) fn exists(&self) -> bool {
        self.get("LoadState") != "not-found"
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    pub(super) fn is_active(&self) -> bool {
        self.get("ActiveState") == "active"
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.get("UnitFileState").starts_with("enabled")
    }

    /// The units that start it, such as `multi-user.target`.
    pub(super) fn wanted_by(&self) -> Vec<&str> {
        ["WantedBy", "RequiredBy"].iter().flat_map(|property| self.get(property).split_whitespace()).collect()
    }

    /// The addresses that a socket unit listens on, each with its kind: `[::]:17`, `Stream`.
    pub(super) fn listens_on(&self) -> Vec<(&str, &str)> {
        let form = |line: &'_ String| -> Option<(usize, usize)> {
            let (address, kind) = line.rsplit_once(" (")?;
            kind.ends_with(')').then_some((address.len(), line.len() - 1))
        };
        self.all("Listen")
            .iter()
            .filter_map(|line| form(line).map(|(address, end)| (&line[..address], &line[address + 2..end])))
            .collect()
    }

    /// The words of `ExecStart=`, the program first.
    pub(super) fn arguments(&self) -> Vec<&str> {
        let line = self.get("ExecStart").split_once("argv[]=").map_or("", |(_, rest)| rest);
        line.split_once(" ;").map_or("", |(line, _)| line).split(' ').collect()
    }

    /// The value of an option in `ExecStart=`.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        let words = self.arguments();
        let at = words.iter().position(|word| word.split('=').next() == Some(name))?;
        words[at].split_once('=').map(|(_, value)| value).or_else(|| words.get(at + 1).copied())
    }

    /// The lines of a report about its files.
    pub(super) fn complaints<'a>(&self, report: &'a str) -> Vec<&'a str> {
        let files =
            [self.get("FragmentPath"), self.get("DropInPaths")].map(str::split_whitespace).into_iter().flatten();
        let heads: Vec<_> = files.map(|file| format!("{file}:")).collect();
        report.lines().filter(|line| heads.iter().any(|head| line.starts_with(head.as_str()))).collect()
    }

    /// The program of `ExecStart=`.
    pub(super) fn program(&self) -> Option<&Path> {
        let start = self.get("ExecStart").split_once("path=")?.1;
        start.split_once(" ;").map(|(path, _)| Path::new(path))
    }
}

/// Whether systemd runs this host (`sd_booted(3)`).
pub(super) fn is_running() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// The version of systemd.
pub(super) fn version() -> Option<u32> {
    run("systemctl", &["--version"])?.split_whitespace().nth(1)?.parse().ok()
}

/// The output of `systemd-analyze verify` for these units, without checks of their manual pages.
pub(super) fn verify(names: &[String]) -> String {
    let arguments: Vec<_> =
        ["verify", "--man=no", "--no-pager", "--"].into_iter().chain(names.iter().map(String::as_str)).collect();
    run_for(Printed::Errors, "systemd-analyze", &arguments).unwrap_or_default()
}

/// The last message of a unit's processes, or else systemd's last message about them.
pub(super) fn last_message(unit: &str, since: Option<SystemTime>) -> Option<String> {
    run("journalctl", &["--sync"]);
    let since = since.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.map_or_else(|| "--boot".to_owned(), |time| format!("--since=@{}", time.as_secs()));
    let ask = |more: &[&str]| {
        let arguments =
            [&["--quiet", "--no-pager", "--output=cat", "--lines=20", &since, "--unit", unit], more].concat();
        run("journalctl", &arguments)
    };
    let last = |text: String, good: fn(&str) -> bool| text.lines().rev().find(|line| good(line)).map(str::to_owned);
    last(ask(&["_TRANSPORT=stdout", "_TRANSPORT=syslog"])?, |line| !line.is_empty()).or_else(|| {
        let all = ask(&[])?;
        last(all.clone(), |line| line.contains("Failed at step") || line.contains("Failed to set up"))
            .or_else(|| last(all, |line| line.contains("process exited") || line.contains("Failed")))
    })
}

/// Why a socket unit does not listen: the message of systemd's process that tried to open it. This process ends so soon that
/// journald cannot always attribute the message to the unit.
pub(super) fn listen_failure(unit: &str) -> Option<String> {
    run("journalctl", &["--sync"]);
    let about = format!("UNIT={unit}");
    let lines =
        run("journalctl", &["--quiet", "--no-pager", "--output=cat", "--lines=20", "--boot", &about, "_UID=0"])?;
    lines.lines().rev().find(|line| line.contains(": Failed to create")).map(str::to_owned)
}

/// The directory from which lunchd.service copies its certificate and key.
pub(super) const IDENTITY: &str = "/etc/lunchd";

/// The exposure that `systemd-analyze security` computes, from 0.0 to 10.0.
pub(super) fn exposure(unit: &str) -> Option<f64> {
    exposure_in(&run("systemd-analyze", &["security", "--no-pager", "--", unit])?)
}

/// The exposure in a report of `systemd-analyze security`.
pub(super) fn exposure_in(report: &str) -> Option<f64> {
    let (_, level) = report.rsplit_once("Overall exposure level for ")?;
    level.split_whitespace().nth(1)?.parse().ok()
}

/// The paths of lunchd's certificate and key, by name: the files that the unit copies, or those of a drop-in with
/// `LoadCredential=`, which `systemctl show` does not print.
pub(super) fn identity(service: &str) -> BTreeMap<String, String> {
    identity_of(&run("systemctl", &["cat", "--no-pager", "--", service]).unwrap_or_default())
}

fn identity_of(unit: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let start = unit.lines().rfind(|line| line.starts_with("ExecStart=")).unwrap_or_default();
    for name in ["certificate", "key"] {
        if start.contains(&format!("%t/lunchd/{name}.pem")) {
            files.insert(name.to_owned(), format!("{IDENTITY}/{name}.pem"));
        }
    }
    for value in unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")) {
        match value.split_once(':') {
            // Others are names in systemd's own credential store.
            Some((name, path)) if path.starts_with('/') => {
                files.insert(name.to_owned(), path.to_owned());
            }
            // An empty value resets the list.
            None if value.is_empty() => files.clear(),
            _ => {}
        }
    }
    files
}

/// The output of a program; `None` if it cannot be run. timeout(1) stops it after 20 seconds, so that the doctor does not hang
/// with the manager.
pub(super) fn run(program: &str, arguments: &[&str]) -> Option<String> {
    run_for(Printed::Output, program, arguments)
}

/// The stream to return.
#[derive(Clone, Copy, PartialEq)]
enum Printed {
    Output,
    Errors,
}

fn run_for(wanted: Printed, program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    let output = command.args(["20", program]).args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output().ok()?;
    let printed = if wanted == Printed::Output { output.stdout } else { output.stderr };
    Some(String::from_utf8_lossy(&printed).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_as_systemctl_prints_them() {
        let mut unit = Unit::default();
        let mut add = |key: &str, values: &[&str]| {
            unit.properties.insert(key.to_owned(), values.iter().map(ToString::to_string).collect());
        };
        add("Listen", &["[::]:17 (Stream)", "/run/with (odd) name (Datagram)"]);
        add("ExecStart", &["{ path=/usr/libexec/qotd ; argv[]=/usr/libexec/qotd -x ; ignore_errors=no ; }"]);
        add("WantedBy", &["multi-user.target other.target"]);
        assert_eq!(unit.listens_on(), [("[::]:17", "Stream"), ("/run/with (odd) name", "Datagram")]);
        assert_eq!(unit.program(), Some(Path::new("/usr/libexec/qotd")));
        assert_eq!(unit.wanted_by(), ["multi-user.target", "other.target"]);
        assert_eq!(unit.get("Nothing"), "");
    }

    #[test]
    fn the_last_word_on_a_certificate_holds() {
        let files = |certificate: &str, key: &str| {
            BTreeMap::from(
                [("certificate", certificate), ("key", key)].map(|(name, path)| (name.to_owned(), path.to_owned())),
            )
        };
        let shipped =
            "[Service]\nExecStart=/x/lunchd --certificate %t/lunchd/certificate.pem --key %t/lunchd/key.pem\n";
        assert_eq!(identity_of(shipped), files("/etc/lunchd/certificate.pem", "/etc/lunchd/key.pem"));
        let handed = "ExecStart=\nExecStart=/x/lunchd --certificate %d/certificate --key %d/key\nLoadCredential=a:/1\n\
                      LoadCredential=\n# again\nLoadCredential=key:/2\nLoadCredential=key:/3\nLoadCredential=certificate:/4\n";
        assert_eq!(identity_of(&format!("{shipped}{handed}")), files("/4", "/3"));
    }
}
