//! The checks, in the order in which a person would look.

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::systemd::{self, Unit};
use super::{Findings, Problem, ports};

/// Services by the name of their units, with their port.
const SERVICES: [(&str, u16); 6] =
    [("fortune", 17), ("echo", 7), ("daytime", 13), ("discard", 9), ("chargen", 19), ("time", 37)];
/// lunchd's sockets likewise, which start one service.
const WEB: [(&str, u16); 2] = [("lunchd-http", 80), ("lunchd-https", 443)];
const LUNCHD: &str = "lunchd.service";

/// The shipped units are below this.
const HIGHEST_EXPOSURE: f64 = 0.5;
/// How long a service may take to answer the doctor.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is not renewed by then needs somebody to look: some certificates last for six days only.
const SOON: Duration = Duration::from_hours(48);

/// Walks all checks.
pub(super) fn examine() -> Findings {
    let mut findings = Findings::default();
    if !systemd::is_running() {
        let advice = "see inetd.conf, xinetd.d and tcpserver in share/small-services for other super-servers";
        findings.problem(None, "systemd does not run it", advice);
        return findings;
    }
    let small = SERVICES.iter().map(|&(name, port)| Service::ask(name, port));
    let services: Vec<_> = small.chain(WEB.iter().map(|&(name, port)| Service::ask_web(name, port))).collect();
    let installed: Vec<_> =
        services.iter().filter(|service| service.sockets.iter().any(|socket| socket.unit.exists())).collect();
    if installed.is_empty() {
        findings.problem(None, "no unit of small-services is installed", "run `make install`");
        return findings;
    }
    if !services
        .iter()
        .flat_map(|service| &service.sockets)
        .any(|socket| socket.unit.is_active() || socket.unit.is_enabled())
    {
        findings.problem(None, "no socket is enabled", "run, say, `systemctl enable --now fortune.socket`");
    }
    for service in installed {
        service.examine(&mut findings);
    }
    examine_kernel(&mut findings);
    findings
}

/// One service: its socket units, and what they start. Only one of them can have the port.
struct Service {
    name: &'static str,
    port: u16,
    sockets: Vec<Socket>,
}

/// A socket unit, and the unit that it starts.
struct Socket {
    name: String,
    unit: Unit,
    /// What it should start, by its `Accept=`.
    starts: String,
    /// That unit; of a template, an instance that never was.
    started: Unit,
}

impl Service {
    fn ask(name: &'static str, port: u16) -> Self {
        Self { name, port, sockets: vec![Socket::ask(name, None), Socket::ask(&format!("{name}-daemon"), None)] }
    }

    fn ask_web(name: &'static str, port: u16) -> Self {
        Self { name, port, sockets: vec![Socket::ask(name, Some(LUNCHD))] }
    }

    fn examine(&self, findings: &mut Findings) {
        for socket in self.sockets.iter().filter(|socket| socket.unit.exists()) {
            socket.show(self, findings);
            socket.examine(self, findings);
        }
        if let [one, all] = &self.sockets[..]
            && one.unit.is_enabled()
            && all.unit.is_enabled()
        {
            findings.problem(
                Some(&one.name),
                format!("both it and {} are enabled, and only one of them can have the port", all.name),
                format!("disable one of them, say `systemctl disable {}`", one.name),
            );
        }
    }
}

impl Socket {
    /// Asks for a socket unit, and for the service that it names or else has its name.
    fn ask(name: &str, starts: Option<&str>) -> Self {
        let unit = Unit::show(&format!("{name}.socket"));
        let accept = unit.get("Accept") == "yes";
        let own = if accept { format!("{name}@.service") } else { format!("{name}.service") };
        let starts = starts.map_or(own, str::to_owned);
        let started = Unit::show(&if accept { format!("{name}@doctor.service") } else { starts.clone() });
        Self { name: format!("{name}.socket"), unit, starts, started }
    }

    fn is_meant_to_run(&self) -> bool {
        self.unit.is_enabled() || self.unit.is_active() || self.unit.get("ActiveState") == "failed"
    }

    /// Socket and service side by side.
    fn show(&self, service: &Service, findings: &mut Findings) {
        let unit = &self.unit;
        let enabled = if unit.is_enabled() { "enabled" } else { "not enabled" };
        if !unit.is_loaded() {
            return findings.state(&self.name, unit.get("LoadState"));
        }
        let mut state = format!("{} ({}), {enabled}", unit.get("ActiveState"), unit.get("SubState"));
        let holder = ports::holder(service.port, "tcp");
        if let Some(holder) = holder.filter(|_| !service.sockets.iter().any(|socket| socket.unit.is_active())) {
            state = format!("{state}, the port is taken by {holder}");
        }
        if unit.is_active() {
            let addresses: Vec<_> =
                unit.listens_on().iter().map(|(address, kind)| format!("{address} {}", kind.to_lowercase())).collect();
            state = format!("{state}, systemd listens on {}", addresses.join(" and "));
            if unit.get("Accept") == "yes" {
                let (now, ever) = (unit.get("NConnections"), unit.get("NAccepted"));
                state = format!("{state}, {now} connections now, {ever} so far");
            }
        }
        findings.state(&self.name, state);
        if self.started.is_loaded() {
            let active = if self.starts.ends_with("@.service") {
                "started for each connection".to_owned()
            } else {
                format!("{} ({})", self.started.get("ActiveState"), self.started.get("SubState"))
            };
            let exposure = self.exposure().map_or("unknown".to_owned(), |level| format!("{level:.1}"));
            findings.state(&self.starts, format!("{active}, exposure {exposure} of 10"));
        }
    }

    fn exposure(&self) -> Option<f64> {
        systemd::exposure(&self.starts.replace("@.", "@doctor."))
    }

    fn examine(&self, service: &Service, findings: &mut Findings) {
        let name = self.name.as_str();
        if !self.unit.is_loaded() {
            // Masked is what somebody wanted.
            if self.unit.get("LoadState") != "masked" {
                let text = format!("systemd cannot load it ({})", self.unit.get("LoadState"));
                findings.problem(Some(name), text, format!("look at `systemd-analyze verify {name}`"));
            }
            return;
        }
        self.examine_service(findings);
        if !self.is_meant_to_run() {
            return;
        }
        self.examine_credentials(findings);
        if !self.started.exists() {
            findings.problem(
                Some(name),
                format!("Accept={} makes it start {}, which does not exist", self.unit.get("Accept"), self.starts),
                "set Accept=yes for a template (NAME@.service) and Accept=no for one service (NAME.service)",
            );
        } else if !self.started.is_loaded() {
            findings.problem(
                Some(name),
                format!("{}, which it starts, cannot be loaded ({})", self.starts, self.started.get("LoadState")),
                format!("`systemctl unmask {0}` if it is masked, else `systemd-analyze verify {0}`", self.starts),
            );
        }
        self.examine_state(service, findings);
        self.examine_access(findings);
        let known = |problem: &Problem| problem.unit.as_ref().is_some_and(|it| *it == self.name || *it == self.starts);
        if self.unit.is_active() && !findings.problems.iter().any(known) {
            self.ask_for_an_answer(service, findings);
        }
    }

    /// The service behind it: it is the socket that has to be enabled, and its program has to be there.
    fn examine_service(&self, findings: &mut Findings) {
        if !self.started.is_loaded() {
            return;
        }
        let restarts = self.started.get("NRestarts");
        let (state, again) = (self.started.get("ActiveState"), !matches!(restarts, "" | "0"));
        if state == "failed" || (again && state != "active") {
            findings.problem(
                Some(&self.starts),
                format!("it does not stay up ({state}), and was started again {restarts} times"),
                format!("look at `journalctl -p err -u {}`", self.starts),
            );
        }
        let wanted: Vec<_> = self.started.wanted_by().into_iter().filter(|by| !by.ends_with(".socket")).collect();
        if !wanted.is_empty() && !self.unit.is_enabled() {
            findings.problem(
                Some(&self.starts),
                format!("it is enabled (by {}), and its socket {} is not", wanted.join(", "), self.name),
                format!("`systemctl disable {}`, then `systemctl enable --now {}`", self.starts, self.name),
            );
        }
        if let Some(program) = self.started.program()
            && let Err(reason) = is_executable(program)
        {
            findings.problem(
                Some(&self.starts),
                format!("its program {} {reason}", program.display()),
                "run `make install` again, or correct ExecStart=",
            );
        }
        if self.is_meant_to_run()
            && let Some(level) = self.exposure().filter(|&level| level > HIGHEST_EXPOSURE)
        {
            findings.problem(
                Some(&self.starts),
                format!("its exposure is {level:.1}, more than the {HIGHEST_EXPOSURE} of the shipped unit"),
                format!("look at `systemctl cat {}` and `systemd-analyze security`", self.starts),
            );
        }
    }

    /// The files that systemd hands over to it: a certificate and its key, as openssl sees them where there is one.
    fn examine_credentials(&self, findings: &mut Findings) {
        let files = systemd::credentials(&self.starts);
        let again = format!("then `systemctl restart {}`", self.starts);
        for path in files.values() {
            if let Err(error) = fs::metadata(path) {
                // Only root may look into a directory with keys.
                if error.kind() == ErrorKind::PermissionDenied {
                    return;
                }
                findings.problem(
                    Some(&self.starts),
                    format!("{path}, which LoadCredential= hands over to it, cannot be read: {error}"),
                    format!("put it there, or name another with `systemctl edit {}`; {again}", self.starts),
                );
                return;
            }
        }
        let (Some(certificate), Some(key)) = (files.get("certificate"), files.get("key")) else { return };
        let openssl = |arguments: &str, path: &str| {
            let arguments: Vec<_> = arguments.split(' ').chain(["-in", path]).collect();
            systemd::run("openssl", &arguments).unwrap_or_default()
        };
        if openssl(&format!("x509 -noout -checkend {}", SOON.as_secs()), certificate).contains("will expire") {
            let until = openssl("x509 -noout -enddate", certificate).trim().replace("notAfter=", "");
            findings.problem(
                Some(&self.starts),
                format!("its certificate {certificate} is not valid after {until}"),
                format!("renew it, {again}"),
            );
        }
        let (theirs, own) = (openssl("x509 -noout -pubkey", certificate), openssl("pkey -pubout -passin pass:", key));
        if !theirs.is_empty() && !own.is_empty() && theirs != own {
            findings.problem(
                Some(&self.starts),
                format!("the key {key} does not belong to the certificate {certificate}"),
                format!("put the two there that were made for each other, {again}"),
            );
        }
    }

    /// Why it does not listen, if it does not.
    fn examine_state(&self, service: &Service, findings: &mut Findings) {
        let (name, unit) = (self.name.as_str(), &self.unit);
        let again = format!("`systemctl reset-failed {name}`, then `systemctl start {name}`");
        if unit.get("Result").ends_with("-limit-hit") {
            findings.problem(
                Some(name),
                format!("it failed on a limit ({}), and the port stays closed", unit.get("Result")),
                format!("set TriggerLimitIntervalSec=0, as the shipped unit does; {again}"),
            );
            return;
        }
        if unit.is_active() {
            return;
        }
        for (address, kind) in unit.listens_on() {
            let protocol = if kind == "Datagram" { "udp" } else { "tcp" };
            if let Ok(address) = address.parse::<SocketAddr>()
                && !ports::is_local(address.ip())
            {
                findings.problem(
                    Some(name),
                    format!("{} is no address of this host", address.ip()),
                    "correct ListenStream= or ListenDatagram=, set FreeBind=yes, or add the address",
                );
                return;
            }
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(service.port);
            if let Some(by) = ports::holder(port, protocol) {
                let by = if by == "systemd (process 1)" {
                    "another socket unit; see `systemctl list-sockets`".to_owned()
                } else {
                    by
                };
                let ours = service.sockets.iter().any(|other| other.unit.is_active());
                // The other socket of the same service has it: that is how it should be.
                if !ours || unit.get("ActiveState") == "failed" {
                    findings.problem(
                        Some(name),
                        format!("{protocol} port {port} is taken by {by}"),
                        format!("stop that program; {again}"),
                    );
                }
                return;
            }
        }
        if unit.get("Accept") != "yes" && self.started.is_active() {
            findings.problem(
                Some(name),
                format!(
                    "it is enabled, but {}, while {} runs: it has to be there first",
                    unit.get("ActiveState"),
                    self.starts
                ),
                format!("`systemctl stop {}`, then `systemctl start {name}`", self.starts),
            );
            return;
        }
        let reason = match (unit.get("ActiveState"), unit.get("Result")) {
            ("failed", result) => format!("it failed ({result})"),
            (state, _) => format!("it is enabled, but {state}"),
        };
        findings.problem(Some(name), reason, format!("look at `journalctl -u {name}`; {again}"));
    }

    /// What stands between a client and the socket.
    fn examine_access(&self, findings: &mut Findings) {
        let (name, unit) = (self.name.as_str(), &self.unit);
        if unit.get("PrivateNetwork") == "yes" {
            findings.problem(
                Some(name),
                "PrivateNetwork=yes puts its sockets where no client is",
                "remove PrivateNetwork= from the socket unit; it belongs to the service",
            );
        }
        let (deny, allow) = (unit.get("IPAddressDeny"), unit.get("IPAddressAllow"));
        let denies_all = deny.split_whitespace().any(|network| matches!(network, "0.0.0.0/0" | "::/0"));
        if denies_all && allow.is_empty() {
            findings.problem(
                Some(name),
                format!("IPAddressDeny={deny} keeps clients out, and there is no IPAddressAllow="),
                format!("`systemctl edit {name}`, and add IPAddressAllow= with those who may connect"),
            );
        } else if denies_all {
            findings.state(name, format!("only {allow} may connect (IPAddressAllow=)"));
        }
        for (path, _) in unit.listens_on().into_iter().filter(|(path, _)| path.starts_with('/')) {
            match fs::metadata(path) {
                Err(error) if unit.is_active() => {
                    let advice = format!("`systemctl restart {name}` makes it anew");
                    findings.problem(Some(name), format!("clients cannot find {path}: {error}"), advice);
                }
                Ok(file) if file.permissions().mode() & 0o022 == 0 => findings.problem(
                    Some(name),
                    format!("nobody but the owner of {path} may connect (SocketMode={})", unit.get("SocketMode")),
                    format!("`systemctl edit {name}`, and set SocketMode=0666, or SocketGroup= and SocketMode=0660"),
                ),
                _ => {}
            }
        }
    }

    /// A client's view, from this host, where that may connect.
    fn ask_for_an_answer(&self, service: &Service, findings: &mut Findings) {
        let (deny, allow) = (self.unit.get("IPAddressDeny"), self.unit.get("IPAddressAllow"));
        if !deny.is_empty() && !allow.contains("127.0.0.0/8") {
            return;
        }
        for (address, kind) in self.unit.listens_on() {
            let Ok(address) = address.parse::<SocketAddr>() else { continue };
            let address = SocketAddr::new(reachable(address.ip()), address.port());
            let answer = if kind == "Datagram" { ask(service.name, address) } else { converse(service.name, address) };
            if let Err(error) = answer {
                let protocol = if kind == "Datagram" { "udp" } else { "tcp" };
                findings.problem(
                    Some(&self.name),
                    format!("a client of {protocol} {address} gets no answer: {error}"),
                    format!("look at `journalctl -p err -u '{}'`", self.starts.replace("@.", "@*.")),
                );
            }
        }
    }
}

/// Where a client on this host finds a service that listens on all addresses.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // IPv6 may be switched off; systemd's [::] takes IPv4 as well.
        IpAddr::V6(v6) if v6.is_unspecified() && ports::is_local(Ipv6Addr::LOCALHOST.into()) => {
            Ipv6Addr::LOCALHOST.into()
        }
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    }
}

const QUESTION: &[u8] = b"small-services doctor\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Talks to a service as its RFC says.
fn converse(name: &str, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_write_timeout(Some(PATIENCE))?;
    match name {
        "echo" | "discard" => {
            connection.write_all(QUESTION)?;
            connection.shutdown(Shutdown::Write)?;
        }
        // Of HTTPS this will do: whoever speaks TLS refuses it with an alert.
        "lunchd-http" | "lunchd-https" => connection.write_all(REQUEST)?,
        _ => {}
    }
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // Of chargen's, which never ends, the beginning will do.
    while answer.len() < piece.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        connection.set_read_timeout(Some(left))?;
        match connection.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    right(name, &answer)
}

/// Asks for a datagram; a lost one is no fault, so more than once.
fn ask(name: &str, address: SocketAddr) -> io::Result<()> {
    const ATTEMPTS: u32 = 3;
    if name == "discard" {
        return Ok(());
    }
    let client = UdpSocket::bind((
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() },
        0,
    ))?;
    client.connect(address)?;
    client.set_read_timeout(Some(PATIENCE / ATTEMPTS))?;
    let mut answer = [0; 1024];
    for _ in 0..ATTEMPTS {
        client.send(QUESTION)?;
        match client.recv(&mut answer) {
            Ok(count) if name == "chargen" && count == 0 => return Ok(()),
            Ok(count) => return right(name, &answer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(late())
}

fn late() -> io::Error {
    io::Error::other(format!("not within {} seconds", PATIENCE.as_secs()))
}

/// The kind of a TLS record (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 21;

fn right(name: &str, answer: &[u8]) -> io::Result<()> {
    let right = match name {
        "echo" => answer == QUESTION,
        "discard" => answer.is_empty(),
        "time" => answer.len() == 4,
        "lunchd-http" => answer.starts_with(b"HTTP/1.1 "),
        "lunchd-https" => answer.first() == Some(&TLS_ALERT),
        _ => !answer.is_empty(),
    };
    if right { Ok(()) } else { Err(io::Error::other(format!("{} octets came", answer.len()))) }
}

fn is_executable(program: &Path) -> Result<(), String> {
    match fs::metadata(program) {
        Err(error) => Err(format!("cannot be found: {error}")),
        Ok(file) if file.permissions().mode() & 0o001 == 0 => Err("may not be executed by every user".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// Whether the kernel has every layer of the lock-down: the qotd beside this program tries, as a filter.
fn examine_kernel(findings: &mut Findings) {
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
            findings.problem(None, text, "boot a kernel with Landlock and seccomp, and landlock in its lsm= list");
        }
        Err(error) => {
            let text = format!("{} cannot be run: {error}", program.display());
            findings.problem(None, text, "run `make install` again");
        }
    }
}
