//! Echo, [RFC 862](https://www.rfc-editor.org/rfc/rfc862).

use std::convert::Infallible;

use crate::service::{Behavior, Run, Service, StreamOptions};
use crate::services::{self, Row};

/// Sends back what the client sends, until the client ends its side of the connection.
#[derive(Debug)]
pub enum Echo {}

const ROW: Row = services::row("echo");

impl Service for Echo {
    type Options = StreamOptions<0>;
    type Error = Infallible;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;

    fn max_rate(options: &Self::Options) -> u32 {
        options.max_rate()
    }

    fn prepare(_: &Self::Options, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Echo)
    }
}
