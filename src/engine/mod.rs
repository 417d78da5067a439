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
mod keeper;
mod limiter;
pub(crate) mod network;
mod one;
mod readiness;
mod repeat;
mod reply;
pub(crate) mod shared;
mod slots;
mod sockets;
pub(crate) mod table;

pub use blocking::Error;
pub use descriptors::Arranged;
pub use keeper::Keeper;
pub use one::One;
pub use shared::{Error as SharedError, Limits, Shared};
pub use sockets::{Kind, Lifetime, Socket};

use std::os::fd::RawFd;

use hunker::{Narrower, Policy};

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
        // What all have in common: they answer datagrams, and a keeper makes their processes.
        const COMMON: Rules = Rules {
            datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
            datagrams_alone: &[datagrams::RECEIVE_ALONE, datagrams::ANSWER_ALONE],
            keeper: &[keeper::RULES],
            ..Rules::NONE
        };
        match self {
            Self::Reply => Rules {
                connection: &[reply::ONE],
                filter: &[reply::PRINT, WAIT],
                listeners: &[shared::RULES, connection::DROP, reply::SHARED],
                files: &[file::READ],
                ..COMMON
            },
            Self::Answer => Rules {
                connection: &[answer::ONE, reply::ONE],
                filter: &[answer::FILTER, reply::PRINT, WAIT],
                listeners: &[shared::RULES, connection::DROP, answer::SHARED, reply::SHARED],
                files: &[file::READ],
                ..COMMON
            },
            Self::Echo => Rules {
                connection: &[echo::ONE],
                filter: &[echo::ONE, WAIT],
                listeners: &[shared::RULES, connection::DROP, echo::SHARED, buffers::SHRINK],
                ..COMMON
            },
            Self::Discard => Rules {
                connection: &[discard::ONE],
                filter: &[discard::FILTER, WAIT],
                listeners: &[shared::RULES, connection::DROP, buffers::SHRINK],
                datagrams: &[datagrams::RECEIVE],
                datagrams_alone: &[datagrams::RECEIVE_ALONE],
                ..COMMON
            },
            Self::Repeat => Rules {
                connection: &[repeat::ONE],
                filter: &[repeat::FILTER, WAIT],
                listeners: &[shared::RULES, connection::DROP, repeat::SHARED, buffers::SHRINK],
                ..COMMON
            },
        }
    }
}

/// The policies of a service, compiled with the program: whichever engine it takes.
#[derive(Debug)]
pub struct Policies([EnginePolicies; Engine::ALL.len()]);

/// Of one engine.
#[derive(Clone, Copy, Debug)]
struct EnginePolicies {
    policies: policy::Policies,
    /// Of the processes that a keeper makes, within its own.
    connection: Narrower,
    datagrams: Narrower,
    datagrams_and_files: Narrower,
}

impl EnginePolicies {
    const fn new(rules: &Rules) -> Self {
        const fn within(rules: &Rules, child: Io, keeper: Io) -> Narrower {
            Narrower::new(&rules.of(child), &rules.of(keeper))
        }
        Self {
            policies: policy::Policies::new(rules),
            connection: within(rules, Io::Connection, Io::Keeper),
            datagrams: within(rules, Io::Datagrams, Io::Keeper),
            datagrams_and_files: within(rules, Io::DatagramsAndFiles, Io::KeeperAndFiles),
        }
    }
}

impl Policies {
    /// Compiles the rules of each engine, and those of one service besides.
    #[must_use]
    #[allow(clippy::large_stack_arrays)] // the compiler calls it, no process does
    pub const fn new(extra: Extra) -> Self {
        let mut index = 0;
        let mut policies = [const { EnginePolicies::new(&Rules::NONE) }; Engine::ALL.len()];
        while index < policies.len() {
            policies[index] = EnginePolicies::new(&Engine::ALL[index].rules().with(extra));
            index += 1;
        }
        Self(policies)
    }

    /// The one for a behavior.
    #[must_use]
    pub fn of(&self, behavior: &Behavior, io: Io) -> &Policy {
        self.0[Engine::of(behavior) as usize].policies.of(io)
    }
}

/// What the processes that a keeper makes lock themselves down with.
#[derive(Debug)]
pub struct Children {
    /// None, if nobody is to be locked down.
    pub layers: Option<hunker::Children>,
    /// The policies of the service.
    pub policies: &'static Policies,
}

impl Children {
    /// The first half, which takes a descriptor. Whether it holds.
    fn part(&self, as_parent: bool) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.part(as_parent).is_ok())
    }

    /// What is open for it.
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.layers.iter().flat_map(hunker::Children::descriptors)
    }

    /// The second half, last. Whether it holds.
    fn narrow(&self, behavior: &Behavior, io: Io) -> bool {
        let policies = &self.policies.0[Engine::of(behavior) as usize];
        let policy = match io {
            Io::Connection => &policies.connection,
            Io::DatagramsAndFiles => &policies.datagrams_and_files,
            _ => &policies.datagrams,
        };
        self.layers.as_ref().is_none_or(|layers| layers.narrow(policy).is_ok())
    }
}
