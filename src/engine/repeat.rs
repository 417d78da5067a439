//! A pattern over and over, until the client closes.

use std::os::fd::OwnedFd;

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, write};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio::{stdin, stdout};

use super::blocking::{Error, client_left, patiently, reserve};
use super::buffers::CHUNK;
use super::readiness::{NO_ADDRESS, Next, taken};
use crate::numbers::{INPUT, OUTPUT, STREAM};
use crate::policy::Io;
use crate::service::Pattern;

/// A process for one connection.
pub(super) const ONE: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[OUTPUT], "send the pattern"),
    // MSG_TRUNC | MSG_DONTWAIT
    Rule::new(Syscall::RECVFROM, &[INPUT, Pin::is(3, 0x60)], "discard input while sending"),
];

/// A filter.
pub(super) const FILTER: &[Rule] = &[Rule::new(Syscall::WRITE, &[OUTPUT], "print the pattern")];

/// One process for all.
pub(super) const SHARED: &[Rule] =
    // MSG_NOSIGNAL
    &[Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0x4000), NO_ADDRESS], "send the pattern")];

/// How much is written at a time, in octets. A process for one connection composes it first: a quarter of a mebibyte would take
/// twice as long as all the rest of its life (`make bench`, "chargen").
const WRITTEN: usize = 16 * 1024;

/// Whole periods of a pattern, and the length of one.
pub(super) struct Octets {
    octets: Vec<u8>,
    period: usize,
}

impl Octets {
    pub(super) fn new(pattern: &Pattern, length: usize) -> Self {
        let period = pattern.period.len().max(1);
        Self { octets: pattern.period.repeat(length.div_ceil(period) + 1), period }
    }

    /// Enough for all connections of a process.
    pub(super) fn for_all(pattern: &Pattern) -> Self {
        Self::new(pattern, CHUNK)
    }
}

/// One connection, or a filter.
pub(super) struct One {
    octets: Octets,
    dropped: Vec<u8>,
}

impl One {
    pub(super) fn new(pattern: &Pattern) -> Result<Self, Error> {
        Ok(Self { octets: Octets::new(pattern, WRITTEN), dropped: reserve(CHUNK)? })
    }

    pub(super) fn serve(&mut self, io: Io) -> Result<(), Error> {
        let Octets { octets, period } = &self.octets;
        let mut position = 0;
        loop {
            if io == Io::Connection {
                // Drops what the client has sent. If the client is gone, the write fails.
                self.dropped.clear();
                let _ = recv(stdin(), spare_capacity(&mut self.dropped), RecvFlags::TRUNC | RecvFlags::DONTWAIT);
            }
            match patiently(io, stdout(), PollFlags::OUT, || write(stdout(), &octets[position..])) {
                Ok(count) => position = (position + count) % period,
                Err(errno) => return client_left(errno).map_err(Error::Write),
            }
        }
    }
}

/// One of many connections.
#[derive(Default)]
pub(super) struct Repeating {
    position: usize,
    /// Octets sent so far.
    pub(super) sent: u64,
}

impl Repeating {
    pub(super) fn advance(&mut self, socket: &OwnedFd, octets: &Octets, buffer: &mut [u8]) -> Result<Next, Errno> {
        // Drops what the client has sent. If the client is gone, sending fails.
        let _ = recv(socket, buffer, RecvFlags::TRUNC);
        let Some(sent) = taken(send(socket, &octets.octets[self.position..], SendFlags::NOSIGNAL))? else {
            return Ok(Next::Waiting(EventFlags::OUT));
        };
        self.sent += sent as u64;
        self.position = (self.position + sent) % octets.period;
        Ok(Next::Active(EventFlags::OUT))
    }
}
