//! What all connections have in common.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::Site;
use super::place::Places;
use super::proxy::Balancers;
use super::tls::Identity;

/// How long requests in progress may take when a connection, or the program, is to end.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How much is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a client may do nothing, or take for a handshake or a request.
    pub(super) idle: Duration,
    /// How long a connection may last.
    pub(super) life: Duration,
    /// How many connections there may be, altogether and from one source.
    pub(super) max: u32,
    pub(super) max_per_source: u32,
}

/// What every connection needs.
pub(super) struct Shared {
    pub(super) site: Site,
    pub(super) identity: Option<Identity>,
    /// For new connections; those that are open keep what they began with.
    pub(super) acceptor: RefCell<Option<TlsAcceptor>>,
    pub(super) limits: Limits,
    pub(super) places: Rc<Places>,
    pub(super) balancers: Balancers,
    pub(super) stopping: watch::Sender<bool>,
}
