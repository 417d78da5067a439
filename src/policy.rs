//! Policies: the system calls that a service may make after the lock-down.
//!
//! Each rule stands beside the code that makes the call, with its reason. This file combines them into one policy for each way to
//! start a service. docs/policies.md lists them all.

use hunker::{Policy, Rule};

pub use crate::file::LIST;
use crate::{log, sys};

/// The descriptors that a service reads from and writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// A connected stream socket on descriptors 0 and 1.
    Connection,
    /// A terminal, pipe or file on descriptor 0, another on descriptor 1.
    Filter,
    /// Listening sockets, in one process for all clients. Descriptor 0 delivers signals, descriptor 1 is the service manager.
    Listeners,
    /// Listening and datagram sockets, likewise.
    Sockets,
    /// Listening sockets and files that are reloaded, beneath the directories that Landlock leaves readable.
    ListenersAndFiles,
    /// Listening and datagram sockets, and files that are reloaded.
    SocketsAndFiles,
    /// The keeper, which forks a process for each connection and for each datagram socket. It has the calls of these processes,
    /// and those that create and end them.
    Keeper,
    /// The keeper, and files that are reloaded.
    KeeperAndFiles,
    /// A process of the keeper, with a datagram socket on descriptor 0.
    Datagrams,
    /// A process of the keeper with a datagram socket, and files that are reloaded.
    DatagramsAndFiles,
}

impl Io {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Connection,
        Self::Filter,
        Self::Listeners,
        Self::Sockets,
        Self::ListenersAndFiles,
        Self::SocketsAndFiles,
        Self::Keeper,
        Self::KeeperAndFiles,
        Self::Datagrams,
        Self::DatagramsAndFiles,
    ];
}

/// The maximum number of rule lists in a policy.
const MAX_LISTS: usize = 20;

/// The rule lists of one policy. Unused elements are empty lists.
pub type Lists = [&'static [Rule]; MAX_LISTS];

/// The rules of an engine, by use. [`Rules::of`] adds those that every program needs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For one connection.
    pub connection: &'static [&'static [Rule]],
    /// For a filter.
    pub filter: &'static [&'static [Rule]],
    /// For listening sockets in one process for all clients.
    pub listeners: &'static [&'static [Rule]],
    /// In addition, for datagram sockets in that process.
    pub datagrams: &'static [&'static [Rule]],
    /// For the keeper, in addition to the rules of its processes.
    pub keeper: &'static [&'static [Rule]],
    /// For a process that serves one datagram socket.
    pub datagrams_alone: &'static [&'static [Rule]],
    /// In addition to any of these, for files that are reloaded.
    pub files: &'static [&'static [Rule]],
    /// The service's own rules.
    pub extra: Extra,
}

/// The rules of one service, in addition to those of its engine: the calls that it makes itself after the lock-down.
///
/// Most services have none. A rule should pin every argument that it can.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// Rules that always apply.
    pub always: &'static [Rule],
    /// Rules for a daemon with [readable](crate::service::Files::readable) directories. The engine's own rules allow it to open a
    /// file and to read it from start to end; [`LIST`] allows it to list a directory.
    pub files: &'static [Rule],
}

impl Extra {
    /// No rule.
    pub const NONE: Self = Self { always: &[], files: &[] };
}

impl Rules {
    /// No rule.
    pub const NONE: Self = Self {
        connection: &[],
        filter: &[],
        listeners: &[],
        datagrams: &[],
        keeper: &[],
        datagrams_alone: &[],
        files: &[],
        extra: Extra::NONE,
    };

    /// These rules with those of one service.
    #[must_use]
    pub const fn with(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    /// The rules for one kind of descriptors; none if the engine does not support it.
    #[must_use]
    pub const fn of(&self, io: Io) -> Lists {
        let nothing: &[&[Rule]] = &[];
        let (main, more, files) = match io {
            Io::Connection => (self.connection, [nothing; 2], nothing),
            Io::Filter => (self.filter, [nothing; 2], nothing),
            Io::Listeners => (self.listeners, [nothing; 2], nothing),
            Io::Sockets => (self.listeners, [self.datagrams, nothing], nothing),
            Io::ListenersAndFiles => (self.listeners, [nothing; 2], self.files),
            Io::SocketsAndFiles => (self.listeners, [self.datagrams, nothing], self.files),
            Io::Keeper => (self.keeper, [self.connection, self.datagrams_alone], nothing),
            Io::KeeperAndFiles => (self.keeper, [self.connection, self.datagrams_alone], self.files),
            Io::Datagrams => (self.datagrams_alone, [nothing; 2], nothing),
            Io::DatagramsAndFiles => (self.datagrams_alone, [nothing; 2], self.files),
        };
        let mut lists: Lists = [&[]; MAX_LISTS];
        if !self.has(io) {
            return lists;
        }
        let mut count = 0;
        let extra_files: &[Rule] = if files.is_empty() { &[] } else { self.extra.files };
        let all = [main, more[0], more[1], files, &[self.extra.always, extra_files, log::RULES, sys::RULES]];
        let mut part = 0;
        while part < all.len() {
            let mut index = 0;
            while index < all[part].len() {
                lists[count] = all[part][index];
                count += 1;
                index += 1;
            }
            part += 1;
        }
        lists
    }

    /// Whether the engine supports a kind of descriptors.
    #[must_use]
    pub const fn has(&self, io: Io) -> bool {
        let files = !self.files.is_empty();
        let datagrams = !self.datagrams.is_empty();
        match io {
            Io::Connection => !self.connection.is_empty(),
            Io::Filter => !self.filter.is_empty(),
            Io::Listeners => !self.listeners.is_empty(),
            Io::Sockets => datagrams,
            Io::ListenersAndFiles => files,
            Io::SocketsAndFiles => datagrams && files,
            Io::Keeper => !self.keeper.is_empty(),
            Io::KeeperAndFiles => !self.keeper.is_empty() && files,
            Io::Datagrams => !self.datagrams_alone.is_empty(),
            Io::DatagramsAndFiles => !self.datagrams_alone.is_empty() && files,
        }
    }
}

/// The compiled policies of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Policies([Policy; Io::ALL.len()]);

impl Policies {
    /// Compiles the rules for each kind.
    #[must_use]
    pub const fn new(rules: &Rules) -> Self {
        let mut policies = [Policy::new(&[]); Io::ALL.len()];
        let mut index = 0;
        while index < policies.len() {
            policies[index] = Policy::new(&rules.of(Io::ALL[index]));
            index += 1;
        }
        Self(policies)
    }

    /// The policy for one kind of descriptors.
    #[must_use]
    pub fn of(&self, io: Io) -> &Policy {
        &self.0[io as usize]
    }
}
