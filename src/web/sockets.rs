//! The sockets that it serves: those that a service manager passed by name, those of `--listen`, or the default.

use std::env;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::str::FromStr;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{set_tcp_nodelay, socket_domain};

use crate::activation::{self, Kind};
use crate::sandbox::policy::FIRST_FREE;
use crate::serve::buffers::Buffers;
use crate::{report, sys};

/// What is spoken on a socket: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const ALL: [Self; 2] = [Self::Http, Self::Https];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.to_string() == name)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// An address of `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    scheme: Scheme,
    address: SocketAddr,
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once("://");
        parts
            .and_then(|(scheme, address)| Some((Scheme::named(scheme)?, address.parse().ok()?)))
            .map(|(scheme, address)| Self { scheme, address })
            .ok_or(
                "write http or https, a numeric address and a port, such as http://127.0.0.1:8080 or https://[::]:8443",
            )
    }
}

/// Why there is nothing to serve on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("descriptor {descriptor}, named {name}, is no listening stream socket; use ListenStream= and Accept=no")]
    Kind { descriptor: i32, name: String },
    #[error("no socket is named http or https; set FileDescriptorName= in the socket units")]
    NoName,
    #[error(
        "cannot listen on {scheme}://{address}: {source}; choose an address of this host and a free port above 1023"
    )]
    Bind { scheme: Scheme, address: SocketAddr, source: io::Error },
    #[error("there is no certificate for https; name one with --certificate FILE, and its key with --key FILE")]
    NoCertificate,
    #[error("cannot use the socket named {name}: {source}; pass TCP or Unix-domain stream sockets")]
    Use { name: Scheme, source: io::Error },
}

/// A socket that listens, and takes what comes without waiting.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a service manager passed, with the names, in order.
#[derive(Debug)]
pub(super) struct Passed(Vec<(OwnedFd, String)>);

impl Passed {
    /// Takes it over, and says on the log how it was announced. Every descriptor that has a meaning by its number is free
    /// afterwards.
    pub(super) fn take() -> Result<Self, activation::Error> {
        for name in ["LISTEN_FDS", "LISTEN_FDNAMES"] {
            match env::var_os(name) {
                Some(value) => report::notice(&format!("{name}={}", value.display())),
                None => report::notice(&format!("{name} is not set")),
            }
        }
        let passed = sys::take_passed_sockets()?;
        let moved = passed
            .iter()
            .map(|(socket, name)| Ok((fcntl_dupfd_cloexec(socket, FIRST_FREE.cast_signed())?, name.clone())));
        Ok(Self(moved.collect::<io::Result<_>>()?))
    }
}

/// All that it serves on.
#[derive(Debug)]
pub(super) struct Sockets(Vec<(Scheme, Listener)>);

impl Sockets {
    /// What was passed, or what was asked for, or else the default: HTTPS on port 8443 with a certificate, HTTP on
    /// 127.0.0.1:8080 without.
    pub(super) fn open(passed: Passed, listen: &[Address], certificate: bool) -> Result<Self, super::Error> {
        let Passed(passed) = passed;
        if passed.is_empty() {
            return Ok(Self::listen(listen, certificate)?);
        }
        if !listen.is_empty() {
            return Err(activation::Error::Both.into());
        }
        let mut sockets = Vec::new();
        for (descriptor, (socket, name)) in (3..).zip(passed) {
            let Some(scheme) = Scheme::named(&name) else {
                report::warning(&format!(
                    "ignoring descriptor {descriptor}, named {name}: it is neither http nor https"
                ));
                continue;
            };
            if activation::kind(socket.as_fd(), descriptor)? != Some(Kind::Listener) {
                return Err(Error::Kind { descriptor, name }.into());
            }
            if scheme == Scheme::Https && !certificate {
                return Err(Error::NoCertificate.into());
            }
            let (listener, at) = listener(socket).map_err(|source| Error::Use { name: scheme, source })?;
            report::notice(&format!("serving {scheme} on {at}"));
            sockets.push((scheme, listener));
        }
        if sockets.is_empty() { Err(Error::NoName.into()) } else { Ok(Self(sockets)) }
    }

    fn listen(listen: &[Address], certificate: bool) -> Result<Self, Error> {
        let default = |scheme, ip: std::net::IpAddr, port| Address { scheme, address: (ip, port).into() };
        let open_all = |addresses: &[Address]| addresses.iter().map(open_one).collect::<Result<_, _>>().map(Self);
        if !certificate && listen.iter().any(|one| one.scheme == Scheme::Https) {
            return Err(Error::NoCertificate);
        }
        if !listen.is_empty() {
            return open_all(listen);
        }
        if !certificate {
            return open_all(&[default(Scheme::Http, Ipv4Addr::LOCALHOST.into(), 8080)]);
        }
        match open_all(&[default(Scheme::Https, Ipv6Addr::UNSPECIFIED.into(), 8443)]) {
            // A host without IPv6.
            Err(Error::Bind { source, .. }) if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                open_all(&[default(Scheme::Https, Ipv4Addr::UNSPECIFIED.into(), 8443)])
            }
            other => other,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where a client finds HTTPS: 443 if it is served there, else the first port, else 443 again, where somebody may well
    /// have put the Unix-domain socket. `None` if HTTPS is not served.
    pub(super) fn https_port(&self) -> io::Result<Option<u16>> {
        let https = self.0.iter().filter(|(scheme, _)| *scheme == Scheme::Https).map(|(_, listener)| listener);
        let ports = https.map(|listener| match listener {
            Listener::Tcp(listener) => Ok(Some(listener.local_addr()?.port())),
            Listener::Unix(_) => Ok(None),
        });
        let ports: Vec<_> = ports.collect::<io::Result<_>>()?;
        let tcp = ports.iter().flatten().find(|port| **port == 443).or(ports.iter().flatten().next());
        Ok((!ports.is_empty()).then_some(tcp.copied().unwrap_or(443)))
    }

    pub(super) fn into_inner(self) -> Vec<(Scheme, Listener)> {
        self.0
    }
}

fn open_one(&Address { scheme, address }: &Address) -> Result<(Scheme, Listener), Error> {
    let opened = TcpListener::bind(address).and_then(|listener| {
        // Once more, for a longer queue than the standard library asks for: the most that the host allows.
        rustix::net::listen(&listener, i32::MAX)?;
        self::listener(listener.into())
    });
    let (listener, at) = opened.map_err(|source| Error::Bind { scheme, address, source })?;
    report::notice(&format!("serving on {scheme}://{at}; Ctrl-C ends it"));
    Ok((scheme, listener))
}

/// Makes the socket ready for the event loop, and says where it is.
fn listener(socket: OwnedFd) -> io::Result<(Listener, String)> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    Buffers::WEB.set(socket.as_fd())?;
    match socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let listener = UnixListener::from(socket);
            let at = listener.local_addr()?.as_pathname().map(|path| format!("unix:{}", path.display()));
            Ok((Listener::Unix(listener), at.unwrap_or_else(|| "a Unix-domain socket".to_owned())))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            // The connections inherit it, which saves a call for each.
            set_tcp_nodelay(&socket, true)?;
            let listener = TcpListener::from(socket);
            let at = listener.local_addr()?.to_string();
            Ok((Listener::Tcp(listener), at))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it belongs to another network")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme() {
        let address = "[::]:8443".parse().expect("an address");
        assert_eq!("https://[::]:8443".parse(), Ok(Address { scheme: Scheme::Https, address }));
        for bad in ["", "[::]:8443", "ftp://[::]:8443", "http://localhost:80", "http://127.0.0.1", "http:127.0.0.1:80"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
