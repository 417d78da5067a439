//! Serving: what happens after the lock-down.

pub mod buffers;
mod connection;
mod connections;
mod datagrams;
mod descriptors;
mod limiter;
mod network;
mod one;
pub(crate) mod shared;
mod table;

pub use descriptors::Arranged;
#[cfg(feature = "web")]
pub(crate) use descriptors::{keep_numbers, raise_descriptor_limit};
#[cfg(feature = "web")]
pub(crate) use network::{mapped, mask};
pub use one::{Error, Prepared};
pub(crate) use one::{PAUSE, PRINT, WAIT};
pub use shared::{Daemon, Error as DaemonError, Limits};
#[cfg(feature = "web")]
pub(crate) use table::Table;

use crate::policy::Rules;

/// The calls that a reply takes.
pub(crate) const REPLY: Rules = Rules {
    connection: &[one::REPLY],
    filter: &[PRINT, WAIT],
    listeners: &[shared::RULES, connection::DROP, connection::REPLY],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};

/// The calls that an echo takes.
pub(crate) const ECHO: Rules = Rules {
    connection: &[one::ECHO],
    filter: &[one::ECHO, WAIT],
    listeners: &[shared::RULES, connection::DROP, connection::ECHO, connection::SEND, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};

/// The calls that it takes to discard.
pub(crate) const DISCARD: Rules = Rules {
    connection: &[one::DISCARD],
    filter: &[one::SWALLOW, WAIT],
    listeners: &[shared::RULES, connection::DROP, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE],
    files: &[],
};

/// The calls that it takes to send characters for as long as the client likes.
pub(crate) const CHARACTERS: Rules = Rules {
    connection: &[one::SEND_CHARACTERS, one::DISCARD_MEANWHILE],
    filter: &[one::SEND_CHARACTERS, WAIT],
    listeners: &[shared::RULES, connection::DROP, connection::SEND, buffers::SHRINK],
    datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
    files: &[],
};
