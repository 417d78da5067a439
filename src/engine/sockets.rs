//! Sockets of a daemon.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

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

/// Whether accept(2) can never succeed again on this socket, rather than not for this client.
#[must_use]
pub fn is_of_the_socket(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP)
}

/// What to raise if the system refuses a connection or its process.
#[must_use]
pub fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "raise LimitNOFILE= or `ulimit -Hn`",
        Some(Errno::NFILE) => "raise the sysctl fs.file-max",
        Some(Errno::AGAIN) => "raise TasksMax=, or lower --max-connections",
        _ => "raise MemoryMax=, or free memory on the host",
    }
}

/// Says that there is no process for a connection or a socket.
pub(super) fn no_process(whose: &str, error: &io::Error) -> String {
    format!("cannot fork a process for {whose}: {error}; {}", remedy(error))
}

/// When a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// When the service manager, or the user at the terminal, stops it.
    UntilStopped,
    /// After a while without traffic: for inetd's `wait`, which starts it again for the next client.
    WhileBusy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_to_raise() {
        for (errno, limit) in [
            (Errno::MFILE, "LimitNOFILE="),
            (Errno::NFILE, "fs.file-max"),
            (Errno::AGAIN, "TasksMax="),
            (Errno::NOMEM, "MemoryMax="),
        ] {
            let said = no_process("a connection", &errno.into());
            assert!(said.starts_with("cannot fork a process for a connection: ") && said.contains(limit), "{said}");
        }
    }
}
