//! HTTP/1 and HTTP/2 connections, and how each ends.

use std::convert::Infallible;
use std::future::{Future, Ready, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::answer::{self, MAX_FIELDS};
use super::body::Body;
use super::heads::Heads;
use super::shared::{GRACE, Shared};
use super::slots::{End, Slot};
use super::sockets::Scheme;
use small_services::internals::Outcome;

/// The maximum length of a request's head, in octets. A longer one is answered with 431.
const LONGEST_HEAD: usize = 16 * 1024;
/// How much of an answer HTTP/2 buffers, in octets. What is in this buffer says nothing about whether the client takes it.
const MAX_UNSENT: usize = 32 * 1024;
/// The maximum number of concurrent requests of an HTTP/2 connection.
const MAX_STREAMS: u32 = 32;

/// Runs the tasks of HTTP/2, one per request, on the same thread.
#[derive(Clone, Copy)]
struct SameThread;

impl<F: Future + 'static> Executor<F> for SameThread {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

impl Shared {
    /// Serves HTTP/1.0 and 1.1.
    pub(super) async fn http1(
        self: Rc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        slot: &Rc<Slot>,
        scheme: Scheme,
    ) {
        let heads = Heads::new(stream, slot.clone());
        let versions = heads.versions();
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MAX_FIELDS)
            .serve_connection(
                TokioIo::new(heads),
                service_fn(|request| self.reply(scheme, request, slot, versions.serves_next())),
            );
        let end = self.in_time(slot, Pin::new(&mut connection)).await.err();
        if end == Some(End::Due) {
            Pin::new(&mut connection).graceful_shutdown();
            let _ = timeout(GRACE, &mut connection).await;
        }
        let mut heads = connection.into_parts().io.into_inner();
        // Between two requests, close silently: the client may be sending the next, and would take a 408 for its answer.
        if end == Some(End::Idle) && heads.waits_for_a_head() {
            let _ = timeout(GRACE, heads.write_all(&answer::too_slow())).await;
        }
        self.close(heads.into_inner(), GRACE).await;
    }

    /// Serves HTTP/2.
    pub(super) async fn http2(
        self: Rc<Self>,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        slot: &Rc<Slot>,
        scheme: Scheme,
    ) {
        let taken = {
            let mut connection = pin!(
                http2::Builder::new(SameThread)
                    .max_concurrent_streams(MAX_STREAMS)
                    .max_send_buf_size(MAX_UNSENT)
                    .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
                    .serve_connection(
                        TokioIo::new(&mut stream),
                        service_fn(|request| self.reply(scheme, request, slot, true)),
                    )
            );
            let ended = self.in_time(slot, connection.as_mut()).await.is_ok();
            // Send GOAWAY, and give requests in progress their time.
            ended || {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.is_ok()
            }
        };
        // Do not wait for a client that did not even take that.
        self.close(stream, if taken { GRACE } else { Duration::ZERO }).await;
    }

    fn reply(
        &self,
        scheme: Scheme,
        request: Request<Incoming>,
        slot: &Rc<Slot>,
        version_is_served: bool,
    ) -> Ready<Result<Response<Body>, Infallible>> {
        slot.mark();
        let mut answer = self.site.answer(scheme, &request, version_is_served);
        let health = request.uri().path() == answer::HEALTH && answer.status() == StatusCode::OK;
        slot.asks(health);
        if !health {
            self.slots.seen.answered(answer.status());
        }
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            self.slots.free_budget();
        }
        // RFC 9112, section 9.3.
        let is_last = match request.version() {
            Version::HTTP_10 => !request.headers().contains_key(header::CONNECTION),
            _ => ends(request.headers()),
        };
        // No request here needs a body. In HTTP/1 the next request would follow it, and must use a new connection. In HTTP/2 the
        // client may send all of it: some clients treat a request to stop as an error.
        if !request.body().is_end_stream() {
            if request.version() < Version::HTTP_2 {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            } else {
                spawn_local(timeout(GRACE, drop_all(request.into_body())));
            }
        }
        // Only for a single piece: with MSG_MORE, the kernel would delay a part of each piece.
        if (is_last || ends(answer.headers())) && answer.body().is_one_piece() {
            slot.end_with_this();
        }
        ready(Ok(answer.map(|body| body.marking(slot.clone()))))
    }

    /// Runs a part of a connection until it is done, or until the connection must end.
    pub(super) async fn in_time<T>(&self, slot: &Slot, part: impl Future<Output = T>) -> Result<T, End> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            // Check the limits only while the part waits.
            biased;
            done = part => Ok(done),
            end = slot.time_limit(self.limits.idle) => {
                if end == End::Idle {
                    slot.ends(Outcome::Timeout);
                }
                Err(end)
            }
            _ = stopping.wait_for(|stopping| *stopping) => {
                slot.ends(Outcome::Stopped);
                Err(End::Due)
            }
        }
    }

    /// Shuts down the sending side, waiting at most `patience` for it, and drops what the client still sends. Closing with unread input
    /// would reset the connection, and the answer might be lost.
    pub(super) async fn close(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, patience: Duration) {
        if timeout(patience, stream.shutdown()).await.is_err() {
            return;
        }
        let (mut stopping, mut nowhere) = (self.stopping.subscribe(), sink());
        tokio::select! {
            _ = copy(&mut stream, &mut nowhere) => {}
            () = sleep(GRACE.min(self.limits.idle)) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

async fn drop_all(mut body: Incoming) {
    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
}

/// Whether the connection ends after this message.
fn ends(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
