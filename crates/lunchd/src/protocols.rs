//! The two protocols of a connection, and how each ends.

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

use super::answer::{self, MOST_FIELDS};
use super::body::Body;
use super::heads::Heads;
use super::place::{End, Place};
use super::shared::{GRACE, Shared};
use super::sockets::Scheme;
use small_services::internals::Outcome;

/// The longest head of a request, in octets; beyond that, the answer is 431.
const LONGEST_HEAD: usize = 16 * 1024;
/// How much of an answer waits in HTTP/2's own buffer, in octets: what is there already is no sign that the client takes it.
const MOST_UNSENT: usize = 32 * 1024;
/// The most requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 32;

/// HTTP/2 has a task a request, on the same thread.
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
        place: &Rc<Place>,
        scheme: Scheme,
    ) {
        let heads = Heads::new(stream, place.clone());
        let versions = heads.versions();
        let mut connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_FIELDS)
            .serve_connection(
                TokioIo::new(heads),
                service_fn(|request| self.reply(scheme, request, place, versions.serves_next())),
            );
        let end = self.in_time(place, Pin::new(&mut connection)).await.err();
        if end == Some(End::Due) {
            Pin::new(&mut connection).graceful_shutdown();
            let _ = timeout(GRACE, &mut connection).await;
        }
        let mut heads = connection.into_parts().io.into_inner();
        // One that is between two requests is let go without a word: it may be sending the next, and would take it for its answer.
        if end == Some(End::Idle) && heads.waits_for_a_head() {
            let _ = timeout(GRACE, heads.write_all(&answer::too_slow())).await;
        }
        self.close(heads.into_inner(), GRACE).await;
    }

    /// Serves HTTP/2.
    pub(super) async fn http2(
        self: Rc<Self>,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        place: &Rc<Place>,
        scheme: Scheme,
    ) {
        let taken = {
            let mut connection = pin!(
                http2::Builder::new(SameThread)
                    .max_concurrent_streams(MOST_STREAMS)
                    .max_send_buf_size(MOST_UNSENT)
                    .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
                    .serve_connection(
                        TokioIo::new(&mut stream),
                        service_fn(|request| self.reply(scheme, request, place, true)),
                    )
            );
            let ended = self.in_time(place, connection.as_mut()).await.is_ok();
            // Says so (GOAWAY), and gives requests in progress their time.
            ended || {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await.is_ok()
            }
        };
        // A client that did not even take that gets what there is room for.
        self.close(stream, if taken { GRACE } else { Duration::ZERO }).await;
    }

    fn reply(
        &self,
        scheme: Scheme,
        request: Request<Incoming>,
        place: &Rc<Place>,
        version_is_served: bool,
    ) -> Ready<Result<Response<Body>, Infallible>> {
        place.mark();
        let mut answer = self.site.answer(scheme, &request, version_is_served);
        let health = request.uri().path() == answer::HEALTH;
        place.asks(health);
        if !health {
            self.places.seen.answered(answer.status());
        }
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            self.places.make_room();
        }
        // RFC 9112, section 9.3.
        let is_last = match request.version() {
            Version::HTTP_10 => !request.headers().contains_key(header::CONNECTION),
            _ => ends(request.headers()),
        };
        // Nothing here takes a body. In HTTP/1 the next request is behind it, and has to come over a new connection. In
        // HTTP/2 the client may send it to its end: some take it for an error if they are told to stop.
        if !request.body().is_end_stream() {
            if request.version() < Version::HTTP_2 {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            } else {
                spawn_local(timeout(GRACE, drop_all(request.into_body())));
            }
        }
        // Of what leaves piece by piece the kernel would hold back some of each.
        if (is_last || ends(answer.headers())) && answer.body().is_one_piece() {
            place.end_with_this();
        }
        ready(Ok(answer.map(|body| body.noting(place.clone()))))
    }

    /// Goes on with a part of a connection until it is done, or its end is to come before.
    pub(super) async fn in_time<T>(&self, place: &Place, part: impl Future<Output = T>) -> Result<T, End> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            // Nothing else is of interest while it has something to do.
            biased;
            done = part => Ok(done),
            end = place.time_is_up(self.limits.idle) => {
                if end == End::Idle {
                    place.ends(Outcome::Timeout);
                }
                Err(end)
            }
            _ = stopping.wait_for(|stopping| *stopping) => {
                place.ends(Outcome::Stopped);
                Err(End::Due)
            }
        }
    }

    /// Says that all is sent, if there is room for that within so much time, and drops what the client still sends: closing with
    /// unread input would reset the connection, and the answer may be lost with it.
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

/// Whether the connection ends with this message.
fn ends(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
