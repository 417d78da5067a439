//! The PROXY protocol, versions 1 and 2: a balancer first sends the address of its client. The command line names the trusted
//! balancers. Data from any other peer is not a header, but the protocol of the socket.
//! (Parsed here, since Debian has no crate for it. The tests use other implementations.)

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};

use small_services::internals::engine::{NoSubnet, Subnet};
use small_services::log;

/// The start of a version 1 header.
const TEXT: &[u8] = b"PROXY ";
/// The start of a version 2 header. Four more octets follow; the last two are the length of the rest.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL: the balancer itself connects.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY: the balancer connects for a client.
const PROXY: u8 = 0x21;
/// The client's address family and transport, in version 2.
const UNSPECIFIED: u8 = 0x00;
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// The length of two paths.
const UNIX_ADDRESSES: usize = 216;
/// The shortest header, of version 1: `PROXY UNKNOWN\r\n`.
const SHORTEST: usize = 15;
/// The longest line of version 1.
const LONGEST_TEXT: usize = 107;
/// The maximum length of a version 2 header: addresses, and the balancer's information about the client's TLS.
const LONGEST_BINARY: usize = 4096;

/// A trusted source of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    /// Peers in a network.
    Network(Subnet),
    /// Peers on a Unix-domain socket.
    Unix,
}

impl Trusted {
    /// Whether it includes this peer; `None` is a Unix-domain socket.
    pub(super) fn includes(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Network(subnet), Some(peer)) => subnet.includes(peer),
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        text.parse().map(Self::Network).map_err(|error: NoSubnet| match error {
            NoSubnet::Syntax => format!("{error}, or `unix`"),
            NoSubnet::Host => error.to_string(),
        })
    }
}

/// The trusted balancers.
pub(super) struct Balancers {
    trusted: Vec<Trusted>,
    /// The warnings about missing headers.
    nameless: RefCell<log::Repeated>,
}

impl Balancers {
    pub(super) fn new(trusted: Vec<Trusted>) -> Self {
        Self { trusted, nameless: RefCell::default() }
    }

    /// Whether a connection is from a balancer; `None` is a Unix-domain socket.
    pub(super) fn include(&self, from: Option<SocketAddr>) -> bool {
        self.trusted.iter().any(|trusted| trusted.includes(from.map(|from| from.ip())))
    }

    /// The client of a balancer's connection: the one that the header names, else the balancer itself.
    ///
    /// # Errors
    ///
    /// As for [`header`]. A missing header is logged: it is a mistake in the administrator's set-up.
    pub(super) async fn client(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        from: Option<SocketAddr>,
    ) -> io::Result<Option<SocketAddr>> {
        let named = header(stream).await;
        if named.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            let from = from.map_or_else(|| "a Unix-domain socket".to_owned(), |from| from.ip().to_string());
            let message = format!(
                "closed a connection from {from} that did not begin with a PROXY header; have the balancer send one \
                 (HAProxy: send-proxy-v2), or remove its network from --proxy-protocol"
            );
            self.nameless.borrow_mut().warning(Instant::now(), &message);
        }
        Ok(named?.or(from))
    }
}

/// Reads a header and no octet after it. Returns the address of the client; `None` if the balancer itself connects, or the client
/// has no address.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if the data is not a header, else the error of reading.
pub(crate) async fn header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let no_header = || io::Error::from(io::ErrorKind::InvalidData);
    let mut header = Vec::new();
    loop {
        match missing(&header).ok_or_else(no_header)? {
            0 => break,
            octets => {
                let at = header.len();
                header.resize(at + octets, 0);
                let read = stream.read(&mut header[at..]).await?;
                header.truncate(at + read);
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
    let named = header.strip_prefix(BINARY).map_or_else(|| text(&header), binary);
    match named.ok_or_else(no_header)? {
        Named::Nobody => Ok(None),
        Named::Client(address) => Ok(Some(address)),
    }
}

/// The client that a header names.
enum Named {
    /// The balancer itself, or a client without an address.
    Nobody,
    Client(SocketAddr),
}

/// The client that a version 1 header names; `None` if the header is invalid.
fn text(header: &[u8]) -> Option<Named> {
    let line = header.strip_prefix(TEXT)?.strip_suffix(b"\r\n")?;
    // The rest of such a line is ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(Named::Nobody);
    }
    let words: Vec<_> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let [family, from, to, port, own] = words[..] else { return None };
    let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
    let is_of_its_family = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    let number = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit()).then(|| port.parse().ok())?;
    let (port, _): (u16, u16) = (number(port)?, number(own)?);
    is_of_its_family.then(|| Named::Client((from, port).into()))
}

/// The client that a version 2 header names. `header` is without the first twelve octets. `None` if the header is invalid.
fn binary(header: &[u8]) -> Option<Named> {
    let (&[command, family, _, _], rest) = header.split_first_chunk()?;
    let port = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
    match (command, family) {
        // After LOCAL everything else is ignored, including the family (section 2.2 of the specification).
        (LOCAL, _) | (PROXY, UNSPECIFIED) => Some(Named::Nobody),
        // Both addresses, then both ports. Optional fields follow.
        (PROXY, TCP_4) => {
            port(10)?;
            Some(Named::Client((Ipv4Addr::from(*rest.first_chunk::<4>()?), port(8)?).into()))
        }
        (PROXY, TCP_6) => {
            port(34)?;
            Some(Named::Client((Ipv6Addr::from(*rest.first_chunk::<16>()?), port(32)?).into()))
        }
        (PROXY, UNIX) => (rest.len() >= UNIX_ADDRESSES).then_some(Named::Nobody),
        _ => None,
    }
}

/// The minimum number of octets that are still missing; 0 if the header is complete, `None` if it is invalid.
fn missing(header: &[u8]) -> Option<usize> {
    let begins_as = |version: &[u8]| header.iter().zip(version).all(|(one, other)| one == other);
    let (text, binary) = (begins_as(TEXT), begins_as(BINARY));
    match header.len() {
        _ if !text && !binary => None,
        length @ ..SHORTEST => Some(SHORTEST - length),
        // The line may end after any octet: version 1 has no length field.
        _ if text && header.ends_with(b"\r\n") => Some(0),
        length if text => (length < LONGEST_TEXT).then_some(1),
        length => match header[SHORTEST..] {
            [] => Some(1),
            [low, ..] => {
                let whole = SHORTEST + 1 + usize::from(u16::from_be_bytes([header[SHORTEST - 1], low]));
                (whole <= LONGEST_BINARY).then(|| whole - length)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(network: &str, peer: &str) -> bool {
        let network: Trusted = network.parse().expect("a network");
        network.includes(Some(peer.parse().expect("an address")))
    }

    #[test]
    fn a_network_includes_only_its_own_addresses() {
        for (network, own, other) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "2001:db8::1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
        ] {
            assert!(includes(network, own) && !includes(network, other), "{network}");
        }
        assert!(includes("::/0", "192.0.2.1") && includes("::/0", "::1"));
        let unix: Trusted = "unix".parse().expect("a word");
        assert!(unix.includes(None) && !unix.includes(Some(IpAddr::from([127, 0, 0, 1]))));
        assert!(!"::/0".parse::<Trusted>().expect("a network").includes(None));
        for bad in ["", "/", "all", "192.0.2.0/33", "192.0.2.1/24", "192.0.2.0/", "::/129", "::1/64", "192.0.2.0/-1"] {
            assert!(bad.parse::<Trusted>().is_err(), "{bad}");
        }
    }
}
