//! The numbers of a daemon's descriptors. Its policy distinguishes kinds of descriptors by number, so each kind has its own: 0 the
//! signals, 1 the service manager, 2 the log, 3 the event loop, then datagram sockets (in lunchd, what the runtime needs), then
//! everything else.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::DaemonError as Error;
use super::sockets::{Kind, Socket};
use crate::numbers::{EVENTS, FIRST_DATAGRAMS, FIRST_FREE, LAST_DATAGRAMS};

/// Maximum number of datagram sockets that one process serves.
pub(super) const MAX_DATAGRAM_SOCKETS: usize = (LAST_DATAGRAMS - FIRST_DATAGRAMS + 1) as usize;
/// Descriptors besides sockets, connections and files: those with fixed numbers, one to accept with, and some spare.
const OTHER_DESCRIPTORS: u64 = FIRST_FREE as u64 + 8;

/// Sockets with the numbers of their kinds, and an event loop for them.
pub struct Arranged {
    /// The event loop.
    pub(super) events: OwnedFd,
    pub(super) sockets: Vec<Socket>,
    /// Placeholders for unused datagram numbers. Nothing else gets these numbers while the process lives.
    pub(super) kept: Vec<OwnedFd>,
}

impl Arranged {
    /// Gives each socket a number of its kind, and occupies the remaining numbers with placeholders. Call this before anything else
    /// is opened.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyDatagramSockets`], or the system's error.
    pub fn new(mut sockets: Vec<Socket>) -> Result<Self, Error> {
        let datagrams = sockets.iter().filter(|socket| socket.kind == Kind::Datagrams).count();
        if datagrams > MAX_DATAGRAM_SOCKETS {
            return Err(Error::TooManyDatagramSockets { asked: datagrams, max: MAX_DATAGRAM_SOCKETS });
        }
        for socket in &mut sockets {
            socket.descriptor = above(&socket.descriptor)?;
        }
        let mut kept = keep_numbers()?.into_iter();
        let first = kept.next().filter(|first| first.as_raw_fd() == EVENTS);
        let mut events = first.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
        dup3(epoll::create(CreateFlags::CLOEXEC)?, &mut events, DupFlags::CLOEXEC)?;
        for socket in sockets.iter_mut().filter(|socket| socket.kind == Kind::Datagrams) {
            let mut number = kept.next().ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
            dup3(&socket.descriptor, &mut number, DupFlags::CLOEXEC)?;
            socket.descriptor = number;
        }
        Ok(Self { events, sockets, kept: kept.collect() })
    }

    /// Whether any of the sockets is for datagrams.
    #[must_use]
    pub fn has_datagrams(&self) -> bool {
        self.sockets.iter().any(|socket| socket.kind == Kind::Datagrams)
    }
}

/// Duplicates a descriptor to a number that has no meaning.
fn above(descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(descriptor, FIRST_FREE)?)
}

/// Occupies every free number that has a meaning, in order, with a placeholder. While these are open, nothing that is opened later
/// gets such a number.
///
/// # Errors
///
/// The system's error.
pub fn keep_numbers() -> io::Result<Vec<OwnedFd>> {
    let nothing = above(&open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?)?;
    let mut kept = Vec::new();
    loop {
        let next = fcntl_dupfd_cloexec(&nothing, EVENTS)?;
        if next.as_raw_fd() >= FIRST_FREE {
            return Ok(kept);
        }
        kept.push(next);
    }
}

/// Raises the soft limit on open files to fit the connections, and the sockets and files besides.
///
/// # Errors
///
/// [`Error::TooFewDescriptors`], if the hard limit is lower.
pub fn raise_descriptor_limit(connections: u32, sockets_and_files: usize) -> Result<(), Error> {
    let needed = u64::from(connections) + sockets_and_files as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(allowed) = limit.maximum.filter(|&allowed| allowed < needed) {
        return Err(Error::TooFewDescriptors { asked: connections, needed, allowed });
    }
    let raised = Rlimit { current: Some(needed), ..limit };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
