//! Sockets for all clients.

use std::fmt;
use std::os::fd::OwnedFd;

/// A socket to answer on.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub descriptor: OwnedFd,
    /// What it is called in the log: its name in `LISTEN_FDNAMES`, or its address.
    pub name: String,
    /// What comes in.
    pub kind: Kind,
}

/// What comes in on a socket.
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

/// When a program ends that serves all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// When it is told to: the service manager, or the person at the terminal, started it to stay.
    UntilStopped,
    /// When there was no traffic for a while: inetd's `wait`, which starts it again for the next client.
    WhileBusy,
}
