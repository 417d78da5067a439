//! A reply, and the orderly close of its connection.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use hunker::{Pin, Rule, Syscall};
use rustix::event::epoll::EventFlags;
use rustix::event::{Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::stdio::{stdin, stdout};

use super::blocking::{Error, KEEP_SIGNALS, reserve, write_all};
use super::buffers::{CHUNK, MAX_KEPT};
use super::readiness::{NO_ADDRESS, Next, taken};
use crate::numbers::{INPUT, OUTPUT, STREAM};
use crate::policy::Io;
use crate::service::{LineEnd, Reply};

/// How much input is dropped after a reply, in octets, before the connection is closed despite unread input. This is more than the
/// kernel's buffers hold by default. On TCP the memory stays untouched, because the kernel drops without copying.
const LINGER: usize = 16 * 1024 * 1024;

/// A process for one connection.
pub(super) const ONE: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[OUTPUT], "send the reply"),
    Rule::new(Syscall::SHUTDOWN, &[OUTPUT, SHUT_WR], "mark the end of the reply"),
    Rule::new(
        Syscall::RECVFROM,
        // MSG_TRUNC | MSG_WAITALL: drop in the kernel until the input ends, the time is up or the given length is reached.
        &[INPUT, Pin::is(3, 0x120)],
        "discard input, so that closing does not reset the connection",
    ),
];

/// A filter.
pub(super) const PRINT: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[OUTPUT], "print the reply"),
    Rule::new(
        Syscall::PPOLL,
        &[NO_DESCRIPTORS, Pin::within(2, 1, u32::MAX), KEEP_SIGNALS],
        "wait for a person to read it (-w)",
    ),
];

/// One process for all.
pub(super) const SHARED: &[Rule] = &[
    // MSG_NOSIGNAL | MSG_MORE
    Rule::new(Syscall::SENDTO, &[STREAM, Pin::is(3, 0xc000), NO_ADDRESS], "send the reply"),
    Rule::new(Syscall::SHUTDOWN, &[STREAM, SHUT_WR], "mark the end of the reply"),
];

const SHUT_WR: Pin = Pin::is(1, 1);
/// ppoll(2) without descriptors waits only for the time.
const NO_DESCRIPTORS: Pin = Pin::is(1, 0);

/// The reply on one connection, or the output of a filter.
pub(super) struct One {
    octets: Vec<u8>,
    pause: Duration,
    end: End,
}

impl One {
    pub(super) fn new(io: Io) -> Result<Self, Error> {
        Ok(Self { octets: Vec::new(), pause: Duration::ZERO, end: End::new(io)? })
    }

    /// Turns the reply into octets.
    pub(super) fn compose(&mut self, reply: &mut dyn Reply, line_end: LineEnd, is_local: bool) {
        self.octets.clear();
        reply.compose(line_end, &mut self.octets);
        self.pause = reply.pause(&self.octets);
        self.end.is_local = is_local;
    }

    pub(super) fn length(&self) -> usize {
        self.octets.len()
    }

    pub(super) fn serve(&mut self, io: Io) -> Result<(), Error> {
        if !write_all(&self.octets, io)? {
            return Ok(());
        }
        if io == Io::Connection {
            self.end.close_in_order();
        } else if !self.pause.is_zero() {
            let _ = Timespec::try_from(self.pause).map(|pause| poll(&mut [], Some(&pause)));
        }
        Ok(())
    }
}

/// The end of a connection, and memory for the input that is dropped until then.
pub(super) struct End {
    dropped: Vec<u8>,
    /// Whether it is a Unix-domain socket. Only TCP drops without copying: elsewhere the full length would take that much memory.
    pub(super) is_local: bool,
}

impl End {
    pub(super) fn new(io: Io) -> Result<Self, Error> {
        Ok(Self { dropped: reserve(if io == Io::Filter { 0 } else { LINGER })?, is_local: false })
    }

    /// Shuts down the sending side, and drops input until the client closes too. Closing with unread input would reset the
    /// connection, and the reply may be lost with it. One call drops it all, so that the time limit covers all of it however slowly
    /// the octets arrive (`SO_RCVTIMEO` in socket(7)).
    pub(super) fn close_in_order(&mut self) {
        if shutdown(stdout(), Shutdown::Write).is_ok() {
            let length = if self.is_local { CHUNK } else { self.dropped.capacity() };
            let _ = retry_on_intr(|| {
                let room = &mut self.dropped.spare_capacity_mut()[..length];
                recv(stdin(), room, RecvFlags::TRUNC | RecvFlags::WAITALL).map(drop)
            });
        }
    }
}

/// The memory left for unsent replies to all clients of a process.
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(MAX_KEPT)))
    }
}

/// A reply in progress to one of many clients.
pub(super) enum Sending {
    /// The network did not take all of it at once. The rest is kept.
    Rest(Kept),
    /// All of it is sent. The field counts the octets dropped since.
    Lingering(usize),
}

/// A long reply that is kept for a slow client. Its memory returns to the budget when it is dropped.
pub(super) struct Kept {
    octets: Box<[u8]>,
    sent: usize,
    budget: Rc<Cell<usize>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + self.octets.len());
    }
}

impl Sending {
    /// Sends what the network takes at once, and keeps the rest. Returns `None` if the budget cannot hold the reply. Then nothing
    /// is sent, rather than a part.
    pub(super) fn start(socket: &OwnedFd, octets: &[u8], budget: &Budget) -> Result<Option<(Self, Next)>, Errno> {
        let left = budget.0.get();
        if octets.len() > left {
            return Ok(None);
        }
        let sent = send_some(socket, octets)?;
        if sent == octets.len() {
            return Self::complete(socket).map(Some);
        }
        budget.0.set(left - octets.len());
        let kept = Kept { octets: octets.into(), sent, budget: budget.0.clone() };
        Ok(Some((Self::Rest(kept), Next::Waiting(EventFlags::OUT))))
    }

    /// How many octets of a reply of this length were sent.
    pub(super) fn sent(&self, length: usize) -> usize {
        if let Self::Rest(kept) = self { kept.sent } else { length }
    }

    /// Shuts down the sending side and waits for the client to close, as [`End::close_in_order`] does.
    fn complete(socket: &OwnedFd) -> Result<(Self, Next), Errno> {
        shutdown(socket, Shutdown::Write)?;
        Ok((Self::Lingering(0), Next::Closing))
    }

    /// Sends more of the reply, or drops more of the input.
    pub(super) fn advance(&mut self, socket: &OwnedFd, buffer: &mut [u8]) -> Result<Next, Errno> {
        match self {
            Self::Rest(kept) => {
                let more = send_some(socket, &kept.octets[kept.sent..])?;
                kept.sent += more;
                if kept.sent == kept.octets.len() {
                    let (complete, next) = Self::complete(socket)?;
                    *self = complete;
                    return Ok(next);
                }
                // A client that takes some of it is not idle, however slow it is.
                Ok(if more > 0 { Next::Active(EventFlags::OUT) } else { Next::Waiting(EventFlags::OUT) })
            }
            Self::Lingering(dropped) => match taken(recv(socket, buffer, RecvFlags::TRUNC))? {
                Some((_, 0)) => Ok(Next::Over),
                Some((_, count)) => {
                    *dropped += count;
                    Ok(if *dropped < LINGER { Next::Waiting(EventFlags::IN) } else { Next::Over })
                }
                None => Ok(Next::Waiting(EventFlags::IN)),
            },
        }
    }
}

/// Sends what the network takes. Returns the number of octets.
fn send_some(socket: &OwnedFd, octets: &[u8]) -> Result<usize, Errno> {
    if octets.is_empty() {
        return Ok(0);
    }
    // MSG_MORE: the end of the reply and that of the connection travel in one segment.
    Ok(taken(send(socket, octets, SendFlags::NOSIGNAL | SendFlags::MORE))?.unwrap_or(0))
}
