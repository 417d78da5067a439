//! Echo, [RFC 862](https://www.rfc-editor.org/rfc/rfc862).

use std::convert::Infallible;

use crate::service::{Behavior, NoOptions, Run, Service};
use crate::services::{self, Row};

/// Sends back whatever the client sends, until the client has sent everything.
#[derive(Debug)]
pub enum Echo {}

const ROW: Row = services::row("echo");

impl Service for Echo {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Echo)
    }
}
