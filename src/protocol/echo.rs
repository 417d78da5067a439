//! Echo, [RFC 862](https://www.rfc-editor.org/rfc/rfc862).

use crate::engine;
use crate::policy::Rules;
use crate::runtime::Error;
use crate::service::{NoOptions, Replies, Service, Work};

/// Sends back whatever the client sends, until the client has sent everything.
#[derive(Debug)]
pub enum Echo {}

impl Service for Echo {
    type Options = NoOptions;
    const NAME: &'static str = "echo";
    const ABOUT: &'static str = "Echo (RFC 862): sends back what it receives";
    const IDLE_TIMEOUT: u16 = 60;
    const RULES: Rules = engine::ECHO;

    fn prepare(_: &NoOptions, _: Replies) -> Result<Work, Error> {
        Ok(Work::Echo)
    }
}
