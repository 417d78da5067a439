//! `--listen`: the addresses of a person who starts a service by hand.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::FileType;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{Kind, Socket};
use crate::file::Place;
use crate::report;
use crate::serve::buffers::Buffers;

/// An address of `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `tcp://ADDRESS:PORT`
    Tcp(SocketAddr),
    /// `udp://ADDRESS:PORT`
    Udp(SocketAddr),
    /// `ADDRESS:PORT`: both, or TCP only if UDP has to be asked for.
    TcpAndUdp(SocketAddr),
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
        let parse = |address: &str| {
            address.parse().map_err(|_| {
                "it is no numeric address with a port, such as 127.0.0.1:1717, [::1]:1717, tcp://127.0.0.1:1717, \
                 udp://127.0.0.1:1717 or unix:/run/qotd"
                    .to_owned()
            })
        };
        if let Some(address) = text.strip_prefix("tcp://") {
            Ok(Self::Tcp(parse(address)?))
        } else if let Some(address) = text.strip_prefix("udp://") {
            Ok(Self::Udp(parse(address)?))
        } else if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() { Err("the path is missing".to_owned()) } else { Ok(Self::Unix(path.into())) }
        } else {
            Ok(Self::TcpAndUdp(parse(text)?))
        }
    }
}

/// Opens all of them, and says on the log where clients find them.
pub(super) fn open(addresses: &[Address], udp_unasked: bool) -> Result<Vec<Socket>, Error> {
    let mut sockets = Vec::new();
    for address in addresses {
        match address {
            Address::Tcp(address) => tcp(*address).map(|(socket, _)| sockets.push(socket))?,
            Address::Udp(address) => sockets.push(udp(*address)?),
            Address::TcpAndUdp(address) => {
                let (listener, bound) = tcp(*address)?;
                sockets.push(listener);
                if udp_unasked {
                    sockets.push(udp(bound)?);
                } else {
                    report::notice(&format!(
                        "UDP is not served, since it helps those who forge their address; --listen udp://{bound} asks for it"
                    ));
                }
            }
            Address::Unix(path) => sockets.push(unix(path)?),
        }
    }
    Ok(sockets)
}

fn tcp(address: SocketAddr) -> Result<(Socket, SocketAddr), Error> {
    let bound = listening(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) = bound.map_err(|source| Error::Bind { address, source })?;
    announce(&format!("tcp://{bound}"), &format!("nc -d {} {}", bound.ip(), bound.port()));
    Ok((socket(listener, format!("tcp://{bound}"), Kind::Listener), bound))
}

/// A socket that listens there, with the longest queue that the host allows. It has its buffers before the first client can
/// come, who would get others.
pub(crate) fn listening(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    Buffers::STREAM.set(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::MAX)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr) -> Result<Socket, Error> {
    let bound = UdpSocket::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (bound, datagrams) = bound.map_err(|source| Error::Bind { address, source })?;
    announce(&format!("udp://{bound}"), &format!("echo | nc -u -w 1 {} {}", bound.ip(), bound.port()));
    Ok(socket(datagrams, format!("udp://{bound}"), Kind::Datagrams))
}

fn unix(path: &Path) -> Result<Socket, Error> {
    let failed = |source| Error::BindPath { path: path.to_owned(), source };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_abandoned(path).map_err(failed)?;
            UnixListener::bind(path)
        }
        other => other,
    }
    .map_err(failed)?;
    announce(&format!("unix:{}", path.display()), &format!("nc -dU {}", path.display()));
    Ok(socket(listener, format!("unix:{}", path.display()), Kind::Listener))
}

/// Removes a socket that nobody listens on any more: it is left over from an earlier run. All by one open directory: the path
/// may lead to a socket elsewhere a moment later.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let place = Place::of(path)?;
    let is_socket = place.look()?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(place.path()).is_err_and(refused) { place.remove() } else { Ok(()) }
}

fn socket(descriptor: impl Into<OwnedFd>, name: String, kind: Kind) -> Socket {
    Socket { descriptor: descriptor.into(), name, kind }
}

fn announce(address: &str, attempt: &str) {
    report::notice(&format!("serving on {address}; try `{attempt}` in another terminal; Ctrl-C ends it"));
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
                    // One of the two is made again, whichever it is that is gone.
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
        assert_eq!("tcp://[::1]:1717".parse(), Ok(Address::Tcp(address)));
        assert_eq!("udp://[::1]:1717".parse(), Ok(Address::Udp(address)));
        assert_eq!("[::1]:1717".parse(), Ok(Address::TcpAndUdp(address)));
        assert_eq!("unix:/run/qotd".parse(), Ok(Address::Unix("/run/qotd".into())));
        for bad in ["", "17", "localhost:17", "tcp://127.0.0.1", "unix:", "http://127.0.0.1:80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
