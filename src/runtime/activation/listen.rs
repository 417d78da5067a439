//! `--listen`: the addresses of a service that a person starts by hand.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::FileType;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::hosts::{addresses, at_each};
use super::{Kind, Socket};
use crate::engine::buffers::Buffers;
use crate::file::Place;

/// An address of `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `tcp://ADDRESS:PORT`: one address, or all addresses of a host name.
    Tcp(Vec<SocketAddr>),
    /// `udp://ADDRESS:PORT`
    Udp(Vec<SocketAddr>),
    /// `ADDRESS:PORT`: both, or only TCP where UDP requires `udp://`.
    TcpAndUdp(Vec<SocketAddr>),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// Why the program cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is unavailable.
    #[error("cannot listen on {address}: {source}; {}", advice(*.address, .source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The path is unavailable.
    #[error("cannot listen on {}: {source}; {}", .path.display(), path_advice(.source))]
    BindPath {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The next step if an address is unavailable.
#[must_use]
pub fn advice(address: SocketAddr, source: &io::Error) -> String {
    let port = address.port();
    match source.kind() {
        ErrorKind::AddrInUse => {
            format!("another program uses the port (`ss -lntup 'sport = :{port}'` shows it): stop it, or choose another port")
        }
        ErrorKind::PermissionDenied if port < 1024 => {
            "ports below 1024 require root: choose a higher port, or enable the socket unit, for which systemd opens the port"
                .to_owned()
        }
        ErrorKind::AddrNotAvailable => "choose an address of this host; `ip address` lists them".to_owned(),
        _ => "choose another address and port".to_owned(),
    }
}

/// The next step if a path is unavailable.
fn path_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::AddrInUse => "another program listens there, or it is not a socket: choose another path",
        ErrorKind::InvalidInput => "choose a shorter path",
        _ => "choose a path in an existing directory that you may write to",
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("tcp://") {
            Ok(Self::Tcp(addresses(address)?))
        } else if let Some(address) = text.strip_prefix("udp://") {
            Ok(Self::Udp(addresses(address)?))
        } else if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                Err("write a path, such as unix:/run/qotd".to_owned())
            } else {
                Ok(Self::Unix(path.into()))
            }
        } else {
            let more = "; put tcp:// or udp:// before it for one protocol only, or write a path as unix:/run/qotd";
            Ok(Self::TcpAndUdp(addresses(text).map_err(|reason| reason + more)?))
        }
    }
}

/// Open sockets, and what to log once they are served.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) sockets: Vec<Socket>,
    pub(super) notices: Vec<String>,
}

/// Opens all addresses.
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
                    "UDP is not served, because attackers with forged addresses abuse it; --listen udp://{bound} enables it"
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
        let bound = listening(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
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
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_abandoned(path).map_err(failed)?;
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
        self.notices.push(format!("serving on {name}; try `{attempt}` in another terminal; stop with Ctrl-C"));
        self.sockets.push(Socket { descriptor: descriptor.into(), name, kind });
    }
}

/// A TCP socket that listens on an address, with the longest queue that the host allows. Its buffers are set before it listens:
/// connections inherit them.
///
/// # Errors
///
/// The system's.
pub fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    Buffers::STREAM.set(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::MAX)?;
    Ok(socket.into())
}

/// Removes a socket of an earlier run, on which no program listens any more. All calls use one open directory, since the path may
/// lead to another socket a moment later.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let place = Place::of(path)?;
    let is_socket = place.look()?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(place.path()).is_err_and(refused) { place.remove() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::{env, fs, process, thread};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;

    #[test]
    fn no_socket_is_removed_that_somebody_listens_on_wherever_its_directory_leads() {
        let folder = env::temp_dir().join(format!("small-services-listen-{}", process::id()));
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.join(name));
        for directory in [&ours, &theirs] {
            fs::create_dir_all(directory).expect("a folder for temporary files");
        }
        let alive = UnixListener::bind(ours.join("socket")).expect("a socket");
        alive.set_nonblocking(true).expect("a socket that does not wait");
        let inode = |directory: &Path| fs::metadata(directory.join("socket")).map(|it| it.ino()).ok();
        let before = inode(&ours);
        drop(UnixListener::bind(theirs.join("socket")).expect("a socket"));
        let over = AtomicBool::new(false);
        let mut removed = 0_u32;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &ours, CWD, &theirs, RenameFlags::EXCHANGE).expect("both are there");
                }
            });
            for _ in 0..20_000 {
                if removed == 200 {
                    break;
                }
                while alive.accept().is_ok() {}
                if remove_abandoned(&ours.join("socket")).is_ok() {
                    // Create the removed one of the two again.
                    removed += u32::from(UnixListener::bind(ours.join("socket")).is_ok());
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        let after = [ours, theirs].map(|it| inode(&it));
        fs::remove_dir_all(folder).expect("it is there");
        assert!(removed > 0, "none was abandoned");
        assert!(after.contains(&before), "a socket is gone that somebody listens on");
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        let address: SocketAddr = "[::1]:1717".parse().expect("an address");
        assert_eq!("tcp://[::1]:1717".parse(), Ok(Address::Tcp(vec![address])));
        assert_eq!("udp://[::1]:1717".parse(), Ok(Address::Udp(vec![address])));
        assert_eq!("[::1]:1717".parse(), Ok(Address::TcpAndUdp(vec![address])));
        assert_eq!("unix:/run/qotd".parse(), Ok(Address::Unix("/run/qotd".into())));
        let local = "127.0.0.1:17".parse().expect("an address");
        assert!(matches!("localhost:17".parse(), Ok(Address::TcpAndUdp(all)) if all.contains(&local)));
        for bad in [
            "",
            "17",
            ":17",
            "*:17",
            "localhost",
            "no.such.name.invalid:17",
            "tcp://::1",
            "unix:",
            "http://127.0.0.1:80",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
