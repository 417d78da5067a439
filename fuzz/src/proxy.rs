//! With any first octets of a balancer: a header is read completely and yields the client that it names, and everything after it is
//! left. Anything else is refused, however it arrives.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lunchd::fuzz;

/// No header is longer.
const LONGEST: usize = 4096;

/// One run: octets of a connection.
pub fn run(data: &[u8]) {
    let whole = fuzz::proxied(data, usize::MAX);
    match (&whole, &fuzz::proxied(data, 1)) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "the pieces matter"),
        (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind(), "the pieces matter"),
        (one, other) => panic!("the pieces matter: {one:?}, {other:?}"),
    }
    if let Some(line) = text(data) {
        assert_eq!(whole.as_ref().ok(), Some(&line), "version 1, read plainly");
    }
    let Ok((client, rest)) = whole else { return };
    let header = &data[..data.len() - rest.len()];
    assert!(data.ends_with(rest) && header.len() <= LONGEST);
    assert_eq!(fuzz::proxied(header, usize::MAX).ok(), Some((client, &b""[..])), "it says nothing about what follows");
    for length in 0..header.len() {
        assert!(fuzz::proxied(&header[..length], usize::MAX).is_err(), "a part of a header is none");
    }
    match header.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        Some(rest) => assert_eq!(client, binary(rest), "version 2, read plainly"),
        None => assert!(header.starts_with(b"PROXY ") && header.ends_with(b"\r\n") && header.len() <= 107),
    }
}

/// A line of version 1 as a balancer writes it: the client, and what follows the line.
fn text(data: &[u8]) -> Option<(Option<SocketAddr>, &[u8])> {
    let end = data.windows(2).position(|two| two == b"\r\n")?;
    let (line, rest) = (std::str::from_utf8(&data[..end]).ok()?, &data[end + 2..]);
    let is_port = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["PROXY", "UNKNOWN"] => Some((None, rest)),
        ["PROXY", family, from, to, port, own] if is_port(port) && is_port(own) && line.len() <= 105 => {
            let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
            let fits = match family {
                "TCP4" => from.is_ipv4() && to.is_ipv4(),
                "TCP6" => from.is_ipv6() && to.is_ipv6(),
                _ => false,
            };
            own.parse::<u16>().ok().filter(|_| fits)?;
            Some((Some((from, port.parse().ok()?).into()), rest))
        }
        _ => None,
    }
}

/// The client that a version 2 header names, from the octets after the first twelve.
fn binary(header: &[u8]) -> Option<SocketAddr> {
    let (&[command, family, high, low], rest) = header.split_first_chunk().expect("four octets at least");
    assert_eq!(rest.len(), usize::from(u16::from_be_bytes([high, low])));
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match (command, family) {
        (0x21, 0x11) => Some((Ipv4Addr::from(*rest.first_chunk::<4>().expect("an address")), port(8)).into()),
        (0x21, 0x21) => Some((Ipv6Addr::from(*rest.first_chunk::<16>().expect("an address")), port(32)).into()),
        (0x20, _) | (0x21, 0x00 | 0x31 | 0x32) => None,
        _ => panic!("neither LOCAL nor PROXY, or for datagrams: {command:x} {family:x}"),
    }
}
