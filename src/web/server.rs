//! The event loop: connections, requests, time limits, signals.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, Ready, pending, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::{MOST_FIELDS, Site};
use super::body::Body;
use super::connections::Connections;
use super::guarded::Guarded;
use super::proxy::Balancers;
use super::sockets::{Listener, Scheme};
use super::tls::Identity;
use crate::manager::Manager;
use crate::{report, sys};

/// How long requests in progress may take when a connection, or the program, is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long no connection is taken when the system is out of memory or descriptors.
const PAUSE: Duration = Duration::from_secs(1);
/// For each socket, the connections that may be taken before those are gone that had to make room.
pub(super) const SPARE_DESCRIPTORS: usize = 256;
/// The longest head of a request, in octets; beyond that, the answer is 431.
const LONGEST_HEAD: usize = 16 * 1024;
/// The most requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 32;

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
struct Shared {
    site: Site,
    identity: Option<Identity>,
    /// For new connections; those that are open keep what they began with.
    acceptor: RefCell<Option<TlsAcceptor>>,
    limits: Limits,
    connections: RefCell<Connections>,
    balancers: Balancers,
    stopping: watch::Sender<bool>,
    all_gone: Notify,
}

/// The place of one connection among all: free again when this is dropped.
pub(super) struct Place {
    shared: Rc<Shared>,
    number: u64,
}

impl Place {
    pub(super) fn touch(&self) {
        self.shared.connections.borrow_mut().touch(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.borrow_mut();
        connections.remove(self.number);
        if connections.is_empty() {
            self.shared.all_gone.notify_one();
        }
    }
}

/// HTTP/2 has a task a request, on the same thread.
#[derive(Clone, Copy)]
struct SameThread;

impl<F: Future + 'static> Executor<F> for SameThread {
    fn execute(&self, future: F) {
        spawn_local(future);
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

async fn drop_all(mut body: Incoming) {
    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
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
        match identity.load().and_then(|(acceptor, doubts)| doubts.dates.map(|()| (acceptor, doubts.browsers))) {
            Ok((acceptor, refusal)) => {
                *self.acceptor.borrow_mut() = Some(acceptor);
                report::notice("the certificate was read again, for all connections from now on");
                if let Some(why) = refusal {
                    report::warning(&why);
                }
            }
            Err(error) => report::error(&format!("going on with the certificate from before: {error}")),
        }
    }

    async fn accept(self: Rc<Self>, socket: Waiting, scheme: Scheme) {
        let mut refusals = report::Repeated::default();
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
                    report::error(&format!("cannot serve {scheme} any more: {error}; start the program again"));
                    return;
                }
                // Its client is gone again, or its network is: see accept(2).
                _ => {}
            }
        }
    }

    fn admit<S>(self: &Rc<Self>, stream: S, from: Option<SocketAddr>, scheme: Scheme)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        // A balancer's connection is its client's; it says first who that is.
        let balancer = self.balancers.include(from);
        let Some(number) = self.connections.borrow_mut().admit(from.filter(|_| !balancer)) else { return };
        let place = Rc::new(Place { shared: self.clone(), number });
        let mut stream = Guarded::new(stream, self.limits.idle, place);
        let shared = self.clone();
        let task = spawn_local(async move {
            if !balancer || shared.is_named(&mut stream, number, from).await {
                shared.connection(stream, scheme).await;
            }
        });
        self.connections.borrow_mut().served_by(number, task.abort_handle());
    }

    /// Takes what a balancer says of its client. Whether that client may have a connection.
    async fn is_named(&self, stream: &mut (impl AsyncRead + Unpin), number: u64, from: Option<SocketAddr>) -> bool {
        match timeout(self.limits.idle, self.balancers.client(stream, from)).await {
            Ok(Ok(Some(client))) => self.connections.borrow_mut().comes_from(number, client),
            Ok(Ok(None)) => true,
            _ => false,
        }
    }

    /// Serves a connection to its end. What goes wrong is the client's own affair: nothing of it is logged, which a client
    /// could otherwise fill the log with.
    async fn connection<S>(self: Rc<Self>, stream: S, scheme: Scheme)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let acceptor = match scheme {
            Scheme::Http => return self.http1(stream, scheme).await,
            Scheme::Https => self.acceptor.borrow().clone(),
        };
        let Some(acceptor) = acceptor else { return };
        let Ok(Ok(stream)) = timeout(self.limits.idle, acceptor.accept(stream)).await else { return };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, scheme).await;
        } else {
            self.http1(stream, scheme).await;
        }
    }

    async fn http1(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, scheme: Scheme) {
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_FIELDS)
            .serve_connection(TokioIo::new(stream), service_fn(|request| self.reply(scheme, request)));
        self.to_its_end(Pin::new(&mut connection), pending()).await;
        self.close(connection.into_parts().io.into_inner()).await;
    }

    async fn http2(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, scheme: Scheme) {
        let shared = self.clone();
        let asked = Rc::new(Notify::new());
        let asks = asked.clone();
        let connection = http2::Builder::new(SameThread)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| {
                    asks.notify_one();
                    shared.reply(scheme, request)
                }),
            );
        // Octets are no sign of life here: a client may send PINGs for ever, or the head of a request octet by octet.
        let idle = async { while timeout(self.limits.idle, asked.notified()).await.is_ok() {} };
        self.to_its_end(pin!(connection), idle).await;
    }

    fn reply(&self, scheme: Scheme, request: Request<Incoming>) -> Ready<Result<Response<Body>, Infallible>> {
        let mut answer = self.site.answer(scheme, &request);
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            self.connections.borrow_mut().let_oldest_go();
        }
        // Nothing here takes a body. In HTTP/1 the next request is behind it, and has to come over a new connection. In
        // HTTP/2 the client may send it to its end: some take it for an error if they are told to stop.
        if !request.body().is_end_stream() {
            if request.version() < Version::HTTP_2 {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            } else {
                spawn_local(timeout(GRACE, drop_all(request.into_body())));
            }
        }
        ready(Ok(answer))
    }

    /// Until the client is done, has had its time or asks no more, or the program is to end; all but the first give a
    /// request in progress theirs.
    async fn to_its_end(&self, mut connection: Pin<&mut impl GracefulConnection>, idle: impl Future<Output = ()>) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = sleep(self.limits.life) => {}
            () = idle => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
    }

    /// Says that all is sent, and drops what the client still sends: closing with unread input would reset the connection,
    /// and the answer may be lost with it.
    async fn close(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let _ = timeout(GRACE, stream.shutdown()).await;
        let (mut stopping, mut nowhere) = (self.stopping.subscribe(), sink());
        tokio::select! {
            _ = copy(&mut stream, &mut nowhere) => {}
            () = sleep(GRACE.min(self.limits.idle)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}
