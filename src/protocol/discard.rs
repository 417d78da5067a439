//! Discard, [RFC 863](https://www.rfc-editor.org/rfc/rfc863).

use std::convert::Infallible;

use crate::service::{Behavior, NoOptions, Run, Service};

/// Throws away whatever the client sends, and sends nothing.
#[derive(Debug)]
pub enum Discard {}

impl Service for Discard {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = "discard";
    const ABOUT: &'static str = "Discard (RFC 863): throws away what it receives";
    const IDLE_TIMEOUT: u16 = 60;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Discard)
    }
}
