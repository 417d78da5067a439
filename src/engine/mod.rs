//! What is done with a connection or a datagram after the lock-down: for each [`Behavior`] one file, with the system calls
//! that it makes. [`One`] runs it for one connection, [`Shared`] for all of them.

mod answer;
mod blocking;
pub mod buffers;
mod connection;
mod datagrams;
pub(crate) mod descriptors;
mod discard;
mod echo;
mod limiter;
pub(crate) mod network;
mod one;
mod readiness;
mod repeat;
mod reply;
pub(crate) mod shared;
mod sockets;
pub(crate) mod table;

pub use blocking::Error;
pub use descriptors::Arranged;
pub use one::One;
pub use shared::{Error as SharedError, Limits, Shared};
pub use sockets::{Kind, Lifetime, Socket};

use hunker::{Policy, Rule};

use crate::file;
use crate::policy::{self, Extra, Io, Rules};
use crate::service::Behavior;
use blocking::WAIT;

/// Which engine a behavior has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// [`Behavior::Reply`]
    Reply,
    /// [`Behavior::Answer`]
    Answer,
    /// [`Behavior::Echo`]
    Echo,
    /// [`Behavior::Discard`]
    Discard,
    /// [`Behavior::Repeat`]
    Repeat,
}

impl Engine {
    const ALL: [Self; 5] = [Self::Reply, Self::Answer, Self::Echo, Self::Discard, Self::Repeat];

    fn of(behavior: &Behavior) -> Self {
        match behavior {
            Behavior::Reply(_) => Self::Reply,
            Behavior::Answer(_) => Self::Answer,
            Behavior::Echo => Self::Echo,
            Behavior::Discard => Self::Discard,
            Behavior::Repeat(_) => Self::Repeat,
        }
    }

    /// The system calls that it makes.
    #[must_use]
    pub const fn rules(self) -> Rules {
        const ANSWERED: &[&[Rule]] = &[datagrams::RECEIVE, datagrams::ANSWER];
        match self {
            Self::Reply => Rules {
                connection: &[reply::ONE],
                filter: &[reply::PRINT, WAIT],
                listeners: &[shared::RULES, connection::DROP, reply::SHARED],
                datagrams: ANSWERED,
                files: &[file::READ],
                extra: Extra::NONE,
            },
            Self::Answer => Rules {
                connection: &[answer::ONE, reply::ONE],
                filter: &[answer::FILTER, reply::PRINT, WAIT],
                listeners: &[shared::RULES, connection::DROP, answer::SHARED, reply::SHARED],
                datagrams: ANSWERED,
                files: &[file::READ],
                extra: Extra::NONE,
            },
            Self::Echo => Rules {
                connection: &[echo::ONE],
                filter: &[echo::ONE, WAIT],
                listeners: &[shared::RULES, connection::DROP, echo::SHARED, buffers::SHRINK],
                datagrams: ANSWERED,
                files: &[],
                extra: Extra::NONE,
            },
            Self::Discard => Rules {
                connection: &[discard::ONE],
                filter: &[discard::FILTER, WAIT],
                listeners: &[shared::RULES, connection::DROP, buffers::SHRINK],
                datagrams: &[datagrams::RECEIVE],
                files: &[],
                extra: Extra::NONE,
            },
            Self::Repeat => Rules {
                connection: &[repeat::ONE],
                filter: &[repeat::FILTER, WAIT],
                listeners: &[shared::RULES, connection::DROP, repeat::SHARED, buffers::SHRINK],
                datagrams: ANSWERED,
                files: &[],
                extra: Extra::NONE,
            },
        }
    }
}

/// The policies of a service, compiled with the program: whichever engine it takes.
#[derive(Debug)]
pub struct Policies([policy::Policies; Engine::ALL.len()]);

impl Policies {
    /// Compiles the rules of each engine, and those of one service besides.
    #[must_use]
    #[allow(clippy::large_stack_arrays)] // the compiler calls it, no process does
    pub const fn new(extra: Extra) -> Self {
        let mut index = 0;
        let mut policies = [const { policy::Policies::new(&Rules::NONE) }; Engine::ALL.len()];
        while index < policies.len() {
            policies[index] = policy::Policies::new(&Engine::ALL[index].rules().with(extra));
            index += 1;
        }
        Self(policies)
    }

    /// The one for a behavior.
    #[must_use]
    pub fn of(&self, behavior: &Behavior, io: Io) -> &Policy {
        self.0[Engine::of(behavior) as usize].of(io)
    }
}
