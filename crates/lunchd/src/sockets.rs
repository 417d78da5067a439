//! The sockets: passed by name by a service manager, opened by `--listen`, or the default.

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

use small_services::internals::activation::{self, Kind};
use small_services::internals::engine::Buffers;
use small_services::internals::sys::take_passed_sockets;
use small_services::log;
use small_services::numbers::FIRST_FREE;

/// The protocol of a socket, which is its name.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    scheme: Scheme,
    /// One address, or all addresses of a name.
    addresses: Vec<SocketAddr>,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once("://").and_then(|(scheme, rest)| Some((Scheme::named(scheme)?, rest)));
        let (scheme, rest) = parts
            .ok_or("write http or https, an address and a port, such as http://127.0.0.1:8080 or https://[::]:8443")?;
        let addresses = activation::addresses(rest).map_err(|reason| format!("after {scheme}://, {reason}"))?;
        Ok(Self { scheme, addresses })
    }
}

/// Why there is no socket to serve on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("descriptor {descriptor}, named {name}, is not a listening stream socket; use ListenStream= and Accept=no")]
    Kind { descriptor: i32, name: String },
    #[error("no socket is named http or https; set FileDescriptorName= in the socket units")]
    NoName,
    #[error("cannot listen on {scheme}://{address}: {source}; {}", activation::advice(*.address, .source))]
    Bind { scheme: Scheme, address: SocketAddr, source: io::Error },
    #[error("https requires a certificate; name one with --certificate FILE, and its key with --key FILE")]
    NoCertificate,
    #[error("cannot use the socket named {name}: {source}; pass TCP or Unix-domain stream sockets")]
    Use { name: Scheme, source: io::Error },
}

/// A non-blocking listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that a service manager passed, with their names, in order.
#[derive(Debug)]
pub(super) struct Passed(Vec<(OwnedFd, Option<String>)>);

impl Passed {
    /// Takes over the sockets and logs the variables that announced them. Moves them, so that descriptor numbers with a meaning are
    /// free.
    pub(super) fn take() -> Result<Self, activation::Error> {
        let variables = ["LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| (name, env::var_os(name)));
        let passed = take_passed_sockets()?;
        for (name, value) in variables.into_iter().filter(|_| !passed.is_empty()) {
            match value {
                Some(value) => log::notice(&format!("{name}={}", value.to_string_lossy())),
                None => log::notice(&format!("{name} is not set")),
            }
        }
        let moved = passed.iter().map(|(socket, name)| Ok((fcntl_dupfd_cloexec(socket, FIRST_FREE)?, name.clone())));
        Ok(Self(moved.collect::<io::Result<_>>()?))
    }
}

impl Passed {
    /// Whether there is a socket for HTTP and none for HTTPS.
    pub(super) fn are_http_only(&self) -> bool {
        let has =
            |scheme: Scheme| self.0.iter().any(|(_, name)| name.as_deref().and_then(Scheme::named) == Some(scheme));
        has(Scheme::Http) && !has(Scheme::Https)
    }
}

/// All sockets that the program serves.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<(Scheme, Listener)>,
    /// Messages for the log, written once the program serves.
    pub(super) notices: Vec<String>,
}

impl Sockets {
    /// The passed sockets, or those of `--listen`, or the default: HTTPS on port 8443 with a certificate, else HTTP on
    /// 127.0.0.1:8080.
    pub(super) fn open(passed: Passed, listen: &[Address], certificate: bool) -> Result<Self, super::Error> {
        let Passed(passed) = passed;
        if passed.is_empty() {
            return Ok(Self::listen(listen, certificate)?);
        }
        if !listen.is_empty() {
            return Err(activation::Error::Both.into());
        }
        let mut sockets = Self::default();
        for (descriptor, (socket, name)) in (3..).zip(passed) {
            let kind = activation::kind(socket.as_fd(), descriptor)?;
            let name = match (name, kind) {
                (Some(name), _) => name,
                (None, Some(kind)) => activation::address(socket.as_fd(), kind)?,
                (None, None) => "no name".to_owned(),
            };
            let Some(scheme) = Scheme::named(&name) else {
                log::warning(&format!(
                    "ignoring descriptor {descriptor} ({name}), which is not named http or https; set FileDescriptorName= in \
                     its socket unit"
                ));
                continue;
            };
            if kind != Some(Kind::Listener) {
                return Err(Error::Kind { descriptor, name }.into());
            }
            if scheme == Scheme::Https && !certificate {
                return Err(Error::NoCertificate.into());
            }
            let (listener, at) = listener(socket, scheme).map_err(|source| Error::Use { name: scheme, source })?;
            sockets.notices.push(format!("serving on {at}"));
            sockets.listeners.push((scheme, listener));
        }
        if sockets.listeners.is_empty() { Err(Error::NoName.into()) } else { Ok(sockets) }
    }

    fn listen(listen: &[Address], certificate: bool) -> Result<Self, Error> {
        let default = |scheme, ip: std::net::IpAddr, port| Address { scheme, addresses: vec![(ip, port).into()] };
        let open_all = |listen: &[Address]| {
            let mut sockets = Self::default();
            for Address { scheme, addresses } in listen {
                activation::at_each(addresses, source, |address| sockets.open_one(*scheme, address))?;
            }
            Ok(sockets)
        };
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

    fn open_one(&mut self, scheme: Scheme, address: SocketAddr) -> Result<(), Error> {
        let opened = activation::listening(address).and_then(|socket| listener(socket.into(), scheme));
        let (listener, at) = opened.map_err(|source| Error::Bind { scheme, address, source })?;
        self.notices.push(format!("serving on {at}; stop with Ctrl-C"));
        self.listeners.push((scheme, listener));
        Ok(())
    }
}

fn source(error: &Error) -> Option<&io::Error> {
    if let Error::Bind { source, .. } = error { Some(source) } else { None }
}

/// The port of HTTPS: 443 if it is one of the ports, else the first port. 443 also if HTTPS has only a Unix-domain socket, which is
/// probably behind that port. `None` without HTTPS.
pub(super) fn https_port(listeners: &[(Scheme, Listener)]) -> io::Result<Option<u16>> {
    let https = listeners.iter().filter(|(scheme, _)| *scheme == Scheme::Https).map(|(_, listener)| listener);
    let ports = https.map(|listener| match listener {
        Listener::Tcp(listener) => Ok(Some(listener.local_addr()?.port())),
        Listener::Unix(_) => Ok(None),
    });
    let ports: Vec<_> = ports.collect::<io::Result<_>>()?;
    let tcp = ports.iter().flatten().find(|port| **port == 443).or(ports.iter().flatten().next());
    Ok((!ports.is_empty()).then_some(tcp.copied().unwrap_or(443)))
}

/// Prepares the socket for the event loop, and returns its scheme and address for the log.
fn listener(socket: OwnedFd, scheme: Scheme) -> io::Result<(Listener, String)> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    Buffers::REPLY.set(socket.as_fd())?;
    match socket_domain(&socket)? {
        AddressFamily::UNIX => {
            let listener = UnixListener::from(socket);
            let at = listener.local_addr()?.as_pathname().map(|path| format!("unix:{}", path.display()));
            let at = at.unwrap_or_else(|| "a Unix-domain socket".to_owned());
            Ok((Listener::Unix(listener), format!("{at} ({scheme})")))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            // Connections inherit it, which saves a call for each.
            set_tcp_nodelay(&socket, true)?;
            let listener = TcpListener::from(socket);
            let at = listener.local_addr()?;
            Ok((Listener::Tcp(listener), format!("{scheme}://{at}")))
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
        assert_eq!("https://[::]:8443".parse(), Ok(Address { scheme: Scheme::Https, addresses: vec![address] }));
        for bad in ["", "[::]:8443", "ftp://[::]:8443", "http://localhost", "http://127.0.0.1", "http:127.0.0.1:80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
