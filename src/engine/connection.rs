//! One of many connections: its state, and what it can do next without waiting.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use hunker::{Pin, Rule, Syscall};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::answer::Request;
use super::buffers::{Buffers, CHUNK, MAX_LARGE};
use super::echo::Echoing;
use super::readiness::Next;
use super::repeat::{Octets, Repeating};
use super::reply::{Budget, Sending};
use super::{Error, discard};
use crate::connections::Ended;
use crate::numbers::STREAM;
use crate::service::{Behavior, LineEnd};

/// The calls of every connection.
pub(super) const DROP: &[Rule] = &[Rule::new(
    Syscall::RECVFROM,
    // MSG_TRUNC: drop in the kernel, copy nothing.
    &[STREAM, Pin::is(3, 0x20)],
    "discard input, or input already echoed",
)];

/// A connection and its state.
pub(super) struct Connection {
    socket: OwnedFd,
    state: State,
    /// The events that the event loop waits for.
    pub(super) interest: EventFlags,
    /// When its client was last active.
    pub(super) active: Instant,
    /// The client, when it connected, and the length of its reply in octets.
    from: Option<SocketAddr>,
    since: Instant,
    length: usize,
    /// Held while it has the large buffers of its listener.
    _large: Option<Large>,
}

enum State {
    Replying(Option<Sending>),
    Asking(Request),
    Echoing(Echoing),
    /// Octets discarded so far.
    Discarding(u64),
    Repeating(Repeating),
}

/// The behavior, and the memory that all connections of a process share.
pub(super) struct Worker {
    pub(super) behavior: Behavior,
    budget: Budget,
    large_left: Rc<Cell<usize>>,
    reply: Vec<u8>,
    buffer: Vec<u8>,
    octets: Option<Octets>,
}

/// A slot for large buffers, returned when dropped.
struct Large(Rc<Cell<usize>>);

impl Drop for Large {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Worker {
    pub(super) fn new(behavior: Behavior) -> Self {
        let (longest, large, length) = match &behavior {
            // These never have large buffers.
            Behavior::Reply(reply) => (reply.longest(), usize::MAX, CHUNK),
            Behavior::Answer(answer) => (answer.longest(), usize::MAX, CHUNK),
            Behavior::Discard => (0, MAX_LARGE, discard::DROPPED),
            Behavior::Echo | Behavior::Repeat(_) => (0, MAX_LARGE, CHUNK),
        };
        let octets = if let Behavior::Repeat(pattern) = &behavior { Some(Octets::for_all(pattern)) } else { None };
        Self {
            behavior,
            budget: Budget::new(),
            large_left: Rc::new(Cell::new(large)),
            reply: Vec::with_capacity(longest),
            buffer: vec![0; length],
            octets,
        }
    }

    fn take_large(&self) -> Option<Large> {
        let left = self.large_left.get().checked_sub(1)?;
        self.large_left.set(left);
        Some(Large(self.large_left.clone()))
    }
}

impl Connection {
    /// # Errors
    ///
    /// [`Error::Prepare`] if its buffers cannot be limited, [`Error::Memory`] if memory for its request is short.
    pub(super) fn new(socket: OwnedFd, from: Option<SocketAddr>, worker: &Worker, now: Instant) -> Result<Self, Error> {
        let large = worker.take_large();
        if large.is_none() {
            Buffers::SMALL.set(socket.as_fd()).map_err(Error::Prepare)?;
        }
        let state = match &worker.behavior {
            Behavior::Reply(_) => State::Replying(None),
            Behavior::Answer(answer) => State::Asking(Request::new(answer.limit(), from)?),
            Behavior::Echo => State::Echoing(Echoing { look: None, octets: 0 }),
            Behavior::Discard => State::Discarding(0),
            Behavior::Repeat(_) => State::Repeating(Repeating::default()),
        };
        Ok(Self {
            socket,
            state,
            interest: EventFlags::empty(),
            active: now,
            from,
            since: now,
            length: 0,
            _large: large,
        })
    }

    pub(super) fn socket(&self) -> impl AsFd + '_ {
        &self.socket
    }

    /// The log's record of it.
    pub(super) fn ended(&self, now: Instant) -> Ended {
        let octets = match &self.state {
            State::Replying(Some(sending)) => sending.sent(self.length) as u64,
            State::Replying(None) | State::Asking(_) => 0,
            State::Echoing(echoing) => echoing.octets,
            State::Discarding(dropped) => *dropped,
            State::Repeating(repeating) => repeating.sent,
        };
        Ended { from: self.from, lasted: now.duration_since(self.since), octets: Some(octets) }
    }

    /// Does what is possible without waiting.
    pub(super) fn advance(&mut self, worker: &mut Worker) -> Next {
        // A client that leaves is no error: it has received a prefix of its reply.
        self.try_advance(worker).unwrap_or(Next::Over)
    }

    fn try_advance(&mut self, worker: &mut Worker) -> Result<Next, Errno> {
        let Worker { behavior, reply: octets, buffer, .. } = worker;
        match (&mut self.state, behavior) {
            (State::Replying(Some(sending)), _) => sending.advance(&self.socket, buffer),
            (State::Replying(None), Behavior::Reply(reply)) => {
                octets.clear();
                reply.compose(LineEnd::CrLf, octets);
                self.reply(worker)
            }
            (State::Asking(request), Behavior::Answer(answer)) => {
                if let Some(next) = request.advance(&self.socket)? {
                    return Ok(next);
                }
                request.answer(&mut **answer, LineEnd::CrLf, octets);
                self.reply(worker)
            }
            (State::Echoing(echoing), _) => echoing.advance(&self.socket, buffer),
            (State::Discarding(dropped), _) => discard::advance(&self.socket, buffer, dropped),
            (State::Repeating(repeating), _) => match &worker.octets {
                Some(octets) => repeating.advance(&self.socket, octets, buffer),
                None => Ok(Next::Over),
            },
            (State::Replying(None) | State::Asking(_), _) => Ok(Next::Over),
        }
    }

    /// Sends the composed reply.
    fn reply(&mut self, worker: &Worker) -> Result<Next, Errno> {
        let Some((sending, next)) = Sending::start(&self.socket, &worker.reply, &worker.budget)? else {
            return Ok(Next::Failed);
        };
        self.state = State::Replying(Some(sending));
        self.length = worker.reply.len();
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_leaves_its_large_buffers_to_the_next() {
        let worker = Worker::new(Behavior::Echo);
        let mut large: Vec<_> = std::iter::from_fn(|| worker.take_large()).take(MAX_LARGE + 1).collect();
        assert_eq!(large.len(), MAX_LARGE);
        large.pop();
        large.push(worker.take_large().expect("one is left"));
        assert!(worker.take_large().is_none());
    }
}
