//! Detects from the descriptors how the program was started; no option is needed.

pub(crate) mod hosts;
pub(crate) mod listen;

pub use listen::{Address, Error as ListenError};

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};
use rustix::termios::isatty;

use crate::engine::{Kind, Lifetime, Socket};
use crate::log::{is_socket, same_file};
use crate::sys;

/// How the program was started.
#[derive(Debug)]
pub enum Activation {
    /// By a super-server that passed one connection, which is on descriptors 0 and 1.
    Connection,
    /// By a shell: the program is a filter from standard input to standard output.
    Filter,
    /// With sockets, as a daemon for all clients.
    Sockets {
        /// Listening sockets and datagram sockets.
        sockets: Vec<Socket>,
        /// When the program ends.
        lifetime: Lifetime,
        /// What to log once the program is about to serve.
        notices: Vec<String>,
    },
}

/// Why the passed descriptors cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket of a kind that no RFC service uses.
    #[error(
        "descriptor {descriptor} is {kind}, which is not supported; pass a stream or UDP socket: ListenStream= or \
         ListenDatagram= in a socket unit, `stream tcp` or `dgram udp` in inetd.conf"
    )]
    Socket {
        /// Its number.
        descriptor: i32,
        /// What it is.
        kind: &'static str,
    },
    /// A connection among several descriptors in `LISTEN_FDS`.
    #[error(
        "descriptor {0} is a connection, but {1} sockets were passed; pass one connection alone, or only listening sockets"
    )]
    ConnectionAmongOthers(i32, usize),
    /// `--listen`, and sockets in `LISTEN_FDS`.
    #[error("sockets were passed, and --listen would open others; remove one of the two")]
    Both,
    /// Started in the background without a socket.
    #[error(
        "there is nothing to serve: no socket was passed, and nobody reads the output; \
         start the socket unit instead of the service, or use --listen"
    )]
    Nothing,
    /// `--listen`.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// `LISTEN_FDS` or `LISTEN_PID` is wrong, or a descriptor cannot be used.
    #[error("cannot use the passed descriptors: {0}; check LISTEN_FDS and descriptors 0 and 1")]
    Descriptors(#[from] io::Error),
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Descriptors(errno.into())
    }
}

/// Detects how the program was started, opens the addresses of `--listen`, and closes every leaked descriptor. A connection in
/// `LISTEN_FDS` is moved to descriptors 0 and 1.
///
/// With `udp_unasked`, an address without a scheme means UDP as well as TCP. With `unattended`, the program may print to a
/// socket, such as the journal's, without any input.
///
/// # Errors
///
/// If what was passed cannot be served, or an address is unavailable.
pub fn detect(listen: &[Address], udp_unasked: bool, unattended: bool) -> Result<Activation, Error> {
    let passed = sys::take_passed_sockets()?;
    if passed.is_empty() {
        if !listen.is_empty() {
            let listen::Opened { sockets, notices } = listen::open(listen, udp_unasked)?;
            return Ok(Activation::Sockets { sockets, lifetime: Lifetime::UntilStopped, notices });
        }
        return by_standard_input(unattended);
    }
    if !listen.is_empty() {
        return Err(Error::Both);
    }
    by_passed_sockets(passed)
}

/// Started as `sd_listen_fds(3)` describes.
fn by_passed_sockets(passed: Vec<(OwnedFd, Option<String>)>) -> Result<Activation, Error> {
    let count = passed.len();
    let mut sockets = Vec::with_capacity(count);
    for (number, (descriptor, name)) in (3..).zip(passed) {
        match kind(descriptor.as_fd(), number)? {
            Some(kind) => {
                let name = name.map_or_else(|| address(descriptor.as_fd(), kind), Ok)?;
                sockets.push(Socket { descriptor, name, kind });
            }
            None if count == 1 => {
                dup2_stdin(&descriptor)?;
                dup2_stdout(&descriptor)?;
                return Ok(Activation::Connection);
            }
            None => return Err(Error::ConnectionAmongOthers(number, count)),
        }
    }
    let names: Vec<_> = sockets.iter().map(|socket| format!("{} ({})", socket.name, socket.kind)).collect();
    let notices = vec![format!("serving on {}", names.join(", "))];
    // With StandardInput=socket, the unit works like inetd.
    let input = fstat(stdin());
    let inetd_style = input
        .is_ok_and(|input| sockets.iter().any(|one| fstat(&one.descriptor).is_ok_and(|it| same_file(&it, &input))));
    Ok(Activation::Sockets {
        sockets,
        lifetime: if inetd_style { Lifetime::WhileBusy } else { Lifetime::UntilStopped },
        notices,
    })
}

/// Started as inetd and shells do.
fn by_standard_input(unattended: bool) -> Result<Activation, Error> {
    let input = fstat(stdin())?;
    let output = fstat(stdout())?;
    if !is_socket(&input) {
        let kind = FileType::from_raw_mode(input.st_mode);
        // A closed descriptor is a directory by now (sys::start), and only a service that reads from it fails.
        let unread = (kind.is_dir() || kind.is_char_device() && !isatty(stdin())) && is_socket(&output);
        return if unread && !unattended { Err(Error::Nothing) } else { Ok(Activation::Filter) };
    }
    if let Some(kind) = kind(stdin(), 0)? {
        let socket = Socket { descriptor: stdin().try_clone_to_owned()?, name: "descriptor 0".to_owned(), kind };
        return Ok(Activation::Sockets { sockets: vec![socket], lifetime: Lifetime::WhileBusy, notices: vec![] });
    }
    // A filter may read from one socket and write elsewhere: ssh starts programs like that.
    Ok(if same_file(&input, &output) { Activation::Connection } else { Activation::Filter })
}

/// The name of a socket without a name of its own: its address, in the form of `--listen`.
#[doc(hidden)]
pub fn address(socket: BorrowedFd<'_>, kind: Kind) -> Result<String, Error> {
    let address = getsockname(socket)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(format!("{}://{address}", if kind == Kind::Listener { "tcp" } else { "udp" }));
    }
    let path = SocketAddrUnix::try_from(address)?;
    Ok(format!(
        "unix:{}",
        path.path_bytes().map_or_else(String::new, |path| String::from_utf8_lossy(path).into_owned())
    ))
}

/// The kind of a socket; `None` if it is a connection.
#[doc(hidden)]
pub fn kind(socket: BorrowedFd<'_>, descriptor: i32) -> Result<Option<Kind>, Error> {
    let kind = match socket_type(socket)? {
        SocketType::STREAM if socket_acceptconn(socket)? => return Ok(Some(Kind::Listener)),
        SocketType::STREAM => return Ok(None),
        SocketType::DGRAM => match socket_domain(socket)? {
            AddressFamily::INET | AddressFamily::INET6 => return Ok(Some(Kind::Datagrams)),
            // A reply would require a look-up in the file system, which the lock-down forbids.
            AddressFamily::UNIX => "a Unix-domain datagram socket",
            _ => "a datagram socket of another network",
        },
        SocketType::SEQPACKET => "a SEQPACKET socket",
        _ => "a socket of another type",
    };
    Err(Error::Socket { descriptor, kind })
}
