//! `lunchd` serves fortunes over HTTP and HTTPS, on sockets named `http` and `https`. Like the small services, it has one thread, one
//! lock-down and its own policy.
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod answer;
mod arguments;
mod authority;
mod body;
mod browsers;
mod connections;
#[doc(hidden)]
pub mod fuzz;
mod heads;
mod negotiate;
mod page;
mod protocols;
pub(crate) mod proxy;
mod seen;
mod server;
mod shared;
mod slots;
mod sockets;
mod sys;
mod tls;
mod tracked;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use hunker::{Pin, Policy, Rule, Syscall};
use rustix::stdio::dup2_stdin;

use small_services::fortune::text::{Eligible, LONGEST_TEXT};
use small_services::fortune::{self, Dialect, Fortunes, Order};
use small_services::internals::sys::{allocate_by_brk, daemon_signals, exit, start};
use small_services::internals::{ArgumentsError, ConnectionLog, Manager, activation, engine, rules, seeded};
use small_services::log;
use small_services::numbers::{EVENTS, STREAM, number};
use small_services::policy::{Io, Rules};
use small_services::protocol::QotdOptions;
use small_services::runtime::sandbox;
use small_services::service::Run;

use arguments::Arguments;
use proxy::Balancers;
use server::Server;
use shared::Limits;
use sockets::{Passed, Sockets};
use tls::Identity;

pub(crate) use answer::{Https, Site};
pub(crate) use sockets::Scheme;

const NAME: &str = "lunchd";

/// Descriptors of tokio's event loop: the epoll instance, its waker, and the epoll duplicate for registration. When tokio opens them,
/// only 0 to 2 are open.
const RUNTIME: Pin = Pin::within(0, number(EVENTS), number(EVENTS + 2));
/// The waker, an eventfd.
const WAKER: Pin = Pin::is(0, number(EVENTS + 1));
/// On aarch64, the C library calls `epoll_pwait` instead.
const EPOLL_WAIT: Syscall = Syscall::new("epoll_wait", Some(232), Some(22));

/// The calls of HTTP and TLS.
const WEB: &[Rule] = &[
    Rule::new(EPOLL_WAIT, &[RUNTIME], "wait for clients, timeouts and signals"),
    Rule::new(Syscall::EPOLL_CTL, &[RUNTIME], "add a client to the event loop"),
    Rule::new(Syscall::RECVFROM, &[STREAM, Pin::is(3, 0)], "read from a client"),
    // MSG_NOSIGNAL, and no address.
    Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0x4000), Pin::is(5, 0)], "send an answer"),
    Rule::new(
        Syscall::SENDTO,
        // MSG_NOSIGNAL | MSG_MORE
        &[STREAM, Pin::is(3, 0xc000), Pin::is(5, 0)],
        "send the last answer, with the end in the same segment",
    ),
    Rule::new(Syscall::SHUTDOWN, &[STREAM, Pin::is(1, 1)], "mark the end of the answer"),
    Rule::new(Syscall::WRITE, &[WAKER], "wake the event loop for an earlier timeout"),
    Rule::new(Syscall::READ, &[WAKER], "reset the wake-up counter when it is full"),
    Rule::new(Syscall::GETRANDOM, &[], "generate the keys of a TLS connection"),
    Rule::new(Syscall::BRK, &[], "allocate memory for a connection"),
];

/// Always with the rules to reread files: fortunes and a certificate.
#[doc(hidden)]
pub const RULES: Rules = Rules { files: &[WEB, rules::DAEMON, rules::READ, rules::WATCH], ..Rules::NONE };
static POLICY: Policy = Policy::new(&RULES.of(Io::ListenersAndFiles));

/// Lunch dishes, in fortune(6)'s format.
const LUNCH: &str = include_str!("../data/lunch");

/// Why the program ended without serving, one sentence each.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    #[error("after --fortunes: {}; see `qotd --help`, and put lunchd's own options before --fortunes", .0.sentence())]
    FortunesLine(ArgumentsError),
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
    Daemon(#[from] engine::DaemonError),
}

/// The command line, for manual pages and shell completions.
#[doc(hidden)]
#[must_use]
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs the program: arguments, sockets, certificate and fortunes, the lock-down, then everything that comes from the network.
pub fn run() -> ! {
    start();
    log::open(NAME);
    // Before any large allocation: memory in a separate mapping cannot grow after the lock-down.
    allocate_by_brk();
    let Err(error) = run_daemon();
    if let Error::Arguments(error) = error {
        exit(error.report(NAME, 2));
    }
    log::error(&error.to_string());
    exit(if let Error::FortunesLine(_) = error { 2 } else { 1 })
}

fn run_daemon() -> Result<Infallible, Error> {
    let arguments = Arguments::parse()?;
    let options = arguments.fortunes().map_err(Error::FortunesLine)?;
    // One thread, so each layer of the lock-down covers the whole program. Descriptors from 3 on are free. The runtime opens 3 to 5,
    // which the policy pins. Sockets and files get numbers above all those with a meaning.
    let passed = Passed::take()?;
    let mut identity = Identity::new(arguments.certificate.as_deref(), arguments.key.as_deref())?;
    let loaded = match identity.as_ref().map(Identity::load).transpose() {
        // The unit names a certificate whichever of its sockets are enabled.
        Err(error) if error.is_missing() && passed.are_http_only() => {
            log::notice(&format!("serving http only, without a certificate: {error}"));
            identity = None;
            None
        }
        loaded => loaded?,
    };
    let (acceptor, warnings) = loaded.unzip();
    if let Some(warnings) = warnings {
        if let Some(why) = warnings.browsers {
            log::warning(&why);
        }
        // A warning only: clients report it too, and some hosts boot with a wrong clock.
        if let Err(error) = warnings.dates {
            log::warning(&error.to_string());
        }
    }
    let prepare = |error: io::Error| engine::DaemonError::Prepare(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(prepare)?;
    let _kept = engine::keep_numbers().map_err(prepare)?;
    // Before binding a socket, so that an error here leaves no socket on which clients wait.
    let fortunes = fortunes(options)?;
    let Sockets { listeners, notices } = Sockets::open(passed, &arguments.listen, identity.is_some())?;
    let mut readable = identity.as_ref().map(Identity::directories).unwrap_or_default();
    readable.extend(fortunes.directories());
    let descriptors = fortunes.descriptors();
    let (public_port, hsts) = (arguments.https_port, arguments.hsts);
    let https = sockets::https_port(&listeners).map_err(prepare)?.map(|port| Https { port, public_port, hsts });
    if https.is_none() && (public_port.is_some() || hsts.is_some()) {
        log::warning(
            "--https-port and --hsts have no effect without an https socket; if a balancer handles https, let the balancer \
             redirect clients",
        );
    }
    let site = Site::new(fortunes, https);

    let limits = Limits {
        idle: Duration::from_secs(arguments.idle_timeout.into()),
        life: Duration::from_secs(arguments.connection_timeout.into()),
        max: arguments.max_connections,
        max_per_source: arguments.max_per_source.unwrap_or_else(|| arguments.max_connections.div_ceil(2)),
    };
    let balancers = Balancers::new(arguments.proxy_protocol);
    engine::raise_descriptor_limit(limits.max, server::SPARE_DESCRIPTORS * listeners.len() + descriptors)?;
    daemon_signals().and_then(|signals| Ok(dup2_stdin(signals)?)).map_err(prepare)?;
    let log = arguments.log_connections.then(|| ConnectionLog::open(Instant::now()));
    let manager = Manager::connect(Instant::now()).map_err(engine::DaemonError::Manager)?;
    let guard = runtime.enter();
    let server = Server::new(site, identity.zip(acceptor), listeners, limits, balancers, log).map_err(prepare)?;
    drop(guard);

    sandbox::lock_down(&POLICY, Io::ListenersAndFiles, &readable, arguments.sandbox)?.log();
    for notice in &notices {
        log::notice(notice);
    }
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, server.serve(manager));
    // Exit at once, as all services do: shutting the runtime down takes calls that the policy does not allow.
    let outcome = outcome.map_err(engine::DaemonError::Wait);
    if let Err(error) = &outcome {
        log::error(&error.to_string());
    }
    exit(u8::from(outcome.is_err()))
}

/// The fortunes of `--fortunes`, chosen as qotd does, else lunch dishes.
fn fortunes(options: Option<QotdOptions>) -> Result<Fortunes, fortune::Error> {
    options.map_or_else(lunch, |options| options.fortunes(Dialect::Service, Run::Daemon))
}

/// Lunch dishes.
pub(crate) fn lunch() -> Result<Fortunes, fortune::Error> {
    let order = Order::Random(seeded().map_err(fortune::Error::Seed)?);
    let eligible = Eligible { longest: LONGEST_TEXT, ..Eligible::RFC_865 };
    Fortunes::held("data/lunch", LUNCH.as_bytes(), order, eligible)
}

/// Whether this certificate and key can be used.
pub(crate) fn identity(certificate: &Path, key: &Path) -> Result<(), tls::Error> {
    Identity::new(Some(certificate), Some(key))?.as_ref().map(Identity::load).transpose().map(drop)
}
