//! Finds the process that uses a port, in /proc/net (proc(5)).

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

/// The TCP state of a listening socket.
const LISTEN: &str = "0A";

/// The process that serves clients on a port, as text.
pub(super) fn holder(port: u16, protocol: &str) -> Option<String> {
    let inode = [protocol, &format!("{protocol}6")].iter().find_map(|table| {
        let table = fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        table.lines().skip(1).find_map(|line| inode_of(line, port, protocol))
    })?;
    Some(process_with(&inode).unwrap_or_else(|| "another program".to_owned()))
}

/// The UDP sockets with a port that belong neither to systemd nor to the service: the address and the process of each, as text.
pub(super) fn others_with_udp(port: u16, service: &str) -> Vec<(String, String)> {
    let ours = |inode: &str| ["1", service].iter().any(|pid| has(&Path::new("/proc").join(pid), inode));
    let tables = ["udp", "udp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let found = lines.filter_map(|line| Some((address_of(line)?, inode_of(line, port, "udp")?)));
    // Only root can see the process.
    found.filter(|(_, inode)| !ours(inode)).filter_map(|(at, inode)| Some((at, process_with(&inode)?))).collect()
}

/// The local address of a line.
fn address_of(line: &str) -> Option<String> {
    let (ip, _) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let octets: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let v4 = <[u8; 4]>::try_from(octets.as_slice()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from)).ok().map(|ip| ip.to_string())
}

/// The socket of a line of /proc/net/{tcp,udp}, if it serves clients on a port.
pub(super) fn inode_of(line: &str, port: u16, protocol: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (*fields.get(1)?, *fields.get(3)?, *fields.get(9)?);
    let (_, local_port) = local.rsplit_once(':')?;
    let is_open = protocol == "udp" || state == LISTEN;
    (is_open && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| inode.to_owned())
}

fn process_with(inode: &str) -> Option<String> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        has(&process.path(), inode).then_some(())?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (process {pid})", name.trim()))
    })
}

/// Whether a process has a socket.
fn has(process: &Path, inode: &str) -> bool {
    let link = format!("socket:[{inode}]");
    fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors
            .flatten()
            .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
    })
}

/// Whether an address belongs to this host.
pub(super) fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let found = holder(port, "tcp").expect("somebody has it");
        assert!(found.ends_with(&format!(" (process {})", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(holder(port, "tcp"), None);
    }

    #[test]
    fn others_with_a_udp_port_are_found_with_their_address() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).expect("a port");
            let at = socket.local_addr().expect("an address");
            let own = std::process::id().to_string();
            let found = others_with_udp(at.port(), "0");
            assert!(found.len() == 1 && found[0].0 == at.ip().to_string(), "{found:?}");
            assert_eq!(others_with_udp(at.port(), &own), []);
        }
    }

    #[test]
    fn addresses_are_told_apart() {
        assert!(is_local(IpAddr::from([127, 0, 0, 1])));
        assert!(!is_local(IpAddr::from([192, 0, 2, 1])));
    }
}
