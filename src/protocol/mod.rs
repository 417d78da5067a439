//! The protocols: one file an RFC. They know nothing of sockets, of systemd or of the sandbox's workings.

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
