//! The authority that a client requests: `Host`, or the one in the request target (RFC 3986, section 3.2; RFC 9112, section 3.2).

use std::net::Ipv6Addr;

/// The host without its port; `None` if the authority is invalid. One with a user name is invalid, too: HTTP does not use it.
pub(super) fn host(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']')?;
            inside[..end].parse::<Ipv6Addr>().ok()?;
            authority.split_at(end + 2)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_fits = match rest.strip_prefix(':') {
        Some("") => true,
        Some(port) => port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => rest.is_empty(),
    };
    (port_fits && (host.starts_with('[') || is_name(host))).then_some(host)
}

/// The port that it names.
pub(super) fn port(authority: &str) -> Option<u16> {
    authority.strip_prefix(host(authority)?)?.strip_prefix(':')?.parse().ok()
}

/// Whether two authorities are the same, ignoring case. A missing port means `default` (RFC 3986, section 6.2).
pub(super) fn same(one: &str, other: &str, default: u16) -> bool {
    let parts = |authority: &'_ str| {
        let host = host(authority)?;
        let port = authority[host.len()..].trim_start_matches(':');
        Some((host.to_ascii_lowercase(), if port.is_empty() { default } else { port.parse().ok()? }))
    };
    parts(one).is_some_and(|parts_of_one| Some(parts_of_one) == parts(other))
}

/// Whether it is a DNS name (RFC 1123, section 2.1), which may contain underscores, or an IPv4 address.
fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    host.len() <= 254 && labels.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (authority, expected) in [
            ("localhost", "localhost"),
            ("localhost:", "localhost"),
            ("Example.org.:8080", "Example.org."),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[::1]:65535", "[::1]"),
            ("a_b.c-d", "a_b.c-d"),
        ] {
            assert_eq!(host(authority), Some(expected), "{authority}");
        }
        for (authority, expected) in
            [("a:80", Some(80)), ("[::1]:65535", Some(65535)), ("[::1]", None), ("a:", None), ("a", None)]
        {
            assert_eq!(port(authority), expected, "{authority}");
        }
    }

    #[test]
    fn authorities_in_different_spellings_are_the_same() {
        for (one, other, expected) in [
            ("localhost", "LOCALHOST:443", true),
            ("[::1]:8443", "[::1]:8443", true),
            ("localhost:", "localhost", true),
            ("localhost:443", "localhost:0443", true),
            ("localhost", "localhost:80", false),
            ("localhost", "other", false),
            ("a b", "a b", false),
        ] {
            assert_eq!(same(one, other, 443), expected, "{one} and {other}");
        }
    }

    #[test]
    fn other_authorities_are_invalid() {
        let long = format!("{}.org", "x".repeat(64));
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "a\"b",
            "<b>",
            "a%41",
            "a:b",
            "a:65536",
            "a:+1",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "::1",
            "é",
            "a\\b",
            "a?b",
            "a#b",
            "a'b",
            &long,
        ] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }
}
