//! Discard, [RFC 863](https://www.rfc-editor.org/rfc/rfc863).

use std::convert::Infallible;

use crate::service::{Behavior, NoOptions, Run, Service};
use crate::services::{self, Row};

/// Drops what the client sends, and sends nothing.
#[derive(Debug)]
pub enum Discard {}

const ROW: Row = services::row("discard");

impl Service for Discard {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Discard)
    }
}
