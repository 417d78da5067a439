//! Connects to the services as a client of this host.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use crate::protocol::time;
use crate::services;

use super::service::{Service, Socket};
use super::{Findings, ports};

/// The timeout for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Socket {
    /// Connects to each address of the socket, if this host may connect, and reports the first failure.
    pub(super) fn examine_answers(&self, service: &Service, findings: &mut Findings) {
        let (deny, allow) = (self.unit.get("IPAddressDeny"), self.unit.get("IPAddressAllow"));
        if !deny.is_empty() && !allow.contains("127.0.0.0/8") {
            return;
        }
        let device = self.unit.get("BindToDevice");
        if !matches!(device, "" | "lo") {
            let text =
                format!("only clients on {device} may connect (BindToDevice=), so the doctor did not check the answer");
            return findings.state(&self.name, text);
        }
        if !service.is_known {
            return findings.state(&self.name, "the doctor does not know its protocol, and did not check the answer");
        }
        let asked = SystemTime::now();
        for (address, kind) in self.unit.listens_on() {
            let Ok(address) = address.parse::<SocketAddr>() else { continue };
            // With FreeBind=, systemd listens on other addresses, too.
            if !ports::is_local(address.ip()) {
                let text = format!("{} is currently not an address of this host, so nobody can connect", address.ip());
                findings.state(&self.name, text);
                continue;
            }
            let address = SocketAddr::new(reachable(address.ip()), address.port());
            let answer =
                if kind == "Datagram" { query_udp(&service.name, address) } else { query_tcp(&service.name, address) };
            if let Err(error) = answer {
                let protocol = if kind == "Datagram" { "udp" } else { "tcp" };
                let advice = if error.kind() == ErrorKind::ConnectionRefused {
                    // systemd closed its descriptors, for example after a change of the unit's file.
                    format!("run `systemctl restart {}`", self.name)
                } else {
                    format!("see `journalctl -u '{}'`", self.starts.replace("@.", "@*."))
                };
                return findings.problem(
                    Some(&self.name),
                    format!(
                        "a client of {protocol} {address} gets {}{}",
                        failure(&error),
                        self.last_message(Some(asked))
                    ),
                    advice,
                );
            }
        }
    }
}

/// The address for a client on this host, if the service listens on all addresses.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // IPv6 may be disabled; systemd's [::] also accepts IPv4.
        IpAddr::V6(v6) if v6.is_unspecified() && ports::is_local(Ipv6Addr::LOCALHOST.into()) => {
            Ipv6Addr::LOCALHOST.into()
        }
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    }
}

/// A check of one service, named by its program or by lunchd's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    name: String,
    address: SocketAddr,
}

impl Probe {
    /// Connects over TCP, and checks the answer.
    ///
    /// # Errors
    ///
    /// If there is no answer, or a wrong one.
    pub(crate) fn run(&self) -> Result<(), String> {
        let Self { name, address } = self;
        query_tcp(name, *address).map_err(|error| {
            let port = address.port();
            format!(
                "{name} at {address} gives {}; `ss -lntp 'sport = :{port}'` shows what listens there",
                failure(&error)
            )
        })
    }
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let programs: Vec<_> = services::all().map(|row| row.program).chain(["lunchd-http", "lunchd-https"]).collect();
        let (name, address) = text.split_once('=').unwrap_or_default();
        let known = programs.contains(&name).then(|| address.parse().ok()).flatten();
        let address = known.ok_or_else(|| {
            format!("write NAME=IP:PORT, such as qotd=127.0.0.1:17; NAME is one of {}", programs.join(", "))
        })?;
        Ok(Self { name: name.to_owned(), address })
    }
}

const QUESTION: &[u8] = b"small-services doctor\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Queries a service over TCP as its RFC says.
fn query_tcp(name: &str, address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    match name {
        "echo" | "discard" => {
            connection.write_all(QUESTION)?;
            connection.shutdown(Shutdown::Write)?;
        }
        "lunchd-http" => connection.write_all(REQUEST)?,
        // Enough for HTTPS: a TLS server refuses it with an alert.
        "lunchd-https" => connection.write_all(&NO_CLIENT_HELLO)?,
        _ => {}
    }
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // The beginning is enough: chargen's answer never ends.
    while answer.len() < piece.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        connection.set_read_timeout(Some(left))?;
        match connection.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        }
    }
    check_answer(name, &answer)
}

/// Queries a service over UDP, repeatedly since datagrams may be lost.
fn query_udp(name: &str, address: SocketAddr) -> io::Result<()> {
    const ATTEMPTS: u32 = 3;
    if name == "discard" {
        return Ok(());
    }
    let client = UdpSocket::bind((
        if address.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() },
        0,
    ))?;
    client.connect(address)?;
    client.set_read_timeout(Some(TIMEOUT / ATTEMPTS))?;
    let mut answer = [0; 1024];
    for _ in 0..ATTEMPTS {
        client.send(QUESTION)?;
        match client.recv(&mut answer) {
            Ok(count) if name == "chargen" && count == 0 => return Ok(()),
            Ok(count) => return check_answer(name, &answer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(timed_out())
}

/// What a client gets instead of the right answer.
fn failure(error: &io::Error) -> String {
    let what = if error.kind() == ErrorKind::InvalidData { "a wrong answer" } else { "no answer" };
    format!("{what}: {error}")
}

fn timed_out() -> io::Error {
    io::Error::other(format!("timed out after {} seconds", TIMEOUT.as_secs()))
}

/// The type of a TLS record (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 21;
/// A record with a handshake message that no client sends: an empty `ServerHello`.
const NO_CLIENT_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 2, 0, 0, 0];

fn check_answer(name: &str, answer: &[u8]) -> io::Result<()> {
    let is_text = |text: &[u8]| text.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\r' | b'\n' | b'\t' | 128..));
    let right = match name {
        "echo" => answer == QUESTION,
        "discard" => answer.is_empty(),
        "time" => <[u8; 4]>::try_from(answer).is_ok_and(is_now),
        // A page, or a redirect to https.
        "lunchd-http" => [&b"HTTP/1.1 200 "[..], b"HTTP/1.1 301 "].iter().any(|line| answer.starts_with(line)),
        "lunchd-https" => answer.first() == Some(&TLS_ALERT),
        // Its answer never ends.
        "chargen" => !answer.is_empty() && is_text(answer),
        _ => answer.ends_with(b"\r\n") && is_text(answer),
    };
    match answer.len() {
        _ if right => Ok(()),
        0 => Err(io::Error::other("the connection was closed")),
        octets => Err(io::Error::new(ErrorKind::InvalidData, format!("{octets} octets that {name} does not send"))),
    }
}

/// Whether a time of RFC 868 is within one day of this host's clock.
fn is_now(seconds: [u8; 4]) -> bool {
    const DAY: u32 = 86_400;
    // Both wrap around.
    let ahead = u32::from_be_bytes(seconds).wrapping_sub(time::now());
    ahead <= DAY || ahead.wrapping_neg() <= DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_a_name_and_an_address() {
        let probe = "echo=[::1]:7".parse::<Probe>().expect("a service");
        assert_eq!(probe, Probe { name: "echo".to_owned(), address: "[::1]:7".parse().expect("an address") });
        for bad in ["", "echo", "echo=", "=127.0.0.1:7", "fortune=127.0.0.1:17", "echo=127.0.0.1", "echo=localhost:7"] {
            let said = bad.parse::<Probe>().expect_err(bad);
            assert!(said.contains("qotd=127.0.0.1:17; NAME is one of qotd, echo, "), "{said}");
        }
    }

    #[test]
    fn an_answer_is_what_the_service_sends() {
        let now = time::now().to_be_bytes();
        let rights: [(&str, &[u8]); 8] = [
            ("echo", QUESTION),
            ("discard", b""),
            ("time", &now),
            ("qotd", b"a fortune\r\n"),
            ("daytime", b"Sat Nov 21 07:52:08 2026\r\n"),
            ("chargen", b" !\"#"),
            ("lunchd-http", b"HTTP/1.1 200 OK\r\n"),
            ("lunchd-http", b"HTTP/1.1 301 Moved Permanently\r\n"),
        ];
        for (name, answer) in rights {
            check_answer(name, answer).expect(name);
        }
        let wrongs: [(&str, &[u8]); 8] = [
            ("echo", b"else"),
            ("discard", b"x"),
            ("time", b"abcd"),
            ("time", b"abc"),
            ("chargen", b"\0"),
            ("qotd", b"\0\r\n"),
            ("daytime", b"no line end"),
            ("lunchd-http", b"HTTP/1.1 503 Service Unavailable\r\n"),
        ];
        for (name, answer) in wrongs {
            assert_eq!(check_answer(name, answer).expect_err(name).kind(), ErrorKind::InvalidData, "{name}");
        }
        assert!(failure(&check_answer("qotd", b"").expect_err("nothing came")).starts_with("no answer: "));
    }
}
