//! The networks of clients, as limits distinguish them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The network of a client. All its hosts count as one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    /// An IPv4 address has the form of its IPv4-mapped IPv6 address.
    address: u128,
    /// The link of a link-local address, otherwise 0.
    scope: u32,
}

impl Network {
    /// The network of all clients of Unix-domain sockets.
    pub(super) const LOCAL: Self = Self { address: 0, scope: u32::MAX };

    /// The network of a client, with a prefix of `v4_bits` or `v6_bits`.
    ///
    /// A link-local address counts in full and together with its link. All links share one /64, and the same address on another
    /// link is another host.
    pub(super) fn of(client: SocketAddr, v4_bits: u32, v6_bits: u32) -> Self {
        let mut scope = 0;
        let bits = match (client.ip().to_canonical(), client) {
            (IpAddr::V4(_), _) => 96 + v4_bits,
            (IpAddr::V6(v6), SocketAddr::V6(client)) if v6.is_unicast_link_local() => {
                scope = client.scope_id();
                128
            }
            (IpAddr::V6(_), _) => v6_bits,
        };
        Self { address: mapped(client.ip()) & mask(bits), scope }
    }

    /// The source that limits apply to: an IPv4 address, or the /64 that an IPv6 host has to itself.
    pub(super) fn of_source(client: SocketAddr) -> Self {
        Self::of(client, 32, 64)
    }

    /// The /48 around an IPv6 source, which one site may have. IPv4 and link-local addresses stay as they are.
    pub(super) fn site(self) -> Self {
        const IPV4: u128 = 0xffff << 32;
        if self.scope != 0 || self.address & mask(96) == IPV4 {
            return self;
        }
        Self { address: self.address & mask(48), ..self }
    }
}

/// A network named on the command line: an address, optionally with a prefix length (CIDR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// As in [`Network`].
    address: u128,
    /// The length of the prefix, in bits of `address`.
    bits: u32,
}

/// Why a word is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSubnet {
    /// It is neither an address nor a network.
    #[error("write an address or a network, such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")]
    Syntax,
    /// Bits after the prefix are set.
    #[error("this is the address of a host, not of a network; set all bits after the prefix to 0")]
    Host,
}

impl Subnet {
    /// Whether an address belongs to the network.
    #[must_use]
    pub fn includes(&self, ip: IpAddr) -> bool {
        mapped(ip) & mask(self.bits) == self.address
    }
}

impl FromStr for Subnet {
    type Err = NoSubnet;

    fn from_str(text: &str) -> Result<Self, NoSubnet> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| NoSubnet::Syntax)?;
        let own = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(own), str::parse).ok().filter(|bits| *bits <= own).ok_or(NoSubnet::Syntax)?;
        let (address, bits) = (mapped(ip), 128 - own + bits);
        if address & mask(bits) == address { Ok(Self { address, bits }) } else { Err(NoSubnet::Host) }
    }
}

/// An address in 128 bits. An IPv4 address becomes its IPv4-mapped IPv6 address.
fn mapped(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A mask of the first `bits` bits.
fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(client: &str) -> Network {
        Network::of(client.parse().expect("an address"), 24, 56)
    }

    #[test]
    fn hosts_of_one_network_are_one_source() {
        for (one, other) in [
            ("192.0.2.1:1024", "192.0.2.200:1025"),
            ("192.0.2.1:1024", "[::ffff:192.0.2.9]:1024"),
            ("[2001:db8::1]:1024", "[2001:db8:0:ff::1]:1024"),
            ("[fe80::1%2]:1024", "[fe80::1%2]:1025"),
        ] {
            assert_eq!(network(one), network(other), "{one} and {other}");
        }
        for (one, other) in [
            ("192.0.2.1:1024", "192.0.3.1:1024"),
            ("[2001:db8::1]:1024", "[2001:db8:0:100::1]:1024"),
            ("[fe80::1%2]:1024", "[fe80::2%2]:1024"),
            ("[fe80::1%2]:1024", "[fe80::1%3]:1024"),
            ("[::]:1024", "0.0.0.0:1024"),
        ] {
            assert_ne!(network(one), network(other), "{one} and {other}");
        }
    }

    #[test]
    fn a_subnet_includes_its_own_and_nobody_else() {
        for (subnet, own, other) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "::192.0.2.9"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("0.0.0.0/0", "198.51.100.7", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let includes =
                |ip: &str| subnet.parse::<Subnet>().expect("a network").includes(ip.parse().expect("an address"));
            assert!(includes(own) && !includes(other), "{subnet}");
        }
        assert!("::/0".parse::<Subnet>().expect("all").includes("192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_subnet_is_told() {
        for word in
            ["", "x", "/24", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "2001:db8::/129", "192.0.2", "fe80::1%2"]
        {
            assert_eq!(word.parse::<Subnet>(), Err(NoSubnet::Syntax), "{word}");
        }
        for word in ["192.0.2.1/24", "2001:db8::1/64", "192.0.2.0/0"] {
            assert_eq!(word.parse::<Subnet>(), Err(NoSubnet::Host), "{word}");
        }
    }

    #[test]
    fn a_connection_counts_by_host_or_by_64_bits() {
        let host = |client: &str| Network::of(client.parse().expect("an address"), 32, 64);
        assert_ne!(host("192.0.2.1:1024"), host("192.0.2.2:1024"));
        assert_eq!(host("[2001:db8::1]:1024"), host("[2001:db8::ffff:1]:1024"));
        assert_ne!(host("[2001:db8::1]:1024"), host("[2001:db8:0:1::1]:1024"));
    }
}
