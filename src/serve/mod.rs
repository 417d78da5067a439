//! Serving: what happens after the lock-down.

pub mod buffers;
mod connection;
mod connections;
mod daemon;
mod datagrams;
mod descriptors;
mod limiter;
mod network;
mod stream;
mod table;

pub use daemon::{Daemon, Error as DaemonError, Limits};
pub use descriptors::Arranged;
#[cfg(feature = "web")]
pub(crate) use descriptors::{keep_numbers, raise_descriptor_limit};
pub use stream::{Error, Prepared};
#[cfg(feature = "web")]
pub(crate) use table::Table;
