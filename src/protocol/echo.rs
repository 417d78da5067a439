//! Echo, [RFC 862](https://www.rfc-editor.org/rfc/rfc862).

use std::convert::Infallible;

use crate::service::{Behavior, NoOptions, Run, Service};

/// Sends back whatever the client sends, until the client has sent everything.
#[derive(Debug)]
pub enum Echo {}

impl Service for Echo {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = "echo";
    const ABOUT: &'static str = "Echo (RFC 862): sends back what it receives";
    const IDLE_TIMEOUT: u16 = 60;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Echo)
    }
}
