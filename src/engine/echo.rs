//! Echo: everything is sent back.

use std::os::fd::OwnedFd;

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio::stdin;

use super::blocking::{Error, client_left, patiently, reserve, write_all};
use super::buffers::CHUNK;
use super::readiness::{NO_ADDRESS, Next, taken};
use crate::numbers::{INPUT, OUTPUT, STREAM};
use crate::policy::Io;

/// A process for one connection, or a filter.
pub(super) const ONE: &[Rule] =
    &[Rule::new(Syscall::READ, &[INPUT], "read input"), Rule::new(Syscall::WRITE, &[OUTPUT], "echo input")];

/// One process for all.
pub(super) const SHARED: &[Rule] = &[
    Rule::new(
        Syscall::RECVFROM,
        // MSG_PEEK
        &[STREAM, Pin::is(3, 0x2)],
        "peek at input: what cannot be echoed yet stays in the kernel",
    ),
    // MSG_NOSIGNAL
    Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0x4000), NO_ADDRESS], "echo input"),
];

/// How much of a client's input the first peek covers, in octets.
const LOOK: usize = 16 * 1024;

/// One connection, or a filter.
pub(super) struct One {
    buffer: Vec<u8>,
}

impl One {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { buffer: reserve(CHUNK)? })
    }

    pub(super) fn serve(&mut self, io: Io) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            match patiently(io, stdin(), PollFlags::IN, || read(stdin(), spare_capacity(&mut self.buffer))) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(errno) => return client_left(errno).map_err(Error::Read),
            }
            if !write_all(&self.buffer, io)? {
                return Ok(());
            }
        }
    }
}

/// One of many connections.
pub(super) struct Echoing {
    /// The size of the next peek in octets, once there was one.
    pub(super) look: Option<usize>,
    /// Octets sent back so far.
    pub(super) octets: u64,
}

impl Echoing {
    /// Peeks at the input, sends as much of it as the client takes, and only then removes that much. The rest stays in the kernel:
    /// a client that does not read costs no memory here, and TCP slows it down.
    ///
    /// Octets that were peeked at but not sent are copied again the next time. So a peek covers at most twice what the client took
    /// last, which raises the throughput by half (`make bench`, "echo, one for all").
    pub(super) fn advance(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> Result<Next, Errno> {
        let look = self.look.unwrap_or(LOOK);
        let Some((_, seen)) = taken(recv(socket, &mut buffer[..look], RecvFlags::PEEK))? else {
            if self.look.is_some() {
                // epoll(7) reported input, but it is an out-of-band octet on a Unix-domain socket (unix(7)), which a peek always
                // skips. Reading no octets removes it, and nothing else.
                let _ = recv(socket, &mut buffer[..0], RecvFlags::TRUNC);
            }
            self.look = Some(look);
            return Ok(Next::Waiting(EventFlags::IN));
        };
        if seen == 0 {
            // A real read: unread urgent octets before the end would turn the close into a reset.
            let _ = recv(socket, &mut *buffer, RecvFlags::TRUNC);
            return Ok(Next::Over);
        }
        let Some(sent) = taken(send(socket, &buffer[..seen], SendFlags::NOSIGNAL))? else {
            return Ok(Next::Waiting(EventFlags::OUT));
        };
        self.octets += sent as u64;
        self.look = Some((2 * sent).clamp(LOOK, CHUNK));
        // Exactly what was sent: any left over would be sent twice.
        let mut rest = sent;
        while rest > 0 {
            match retry_on_intr(|| recv(socket, &mut buffer[..rest], RecvFlags::TRUNC))? {
                (_, 0) => return Ok(Next::Over),
                (_, count) => rest -= count.min(rest),
            }
        }
        Ok(Next::Active(if sent == seen { EventFlags::IN } else { EventFlags::OUT }))
    }
}
