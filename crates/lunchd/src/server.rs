//! The event loop: connections, requests, time limits, signals.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Site};
use super::proxy::Balancers;
use super::seen::Seen;
use super::shared::{GRACE, Limits, Shared};
use super::slots::Slots;
use super::sockets::{Listener, Scheme};
use super::tls::Identity;
use super::tracked::{Socket, Tracked};
use crate::sys;
use small_services::internals::engine::{is_of_the_socket, remedy};
use small_services::internals::sys::take_signal;
use small_services::internals::{ConnectionLog, Manager, Outcome};
use small_services::log;

/// How long the program accepts no connections when the system is out of memory or descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// Per socket: the number of connections that may be accepted before the evicted ones have ended.
pub(super) const SPARE_DESCRIPTORS: usize = 256;
/// Everything that serving needs, prepared before the lock-down.
pub(super) struct Server {
    shared: Rc<Shared>,
    sockets: Vec<(Scheme, Waiting)>,
    signals: AsyncFd<BorrowedFd<'static>>,
}

/// A socket in the event loop.
enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Registers everything with the current runtime. Descriptor 0 is already the signalfd.
    ///
    /// # Errors
    ///
    /// What cannot be registered.
    pub(super) fn new(
        site: Site,
        identity: Option<(Identity, TlsAcceptor)>,
        listeners: Vec<(Scheme, Listener)>,
        limits: Limits,
        balancers: Balancers,
        log: Option<ConnectionLog>,
    ) -> io::Result<Self> {
        let (identity, acceptor) = identity.unzip();
        let sockets = listeners.into_iter().map(|(scheme, listener)| {
            Ok(match listener {
                Listener::Tcp(listener) => (scheme, Waiting::Tcp(TcpListener::from_std(listener)?)),
                Listener::Unix(listener) => (scheme, Waiting::Unix(UnixListener::from_std(listener)?)),
            })
        });
        let shared = Shared {
            site,
            identity,
            acceptor: RefCell::new(acceptor),
            slots: Rc::new(Slots::new(limits.max, limits.max_per_source, Seen::new(log))),
            limits,
            balancers,
            stopping: watch::Sender::new(false),
        };
        Ok(Self {
            shared: Rc::new(shared),
            sockets: sockets.collect::<io::Result<_>>()?,
            signals: sys::watch_signals()?,
        })
    }

    /// Serves all clients until a signal stops it. Then it gives requests in progress their time, unless a second signal arrives.
    ///
    /// # Errors
    ///
    /// If waiting for signals fails.
    pub(super) async fn serve(self, mut manager: Manager) -> io::Result<()> {
        let Self { shared, sockets, signals } = self;
        // Find out now instead of at the first renewal.
        if let Some(Err(error)) = shared.identity.as_ref().map(Identity::check_reach) {
            log::warning(&error.to_string());
        }
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|(scheme, waiting)| spawn_local(shared.clone().accept(waiting, scheme)).abort_handle())
            .collect();
        manager.ready();
        let seen = &shared.slots.seen;
        seen.reloaded();
        loop {
            seen.tell(&mut manager, || shared.site.status());
            let due = [manager.due(), seen.due()].into_iter().flatten().min();
            tokio::select! {
                signal = next_signal(&signals) => match signal? {
                    libc::SIGHUP => shared.reload(),
                    _ => break,
                },
                () = until(due) => manager.keep_alive(std::time::Instant::now()),
                () = seen.changed() => {}
            }
        }
        manager.stopping();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
        shared.stopping.send_replace(true);
        tokio::select! {
            () = shared.slots.all_closed() => {}
            () = sleep(GRACE) => {}
            _ = next_signal(&signals) => {}
        }
        seen.end();
        Ok(())
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(Instant::from_std(due)).await,
        None => pending().await,
    }
}

/// The number of the next signal.
async fn next_signal(signals: &AsyncFd<BorrowedFd<'static>>) -> io::Result<i32> {
    loop {
        let mut ready = signals.readable().await?;
        match take_signal(*signals.get_ref()) {
            Ok(number) => return Ok(number),
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl Shared {
    /// Rereads the fortunes, and the certificate and key for new connections. Invalid ones change nothing.
    fn reload(&self) {
        self.site.reload();
        self.slots.seen.reloaded();
        let Some(identity) = &self.identity else { return };
        match identity.reload().and_then(|(acceptor, warnings)| warnings.dates.map(|()| (acceptor, warnings.browsers)))
        {
            Ok((acceptor, refusal)) => {
                *self.acceptor.borrow_mut() = Some(acceptor);
                log::notice("reloaded the certificate; new connections use it");
                if let Some(why) = refusal {
                    log::warning(&why);
                }
            }
            Err(error) => log::error(&format!("{error}; continuing with the previous certificate")),
        }
    }

    async fn accept(self: Rc<Self>, socket: Waiting, scheme: Scheme) {
        let mut refusals = log::Repeated::default();
        loop {
            let accepted = match &socket {
                Waiting::Tcp(socket) => socket.accept().await.map(|(stream, from)| {
                    self.admit(stream, Some(from), scheme);
                }),
                Waiting::Unix(socket) => socket.accept().await.map(|(stream, _)| self.admit(stream, None, scheme)),
            };
            let Err(error) = accepted else { continue };
            match Errno::from_io_error(&error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    let message =
                        format!("cannot accept a connection: {error}; {}; retrying every second", remedy(&error));
                    refusals.warning(std::time::Instant::now(), &message);
                    self.slots.evict_oldest();
                    sleep(PAUSE).await;
                }
                Some(errno) if is_of_the_socket(errno) => {
                    log::error(&format!("cannot serve {scheme} any longer: {error}; restart the program"));
                    return;
                }
                // The client or its network is gone: see accept(2).
                _ => {}
            }
        }
    }

    fn admit<S>(self: &Rc<Self>, stream: S, from: Option<SocketAddr>, scheme: Scheme)
    where
        S: Socket,
    {
        // A balancer's connection counts for its client, which the PROXY header names.
        let balancer = self.balancers.include(from);
        let Some(slot) = self.slots.admit(from, balancer, self.limits.life) else { return };
        let mut stream = Tracked::new(stream, slot.clone());
        let shared = self.clone();
        let task = spawn_local(async move {
            if !balancer || shared.read_proxy_header(&mut stream, from).await {
                shared.connection(stream, scheme).await;
            }
        });
        slot.set_task(task.abort_handle());
    }

    /// Reads a balancer's PROXY header. Returns whether its client may have a connection.
    async fn read_proxy_header(&self, stream: &mut Tracked<impl Socket>, from: Option<SocketAddr>) -> bool {
        let slot = stream.slot().clone();
        let named = self.in_time(&slot, self.balancers.client(stream, from)).await;
        slot.mark();
        match named {
            Ok(Ok(Some(client))) => {
                let may = slot.comes_from(client);
                if !may {
                    slot.ends(Outcome::RefusedSource);
                }
                may
            }
            Ok(Ok(None)) => true,
            // The end of input is a balancer's health check.
            Ok(Err(error)) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    slot.ends(Outcome::Failed);
                }
                false
            }
            Err(_) => false,
        }
    }

    /// Serves a connection until it ends. Errors of clients are not logged: clients could fill the log with them.
    async fn connection<S>(self: Rc<Self>, mut stream: Tracked<S>, scheme: Scheme)
    where
        S: Socket,
    {
        let slot = stream.slot().clone();
        let acceptor = match scheme {
            Scheme::Http => return self.http1(stream, &slot, scheme).await,
            Scheme::Https => self.acceptor.borrow().clone(),
        };
        let Some(acceptor) = acceptor else { return };
        stream.expect_tls();
        let accepted = self.in_time(&slot, acceptor.accept(stream).into_fallible()).await;
        slot.mark();
        match accepted {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, &slot, scheme).await;
            }
            Ok(Ok(stream)) => self.http1(stream, &slot, scheme).await,
            // The alert is already being sent.
            Ok(Err((_, mut stream))) => {
                slot.ends(Outcome::Tls);
                if stream.is_plain() {
                    let _ = timeout(GRACE, stream.write_all(&answer::no_tls())).await;
                }
                self.close(stream, GRACE).await;
            }
            Err(_) => {}
        }
    }
}
