//! One of many connections: what it can do next without waiting.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use hunker::{Pin, Rule, Syscall};
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::buffers::MAX_KEPT;
use super::one::{CHUNK, DISCARDED, LINGER};
use crate::numbers::STREAM;
use crate::protocol::chargen;
use crate::service::{LineEnd, Work};

/// What every connection takes.
pub(super) const DROP: &[Rule] = &[Rule::new(
    Syscall::RECVFROM,
    // MSG_TRUNC: drop in the kernel, copy nothing.
    &[STREAM, Pin::is(3, 0x20)],
    "drop what was sent, or what has been sent back",
)];

pub(super) const REPLY: &[Rule] = &[
    // MSG_NOSIGNAL | MSG_MORE
    Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0xc000), NO_ADDRESS], "send the reply"),
    Rule::new(Syscall::SHUTDOWN, &[STREAM, Pin::is(1, 1)], "say that the reply is complete"),
];

pub(super) const ECHO: &[Rule] = &[Rule::new(
    Syscall::RECVFROM,
    // MSG_PEEK
    &[STREAM, Pin::is(3, 0x2)],
    "look at what arrives: what cannot be sent back yet stays in the kernel",
)];

pub(super) const SEND: &[Rule] =
    // MSG_NOSIGNAL
    &[Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0x4000), NO_ADDRESS], "send it back; send the characters")];

/// The length of the address to send to: none, so that it goes where the socket is connected.
const NO_ADDRESS: Pin = Pin::is(5, 0);

/// How much of what a client sends is looked at to begin with, in octets.
const LOOK: usize = 16 * 1024;

/// A connection, and how far it is.
pub(super) struct Connection {
    socket: OwnedFd,
    state: State,
    /// What the event loop waits for.
    pub(super) interest: EventFlags,
}

enum State {
    /// Nothing was done yet.
    New,
    /// A reply that the network did not take at once.
    Replying(Kept),
    /// The reply is out; so many octets were dropped since.
    Lingering(usize),
    /// As many octets as the client likes: the position in chargen's pattern.
    Streaming(usize),
    /// As many octets as the client sends; so many of them are looked at next.
    Echoing(usize),
}

/// A long reply that is kept for a client that takes its time. In the end it gives its octets back to the budget for all of
/// these.
struct Kept {
    octets: Box<[u8]>,
    sent: usize,
    budget: Rc<Cell<usize>>,
}

impl Kept {
    fn new(octets: &[u8], sent: usize, budget: &Rc<Cell<usize>>) -> Self {
        budget.set(budget.get().saturating_sub(octets.len()));
        Self { octets: octets.into(), sent, budget: budget.clone() }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + self.octets.len());
    }
}

/// What the work of all connections takes: memory that they share.
pub(super) struct Worker {
    pub(super) work: Work,
    /// How many octets of long replies may still be kept.
    budget: Rc<Cell<usize>>,
    reply: Vec<u8>,
    buffer: Vec<u8>,
    pattern: Vec<u8>,
}

/// What a connection waits for now.
pub(super) enum Next {
    /// For the client, to send or to read; it has done something since the last time.
    Active(EventFlags),
    /// For the client, and its time runs.
    Waiting(EventFlags),
    /// For the client to close, which it does at once if it is like most: worth a look a little later, before the event loop
    /// is troubled with it.
    Closing,
    /// For nothing: it is over.
    Over,
}

impl Worker {
    pub(super) fn new(work: Work) -> Self {
        let pattern = match work {
            Work::Characters => chargen::pattern(LineEnd::CrLf, CHUNK),
            _ => Vec::new(),
        };
        let longest = if let Work::Reply(reply) = &work { reply.longest() } else { 0 };
        let buffer = vec![0; if matches!(work, Work::Discard) { DISCARDED } else { CHUNK }];
        Self { work, budget: Rc::new(Cell::new(MAX_KEPT)), reply: Vec::with_capacity(longest), buffer, pattern }
    }
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, state: State::New, interest: EventFlags::empty() }
    }

    pub(super) fn socket(&self) -> impl AsFd + '_ {
        &self.socket
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, worker: &mut Worker) -> Next {
        // A client that went away is no error: what it has is a prefix of what it would have got.
        self.try_advance(worker).unwrap_or(Next::Over)
    }

    fn try_advance(&mut self, worker: &mut Worker) -> Result<Next, Errno> {
        let Worker { work, budget, reply: octets, buffer, pattern } = worker;
        match (&mut self.state, work) {
            (State::New, Work::Reply(reply)) => {
                octets.clear();
                reply.compose(LineEnd::CrLf, octets);
                // Nothing rather than a part: what the network does not take at once has to be kept.
                if octets.len() > budget.get() {
                    return Ok(Next::Over);
                }
                let sent = send_reply(&self.socket, octets)?;
                if sent == octets.len() {
                    return self.end_in_order();
                }
                self.state = State::Replying(Kept::new(octets, sent, budget));
                Ok(Next::Waiting(EventFlags::OUT))
            }
            (State::Replying(kept), _) => {
                let more = send_reply(&self.socket, &kept.octets[kept.sent..])?;
                kept.sent += more;
                if kept.sent == kept.octets.len() {
                    return self.end_in_order();
                }
                // A client that takes some of it is not idle, however slow it is.
                Ok(if more > 0 { Next::Active(EventFlags::OUT) } else { Next::Waiting(EventFlags::OUT) })
            }
            (State::Lingering(dropped), _) => match taken(recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC))? {
                Some((_, 0)) => Ok(Next::Over),
                Some((_, count)) => {
                    *dropped += count;
                    Ok(if *dropped < LINGER { Next::Waiting(EventFlags::IN) } else { Next::Over })
                }
                None => Ok(Next::Waiting(EventFlags::IN)),
            },
            (_, Work::Echo) => self.echo(buffer),
            (_, Work::Discard) => match taken(recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC))? {
                Some((_, 0)) => Ok(Next::Over),
                Some(_) => Ok(Next::Active(EventFlags::IN)),
                None => Ok(Next::Waiting(EventFlags::IN)),
            },
            (_, Work::Characters) => self.characters(buffer, pattern),
            (State::Streaming(_) | State::Echoing(_), Work::Reply(_)) => Ok(Next::Over),
        }
    }

    /// Says that the reply is complete, and waits for the client to close, as src/engine/one.rs does.
    fn end_in_order(&mut self) -> Result<Next, Errno> {
        shutdown(&self.socket, Shutdown::Write)?;
        self.state = State::Lingering(0);
        Ok(Next::Closing)
    }

    /// Looks at what has come, sends as much of it as the client takes, and only then removes that much. What is not sent
    /// yet stays in the kernel, so that a client that does not read costs no memory here and is slowed down by TCP.
    ///
    /// What was looked at in vain is copied again the next time: no more than twice of what the client took last is looked
    /// at. That is half as much again as octets a second (`make bench`, "echo, one for all").
    fn echo(&mut self, buffer: &mut [u8]) -> Result<Next, Errno> {
        let look = if let State::Echoing(look) = self.state { look } else { LOOK };
        let Some((_, seen)) = taken(recv(&self.socket, &mut buffer[..look], RecvFlags::PEEK))? else {
            if let State::Echoing(_) = self.state {
                // epoll(7) said that there is something: an out-of-band octet on a Unix-domain socket (unix(7)), which looking passes
                // over for ever. Reading no octets takes it out of the way, and nothing else.
                let _ = recv(&self.socket, &mut buffer[..0], RecvFlags::TRUNC);
            }
            self.state = State::Echoing(look);
            return Ok(Next::Waiting(EventFlags::IN));
        };
        if seen == 0 {
            // Not only looked at: urgent octets before the end that nobody took would turn the close into a reset.
            let _ = recv(&self.socket, &mut *buffer, RecvFlags::TRUNC);
            return Ok(Next::Over);
        }
        let Some(sent) = taken(send(&self.socket, &buffer[..seen], SendFlags::NOSIGNAL))? else {
            return Ok(Next::Waiting(EventFlags::OUT));
        };
        self.state = State::Echoing((2 * sent).clamp(LOOK, CHUNK));
        // Exactly that much: what stayed would be sent twice.
        let mut rest = sent;
        while rest > 0 {
            match retry_on_intr(|| recv(&self.socket, &mut buffer[..rest], RecvFlags::TRUNC))? {
                (_, 0) => return Ok(Next::Over),
                (_, count) => rest -= count.min(rest),
            }
        }
        Ok(Next::Active(if sent == seen { EventFlags::IN } else { EventFlags::OUT }))
    }

    fn characters(&mut self, buffer: &mut [u8], pattern: &[u8]) -> Result<Next, Errno> {
        // Whatever the client sends meanwhile; if it is gone, sending will tell.
        let _ = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC);
        let position = if let State::Streaming(position) = self.state { position } else { 0 };
        let Some(sent) = taken(send(&self.socket, &pattern[position..], SendFlags::NOSIGNAL))? else {
            return Ok(Next::Waiting(EventFlags::OUT));
        };
        self.state = State::Streaming((position + sent) % chargen::period(LineEnd::CrLf));
        Ok(Next::Active(EventFlags::OUT))
    }
}

/// Sends what the network takes of a reply, and returns how much that is.
fn send_reply(socket: &OwnedFd, octets: &[u8]) -> Result<usize, Errno> {
    // MSG_MORE: the last of the reply and the end of the connection travel in one segment.
    Ok(taken(send(socket, octets, SendFlags::NOSIGNAL | SendFlags::MORE))?.unwrap_or(0))
}

/// `None` if the call would have to wait.
fn taken<T>(outcome: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
