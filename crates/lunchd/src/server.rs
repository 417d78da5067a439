//! The event loop: connections, requests, time limits, signals.

use std::cell::{Cell, RefCell};
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
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Site};
use super::connections::Connections;
use super::guarded::{Guarded, Socket};
use super::protocols::End;
use super::proxy::Balancers;
use super::sockets::{Listener, Scheme};
use super::tls::Identity;
use crate::sys;
use small_services::internals::Manager;
use small_services::log;

/// How long requests in progress may take when a connection, or the program, is to end.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long no connection is taken when the system is out of memory or descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// For each socket, the connections that may be taken before those are gone that had to make room.
pub(super) const SPARE_DESCRIPTORS: usize = 256;
/// How much is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a client may do nothing, or take for a handshake or a request.
    pub(super) idle: Duration,
    /// How long a connection may last.
    pub(super) life: Duration,
    /// How many connections there may be, altogether and from one source.
    pub(super) most: u32,
    pub(super) most_per_source: u32,
}

/// Everything that it takes to serve, ready to go on without the outside world.
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

/// What every connection needs.
pub(super) struct Shared {
    pub(super) site: Site,
    identity: Option<Identity>,
    /// For new connections; those that are open keep what they began with.
    acceptor: RefCell<Option<TlsAcceptor>>,
    pub(super) limits: Limits,
    pub(super) connections: RefCell<Connections>,
    balancers: Balancers,
    /// Whether a connection was ended for the room of its answers, and is not gone yet.
    makes_room: Cell<bool>,
    pub(super) stopping: watch::Sender<bool>,
    all_gone: Notify,
}

/// The place of one connection among all: free again when this is dropped.
pub(super) struct Place {
    shared: Rc<Shared>,
    number: u64,
    /// When the connection is to end, whatever the client does.
    last: Instant,
    /// When the client last asked for something or took a part of it. Octets alone are no sign of life: it may send PINGs for
    /// ever, or the head of a request octet by octet.
    active: Cell<Instant>,
    /// Whether what is sent from now on is the last.
    last_answer: Cell<bool>,
}

impl Place {
    /// Notes that octets moved.
    pub(super) fn touch(&self) {
        self.shared.connections.borrow_mut().touch(self.number);
    }

    /// Notes that the client asked for something, or took a part of it.
    pub(super) fn mark(&self) {
        self.active.set(Instant::now());
    }

    /// Notes that the connection ends with the answer that is sent now.
    pub(super) fn end_with_this(&self) {
        self.last_answer.set(true);
    }

    pub(super) fn is_last(&self) -> bool {
        self.last_answer.get()
    }

    /// Until it did neither for so long, or the connection has had its time.
    pub(super) async fn time_is_up(&self, idle: Duration) -> End {
        loop {
            let due = self.active.get() + idle;
            let now = Instant::now();
            if now >= self.last {
                return End::Due;
            }
            if now >= due {
                return End::Idle;
            }
            sleep_until(due.min(self.last)).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.makes_room.set(false);
        let mut connections = self.shared.connections.borrow_mut();
        connections.remove(self.number);
        if connections.is_empty() {
            self.shared.all_gone.notify_one();
        }
    }
}

impl Server {
    /// Registers everything with the runtime that is entered. Descriptor 0 is the signals already.
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
            connections: RefCell::new(Connections::new(limits.most, limits.most_per_source)),
            limits,
            balancers,
            makes_room: Cell::new(false),
            stopping: watch::Sender::new(false),
            all_gone: Notify::new(),
        };
        Ok(Self {
            shared: Rc::new(shared),
            sockets: sockets.collect::<io::Result<_>>()?,
            signals: sys::watch_signals()?,
        })
    }

    /// Serves all clients until it is told to stop; then gives requests in progress their time, unless told again.
    ///
    /// # Errors
    ///
    /// If the signals cannot be waited for.
    pub(super) async fn serve(self, mut manager: Manager) -> io::Result<()> {
        let Self { shared, sockets, signals } = self;
        // Better now than at the first renewal.
        if let Some(Err(error)) = shared.identity.as_ref().map(Identity::check_reach) {
            log::warning(&error.to_string());
        }
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|(scheme, waiting)| spawn_local(shared.clone().accept(waiting, scheme)).abort_handle())
            .collect();
        manager.ready();
        loop {
            tokio::select! {
                signal = next_signal(&signals) => match signal? {
                    libc::SIGHUP => shared.reload(),
                    _ => break,
                },
                () = until(manager.due()) => manager.alive(std::time::Instant::now()),
            }
        }
        manager.stopping();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
        shared.stopping.send_replace(true);
        let all_gone = async {
            // Told that all were gone at some time; whether they are now is another question.
            while !shared.connections.borrow().is_empty() {
                shared.all_gone.notified().await;
            }
        };
        tokio::select! {
            () = all_gone => {}
            () = sleep(GRACE) => {}
            _ = next_signal(&signals) => {}
        }
        Ok(())
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(Instant::from_std(due)).await,
        None => pending().await,
    }
}

/// The number of the next signal that came.
async fn next_signal(signals: &AsyncFd<BorrowedFd<'static>>) -> io::Result<i32> {
    loop {
        let mut ready = signals.readable().await?;
        // A signalfd_siginfo, which begins with the number (signalfd(2)).
        let mut record = [0; 128];
        match rustix::io::read(signals.get_ref(), &mut record) {
            Ok(_) => return Ok(i32::from_ne_bytes([record[0], record[1], record[2], record[3]])),
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl Shared {
    /// Reads certificate and key again, for connections from now on. A bad one changes nothing.
    fn reload(&self) {
        self.site.reload();
        let Some(identity) = &self.identity else { return };
        match identity.reload().and_then(|(acceptor, doubts)| doubts.dates.map(|()| (acceptor, doubts.browsers))) {
            Ok((acceptor, refusal)) => {
                *self.acceptor.borrow_mut() = Some(acceptor);
                log::notice("the certificate was read again, for all connections from now on");
                if let Some(why) = refusal {
                    log::warning(&why);
                }
            }
            Err(error) => log::error(&format!("going on with the certificate from before: {error}")),
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
                    let message = format!("cannot take a connection: {error}; trying again every second");
                    refusals.warning(std::time::Instant::now(), &message);
                    self.connections.borrow_mut().let_oldest_go();
                    sleep(PAUSE).await;
                }
                Some(Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP) => {
                    log::error(&format!("cannot serve {scheme} any more: {error}; start the program again"));
                    return;
                }
                // Its client is gone again, or its network is: see accept(2).
                _ => {}
            }
        }
    }

    fn admit<S>(self: &Rc<Self>, stream: S, from: Option<SocketAddr>, scheme: Scheme)
    where
        S: Socket,
    {
        // A balancer's connection is its client's; it says first who that is.
        let balancer = self.balancers.include(from);
        let Some(number) = self.connections.borrow_mut().admit(from.filter(|_| !balancer)) else { return };
        let now = Instant::now();
        let last = now + self.limits.life;
        let place = Rc::new(Place {
            shared: self.clone(),
            number,
            last,
            active: Cell::new(now),
            last_answer: Cell::new(false),
        });
        let mut stream = Guarded::new(stream, place);
        let shared = self.clone();
        let task = spawn_local(async move {
            if !balancer || shared.is_named(&mut stream, from).await {
                shared.connection(stream, scheme).await;
            }
        });
        self.connections.borrow_mut().served_by(number, task.abort_handle());
    }

    /// Takes what a balancer says of its client. Whether that client may have a connection.
    async fn is_named(&self, stream: &mut Guarded<impl Socket>, from: Option<SocketAddr>) -> bool {
        let place = stream.place().clone();
        let named = self.in_time(&place, self.balancers.client(stream, from)).await;
        place.mark();
        match named {
            Ok(Ok(Some(client))) => self.connections.borrow_mut().comes_from(place.number, client),
            Ok(Ok(None)) => true,
            _ => false,
        }
    }

    /// Ends the connection that was idle for longest, for the room that its answers may have, and no other before that is free.
    pub(super) fn make_room(&self) {
        if !self.makes_room.replace(true) {
            self.connections.borrow_mut().let_oldest_go();
        }
    }

    /// Serves a connection to its end. What goes wrong is the client's own affair: nothing of it is logged, which a client
    /// could otherwise fill the log with.
    async fn connection<S>(self: Rc<Self>, mut stream: Guarded<S>, scheme: Scheme)
    where
        S: Socket,
    {
        let place = stream.place().clone();
        let acceptor = match scheme {
            Scheme::Http => return self.http1(stream, &place, scheme).await,
            Scheme::Https => self.acceptor.borrow().clone(),
        };
        let Some(acceptor) = acceptor else { return };
        stream.expect_tls();
        let accepted = self.in_time(&place, acceptor.accept(stream).into_fallible()).await;
        place.mark();
        match accepted {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, &place, scheme).await;
            }
            Ok(Ok(stream)) => self.http1(stream, &place, scheme).await,
            // An alert is on its way already.
            Ok(Err((_, mut stream))) => {
                if stream.is_plain() {
                    let _ = timeout(GRACE, stream.write_all(&answer::no_tls())).await;
                }
                self.close(stream, GRACE).await;
            }
            Err(_) => {}
        }
    }
}
