//! `--listen`: the addresses of a person who starts a service by hand.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::hosts::{addresses, at_each};
use super::{Kind, Socket};

/// An address of `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `tcp://ADDRESS:PORT`: one address, or all of a name's.
    Tcp(Vec<SocketAddr>),
    /// `udp://ADDRESS:PORT`
    Udp(Vec<SocketAddr>),
    /// `ADDRESS:PORT`: both, or TCP only if UDP has to be asked for.
    TcpAndUdp(Vec<SocketAddr>),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// Why listening is not possible.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose an address of this host and a free port above 1023")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The path cannot be had.
    #[error("cannot listen on {}: {source}; choose a path in a directory of yours where there is no file", .path.display())]
    BindPath {
        /// The path asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("tcp://") {
            Ok(Self::Tcp(addresses(address)?))
        } else if let Some(address) = text.strip_prefix("udp://") {
            Ok(Self::Udp(addresses(address)?))
        } else if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() { Err("the path is missing".to_owned()) } else { Ok(Self::Unix(path.into())) }
        } else {
            let more = "; tcp:// or udp:// before it means that alone, and unix:/run/qotd a path";
            Ok(Self::TcpAndUdp(addresses(text).map_err(|reason| reason + more)?))
        }
    }
}

/// Sockets, and what there is to say of them once they are served.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) sockets: Vec<Socket>,
    pub(super) notices: Vec<String>,
}

/// Opens all of them.
pub(super) fn open(addresses: &[Address], udp_unasked: bool) -> Result<Opened, Error> {
    let mut opened = Opened::default();
    for address in addresses {
        match address {
            Address::Tcp(addresses) => at_each(addresses, source, |address| opened.tcp(address).map(drop))?,
            Address::Udp(addresses) => at_each(addresses, source, |address| opened.udp(address))?,
            Address::TcpAndUdp(addresses) => at_each(addresses, source, |address| {
                let bound = opened.tcp(address)?;
                if udp_unasked {
                    return opened.udp(bound);
                }
                opened.notices.push(format!(
                    "UDP is not served, since it helps those who forge their address; --listen udp://{bound} asks for it"
                ));
                Ok(())
            })?,
            Address::Unix(path) => opened.unix(path)?,
        }
    }
    Ok(opened)
}

fn source(error: &Error) -> Option<&io::Error> {
    if let Error::Bind { source, .. } = error { Some(source) } else { None }
}

impl Opened {
    fn tcp(&mut self, address: SocketAddr) -> Result<SocketAddr, Error> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            // Once more, for a longer queue than the standard library asks for: the most that the host allows.
            rustix::net::listen(&listener, i32::MAX)?;
            Ok((listener.local_addr()?, listener))
        });
        let (bound, listener) = bound.map_err(|source| Error::Bind { address, source })?;
        self.add(
            listener,
            format!("tcp://{bound}"),
            Kind::Listener,
            &format!("nc {} {} </dev/null", bound.ip(), bound.port()),
        );
        Ok(bound)
    }

    fn udp(&mut self, address: SocketAddr) -> Result<(), Error> {
        let bound = UdpSocket::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (bound, datagrams) = bound.map_err(|source| Error::Bind { address, source })?;
        let attempt = format!("echo | nc -u -w 1 {} {}", bound.ip(), bound.port());
        self.add(datagrams, format!("udp://{bound}"), Kind::Datagrams, &attempt);
        Ok(())
    }

    fn unix(&mut self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::BindPath { path: path.to_owned(), source };
        let listener = match UnixListener::bind(path) {
            // A socket that nobody listens on any more is left over from an earlier run.
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_abandoned(path) => {
                fs::remove_file(path).map_err(failed)?;
                UnixListener::bind(path)
            }
            other => other,
        }
        .map_err(failed)?;
        let attempt = format!("nc -U {} </dev/null", path.display());
        self.add(listener, format!("unix:{}", path.display()), Kind::Listener, &attempt);
        Ok(())
    }

    fn add(&mut self, descriptor: impl Into<OwnedFd>, name: String, kind: Kind, attempt: &str) {
        self.notices.push(format!("serving on {name}; try `{attempt}` in another terminal; Ctrl-C ends it"));
        self.sockets.push(Socket { descriptor: descriptor.into(), name, kind });
    }
}

fn is_abandoned(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        let address: SocketAddr = "[::1]:1717".parse().expect("an address");
        assert_eq!("tcp://[::1]:1717".parse(), Ok(Address::Tcp(vec![address])));
        assert_eq!("udp://[::1]:1717".parse(), Ok(Address::Udp(vec![address])));
        assert_eq!("[::1]:1717".parse(), Ok(Address::TcpAndUdp(vec![address])));
        assert_eq!("unix:/run/qotd".parse(), Ok(Address::Unix("/run/qotd".into())));
        let local = "127.0.0.1:17".parse().expect("an address");
        assert!(matches!("localhost:17".parse(), Ok(Address::TcpAndUdp(all)) if all.contains(&local)));
        for bad in
            ["", "17", ":17", "localhost", "no.such.name.invalid:17", "tcp://127.0.0.1", "unix:", "http://127.0.0.1:80"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
