//! State that all connections share.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::answer::Site;
use super::proxy::Balancers;
use super::slots::Slots;
use super::tls::Identity;

/// How long requests in progress may take when the connection or the program ends.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The limits on clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a client may be idle, or take for a handshake or a request.
    pub(super) idle: Duration,
    /// How long a connection may last.
    pub(super) life: Duration,
    /// The maximum number of concurrent connections, in total and from one source.
    pub(super) max: u32,
    pub(super) max_per_source: u32,
}

/// The state that every connection needs.
pub(super) struct Shared {
    pub(super) site: Site,
    pub(super) identity: Option<Identity>,
    /// For new connections. Open connections keep theirs.
    pub(super) acceptor: RefCell<Option<TlsAcceptor>>,
    pub(super) limits: Limits,
    pub(super) slots: Rc<Slots>,
    pub(super) balancers: Balancers,
    pub(super) stopping: watch::Sender<bool>,
}
