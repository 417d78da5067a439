//! The protocols, one file per RFC. They do not depend on sockets, systemd or the sandbox.

pub mod chargen;
pub(crate) mod daytime;
mod discard;
mod echo;
mod qotd;
mod systat;
pub(crate) mod time;

pub use chargen::Chargen;
pub use daytime::{Daytime, Error as DaytimeError};
pub use discard::Discard;
pub use echo::Echo;
pub use qotd::{Fortune, Options as QotdOptions, Qotd};
pub use systat::Systat;
pub use time::Time;
