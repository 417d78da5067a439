//! Echo, [RFC 862](https://www.rfc-editor.org/rfc/rfc862).

use crate::Error;
use crate::policy::Rules;
use crate::serve;
use crate::service::{NoOptions, Replies, Service, Work};
use crate::services::{self, Row};

/// Sends back whatever the client sends, until the client has sent everything.
#[derive(Debug)]
pub enum Echo {}

const ROW: Row = services::row("echo");

impl Service for Echo {
    type Options = NoOptions;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    const RULES: Rules = serve::ECHO;

    fn prepare(_: &NoOptions, _: Replies) -> Result<Work, Error> {
        Ok(Work::Echo)
    }
}
