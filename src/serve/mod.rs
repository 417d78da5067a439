//! Serving: what happens after the lock-down.

mod connection;
mod connections;
mod daemon;
mod datagrams;
mod limiter;
mod network;
mod stream;
mod table;

#[cfg(feature = "web")]
pub(crate) use daemon::raise_descriptor_limit;
pub use daemon::{Daemon, Error as DaemonError, Limits};
pub use stream::{Error, Prepared};
#[cfg(feature = "web")]
pub(crate) use table::Table;
