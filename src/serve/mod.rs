//! Serving: what happens after the lock-down, and the small super-server of `--listen` before it.

mod listen;
mod stream;

pub use listen::{Error as ListenError, listen};
pub use stream::{Error, Prepared};
