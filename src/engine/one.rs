//! One connection, or one filter run: input on descriptor 0, output on descriptor 1.

use std::io;
use std::time::Duration;

use rustix::io::ioctl_fionbio;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, getpeername};
use rustix::stdio::stdin;

use super::blocking::{Client, Error, limit_time};
use super::{answer, buffers, discard, echo, repeat, reply};
use crate::policy::Io;
use crate::service::{Behavior, LineEnd};

/// A behavior with the memory that it requires, ready for the lock-down.
pub struct One {
    pub(super) behavior: Behavior,
    io: Io,
    line_end: LineEnd,
    memory: Memory,
}

/// The memory of a behavior for one connection.
enum Memory {
    Reply(reply::One),
    Answer(Box<answer::One>),
    Echo(echo::One),
    Discard(discard::One),
    Repeat(repeat::One),
}

impl One {
    /// Reserves the memory. A request must be complete within `idle`.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`].
    pub fn new(behavior: Behavior, io: Io, idle: Duration) -> Result<Self, Error> {
        let line_end = if io == Io::Filter { LineEnd::Lf } else { LineEnd::CrLf };
        let memory = match &behavior {
            Behavior::Reply(_) => Memory::Reply(reply::One::new(io)?),
            Behavior::Answer(answer) => Memory::Answer(Box::new(answer::One::new(&**answer, io, idle)?)),
            Behavior::Echo => Memory::Echo(echo::One::new()?),
            Behavior::Discard => Memory::Discard(discard::One::new()?),
            Behavior::Repeat(pattern) => Memory::Repeat(repeat::One::new(pattern)?),
        };
        Ok(Self { behavior, io, line_end, memory })
    }

    /// Takes the connection on descriptor 0, or the input of a filter, and composes what can be composed in advance. Sets the
    /// limits of a connection: no call on it waits longer than `idle` for the client, and the kernel buffers no more than
    /// [`buffers`] says and sends no faster than `max_rate`, in octets per second; 0 means no limit.
    ///
    /// # Errors
    ///
    /// [`Error::Prepare`] if the limits cannot be set.
    pub fn take_standard_input(&mut self, idle: Duration, max_rate: u32) -> Result<(), Error> {
        let mut client = Client { from: None, is_local: false };
        if self.io == Io::Connection {
            let limits = ioctl_fionbio(stdin(), false).and_then(|()| limit_time(stdin(), idle));
            let prepare = |()| buffers::prepare(stdin(), &self.behavior, max_rate);
            limits.map_err(io::Error::from).and_then(prepare).map_err(Error::Prepare)?;
            match &self.behavior {
                Behavior::Discard => discard::prepare(stdin()),
                Behavior::Answer(_) => {
                    client.from = getpeername(stdin()).ok().flatten().and_then(|address| address.try_into().ok());
                }
                _ => {}
            }
            client.is_local = socket_domain(stdin()).is_ok_and(|domain| domain == AddressFamily::UNIX);
        }
        self.meet(&client);
        Ok(())
    }

    /// Composes the reply for this client, or starts the deadline for its request.
    pub(super) fn meet(&mut self, client: &Client) {
        match (&mut self.memory, &mut self.behavior) {
            (Memory::Reply(memory), Behavior::Reply(reply)) => {
                memory.compose(&mut **reply, self.line_end, client.is_local);
            }
            (Memory::Answer(memory), _) => memory.meet(client),
            _ => {}
        }
    }

    /// The memory of the composed reply, in bytes.
    pub(super) fn kept(&self) -> usize {
        if let Memory::Reply(memory) = &self.memory { memory.length() } else { 0 }
    }

    /// Reseeds the random state, of which every new process has the same copy. A reply is composed already.
    pub(super) fn reseed(&mut self, seed: u64) {
        if !matches!(self.behavior, Behavior::Reply(_)) {
            self.behavior.reseed(seed);
        }
    }

    /// Serves with the system calls of its policy and no others. Only an answer allocates or frees memory.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`]. A client that goes away or falls silent is no error.
    pub fn serve(&mut self) -> Result<(), Error> {
        match (&mut self.memory, &mut self.behavior) {
            (Memory::Reply(memory), _) => memory.serve(self.io),
            (Memory::Answer(memory), Behavior::Answer(answer)) => memory.serve(&mut **answer, self.io, self.line_end),
            (Memory::Answer(_), _) => Ok(()),
            (Memory::Echo(memory), _) => memory.serve(self.io),
            (Memory::Discard(memory), _) => memory.serve(self.io),
            (Memory::Repeat(memory), _) => memory.serve(self.io),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::rc::Rc;

    use super::*;
    use crate::service::{Answer, Files};

    /// Its random state.
    struct Dice(Rc<Cell<u64>>);

    impl Files for Dice {
        fn reseed(&mut self, seed: u64) {
            self.0.set(seed);
        }
    }

    impl Answer for Dice {
        fn limit(&self) -> usize {
            0
        }

        fn answer(&mut self, _: &[u8], _: Option<SocketAddr>, _: LineEnd, _: &mut Vec<u8>) {}

        fn longest(&self) -> usize {
            0
        }
    }

    #[test]
    fn a_new_process_gives_its_answers_a_random_state_of_its_own() {
        let state = Rc::new(Cell::new(1));
        let behavior = Behavior::Answer(Box::new(Dice(state.clone())));
        let mut one = One::new(behavior, Io::Connection, Duration::from_secs(1)).unwrap();
        one.reseed(2);
        assert_eq!(state.get(), 2);
    }
}
