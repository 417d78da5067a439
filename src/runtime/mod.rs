//! The life of a program, from its arguments to its end: [`run`], from top to bottom.

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

/// Why a program ended without serving, one sentence each. `E` is the service's own.
#[derive(Debug, thiserror::Error)]
pub enum Error<E: error::Error + 'static> {
    /// The command line.
    #[error(transparent)]
    Arguments(#[from] arguments::Error),
    /// What the super-server passed, or `--listen`.
    #[error(transparent)]
    Activation(#[from] activation::Error),
    /// What the service prepares.
    #[error(transparent)]
    Service(E),
    /// The lock-down.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The connection.
    #[error(transparent)]
    One(#[from] engine::Error),
    /// All connections and datagrams.
    #[error(transparent)]
    Daemon(#[from] engine::DaemonError),
}

/// Runs a service from its start to its end, on whatever it was started with.
pub fn run<S: Service>() -> ! {
    sys::start();
    // From here on descriptor 2 is the log, whatever the super-server connected it to.
    log::open(S::NAME);
    let Err(error) = run_as_started::<S>();
    sys::exit(report::<S>(&error))
}

/// The command line of a service, for what describes it: `clap_mangen` and `clap_complete` take it.
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
    // Arguments: a mistake ends here, before anything is opened.
    let arguments = Arguments::<S>::parse()?;

    // How was I started? The descriptors tell.
    let activation = activation::recognise(&arguments.listen, S::UDP_UNASKED, S::PRINTS_UNATTENDED)?;

    // Prepare: everything that needs the outside world. Lock down, before one octet from the network is read. Serve, with
    // the system calls of the engine's policy only.
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

/// One connection, or a filter.
fn run_one<S: Service>(arguments: &Arguments<S>, io: Io, run: Run) -> Result<Infallible, Error<S::Error>> {
    let behavior = S::prepare(&arguments.options, run).map_err(Error::Service)?;
    let policy = policies::<S>().of(&behavior, io);
    let idle = idle(arguments, S::IDLE_TIMEOUT);
    let mut one = One::new(behavior, io, idle)?;
    one.take_standard_input(idle, S::max_rate(&arguments.options))?;
    sandbox::lock_down(policy, io, &[], arguments.sandbox)?;
    end::<S>(one.serve().map_err(Error::from))
}

/// Every client, on sockets of their own.
///
/// Not inlined: its stack frame is 60 KiB, and a process for one connection would pay for each page of it.
#[inline(never)]
fn run_daemon<S: Service>(
    arguments: &Arguments<S>,
    sockets: Vec<Socket>,
    lifetime: Lifetime,
    notices: &[String],
) -> Result<Infallible, Error<S::Error>> {
    let arranged = Arranged::new(sockets)?;
    // Before anything large is: what lies in a mapping of its own could neither grow nor go after the lock-down.
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
    let tell = |shortfall: &Shortfall| {
        // One that a super-server starts for the next client and that ends without any would say it again and again.
        if lifetime == Lifetime::UntilStopped {
            shortfall.log();
        }
        for notice in notices {
            log::notice(notice);
        }
    };
    // Neither is dropped: that would take calls which nobody has.
    if arguments.limits.shared {
        let mut shared = Shared::new(behavior, arranged, lifetime, &arguments.limits, idle, stay, max_rate)?;
        let shortfall = sandbox::lock_down(policy, io, &readable, arguments.sandbox)?;
        tell(&shortfall);
        end::<S>(shared.serve().map_err(Error::from))
    } else {
        let one = One::new(behavior, Io::Connection, idle)?;
        // On the heap, which its processes share: on the stack, it would lie between what is touched for each.
        let mut keeper = Box::new(Keeper::new(one, arranged, lifetime, &arguments.limits, idle, stay, max_rate)?);
        let (shortfall, layers) = sandbox::lock_down_to_fork(policy, io, &readable, arguments.sandbox)?;
        tell(&shortfall);
        end::<S>(keeper.serve(&Children { layers, policies }).map_err(Error::from))
    }
}

/// Compiled with the program.
fn policies<S: Service>() -> &'static Policies {
    const { &Policies::new(S::EXTRA) }
}

fn idle<S: Service>(arguments: &Arguments<S>, default: u16) -> Duration {
    Duration::from_secs(arguments.idle_timeout.unwrap_or(default).into())
}

/// Exits at once: returning would free memory and clean up, which takes calls that the policy does not have.
fn end<S: Service>(outcome: Result<(), Error<S::Error>>) -> ! {
    sys::exit(match outcome {
        Ok(()) => 0,
        Err(error) => report::<S>(&error),
    })
}

/// Reports an error on the log, and returns the exit code: [`Service::USAGE_ERROR`] for a mistake on the command line, the
/// service's own for an error of its own, else 1.
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
