//! The RFC small services, one sandboxed process per connection.
//!
//! The life of one connection is [`run`], from top to bottom:
//!
//! ```text
//! arguments → how was I started? → prepare → lock down → serve → exit
//! ```
#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod activation;
mod arguments;
#[doc(hidden)]
pub mod audit;
mod doctor;
mod executable;
mod file;
pub mod fortune;
#[doc(hidden)]
pub mod fuzz;
mod manager;
#[doc(hidden)]
pub mod numbers;
#[doc(hidden)]
pub mod policy;
pub mod protocol;
mod random;
pub mod report;
pub mod sandbox;
pub mod serve;
pub mod service;
pub mod services;
mod strfile;
mod sys;
pub mod tools;
#[doc(hidden)]
pub mod units;
#[cfg(feature = "web")]
pub mod web;
mod zone;

use std::convert::Infallible;
use std::env;
use std::path::Path;
use std::time::Duration;

use activation::Activation;
use arguments::Arguments;
use policy::{Peer, Policies};
use service::{Replies, Service};

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
    Listen(#[from] activation::ListenError),
    /// All connections and datagrams.
    #[error(transparent)]
    Daemon(#[from] serve::DaemonError),
}

/// The `main` of a service's program.
///
/// C's, not Rust's: the runtime's start reads /proc/self/maps and sets up a stack for signals, which is a tenth of what a
/// process costs (`make bench`), and opens /dev/null where a descriptor is closed, which then cannot be told any more.
#[macro_export]
macro_rules! program {
    ($service:ty) => {
        // So that `cargo check` finds a rule that contradicts itself, too.
        const _: $crate::policy::Policies =
            $crate::policy::Policies::new(&<$service as $crate::service::Service>::RULES);
        $crate::program!(run = $crate::run::<$service>);
    };
    (run = $run:path) => {
        // A loader makes system calls that the units do not allow: the program would be killed before it could say why.
        #[cfg(not(any(target_feature = "crt-static", doc)))]
        ::core::compile_error!(
            "the programs have to be static, and RUSTFLAGS has taken the place of the flags in .cargo/config.toml: build with \
             `make`, which adds them, or add `-C target-feature=+crt-static` to RUSTFLAGS"
        );

        #[allow(unsafe_code)] // the name is C's: nothing else in the program may have it
        #[unsafe(no_mangle)]
        extern "C" fn main() -> core::ffi::c_int {
            $run()
        }
    };
}

/// Runs a service from its start to its end, on whatever it was started with.
pub fn run<S: Service>() -> ! {
    sys::start();
    // From here on descriptor 2 is the log, whatever the super-server connected it to.
    report::open(S::NAME);
    let Err(error) = live::<S>();
    sys::exit(S::report(&error))
}

const _: Policies = Policies::new(&protocol::Qotd::RULES);

/// Runs `qotd`, or fortune(6) where the program was started under that name.
pub fn run_qotd() -> ! {
    let name = env::args_os().next();
    let fortune = name.as_deref().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "fortune");
    if fortune { run::<protocol::Fortune>() } else { run::<protocol::Qotd>() }
}

fn live<S: Service>() -> Result<Infallible, Error> {
    // Arguments: a mistake ends here, before anything is opened.
    let arguments = Arguments::<S>::parse()?;

    // How was I started? The descriptors tell.
    let activation = activation::recognise(&arguments.listen, S::UDP_UNASKED, S::NEEDS_NOBODY)?;

    // Prepare: everything that needs the outside world. Lock down, before one octet from the network is read. Serve, with
    // the system calls of this service's policy only.
    match activation {
        Activation::Sockets { sockets, until, notices } => live_for_all(&arguments, sockets, until, &notices),
        Activation::Connection | Activation::Filter => {
            let (peer, replies) = match activation {
                Activation::Filter => (Peer::Filter, Replies::Printed),
                _ => (Peer::Connection, Replies::One),
            };
            let printed = if peer == Peer::Filter { S::print(&arguments.options)? } else { None };
            if let Some(code) = printed {
                sys::exit(code)
            }
            let work = S::prepare(&arguments.options, replies)?;
            let mut prepared = serve::Prepared::new(work, peer, idle(&arguments, S::IDLE_TIMEOUT))?;
            sandbox::lock_down(policies::<S>().of(peer), peer, &[], arguments.sandbox)?;
            end::<S>(prepared.serve().map_err(Error::from))
        }
    }
}

/// The same with sockets for all clients.
///
/// Not inlined: its stack frame is 60 KiB, and a process for one connection would pay for each page of it.
#[inline(never)]
fn live_for_all<S: Service>(
    arguments: &Arguments<S>,
    sockets: Vec<activation::Socket>,
    until: activation::Until,
    notices: &[String],
) -> Result<Infallible, Error> {
    let arranged = serve::Arranged::new(sockets)?;
    // Before anything large is: what lies in a mapping of its own could neither grow nor go after the lock-down.
    sys::allocate_by_brk();
    let work = S::prepare(&arguments.options, Replies::Many)?;
    let readable = work.directories();
    let peer = match (arranged.has_datagrams(), readable.is_empty()) {
        (false, true) => Peer::Listeners,
        (true, true) => Peer::Sockets,
        (false, false) => Peer::ListenersAndFiles,
        (true, false) => Peer::SocketsAndFiles,
    };
    let (idle, stay) = (idle(arguments, S::IDLE_TIMEOUT), idle(arguments, arguments::STAY));
    let mut daemon = serve::Daemon::new(work, arranged, until, &arguments.limits, idle, stay)?;
    sandbox::lock_down(policies::<S>().of(peer), peer, &readable, arguments.sandbox)?;
    for notice in notices {
        report::notice(notice);
    }
    end::<S>(daemon.serve().map_err(Error::from))
}

/// Compiled with the program.
fn policies<S: Service>() -> &'static Policies {
    const { &Policies::new(&S::RULES) }
}

fn idle<S: Service>(arguments: &Arguments<S>, default: u16) -> Duration {
    Duration::from_secs(arguments.idle_timeout.unwrap_or(default).into())
}

/// Exits at once: returning would free memory and clean up, which takes calls that the policy does not have.
fn end<S: Service>(outcome: Result<(), Error>) -> ! {
    sys::exit(match outcome {
        Ok(()) => 0,
        Err(error) => S::report(&error),
    })
}
