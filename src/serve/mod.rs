//! Serving: what happens after the lock-down.

pub mod buffers;
mod connection;
mod connections;
pub(crate) mod daemon;
mod datagrams;
pub(crate) mod descriptors;
mod limiter;
pub(crate) mod network;
mod stream;
pub(crate) mod table;

pub use daemon::{Daemon, Error as DaemonError, Limits};
pub use descriptors::Arranged;
pub use stream::{Error, Prepared};
pub(crate) use stream::{PAUSE, PRINT, WAIT};

use crate::policy::Rules;

/// The calls that a reply takes.
pub(crate) const REPLY: Rules = Rules {
    connection: &[stream::REPLY],
    filter: &[PRINT, WAIT],
    listeners: &[daemon::RULES, connection::DROP, connection::REPLY],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};

/// The calls that an echo takes.
pub(crate) const ECHO: Rules = Rules {
    connection: &[stream::ECHO],
    filter: &[stream::ECHO, WAIT],
    listeners: &[daemon::RULES, connection::DROP, connection::ECHO, connection::SEND, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};

/// The calls that it takes to discard.
pub(crate) const DISCARD: Rules = Rules {
    connection: &[stream::DISCARD],
    filter: &[stream::SWALLOW, WAIT],
    listeners: &[daemon::RULES, connection::DROP, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE],
    files: &[],
};

/// The calls that it takes to send characters for as long as the client likes.
pub(crate) const CHARACTERS: Rules = Rules {
    connection: &[stream::SEND_CHARACTERS, stream::DISCARD_MEANWHILE],
    filter: &[stream::SEND_CHARACTERS, WAIT],
    listeners: &[daemon::RULES, connection::DROP, connection::SEND, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};
