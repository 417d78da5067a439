//! Host names in addresses: only those of /etc/hosts (hosts(5)), without name servers. A static program cannot use the C
//! library's look-up, which loads the libraries that nsswitch.conf(5) names.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HOSTS: &str = "/etc/hosts";

/// The addresses of `HOST:PORT`: one, or all addresses of a host name.
///
/// # Errors
///
/// One sentence that says what to write instead.
pub fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let bare = text.strip_prefix('*').unwrap_or(text);
    if let Ok(port) = bare.strip_prefix(':').unwrap_or(bare).parse::<u16>() {
        return Err(format!(
            "write an address before the port: 127.0.0.1:{port} for clients of this host, [::]:{port} for all clients"
        ));
    }
    let parts = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    let Some((name, port)) = parts.filter(|(name, _)| !name.is_empty() && !name.contains([':', '[', ']', '/'])) else {
        return Err("write an address and a port, such as 127.0.0.1:1717, [::1]:1717 or localhost:1717".to_owned());
    };
    let found = in_hosts(name, &fs::read_to_string(HOSTS).unwrap_or_default());
    if found.is_empty() {
        return Err(format!("'{name}' is not in {HOSTS}, and DNS is not used; write an IP address instead"));
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

fn in_hosts(name: &str, hosts: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(ip) = words.next().and_then(|ip| ip.parse().ok()) else { continue };
        if words.any(|known| known.eq_ignore_ascii_case(name)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    // Its meaning does not depend on a file (RFC 6761).
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found
}

/// Opens every address. Addresses that this host does not have are skipped, such as `::1` without IPv6, if at least one other
/// can be opened.
///
/// # Errors
///
/// The first one. `source` returns the system's error in it.
pub fn at_each<E>(
    addresses: &[SocketAddr],
    source: impl Fn(&E) -> Option<&io::Error>,
    mut open: impl FnMut(SocketAddr) -> Result<(), E>,
) -> Result<(), E> {
    let mut opened = false;
    let mut absent = None;
    for &address in addresses {
        match open(address) {
            Ok(()) => opened = true,
            Err(error) if source(&error).is_some_and(is_absent) => absent = absent.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    absent.filter(|_| !opened).map_or(Ok(()), Err)
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_all_addresses_that_the_file_gives_it() {
        let hosts =
            "127.0.0.1 localhost # here\n127.0.1.1\tbox.example Box\n::1 localhost ip6-localhost\n#10.0.0.1 box\nx y\n";
        let v4 = |last: [u8; 4]| IpAddr::from(last);
        assert_eq!(in_hosts("LOCALHOST", hosts), [v4([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()]);
        assert_eq!(in_hosts("box", hosts), [v4([127, 0, 1, 1])]);
        assert_eq!(in_hosts("localhost", ""), [v4([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()]);
        assert!(in_hosts("here", hosts).is_empty() && in_hosts("y", hosts).is_empty());
    }

    #[test]
    fn what_the_host_does_not_have_is_left_out_unless_it_is_all() {
        let both = addresses("localhost:0").expect("two addresses");
        let open = |absent: usize| {
            let mut count = 0;
            let outcome = at_each(
                &both,
                |error| Some(error),
                |_| {
                    count += 1;
                    if count > absent { Ok(()) } else { Err(io::Error::from(ErrorKind::AddrNotAvailable)) }
                },
            );
            outcome.is_ok()
        };
        assert!(open(0) && open(both.len() - 1) && !open(both.len()));
        assert!(at_each(&both, |error| Some(error), |_| Err(io::Error::from(ErrorKind::AddrInUse))).is_err());
    }
}
