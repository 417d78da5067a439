//! The RFC small services, one sandboxed process per connection.
//!
//! The life of one connection is [`run`], from top to bottom:
//!
//! ```text
//! arguments → how was I started? → prepare → lock down → serve → exit
//! ```

pub mod activation;
mod arguments;
pub mod fortune;
pub mod protocol;
pub mod report;
pub mod sandbox;
pub mod serve;
pub mod service;
mod sys;

use std::convert::Infallible;
use std::time::Duration;

use activation::Activation;
use arguments::Arguments;
use sandbox::policy::Peer;
use service::Service;

/// Why a program ended without serving, one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line.
    #[error(transparent)]
    Arguments(#[from] arguments::Error),
    /// What the super-server passed.
    #[error(transparent)]
    Activation(#[from] activation::Error),
    /// The fortune collection.
    #[error(transparent)]
    Fortune(#[from] fortune::Error),
    /// The time.
    #[error(transparent)]
    Daytime(#[from] protocol::DaytimeError),
    /// The lock-down.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The connection.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// `--listen`.
    #[error(transparent)]
    Listen(#[from] serve::ListenError),
}

impl Error {
    /// Puts the sentence on the log. The exit code is 2 for a mistake on the command line, 1 for all else.
    fn report(&self, name: &str) -> u8 {
        if let Self::Arguments(error) = self {
            return error.report(name);
        }
        report::error(&self.to_string());
        1
    }
}

/// Runs a service from its start to its end, on whatever it was started with.
pub fn run<S: Service>() -> ! {
    // From here on descriptor 2 is the log, whatever the super-server connected it to.
    report::open(S::NAME);
    let Err(error) = live::<S>();
    sys::exit(error.report(S::NAME))
}

fn live<S: Service>() -> Result<Infallible, Error> {
    // Arguments: a mistake ends here, before anything is opened.
    let arguments = Arguments::<S>::parse()?;

    // How was I started? The descriptors tell.
    let activation = activation::recognise(arguments.listen)?;

    // Prepare: everything that needs the outside world.
    let work = S::prepare(&arguments.options)?;
    let peer = match activation {
        Activation::Connection => Peer::Connection,
        Activation::Filter => Peer::Filter,
        Activation::Listen(address) => return Ok(serve::listen(address)?),
    };
    let idle = Duration::from_secs(arguments.idle_timeout.unwrap_or(S::IDLE_TIMEOUT).into());
    let mut prepared = serve::Prepared::new(work, peer, idle)?;
    sys::close_above_standard_error();

    // Lock down, before one octet from the network is read.
    sandbox::lock_down(S::POLICY, peer, arguments.sandbox)?;

    // Serve, with the system calls of this service's policy only.
    let outcome = prepared.serve();

    // Exit at once: returning would free memory and clean up, which takes calls that the policy does not have.
    sys::exit(match outcome {
        Ok(()) => 0,
        Err(error) => Error::from(error).report(S::NAME),
    })
}
