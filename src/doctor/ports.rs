//! Who has a port, by /proc/net (proc(5)).

use std::fs;
use std::net::{IpAddr, UdpSocket};

/// The TCP state of a listening socket.
const LISTEN: &str = "0A";

/// Whoever has a port open for clients, in words.
pub(super) fn holder(port: u16, protocol: &str) -> Option<String> {
    let inode = [protocol, &format!("{protocol}6")].iter().find_map(|table| {
        let table = fs::read_to_string(format!("/proc/net/{table}")).ok()?;
        table.lines().skip(1).find_map(|line| inode_of(line, port, protocol))
    })?;
    Some(process_with(&inode).unwrap_or_else(|| "another program".to_owned()))
}

/// The socket of a line of /proc/net/{tcp,udp}, if it is open for clients on that port.
pub(super) fn inode_of(line: &str, port: u16, protocol: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (*fields.get(1)?, *fields.get(3)?, *fields.get(9)?);
    let (_, local_port) = local.rsplit_once(':')?;
    let is_open = protocol == "udp" || state == LISTEN;
    (is_open && u16::from_str_radix(local_port, 16) == Ok(port)).then(|| inode.to_owned())
}

fn process_with(inode: &str) -> Option<String> {
    let link = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        descriptors
            .find(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))?;
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        Some(format!("{} (process {pid})", name.trim()))
    })
}

/// Whether an address is one of this host's.
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
    fn addresses_are_told_apart() {
        assert!(is_local(IpAddr::from([127, 0, 0, 1])));
        assert!(!is_local(IpAddr::from([192, 0, 2, 1])));
    }
}
