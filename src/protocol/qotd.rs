//! Quote of the Day, [RFC 865](https://www.rfc-editor.org/rfc/rfc865).

use std::path::PathBuf;

use crate::sandbox::policy;
use crate::service::{Service, Work};
use crate::{Error, fortune};

/// Sends one fortune of fewer than 512 octets and closes; what the client sends is thrown away.
#[derive(Debug)]
pub enum Qotd {}

/// What `qotd` takes besides the options of all services.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Cookie files of fortune(6), or directories of them, to choose from instead of the built-in fortunes
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
}

impl Service for Qotd {
    type Options = Options;
    const NAME: &'static str = "qotd";
    const ABOUT: &'static str = "Quote of the Day (RFC 865): sends one fortune, then closes";
    const IDLE_TIMEOUT: u16 = 3;
    const POLICY: policy::Service = policy::Service::Qotd;

    fn prepare(options: &Options) -> Result<Work, Error> {
        Ok(Work::Reply(fortune::choose(&options.paths)?))
    }
}
