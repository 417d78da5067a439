//! One connection, or one filter run: input on descriptor 0, output on descriptor 1.

use std::io;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::stdio::stdin;

use super::blocking::Error;
use super::buffers::Buffers;
use super::{answer, discard, echo, repeat, reply};
use crate::policy::Io;
use crate::service::{Behavior, LineEnd};

/// A behavior with everything that it takes, ready to go on without the outside world.
pub struct One {
    io: Io,
    task: Task,
}

enum Task {
    Reply(reply::One),
    Answer(Box<answer::One>),
    Echo(echo::One),
    Discard(discard::One),
    Repeat(repeat::One),
}

impl One {
    /// Composes what can be composed, reserves the memory, and sets limits on a connection: no call on it waits longer than `idle`
    /// for the client, and the kernel buffers no more than [`Buffers`] says.
    ///
    /// # Errors
    ///
    /// [`Error::Prepare`] if the socket does not take the limit, [`Error::Memory`].
    pub fn new(behavior: Behavior, io: Io, idle: Duration) -> Result<Self, Error> {
        if io == Io::Connection {
            let limits = ioctl_fionbio(stdin(), false)
                .and_then(|()| set_socket_timeout(stdin(), Timeout::Recv, Some(idle)))
                .and_then(|()| set_socket_timeout(stdin(), Timeout::Send, Some(idle)));
            limits
                .map_err(io::Error::from)
                .and_then(|()| Buffers::of(&behavior).set(stdin()))
                .map_err(Error::Prepare)?;
        }
        let line_end = if io == Io::Filter { LineEnd::Lf } else { LineEnd::CrLf };
        let task = match behavior {
            Behavior::Reply(reply) => Task::Reply(reply::One::new(reply, io, line_end)?),
            Behavior::Answer(answer) => Task::Answer(Box::new(answer::One::new(answer, io, line_end, idle)?)),
            Behavior::Echo => Task::Echo(echo::One::new()?),
            Behavior::Discard => Task::Discard(discard::One::new(io)?),
            Behavior::Repeat(pattern) => Task::Repeat(repeat::One::new(&pattern)?),
        };
        Ok(Self { io, task })
    }

    /// Serves, with the system calls of its policy and no others. But for an answer, not even memory is allocated or freed.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`]. A client that goes away or falls silent is no error.
    pub fn serve(&mut self) -> Result<(), Error> {
        match &mut self.task {
            Task::Reply(reply) => reply.serve(self.io),
            Task::Answer(answer) => answer.serve(self.io),
            Task::Echo(echo) => echo.serve(self.io),
            Task::Discard(discard) => discard.serve(self.io),
            Task::Repeat(repeat) => repeat.serve(self.io),
        }
    }
}
