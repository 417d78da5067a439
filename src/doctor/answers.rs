//! What a client of this host gets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use crate::protocol::time;
use crate::services;

use super::service::{Service, Socket};
use super::{Findings, ports};

/// How long a service may take to answer the doctor.
const PATIENCE: Duration = Duration::from_secs(10);

impl Socket {
    /// A client's view, from this host, where that may connect. The first of its addresses where something is wrong will do.
    pub(super) fn ask_for_an_answer(&self, service: &Service, findings: &mut Findings) {
        let (deny, allow) = (self.unit.get("IPAddressDeny"), self.unit.get("IPAddressAllow"));
        if !deny.is_empty() && !allow.contains("127.0.0.0/8") {
            return;
        }
        let device = self.unit.get("BindToDevice");
        if !matches!(device, "" | "lo") {
            let text =
                format!("only clients on {device} may connect (BindToDevice=); the doctor is none, and did not ask");
            return findings.state(&self.name, text);
        }
        if !service.is_known {
            return findings.state(&self.name, "the doctor does not know what it answers, and did not ask");
        }
        let asked = SystemTime::now();
        for (address, kind) in self.unit.listens_on() {
            let Ok(address) = address.parse::<SocketAddr>() else { continue };
            // FreeBind=: systemd listens there all the same.
            if !ports::is_local(address.ip()) {
                let text = format!("{} is no address of this host now, so nobody can connect to it", address.ip());
                findings.state(&self.name, text);
                continue;
            }
            let address = SocketAddr::new(reachable(address.ip()), address.port());
            let answer =
                if kind == "Datagram" { ask(&service.name, address) } else { converse(&service.name, address) };
            if let Err(error) = answer {
                let protocol = if kind == "Datagram" { "udp" } else { "tcp" };
                let advice = if error.kind() == ErrorKind::ConnectionRefused {
                    // Its descriptors are gone, after an upgrade of its file for example.
                    format!("`systemctl restart {}`", self.name)
                } else {
                    format!("`journalctl -u '{}'` has the rest", self.starts.replace("@.", "@*."))
                };
                return findings.problem(
                    Some(&self.name),
                    format!(
                        "a client of {protocol} {address} gets {}{}",
                        unanswered(&error),
                        self.last_words(Some(asked))
                    ),
                    advice,
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

/// A service somewhere, by the name of its program or of lunchd's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    name: String,
    address: SocketAddr,
}

impl Asked {
    /// Asks it over TCP.
    ///
    /// # Errors
    ///
    /// If there is no answer, or a wrong one.
    pub(crate) fn answers(&self) -> Result<(), String> {
        let Self { name, address } = self;
        converse(name, *address).map_err(|error| format!("{name} at {address} gives {}", unanswered(&error)))
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let programs: Vec<_> = services::all().map(|row| row.program).chain(["lunchd-http", "lunchd-https"]).collect();
        let (name, address) = text.split_once('=').unwrap_or_default();
        let known = programs.contains(&name).then(|| address.parse().ok()).flatten();
        let address = known.ok_or_else(|| {
            format!("write a name, = and an address, such as qotd=127.0.0.1:17; names are {}", programs.join(", "))
        })?;
        Ok(Self { name: name.to_owned(), address })
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
        "lunchd-http" => connection.write_all(REQUEST)?,
        // Of HTTPS this will do: whoever speaks TLS refuses it with an alert.
        "lunchd-https" => connection.write_all(&NO_CLIENT_HELLO)?,
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

/// What a client gets instead of an answer.
fn unanswered(error: &io::Error) -> String {
    let what = if error.kind() == ErrorKind::InvalidData { "a wrong answer" } else { "no answer" };
    format!("{what}: {error}")
}

fn late() -> io::Error {
    io::Error::other(format!("not within {} seconds", PATIENCE.as_secs()))
}

/// The kind of a TLS record (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 21;
/// A record with a handshake message that no client sends: an empty `ServerHello`.
const NO_CLIENT_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 2, 0, 0, 0];

fn right(name: &str, answer: &[u8]) -> io::Result<()> {
    let is_text = |text: &[u8]| text.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\r' | b'\n' | b'\t' | 128..));
    let right = match name {
        "echo" => answer == QUESTION,
        "discard" => answer.is_empty(),
        "time" => <[u8; 4]>::try_from(answer).is_ok_and(is_now),
        // A page, or the way to https.
        "lunchd-http" => [&b"HTTP/1.1 200 "[..], b"HTTP/1.1 301 "].iter().any(|line| answer.starts_with(line)),
        "lunchd-https" => answer.first() == Some(&TLS_ALERT),
        // It never ends.
        "chargen" => !answer.is_empty() && is_text(answer),
        _ => answer.ends_with(b"\r\n") && is_text(answer),
    };
    match answer.len() {
        _ if right => Ok(()),
        0 => Err(io::Error::other("the connection was closed")),
        octets => Err(io::Error::new(ErrorKind::InvalidData, format!("{octets} octets that {name} does not send"))),
    }
}

/// Whether a time of RFC 868 is that of this host's clock, but for a day.
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
    fn a_service_is_asked_by_its_name_and_address() {
        let asked = "echo=[::1]:7".parse::<Asked>().expect("a service");
        assert_eq!(asked, Asked { name: "echo".to_owned(), address: "[::1]:7".parse().expect("an address") });
        for bad in ["", "echo", "echo=", "=127.0.0.1:7", "fortune=127.0.0.1:17", "echo=127.0.0.1", "echo=localhost:7"] {
            let said = bad.parse::<Asked>().expect_err(bad);
            assert!(said.contains("qotd=127.0.0.1:17; names are qotd, echo, "), "{said}");
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
            right(name, answer).expect(name);
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
            assert_eq!(right(name, answer).expect_err(name).kind(), ErrorKind::InvalidData, "{name}");
        }
        assert!(unanswered(&right("qotd", b"").expect_err("nothing came")).starts_with("no answer: "));
    }
}
