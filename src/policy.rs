//! Policies: which system calls a service may make after the lock-down.
//!
//! The rules stand beside the code that makes the calls, each with its reason. Here they become one policy for each way in which
//! a service is started. docs/policies.md shows all of them.

use hunker::{Policy, Rule};

pub use crate::file::LIST;
use crate::{log, sys};

/// What a service reads from and writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// A connected stream socket on descriptors 0 and 1.
    Connection,
    /// A terminal, pipe or file on descriptor 0, another on descriptor 1.
    Filter,
    /// Listening sockets, for all clients. Descriptor 0 tells when to stop, descriptor 1 leads to the service manager.
    Listeners,
    /// The same, and sockets for datagrams.
    Sockets,
    /// Listening sockets, and files that are read again when they change, as far as Landlock leaves them readable.
    ListenersAndFiles,
    /// The same, and sockets for datagrams.
    SocketsAndFiles,
    /// The process that makes one for each connection, and one for each socket for datagrams: what they may do, and what it takes
    /// to make and to end them.
    Keeper,
    /// The same, and files that are read again.
    KeeperAndFiles,
    /// One of its processes: a socket for datagrams on descriptor 0.
    Datagrams,
    /// The same, and files that are read again.
    DatagramsAndFiles,
}

impl Io {
    /// Every kind that there is.
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

/// How many lists of rules a policy is made of, at most.
const MAX_LISTS: usize = 20;

/// Lists of rules, those of one policy. Unused places hold an empty list.
pub type Lists = [&'static [Rule]; MAX_LISTS];

/// The rules of an engine, by what takes them. Those that every program needs come on top.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// One connection.
    pub connection: &'static [&'static [Rule]],
    /// A filter.
    pub filter: &'static [&'static [Rule]],
    /// Listening sockets.
    pub listeners: &'static [&'static [Rule]],
    /// Besides these, sockets for datagrams.
    pub datagrams: &'static [&'static [Rule]],
    /// The process that makes one for each connection, besides what these take.
    pub keeper: &'static [&'static [Rule]],
    /// A process of its own for one socket for datagrams.
    pub datagrams_alone: &'static [&'static [Rule]],
    /// Besides any of these, files that are read again.
    pub files: &'static [&'static [Rule]],
    /// What one service needs besides.
    pub extra: Extra,
}

/// The rules of one service: the calls that it makes after the lock-down and no engine makes for it.
///
/// Most have none. A rule holds in addition to those of the engine, and pins what it can, as theirs do.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// However it is started.
    pub always: &'static [Rule],
    /// In a daemon that has [readable](crate::service::Files::readable) directories. The engine's own rules let it open a file
    /// and read it from its start to its end; [`LIST`] is for directories.
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

    /// The same, with what one service needs besides.
    #[must_use]
    pub const fn with(self, extra: Extra) -> Self {
        Self { extra, ..self }
    }

    /// The rules for one kind, or none if the engine never has it.
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

    /// Whether the engine can have it.
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

/// The policies of an engine, compiled.
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

    /// The policy for one kind.
    #[must_use]
    pub fn of(&self, io: Io) -> &Policy {
        &self.0[io as usize]
    }
}
