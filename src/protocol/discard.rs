//! Discard, [RFC 863](https://www.rfc-editor.org/rfc/rfc863).

use crate::Error;
use crate::policy::Rules;
use crate::serve;
use crate::service::{NoOptions, Replies, Service, Work};
use crate::services::{self, Row};

/// Throws away whatever the client sends, and sends nothing.
#[derive(Debug)]
pub enum Discard {}

const ROW: Row = services::row("discard");

impl Service for Discard {
    type Options = NoOptions;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    const RULES: Rules = serve::DISCARD;

    fn prepare(_: &NoOptions, _: Replies) -> Result<Work, Error> {
        Ok(Work::Discard)
    }
}
