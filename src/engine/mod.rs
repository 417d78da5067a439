//! The service of connections and datagrams after the lock-down. Each [`Behavior`] has one file, with the system calls that it
//! makes. [`One`] runs it for one connection, [`Keeper`] and [`Shared`] for all of them.

mod answer;
mod blocking;
pub mod buffers;
mod children;
mod connection;
pub(crate) mod daemon;
mod datagram_processes;
mod datagrams;
pub(crate) mod descriptors;
mod discard;
mod echo;
mod keeper;
mod limiter;
mod limits;
pub(crate) mod network;
mod one;
mod rates;
mod readiness;
mod repeat;
mod reply;
pub(crate) mod shared;
mod slots;
pub(crate) mod sockets;
pub(crate) mod table;

pub use blocking::Error;
pub use children::Children;
pub use daemon::Error as DaemonError;
pub use descriptors::Arranged;
pub use keeper::Keeper;
pub use limits::Limits;
pub use one::One;
pub use shared::Shared;
pub use sockets::{Kind, Lifetime, Socket};

use hunker::{Narrower, Policy, Rule};

use crate::file;
use crate::policy::{self, Extra, Io, Rules};
use crate::service::Behavior;
use blocking::WAIT;

/// The engine of a behavior.
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
        // Common to all: they answer datagrams, and a keeper makes their processes.
        const COMMON: Rules = Rules {
            datagrams: &[datagrams::RECEIVE, datagrams::ANSWER],
            datagrams_alone: &[datagrams::RECEIVE_ALONE, datagrams::ANSWER_ALONE],
            keeper: &[daemon::RULES, keeper::RULES, children::RULES],
            ..Rules::NONE
        };
        const STREAMS: &[&[Rule]] = &[daemon::RULES, keeper::RULES, children::RULES, buffers::SHRINK];
        match self {
            Self::Reply => Rules {
                connection: &[reply::ONE],
                filter: &[reply::PRINT, WAIT],
                listeners: &[daemon::RULES, shared::RULES, connection::DROP, reply::SHARED],
                files: &[file::READ],
                ..COMMON
            },
            Self::Answer => Rules {
                connection: &[answer::ONE, reply::ONE],
                filter: &[answer::FILTER, reply::PRINT, WAIT],
                listeners: &[daemon::RULES, shared::RULES, connection::DROP, answer::SHARED, reply::SHARED],
                files: &[file::READ],
                ..COMMON
            },
            Self::Echo => Rules {
                connection: &[echo::ONE],
                filter: &[echo::ONE, WAIT],
                listeners: &[daemon::RULES, shared::RULES, connection::DROP, echo::SHARED, buffers::SHRINK],
                keeper: STREAMS,
                ..COMMON
            },
            Self::Discard => Rules {
                connection: &[discard::ONE],
                filter: &[discard::FILTER, WAIT],
                listeners: &[daemon::RULES, shared::RULES, connection::DROP, buffers::SHRINK],
                keeper: STREAMS,
                datagrams: &[datagrams::RECEIVE],
                datagrams_alone: &[datagrams::RECEIVE_ALONE],
                ..COMMON
            },
            Self::Repeat => Rules {
                connection: &[repeat::ONE],
                filter: &[repeat::FILTER, WAIT],
                listeners: &[daemon::RULES, shared::RULES, connection::DROP, repeat::SHARED, buffers::SHRINK],
                keeper: STREAMS,
                ..COMMON
            },
        }
    }
}

/// The policies of a service for every engine, compiled with the program.
#[derive(Debug)]
pub struct Policies([EnginePolicies; Engine::ALL.len()]);

/// The policies of one engine.
#[derive(Clone, Copy, Debug)]
struct EnginePolicies {
    policies: policy::Policies,
    /// Those of the keeper's processes, within the keeper's own.
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
    /// Compiles the rules of each engine together with those of one service.
    #[must_use]
    #[allow(clippy::large_stack_arrays)] // only the compiler calls it
    pub const fn new(extra: Extra) -> Self {
        let mut index = 0;
        let mut policies = [const { EnginePolicies::new(&Rules::NONE) }; Engine::ALL.len()];
        while index < policies.len() {
            policies[index] = EnginePolicies::new(&Engine::ALL[index].rules().with(extra));
            index += 1;
        }
        Self(policies)
    }

    /// The policy for a behavior.
    #[must_use]
    pub fn of(&self, behavior: &Behavior, io: Io) -> &Policy {
        self.0[Engine::of(behavior) as usize].policies.of(io)
    }

    /// What a keeper's process adds to the keeper's policy.
    fn of_child(&self, behavior: &Behavior, io: Io) -> &Narrower {
        let policies = &self.0[Engine::of(behavior) as usize];
        match io {
            Io::Connection => &policies.connection,
            Io::DatagramsAndFiles => &policies.datagrams_and_files,
            _ => &policies.datagrams,
        }
    }
}
