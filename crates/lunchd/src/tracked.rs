//! The stream of a connection: it records activity, repeats interrupted calls, and sends several pieces in one call.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::slots::Slot;

/// The maximum number of octets that one call sends if they come in pieces: what fits into the kernel's buffer.
const LONGEST_WRITE: usize = 32 * 1024;

/// A socket of the event loop.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Sends the last octets before the connection is shut down at once, so that both travel in one segment.
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

/// A stream that records each transfer as activity of its connection.
pub(super) struct Tracked<S> {
    stream: S,
    slot: Rc<Slot>,
    opening: Opening,
    /// Whether the sending side is shut down.
    is_shut: bool,
}

/// The first octet of the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Not checked, or TLS as expected.
    Any,
    /// Awaited, on a port for TLS.
    Awaited,
    /// The start of an unencrypted request.
    Plain,
}

impl<S> Tracked<S> {
    pub(super) fn new(stream: S, slot: Rc<Slot>) -> Self {
        Self { stream, slot, opening: Opening::Any, is_shut: false }
    }

    pub(super) fn slot(&self) -> &Rc<Slot> {
        &self.slot
    }

    /// Expects TLS from now on: reading fails if the client speaks HTTP.
    pub(super) fn expect_tls(&mut self) {
        self.opening = Opening::Awaited;
    }

    /// Whether the client spoke HTTP instead of TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.opening == Opening::Plain
    }

    fn moved<T>(&self, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.slot.touch();
        }
        moved
    }
}

/// Repeats a call that a signal interrupted. Neither tokio nor hyper does that.
fn again<T>(mut call: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let moved = again(|| Pin::new(&mut self.stream).poll_read(context, buffer));
        if let (Opening::Awaited, Some(first)) = (self.opening, buffer.filled().get(before)) {
            // A method begins with a letter. A TLS record does not (RFC 8446, section 5.1).
            self.opening = if first.is_ascii_alphabetic() { Opening::Plain } else { Opening::Any };
            if self.is_plain() {
                return Poll::Ready(Err(ErrorKind::InvalidData.into()));
            }
        }
        self.moved(moved)
    }
}

impl<S: Socket> AsyncWrite for Tracked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let is_last = self.slot.is_last();
        let moved = again(|| {
            let stream = Pin::new(&mut self.stream);
            if is_last { stream.poll_send_last(context, octets) } else { stream.poll_write(context, octets) }
        });
        self.moved(moved)
    }

    /// Joins the pieces: TLS hands over one record per piece, and tries only once if the last is an alert. writev is no alternative:
    /// it has no flags, and the policy pins those of sendto.
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
        // Both hyper and `Shared::close` shut the stream down.
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
