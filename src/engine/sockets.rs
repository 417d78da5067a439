//! Sockets of a daemon.

use std::fmt;
use std::os::fd::OwnedFd;

/// A socket to serve.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub descriptor: OwnedFd,
    /// Its name in the log: that in `LISTEN_FDNAMES`, or its address.
    pub name: String,
    /// What arrives on it.
    pub kind: Kind,
}

/// What arrives on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections: it listens.
    Listener,
    /// Datagrams.
    Datagrams,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "connections",
            Self::Datagrams => "datagrams",
        })
    }
}

/// When a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// When the service manager, or the user at the terminal, stops it.
    UntilStopped,
    /// After a while without traffic: for inetd's `wait`, which starts it again for the next client.
    WhileBusy,
}
