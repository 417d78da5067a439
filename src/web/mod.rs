//! `lunchd`: fortunes over the web, on sockets that are named `http` and `https`. The same house as the small services, with
//! one thread, one lock-down and one policy of its own.

mod accept;
mod answer;
mod arguments;
mod authority;
mod body;
mod connections;
mod guarded;
mod heads;
mod page;
mod protocols;
mod server;
mod sockets;
mod tls;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::stdio::dup2_stdin;

use crate::fortune::text::{Eligible, LONGEST_TEXT};
use crate::fortune::{self, Fortunes, Manner, Order};
use crate::manager::Manager;
use crate::protocol::QotdOptions;
use crate::sandbox::{self, policy};
use crate::service::Replies;
use crate::{activation, random, report, serve, sys};
use arguments::Arguments;
use server::{Limits, Server};
use sockets::{Passed, Sockets};
use tls::Identity;

pub(crate) use answer::Site;
pub(crate) use sockets::Scheme;

const NAME: &str = "lunchd";
/// What there is for lunch, in fortune(6)'s format.
const LUNCH: &str = include_str!("../../data/lunch");

/// Why it ended without serving, one sentence each.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Arguments(#[from] crate::arguments::Error),
    #[error("after --fortunes: {}; see `qotd --help`, and name lunchd's own options before --fortunes", .0.sentence())]
    FortunesLine(crate::arguments::Error),
    #[error(transparent)]
    Activation(#[from] activation::Error),
    #[error(transparent)]
    Sockets(#[from] sockets::Error),
    #[error(transparent)]
    Identity(#[from] tls::Error),
    #[error(transparent)]
    Fortune(#[from] fortune::Error),
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    Daemon(#[from] serve::DaemonError),
}

/// Runs it from its start to its end: arguments, sockets, certificate and fortunes, the lock-down, then everything that
/// comes from the network.
pub fn run() -> ! {
    sys::start();
    report::open(NAME);
    // Before anything large is allocated: what lies in a mapping of its own could not grow after the lock-down.
    sys::allocate_by_brk();
    let Err(error) = live();
    if let Error::Arguments(error) = error {
        sys::exit(error.report(NAME));
    }
    report::error(&error.to_string());
    sys::exit(if let Error::FortunesLine(_) = error { 2 } else { 1 })
}

fn live() -> Result<Infallible, Error> {
    let arguments = Arguments::parse()?;
    let options = arguments.fortunes().map_err(Error::FortunesLine)?;
    let identity = Identity::new(arguments.certificate.as_deref(), arguments.key.as_deref())?;
    let (acceptor, dates) = identity.as_ref().map(Identity::load).transpose()?.unzip();
    // Clients say so too; and at the boot of some hosts it is the clock that is wrong.
    if let Some(Err(error)) = dates {
        report::warning(&error.to_string());
    }
    // One thread: every layer of the lock-down holds for all of the program. Descriptors 3 and up are free here: the runtime
    // opens 3 to 5, which the policy pins, and sockets and files are above all numbers with a meaning.
    let passed = Passed::take()?;
    let prepare = |error: io::Error| serve::DaemonError::Prepare(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(prepare)?;
    let _kept = serve::keep_numbers().map_err(prepare)?;
    // Before a socket is bound: a mistake in it leaves none behind that clients wait on.
    let fortunes = fortunes(options)?;
    let Sockets { listeners, notices } = Sockets::open(passed, &arguments.listen, identity.is_some())?;
    let mut readable = identity.as_ref().map(Identity::directories).unwrap_or_default();
    readable.extend(fortunes.directories());
    let descriptors = fortunes.descriptors();
    let site = Site::new(fortunes, sockets::https_port(&listeners).map_err(prepare)?);

    let limits = Limits {
        idle: Duration::from_secs(arguments.idle_timeout.into()),
        life: Duration::from_secs(arguments.connection_timeout.into()),
        most: arguments.max_connections,
        most_per_source: arguments.max_per_source.unwrap_or_else(|| arguments.max_connections.div_ceil(2)),
    };
    serve::raise_descriptor_limit(limits.most, server::SPARE_DESCRIPTORS * listeners.len() + descriptors)?;
    sys::daemon_signals().and_then(|signals| Ok(dup2_stdin(signals)?)).map_err(prepare)?;
    let manager = Manager::connect(Instant::now()).map_err(serve::DaemonError::Manager)?;
    let guard = runtime.enter();
    let server = Server::new(site, identity.zip(acceptor), listeners, limits).map_err(prepare)?;
    drop(guard);

    sandbox::lock_down_but(policy::Service::Lunchd, policy::Peer::ListenersAndFiles, &readable, arguments.sandbox)?;
    for notice in &notices {
        report::notice(notice);
    }
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, server.serve(manager));
    // Exits at once, as all services do: taking the runtime apart needs calls that the policy does not have.
    let outcome = outcome.map_err(serve::DaemonError::Wait);
    if let Err(error) = &outcome {
        report::error(&error.to_string());
    }
    sys::exit(u8::from(outcome.is_err()))
}

/// What `--fortunes` says, as qotd would choose; else what there is for lunch.
fn fortunes(options: Option<QotdOptions>) -> Result<Fortunes, fortune::Error> {
    options.map_or_else(lunch, |options| options.fortunes(Manner::Service, Replies::Many))
}

/// What there is for lunch.
pub(crate) fn lunch() -> Result<Fortunes, fortune::Error> {
    let order = Order::Random(random::seeded().map_err(fortune::Error::Seed)?);
    let eligible = Eligible { longest: LONGEST_TEXT, ..Eligible::RFC_865 };
    Fortunes::held("data/lunch", LUNCH.as_bytes(), order, eligible)
}

/// Whether a certificate and a key can be served with.
pub(crate) fn identity(certificate: &Path, key: &Path) -> Result<(), tls::Error> {
    Identity::new(Some(certificate), Some(key))?.as_ref().map(Identity::load).transpose().map(drop)
}
