//! Discard, [RFC 863](https://www.rfc-editor.org/rfc/rfc863).

use crate::engine;
use crate::policy::Rules;
use crate::runtime::Error;
use crate::service::{NoOptions, Replies, Service, Work};

/// Throws away whatever the client sends, and sends nothing.
#[derive(Debug)]
pub enum Discard {}

impl Service for Discard {
    type Options = NoOptions;
    const NAME: &'static str = "discard";
    const ABOUT: &'static str = "Discard (RFC 863): throws away what it receives";
    const IDLE_TIMEOUT: u16 = 60;
    const RULES: Rules = engine::DISCARD;

    fn prepare(_: &NoOptions, _: Replies) -> Result<Work, Error> {
        Ok(Work::Discard)
    }
}
