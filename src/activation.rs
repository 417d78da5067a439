//! How was the program started? The descriptors tell; no flag is needed.

use std::io;
use std::net::SocketAddr;

use rustix::fs::fstat;
use rustix::net::SocketType;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::stdio::{dup2_stdin, dup2_stdout, stdin, stdout};

use crate::report::{is_socket, same_file};
use crate::sys;

/// How the program was started.
#[derive(Debug, PartialEq, Eq)]
pub enum Activation {
    /// A super-server passed one connection: it is on descriptors 0 and 1.
    Connection,
    /// A shell: the filter of that name, from standard input to standard output.
    Filter,
    /// A person: listen on this address and be the super-server.
    Listen(SocketAddr),
}

/// What was passed, and cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a connection but another kind of socket.
    #[error(
        "descriptor {descriptor} is {kind}, and this program serves one stream connection; \
         use Accept=yes with ListenStream= in a socket unit, or `stream tcp nowait` in inetd.conf"
    )]
    Socket {
        /// Its number.
        descriptor: i32,
        /// What it is.
        kind: &'static str,
    },
    /// More than one descriptor in `LISTEN_FDS`.
    #[error("{0} sockets were passed, and this program serves one connection; use Accept=yes in the socket unit")]
    Several(usize),
    /// `LISTEN_FDS` or `LISTEN_PID` is wrong, or a descriptor cannot be used.
    #[error("cannot use the passed descriptors: {0}; check LISTEN_FDS, and what descriptors 0 and 1 are")]
    Descriptors(#[from] io::Error),
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Descriptors(errno.into())
    }
}

/// Tells how the program was started; a connection that came in `LISTEN_FDS` is moved to descriptors 0 and 1.
///
/// A passed connection wins over `listen`: the listener starts this same program with the same arguments.
///
/// # Errors
///
/// When what was passed is no connection.
pub fn recognise(listen: Option<SocketAddr>) -> Result<Activation, Error> {
    let mut passed = sd_notify::listen_fds()?;
    match (passed.len(), passed.next()) {
        (0, _) | (_, None) => {}
        (1, Some(descriptor)) => {
            let socket = sys::adopt(descriptor);
            expect_connection(&socket, descriptor)?;
            dup2_stdin(&socket)?;
            dup2_stdout(&socket)?;
            return Ok(Activation::Connection);
        }
        (several, _) => return Err(Error::Several(several)),
    }
    let input = fstat(stdin())?;
    if is_socket(&input) {
        expect_connection(stdin(), 0)?;
        // A filter may read from one socket and write to another thing: ssh starts programs like that.
        if fstat(stdout()).is_ok_and(|output| same_file(&input, &output)) {
            return Ok(Activation::Connection);
        }
    }
    Ok(listen.map_or(Activation::Filter, Activation::Listen))
}

fn expect_connection(socket: impl std::os::fd::AsFd, descriptor: i32) -> Result<(), Error> {
    let kind = match socket_type(&socket)? {
        SocketType::STREAM if socket_acceptconn(&socket)? => "a listening socket",
        SocketType::STREAM => return Ok(()),
        SocketType::DGRAM => "a datagram socket",
        SocketType::SEQPACKET => "a SEQPACKET socket",
        _ => "a socket of another type",
    };
    Err(Error::Socket { descriptor, kind })
}
