//! Runs a program from its arguments to its end: read [`run`] from top to bottom.

pub mod activation;
pub mod arguments;
pub mod sandbox;

use std::convert::Infallible;
use std::env;
use std::error;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;

use crate::engine::{self, Arranged, Children, Keeper, Lifetime, One, Policies, Shared, Socket};
use crate::policy::Io;
use crate::service::{Run, Service};
use crate::{log, protocol, sys};
use activation::Activation;
use arguments::Arguments;
use sandbox::Shortfall;

/// Why a program ended without serving, one sentence each. `E` is the service's own error.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: error::Error + 'static> {
    /// The command line.
    #[error(transparent)]
    Arguments(#[from] arguments::Error),
    /// What the super-server passed, or `--listen`.
    #[error(transparent)]
    Activation(#[from] activation::Error),
    /// The service's preparation.
    #[error(transparent)]
    Service(E),
    /// The lock-down.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The only connection.
    #[error(transparent)]
    One(#[from] engine::Error),
    /// The daemon for all clients.
    #[error(transparent)]
    Daemon(#[from] engine::DaemonError),
}

/// Runs a service from its start to its end, whichever way it was started.
pub fn run<S: Service>() -> ! {
    sys::start();
    // From here on, descriptor 2 is the log, even if the super-server connected it to the client.
    log::open(S::NAME);
    let Err(error) = run_as_started::<S>();
    sys::exit(report::<S>(&error))
}

/// The command line of a service, for `clap_mangen` and `clap_complete`.
#[must_use]
pub fn command<S: Service>() -> clap::Command {
    Arguments::<S>::command()
}

/// Runs `qotd`, or fortune(6) where the program was started under that name.
pub fn run_qotd() -> ! {
    let name = env::args_os().next();
    let fortune = name.as_deref().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "fortune");
    if fortune { run::<protocol::Fortune>() } else { run::<protocol::Qotd>() }
}

fn run_as_started<S: Service>() -> Result<Infallible, Error<S::Error>> {
    // Arguments: a mistake ends the program before it opens anything.
    let arguments = Arguments::<S>::parse()?;

    // How was the program started? The descriptors tell.
    let activation = activation::detect(&arguments.listen, S::UDP_BY_DEFAULT, S::PRINTS_UNATTENDED)?;

    // Prepare: everything that needs the outside world. Lock down, before one octet from the network is read. Serve, with only
    // the system calls of the engine's policy.
    match activation {
        Activation::Filter => {
            if let Some(code) = S::print(&arguments.options).map_err(Error::Service)? {
                sys::exit(code)
            }
            run_one(&arguments, Io::Filter, Run::Print)
        }
        Activation::Connection => run_one(&arguments, Io::Connection, Run::One),
        Activation::Sockets { sockets, lifetime, notices } => run_daemon(&arguments, sockets, lifetime, &notices),
    }
}

/// Serves one connection, or runs as a filter.
fn run_one<S: Service>(arguments: &Arguments<S>, io: Io, run: Run) -> Result<Infallible, Error<S::Error>> {
    let behavior = S::prepare(&arguments.options, run).map_err(Error::Service)?;
    let policy = policies::<S>().of(&behavior, io);
    let idle = idle(arguments, S::IDLE_TIMEOUT);
    let mut one = One::new(behavior, io, idle)?;
    one.take_standard_input(idle, S::max_rate(&arguments.options))?;
    sandbox::lock_down(policy, io, &[], arguments.sandbox)?;
    end::<S>(one.serve().map_err(Error::from))
}

/// Serves all clients, on passed or opened sockets.
///
/// Not inlined: its stack frame is 60 KiB, and a per-connection process would pay for each page of it.
#[inline(never)]
fn run_daemon<S: Service>(
    arguments: &Arguments<S>,
    sockets: Vec<Socket>,
    lifetime: Lifetime,
    notices: &[String],
) -> Result<Infallible, Error<S::Error>> {
    let arranged = Arranged::new(sockets)?;
    // Before the first large allocation: after the lock-down, a separate mapping could neither grow nor be freed.
    sys::allocate_by_brk();
    let behavior = S::prepare(&arguments.options, Run::Daemon).map_err(Error::Service)?;
    let readable = behavior.readable();
    let io = match (arguments.limits.shared, arranged.has_datagrams(), readable.is_empty()) {
        (false, _, true) => Io::Keeper,
        (false, _, false) => Io::KeeperAndFiles,
        (true, false, true) => Io::Listeners,
        (true, true, true) => Io::Sockets,
        (true, false, false) => Io::ListenersAndFiles,
        (true, true, false) => Io::SocketsAndFiles,
    };
    let policies = policies::<S>();
    let policy = policies.of(&behavior, io);
    let (idle, stay) = (idle(arguments, S::IDLE_TIMEOUT), idle(arguments, arguments::STAY));
    let max_rate = S::max_rate(&arguments.options);
    let log_start = |shortfall: &Shortfall| {
        // A program that a super-server restarts for the next client would log it again and again.
        if lifetime == Lifetime::UntilStopped {
            shortfall.log();
        }
        for notice in notices {
            log::notice(notice);
        }
    };
    // Neither is dropped: the policy forbids the calls that this would make.
    if arguments.limits.shared {
        let mut shared = Shared::new(behavior, arranged, lifetime, &arguments.limits, idle, stay, max_rate)?;
        let shortfall = sandbox::lock_down(policy, io, &readable, arguments.sandbox)?;
        log_start(&shortfall);
        end::<S>(shared.serve().map_err(Error::from))
    } else {
        let one = One::new(behavior, Io::Connection, idle)?;
        // On the heap, whose pages the child processes share: on the stack, it would lie between pages that each of them writes.
        let mut keeper = Box::new(Keeper::new(one, arranged, lifetime, &arguments.limits, idle, stay, max_rate)?);
        let (shortfall, layers) = sandbox::lock_down_to_fork(policy, io, &readable, arguments.sandbox)?;
        log_start(&shortfall);
        end::<S>(keeper.serve(&Children { layers, policies }).map_err(Error::from))
    }
}

/// The service's policies, which are compiled with the program.
fn policies<S: Service>() -> &'static Policies {
    const { &Policies::new(S::EXTRA) }
}

fn idle<S: Service>(arguments: &Arguments<S>, default: u16) -> Duration {
    Duration::from_secs(arguments.idle_timeout.unwrap_or(default).into())
}

/// Exits at once: returning would free memory and clean up, with calls that the policy forbids.
fn end<S: Service>(outcome: Result<(), Error<S::Error>>) -> ! {
    sys::exit(match outcome {
        Ok(()) => 0,
        Err(error) => report::<S>(&error),
    })
}

/// Logs an error and returns the exit code: [`Service::USAGE_ERROR`] for a mistake on the command line, the service's own code
/// for its own errors, else 1.
fn report<S: Service>(error: &Error<S::Error>) -> u8 {
    match error {
        Error::Arguments(error) => error.report(S::NAME, S::USAGE_ERROR),
        Error::Service(error) => S::report(error),
        other => {
            log::error(&other.to_string());
            1
        }
    }
}
