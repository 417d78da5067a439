//! A connection's octets as the kernel takes and gives them: each call is made again where a signal interrupted it, and several
//! pieces leave by one call.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::place::Place;

/// How many octets one call sends, where they come in pieces: what fits into the kernel's buffer.
const LONGEST_WRITE: usize = 32 * 1024;

/// A socket of the event loop.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Sends what only the connection's end follows, and at once: then both leave in one segment.
    fn poll_send_last(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(context, octets)
    }
}

impl Socket for UnixStream {}

impl Socket for TcpStream {
    fn poll_send_last(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::NOSIGNAL | SendFlags::MORE;
        loop {
            ready!(self.poll_write_ready(context))?;
            match self.try_io(Interest::WRITABLE, || Ok(send(&*self, octets, flags)?)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// A stream, and its place among all connections, to which everything that moves counts.
pub(super) struct Guarded<S> {
    stream: S,
    place: Rc<Place>,
    opening: Opening,
    /// Whether the client was told that all is sent.
    is_shut: bool,
}

/// What the client said first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Nobody wants to know.
    Any,
    /// Nothing yet, on a port for TLS.
    Awaited,
    /// A request that is not encrypted.
    Plain,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, place: Rc<Place>) -> Self {
        Self { stream, place, opening: Opening::Any, is_shut: false }
    }

    pub(super) fn place(&self) -> &Rc<Place> {
        &self.place
    }

    /// From now on TLS is spoken: reading fails if the client speaks HTTP.
    pub(super) fn expect_tls(&mut self) {
        self.opening = Opening::Awaited;
    }

    /// Whether it spoke HTTP where TLS was expected.
    pub(super) fn is_plain(&self) -> bool {
        self.opening == Opening::Plain
    }

    fn moved<T>(&self, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.place.touch();
        }
        moved
    }
}

/// A call that a signal interrupted is made again: neither tokio nor hyper does that.
fn again<T>(mut call: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let moved = again(|| Pin::new(&mut self.stream).poll_read(context, buffer));
        if let (Opening::Awaited, Some(first)) = (self.opening, buffer.filled().get(before)) {
            // A method begins with a letter, and no record of TLS does (RFC 8446, section 5.1).
            self.opening = if first.is_ascii_alphabetic() { Opening::Plain } else { Opening::Any };
            if self.is_plain() {
                return Poll::Ready(Err(ErrorKind::InvalidData.into()));
            }
        }
        self.moved(moved)
    }
}

impl<S: Socket> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let is_last = self.place.is_last();
        let moved = again(|| {
            let stream = Pin::new(&mut self.stream);
            if is_last { stream.poll_send_last(context, octets) } else { stream.poll_write(context, octets) }
        });
        self.moved(moved)
    }

    /// TLS hands over a record a piece, and tries just once where it ends with an alert. (Not by writev, which has no flags:
    /// the policy sees of each sendto that it goes where the connection leads.)
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut rest = pieces.iter().filter(|piece| !piece.is_empty()).peekable();
        let first = rest.next().map_or(&[][..], |piece| piece);
        if rest.peek().is_none() || first.len() >= LONGEST_WRITE {
            return self.poll_write(context, first);
        }
        let mut octets = first.to_vec();
        for piece in rest {
            octets.extend_from_slice(&piece[..piece.len().min(LONGEST_WRITE - octets.len())]);
        }
        self.poll_write(context, &octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP does so, and who closes the connection makes sure of it.
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
