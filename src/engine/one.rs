//! One connection, or one filter run: input on descriptor 0, output on descriptor 1.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use hunker::{Pin, Rule, Syscall};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read, retry_on_intr, write};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_domain};
use rustix::net::{AddressFamily, RecvFlags, Shutdown, recv, shutdown};
use rustix::stdio::{stdin, stdout};

use super::buffers::Buffers;
use crate::numbers::{INPUT, OUTPUT};
use crate::policy::Peer;
use crate::protocol::chargen;
use crate::service::{LineEnd, Work};
use crate::sys;

/// How much of a stream is handled at a time, in octets.
pub(super) const CHUNK: usize = 256 * 1024;
/// How much is discarded at a time, in octets. Memory is only promised: a TCP socket drops without copying.
pub(super) const DISCARDED: usize = 4 * WORTH_WAKING;
/// How much has to be there before it is worth waking up to discard it, in octets: half the window. Each time costs the client
/// as well, who sends faster for it (`make bench`, "discard").
pub(super) const WORTH_WAKING: usize = Buffers::STREAM.receive as usize / 2;
/// How many characters are written at a time. A process for one connection makes them first: a quarter of a mebibyte of them
/// takes twice as long as all the rest of its life (`make bench`, "chargen").
const CHARACTERS: usize = 16 * 1024;
/// How much of what a client sent is dropped after a reply, in octets, before the connection is closed over the rest.
/// More than the kernel's buffers hold by default. Memory is only promised: a TCP socket drops without copying.
pub(super) const LINGER: usize = 16 * 1024 * 1024;

/// Why a reply could not be delivered, where that is not the client's doing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The limits could not be set on the socket.
    #[error("cannot prepare the connection: {0}; its time and its buffers would have no limit")]
    Prepare(io::Error),
    /// There is not enough memory.
    #[error(
        "cannot reserve {0} octets of memory; raise the limits that the program was started with (RLIMIT_AS, MemoryMax=)"
    )]
    Memory(usize),
    /// Reading failed.
    #[error("cannot read the input: {0}; check what descriptor 0 is")]
    Read(io::Error),
    /// Writing failed.
    #[error("cannot write the reply: {0}; check what descriptor 1 is")]
    Write(io::Error),
}

/// Work with everything that it takes, ready to go on without the outside world.
pub struct Prepared {
    peer: Peer,
    task: Task,
}

enum Task {
    Reply { octets: Vec<u8>, dropped: Vec<u8>, pause: Duration },
    Echo { buffer: Vec<u8> },
    Discard { buffer: Vec<u8> },
    Characters { pattern: Vec<u8>, period: usize, dropped: Vec<u8> },
}

impl Prepared {
    /// Turns the reply into octets, reserves the memory, and sets limits on a connection: no call on it waits longer than `idle`
    /// for the client, and the kernel buffers no more than [`Buffers`] says.
    ///
    /// # Errors
    ///
    /// [`Error::Prepare`] if the socket does not take the limit.
    pub fn new(work: Work, peer: Peer, idle: Duration) -> Result<Self, Error> {
        if peer == Peer::Connection {
            let limits = ioctl_fionbio(stdin(), false)
                .and_then(|()| set_socket_timeout(stdin(), Timeout::Recv, Some(idle)))
                .and_then(|()| set_socket_timeout(stdin(), Timeout::Send, Some(idle)));
            limits.map_err(io::Error::from).and_then(|()| Buffers::of(&work).set(stdin())).map_err(Error::Prepare)?;
        }
        let line_end = if peer == Peer::Filter { LineEnd::Lf } else { LineEnd::CrLf };
        let task = match work {
            Work::Reply(mut reply) => {
                let mut octets = Vec::new();
                reply.compose(line_end, &mut octets);
                let pause = reply.pause(&octets);
                Task::Reply { octets, dropped: reserve(linger(peer))?, pause }
            }
            Work::Echo => Task::Echo { buffer: reserve(CHUNK)? },
            Work::Discard => {
                if peer == Peer::Connection {
                    sys::wake_up_for(stdin(), WORTH_WAKING);
                }
                Task::Discard { buffer: reserve(DISCARDED)? }
            }
            Work::Characters => Task::Characters {
                pattern: chargen::pattern(line_end, CHARACTERS),
                period: chargen::period(line_end),
                dropped: reserve(CHUNK)?,
            },
        };
        Ok(Self { peer, task })
    }

    /// Does the work, with the system calls of its policy and no others: not even memory is allocated or freed.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`]. A client that goes away or falls silent is no error.
    pub fn serve(&mut self) -> Result<(), Error> {
        match &mut self.task {
            Task::Reply { octets, dropped, pause } => reply(octets, dropped, *pause, self.peer),
            Task::Echo { buffer } => echo(buffer, self.peer),
            Task::Discard { buffer } => discard(buffer, self.peer),
            Task::Characters { pattern, period, dropped } => characters(pattern, *period, dropped, self.peer),
        }
    }
}

/// Memory that is promised and not touched yet.
fn reserve(octets: usize) -> Result<Vec<u8>, Error> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(octets).map_err(|_| Error::Memory(octets))?;
    Ok(memory)
}

/// How much to drop after a reply. Only TCP drops without copying; elsewhere it would really take that much memory.
fn linger(peer: Peer) -> usize {
    match peer {
        Peer::Filter => 0,
        _ if socket_domain(stdin()).is_ok_and(|domain| domain == AddressFamily::UNIX) => CHUNK,
        _ => LINGER,
    }
}

/// A reply to a connection.
pub(super) const REPLY: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[OUTPUT], "send the reply"),
    Rule::new(Syscall::SHUTDOWN, &[OUTPUT, SHUT_WR], "say that the reply is complete"),
    Rule::new(
        Syscall::RECVFROM,
        // Drop in the kernel, and go on until the end, the time limit or the length given: MSG_TRUNC | MSG_WAITALL.
        &[INPUT, Pin::is(3, 0x120)],
        "drop what the client sent: closing over it would reset the reply",
    ),
];

/// A reply that a filter prints.
pub(crate) const PRINT: &[Rule] = &[Rule::new(Syscall::WRITE, &[OUTPUT], "print the reply")];

/// Time to read it.
pub(crate) const PAUSE: &[Rule] = &[Rule::new(
    Syscall::PPOLL,
    &[NO_DESCRIPTORS, Pin::within(2, 1, u32::MAX), KEEP_SIGNALS],
    "let a person read it (-w)",
)];

const SHUT_WR: Pin = Pin::is(1, 1);
// Of ppoll(2), which takes descriptors in memory, how many. It tells whether they are ready, and does nothing with them.
const NO_DESCRIPTORS: Pin = Pin::is(1, 0);
const ONE_DESCRIPTOR: Pin = Pin::is(1, 1);
/// No time limit.
const FOR_EVER: Pin = Pin::is(2, 0);
/// No other signals are blocked meanwhile.
const KEEP_SIGNALS: Pin = Pin::is(3, 0);

fn reply(octets: &[u8], dropped: &mut Vec<u8>, pause: Duration, peer: Peer) -> Result<(), Error> {
    if !write_all(octets, peer)? {
        return Ok(());
    }
    if peer == Peer::Filter {
        if !pause.is_zero() {
            let _ = Timespec::try_from(pause).map(|pause| poll(&mut [], Some(&pause)));
        }
        return Ok(());
    }
    // Closing a socket over unread input resets the connection, and the reply may be lost with it. So: say that this was
    // all, and drop what the client sent until it closes too. One call, so that the time limit holds for the whole of it
    // however slowly the octets come (SO_RCVTIMEO in socket(7)).
    if shutdown(stdout(), Shutdown::Write).is_ok() {
        let _ = retry_on_intr(|| recv(stdin(), spare_capacity(dropped), RecvFlags::TRUNC | RecvFlags::WAITALL));
    }
    Ok(())
}

pub(super) const ECHO: &[Rule] =
    &[Rule::new(Syscall::READ, &[INPUT], "take what arrives"), Rule::new(Syscall::WRITE, &[OUTPUT], "send it back")];

fn echo(buffer: &mut Vec<u8>, peer: Peer) -> Result<(), Error> {
    loop {
        buffer.clear();
        match patiently(peer, stdin(), PollFlags::IN, || read(stdin(), spare_capacity(buffer))) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return client_left(errno).map_err(Error::Read),
        }
        if !write_all(buffer, peer)? {
            return Ok(());
        }
    }
}

pub(super) const DISCARD: &[Rule] =
    // MSG_TRUNC: drop in the kernel, copy nothing.
    &[Rule::new(Syscall::RECVFROM, &[INPUT, Pin::is(3, 0x20)], "drop what arrives")];

/// The same from what is no socket.
pub(super) const SWALLOW: &[Rule] = &[Rule::new(Syscall::READ, &[INPUT], "drop what arrives")];

fn discard(buffer: &mut Vec<u8>, peer: Peer) -> Result<(), Error> {
    loop {
        buffer.clear();
        let count = patiently(peer, stdin(), PollFlags::IN, || {
            if peer == Peer::Filter {
                read(stdin(), spare_capacity(buffer))
            } else {
                // The kernel drops the octets of a TCP socket where they are.
                recv(stdin(), spare_capacity(buffer), RecvFlags::TRUNC).map(|(_, count)| count)
            }
        });
        match count {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return client_left(errno).map_err(Error::Read),
        }
    }
}

pub(super) const SEND_CHARACTERS: &[Rule] = &[Rule::new(Syscall::WRITE, &[OUTPUT], "send the characters")];

pub(super) const DISCARD_MEANWHILE: &[Rule] =
    // MSG_TRUNC | MSG_DONTWAIT
    &[Rule::new(Syscall::RECVFROM, &[INPUT, Pin::is(3, 0x60)], "drop what arrives meanwhile")];

fn characters(pattern: &[u8], period: usize, dropped: &mut Vec<u8>, peer: Peer) -> Result<(), Error> {
    let mut position = 0;
    loop {
        if peer == Peer::Connection {
            // Whatever the client sends meanwhile; if it is gone, writing will tell.
            dropped.clear();
            let _ = recv(stdin(), spare_capacity(dropped), RecvFlags::TRUNC | RecvFlags::DONTWAIT);
        }
        match patiently(peer, stdout(), PollFlags::OUT, || write(stdout(), &pattern[position..])) {
            Ok(count) => position = (position + count) % period,
            Err(errno) => return client_left(errno).map_err(Error::Write),
        }
    }
}

/// Writes all of `octets`, or tells by `false` that the client takes no more of them.
fn write_all(mut octets: &[u8], peer: Peer) -> Result<bool, Error> {
    while !octets.is_empty() {
        match patiently(peer, stdout(), PollFlags::OUT, || write(stdout(), octets)) {
            Ok(count) => octets = &octets[count..],
            Err(errno) => return client_left(errno).map(|()| false).map_err(Error::Write),
        }
    }
    Ok(true)
}

/// A filter's descriptor that does not block.
pub(crate) const WAIT: &[Rule] = &[Rule::new(
    Syscall::PPOLL,
    &[ONE_DESCRIPTOR, FOR_EVER, KEEP_SIGNALS],
    "wait for a descriptor that somebody has made non-blocking",
)];

/// Makes a call again that was interrupted, and in a filter also one that would have had to wait, once it need not.
///
/// Whether a filter's descriptors block is up to whoever shares them: the flag belongs to the open file, not to the process.
/// A connection's block, so there the same answer is the end of the client's time.
fn patiently<T>(
    peer: Peer,
    descriptor: BorrowedFd<'static>,
    event: PollFlags,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match retry_on_intr(&mut call) {
            Err(Errno::AGAIN) if peer == Peer::Filter => {
                retry_on_intr(|| poll(&mut [PollFd::from_borrowed_fd(descriptor, event)], None))?;
            }
            outcome => return outcome,
        }
    }
}

/// A client that went away, or let the time limit pass, is no error: what it has is a prefix of what it would have got.
fn client_left(errno: Errno) -> io::Result<()> {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::TIMEDOUT | Errno::AGAIN => Ok(()),
        other => Err(other.into()),
    }
}
