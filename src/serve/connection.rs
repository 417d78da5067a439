//! One of many connections: what it can do next without waiting.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::stream::{CHUNK, DISCARDED, LINGER};
use crate::protocol::chargen;
use crate::service::{LineEnd, Work};

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
    /// The rest of a reply that the network did not take at once.
    Replying(Box<[u8]>),
    /// The reply is out; so many octets were dropped since.
    Lingering(usize),
    /// As many octets as the client likes: the position in chargen's pattern.
    Streaming(usize),
    /// As many octets as the client sends; so many of them are looked at next.
    Echoing(usize),
}

/// What the work of all connections takes: memory that they share.
pub(super) struct Worker {
    pub(super) work: Work,
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
        Self { work, reply: Vec::with_capacity(longest), buffer, pattern }
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
        let Worker { work, reply: octets, buffer, pattern } = worker;
        match (&mut self.state, work) {
            (State::New, Work::Reply(reply)) => {
                octets.clear();
                reply.compose(LineEnd::CrLf, octets);
                self.reply(octets)
            }
            (State::Replying(rest), _) => {
                let rest = std::mem::take(rest);
                self.reply(&rest)
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

    fn reply(&mut self, octets: &[u8]) -> Result<Next, Errno> {
        // MSG_MORE: the last of the reply and the end of the connection travel in one segment.
        let sent = taken(send(&self.socket, octets, SendFlags::NOSIGNAL | SendFlags::MORE))?.unwrap_or(0);
        if sent < octets.len() {
            self.state = State::Replying(octets[sent..].into());
            return Ok(Next::Waiting(EventFlags::OUT));
        }
        // As src/serve/stream.rs does: an end in order, whatever the client has sent.
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

/// `None` if the call would have to wait.
fn taken<T>(outcome: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
