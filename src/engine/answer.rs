//! One bounded request, then an answer, sent as a reply is.
//!
//! The request must be complete by a fixed deadline. Octets that trickle in do not extend it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use rustix::stdio::stdin;

use super::blocking::{Client, Error, KEEP_SIGNALS, ONE_DESCRIPTOR, client_left, patiently, reserve, write_all};
use super::readiness::{Next, taken};
use super::reply;
use crate::numbers::{INPUT, STREAM};
use crate::policy::Io;
use crate::service::{Answer, LineEnd};
use crate::sys;

/// The rules of a process for one connection, besides those of a reply.
pub(super) const ONE: &[Rule] = &[
    Rule::new(
        Syscall::PPOLL,
        &[ONE_DESCRIPTOR, Pin::within(2, 1, u32::MAX), KEEP_SIGNALS],
        "wait for the request until the deadline",
    ),
    // MSG_DONTWAIT
    Rule::new(Syscall::RECVFROM, &[INPUT, Pin::is(3, 0x40)], "read the request"),
    ALLOCATE,
    sys::READ_CLOCK,
];

/// The rules of a filter, besides those of a reply.
pub(super) const FILTER: &[Rule] = &[Rule::new(Syscall::READ, &[INPUT], "read the request"), ALLOCATE, sys::READ_CLOCK];

/// The rules of one process for all, besides those of a reply.
pub(super) const SHARED: &[Rule] = &[Rule::new(Syscall::RECVFROM, &[STREAM, Pin::is(3, 0)], "read a request")];

const ALLOCATE: Rule = Rule::new(Syscall::BRK, &[], "allocate memory for the answer");

/// A request, as far as it has been read.
pub(super) struct Request {
    octets: Vec<u8>,
    limit: usize,
    from: Option<SocketAddr>,
}

/// The length of the longest line end, CR LF, in octets.
const LINE_END: usize = 2;

impl Request {
    /// Reserves memory for at most `limit` octets and a line end.
    pub(super) fn new(limit: usize, from: Option<SocketAddr>) -> Result<Self, Error> {
        Ok(Self { octets: reserve(limit.saturating_add(LINE_END))?, limit, from })
    }

    /// Whether its line end has arrived, or the memory is full without one.
    fn is_over(&self) -> bool {
        self.octets.contains(&b'\n') || self.octets.len() == self.octets.capacity()
    }

    /// Replaces `octets` with the answer, or with nothing if the request is too long.
    pub(super) fn answer(&self, answer: &mut dyn Answer, line_end: LineEnd, octets: &mut Vec<u8>) {
        octets.clear();
        if let Some(line) = line(&self.octets, self.limit) {
            answer.answer(line, self.from, line_end, octets);
        }
    }

    /// Reads more of the request of one of many clients. Returns what to wait for, or `None` once the request has ended.
    pub(super) fn advance(&mut self, socket: &OwnedFd) -> Result<Option<Next>, Errno> {
        while !self.is_over() {
            match taken(recv(socket, spare_capacity(&mut self.octets), RecvFlags::empty()))? {
                Some((_, 0)) => break,
                Some(_) => {}
                // Never active: the deadline counts from accept(2), whatever has arrived.
                None => return Ok(Some(Next::Waiting(EventFlags::IN))),
            }
        }
        Ok(None)
    }
}

/// The part of `request` before its first line end, or all of it without one. `None` if it exceeds `limit` octets.
pub(super) fn line(request: &[u8], limit: usize) -> Option<&[u8]> {
    let line = match request.iter().position(|&octet| octet == b'\n') {
        Some(end) => request[..end].strip_suffix(b"\r").unwrap_or(&request[..end]),
        None => request,
    };
    (line.len() <= limit).then_some(line)
}

/// The answer on one connection, or the output of a filter.
pub(super) struct One {
    request: Request,
    time: Duration,
    deadline: Instant,
    octets: Vec<u8>,
    end: reply::End,
}

impl One {
    /// Reserves the memory. A request must be complete within `time`.
    pub(super) fn new(answer: &dyn Answer, io: Io, time: Duration) -> Result<Self, Error> {
        // The answer is composed after the lock-down, where brk(2) is the only way to allocate.
        sys::allocate_by_brk();
        Ok(Self {
            request: Request::new(answer.limit(), None)?,
            time,
            deadline: Instant::now(),
            octets: reserve(answer.longest())?,
            end: reply::End::new(io)?,
        })
    }

    /// Starts the client's deadline.
    pub(super) fn meet(&mut self, client: &Client) {
        self.request.from = client.from;
        self.deadline = Instant::now() + self.time;
        self.end.is_local = client.is_local;
    }

    pub(super) fn serve(&mut self, answer: &mut dyn Answer, io: Io, line_end: LineEnd) -> Result<(), Error> {
        while !self.request.is_over() {
            match self.read(io) {
                Ok(0) => break,
                Ok(_) => {}
                Err(errno) => return client_left(errno).map_err(Error::Read),
            }
        }
        self.request.answer(answer, line_end, &mut self.octets);
        if write_all(&self.octets, io)? && io == Io::Connection {
            self.end.close_in_order();
        }
        Ok(())
    }

    /// Reads what has arrived of the request, or waits for more until the deadline.
    fn read(&mut self, io: Io) -> Result<usize, Errno> {
        let octets = &mut self.request.octets;
        if io == Io::Filter {
            return patiently(io, stdin(), PollFlags::IN, || read(stdin(), spare_capacity(octets)));
        }
        loop {
            match retry_on_intr(|| recv(stdin(), spare_capacity(octets), RecvFlags::DONTWAIT)) {
                Err(Errno::AGAIN) => {}
                outcome => return outcome.map(|(_, count)| count),
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::TIMEDOUT);
            }
            let left = Timespec::try_from(left).map_err(|_| Errno::TIMEDOUT)?;
            match poll(&mut [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_first_line_without_its_end() {
        for (request, limit, expected) in [
            (&b"alice\r\n"[..], 5, Some(&b"alice"[..])),
            (b"alice\nbob\n", 5, Some(b"alice")),
            (b"alice", 5, Some(b"alice")),
            (b"alices\r\n", 5, None),
            (b"alices", 5, None),
            (b"\r\n", 0, Some(b"")),
            (b"", 0, Some(b"")),
            (b"a\rb\r\r\n", 5, Some(b"a\rb\r")),
        ] {
            assert_eq!(line(request, limit), expected, "{request:?}");
        }
    }
}
