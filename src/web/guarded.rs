//! A connection that ends when its client neither reads nor sends.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::server::Place;

/// A stream with its time limit.
pub(super) struct Guarded<S> {
    stream: S,
    idle: Duration,
    due: Pin<Box<Sleep>>,
    place: Rc<Place>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, idle: Duration, place: Rc<Place>) -> Self {
        Self { stream, idle, due: Box::pin(sleep(idle)), place }
    }

    /// Notes that octets went through; where none can, waits no longer than the limit for them.
    fn limited<T>(&mut self, context: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.due.as_mut().reset(Instant::now() + self.idle);
            self.place.touch();
            return moved;
        }
        ready!(self.due.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A call that a signal interrupted is made again: neither tokio nor hyper does that.
fn again<T>(mut call: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
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
        let moved = again(|| Pin::new(&mut self.stream).poll_read(context, buffer));
        self.limited(context, moved)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let moved = again(|| Pin::new(&mut self.stream).poll_write(context, octets));
        self.limited(context, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
