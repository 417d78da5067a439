//! The bodies of answers, with a limit on the memory that all of them take.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::slots::Slot;

/// The maximum number of octets of all answers that clients have not taken yet: clients decide how long that takes.
const MAX_OCTETS: usize = 64 * 1024 * 1024;
/// How much of an answer is handed to hyper at a time, in octets: HTTP/1 copies it to send it.
const PIECE: usize = 16 * 1024;

/// The budget for all answers that are being sent.
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_OCTETS)))
    }

    /// Takes the octets out of the budget until the last one is sent or the client is gone; `None` if not enough is left.
    pub(super) fn hold(&self, octets: Bytes) -> Option<Body> {
        let length = u32::try_from(octets.len()).ok()?;
        let budget = self.0.clone().try_acquire_many_owned(length).ok()?;
        Some(Body(Bytes::from_owner(Held { octets, _budget: budget }), None))
    }
}

/// Octets with their share of the budget, which lasts as long as any part of them.
struct Held {
    octets: Bytes,
    _budget: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// The rest of an answer's body, and the slot of its connection.
pub(crate) struct Body(Bytes, Option<Rc<Slot>>);

impl Body {
    /// A constant body, which takes nothing out of the budget.
    pub(super) fn of(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()), None)
    }

    /// Whether it is handed over in one piece.
    pub(super) fn is_one_piece(&self) -> bool {
        self.0.len() <= PIECE
    }

    /// Marks the client as active with each piece.
    pub(super) fn marking(self, slot: Rc<Slot>) -> Self {
        Self(self.0, Some(slot))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self(rest, slot) = &mut *self;
        if let Some(slot) = slot {
            slot.mark();
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
    fn the_budget_is_returned_once_all_pieces_are_gone() {
        let budget = Budget::new();
        let octets = Bytes::from(vec![b'x'; MAX_OCTETS / 2]);
        let (first, second) = (budget.hold(octets.clone()), budget.hold(octets.clone()));
        assert!(first.is_some() && second.is_some() && budget.hold(Bytes::from_static(b"x")).is_none());
        // Each piece keeps the whole body.
        let Some(Body(mut rest, _)) = first else { unreachable!("it is there") };
        let piece = rest.split_to(PIECE);
        drop(rest);
        assert!(budget.hold(octets.clone()).is_none());
        drop(piece);
        assert!(budget.hold(octets).is_some());
    }
}
