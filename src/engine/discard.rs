//! Discard: everything is dropped.

use std::os::fd::{BorrowedFd, OwnedFd};

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read};
use rustix::net::{RecvFlags, recv};
use rustix::stdio::stdin;

use super::blocking::{Error, client_left, patiently, reserve};
use super::buffers::Buffers;
use super::readiness::{Next, taken};
use crate::numbers::INPUT;
use crate::policy::Io;
use crate::sys;

/// A process for one connection.
pub(super) const ONE: &[Rule] =
    // MSG_TRUNC: drop in the kernel, copy nothing.
    &[Rule::new(Syscall::RECVFROM, &[INPUT, Pin::is(3, 0x20)], "discard input")];

/// A filter.
pub(super) const FILTER: &[Rule] = &[Rule::new(Syscall::READ, &[INPUT], "discard input")];

/// How much is dropped at a time, in octets. On TCP the memory stays untouched, because the kernel drops without copying.
pub(super) const DROPPED: usize = 4 * WORTH_WAKING;
/// How much must arrive before the program wakes up to drop it, in octets: half the window. Fewer wake-ups also let the client send
/// faster (`make bench`, "discard").
const WORTH_WAKING: usize = Buffers::STREAM.receive as usize / 2;

/// Makes the kernel wake the program less often. Connections inherit this from their listener.
pub(super) fn prepare(socket: BorrowedFd<'_>) {
    sys::set_rcvlowat(socket, WORTH_WAKING);
}

/// One connection, or a filter.
pub(super) struct One {
    buffer: Vec<u8>,
}

impl One {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self { buffer: reserve(DROPPED)? })
    }

    pub(super) fn serve(&mut self, io: Io) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            let count = patiently(io, stdin(), PollFlags::IN, || {
                if io == Io::Filter {
                    read(stdin(), spare_capacity(&mut self.buffer))
                } else {
                    // On TCP, the kernel drops the octets without copying.
                    recv(stdin(), spare_capacity(&mut self.buffer), RecvFlags::TRUNC).map(|(_, count)| count)
                }
            });
            match count {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(errno) => return client_left(errno).map_err(Error::Read),
            }
        }
    }
}

/// One of many connections.
pub(super) fn advance(socket: &OwnedFd, buffer: &mut [u8], dropped: &mut u64) -> Result<Next, Errno> {
    match taken(recv(socket, buffer, RecvFlags::TRUNC))? {
        Some((_, 0)) => Ok(Next::Over),
        Some((_, count)) => {
            *dropped += count as u64;
            Ok(Next::Active(EventFlags::IN))
        }
        None => Ok(Next::Waiting(EventFlags::IN)),
    }
}
