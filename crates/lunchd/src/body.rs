//! The bodies of answers: so many octets on their way to clients, and no more.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::place::Place;

/// How many octets of answers may be on their way altogether: clients decide how long they are.
const MOST_OCTETS: usize = 64 * 1024 * 1024;
/// How much of an answer is handed over at a time, in octets: HTTP/1 copies it to send it.
const PIECE: usize = 16 * 1024;

/// The room for all answers that are on their way.
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_OCTETS)))
    }

    /// Takes so much room until the last octet is sent or the client gone; `None` if there is not enough.
    pub(super) fn hold(&self, octets: Bytes) -> Option<Body> {
        let length = u32::try_from(octets.len()).ok()?;
        let room = self.0.clone().try_acquire_many_owned(length).ok()?;
        Some(Body(Bytes::from_owner(Held { octets, _room: room }), None))
    }
}

/// Octets, and the room that they take for as long as anybody has a part of them.
struct Held {
    octets: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// What is left of an answer's body, and the place of the connection that it goes to.
pub(crate) struct Body(Bytes, Option<Rc<Place>>);

impl Body {
    /// One of the program itself, which takes no room.
    pub(super) fn of(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()), None)
    }

    /// Whether it is handed over at once.
    pub(super) fn is_one_piece(&self) -> bool {
        self.0.len() <= PIECE
    }

    /// Marks that the client takes it, at each piece.
    pub(super) fn noting(self, place: Rc<Place>) -> Self {
        Self(self.0, Some(place))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self(rest, place) = &mut *self;
        if let Some(place) = place {
            place.mark();
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_all_is_gone() {
        let room = Room::new();
        let octets = Bytes::from(vec![b'x'; MOST_OCTETS / 2]);
        let (first, second) = (room.hold(octets.clone()), room.hold(octets.clone()));
        assert!(first.is_some() && second.is_some() && room.hold(Bytes::from_static(b"x")).is_none());
        // A piece of it is enough to keep the whole.
        let Some(Body(mut rest, _)) = first else { unreachable!("it is there") };
        let piece = rest.split_to(PIECE);
        drop(rest);
        assert!(room.hold(octets.clone()).is_none());
        drop(piece);
        assert!(room.hold(octets).is_some());
    }
}
