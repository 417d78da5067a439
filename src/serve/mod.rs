//! Serving: what happens after the lock-down.

mod connection;
mod connections;
mod daemon;
mod datagrams;
mod limiter;
mod stream;

pub use daemon::{Daemon, Error as DaemonError, Limits};
pub use stream::{Error, Prepared};
