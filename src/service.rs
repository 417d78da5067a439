//! What a protocol tells the rest of the house about itself.

use std::fmt;

use crate::Error;
use crate::sandbox::policy;

/// One RFC service: its arguments, its preparation and its policy.
pub trait Service {
    /// The options and operands that only this service has.
    type Options: clap::Args + Default + fmt::Debug;

    /// The program's name, as on the command line and in the log.
    const NAME: &'static str;

    /// One sentence for `--help`.
    const ABOUT: &'static str;

    /// How long a client may neither read, send nor close before it is let go, in seconds, unless `--idle-timeout` says
    /// otherwise.
    const IDLE_TIMEOUT: u16;

    /// Whose rows of the policy table hold for this service.
    const POLICY: policy::Service;

    /// Does everything that needs the outside world, before the lock-down.
    ///
    /// # Errors
    ///
    /// When the service could not answer a client: nothing was sent then, and the message goes to the log.
    fn prepare(options: &Self::Options) -> Result<Work, Error>;
}

/// What is left to do once everything is prepared.
#[derive(Debug)]
pub enum Work {
    /// Send this text, then end. Lines end with LF here; a connection gets CR LF.
    Reply(String),
    /// Send back what arrives, in order, until the client has sent everything.
    Echo,
    /// Drop what arrives until the client has sent everything.
    Discard,
}

/// For services that have only the options of all services.
#[derive(clap::Args, Debug, Default)]
pub struct NoOptions {}
