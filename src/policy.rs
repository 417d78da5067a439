//! Policies: which system calls a service may make after the lock-down.
//!
//! The rules stand beside the code that makes the calls, each with its reason. Here they become one policy for each way in which
//! a service is started. docs/policies.md shows all of them.

use hunker::{Policy, Rule};

use crate::{log, sys};

/// What a service reads from and writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
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
}

impl Peer {
    /// Every kind of peer that there is.
    pub const ALL: [Self; 6] = [
        Self::Connection,
        Self::Filter,
        Self::Listeners,
        Self::Sockets,
        Self::ListenersAndFiles,
        Self::SocketsAndFiles,
    ];
}

/// How many lists of rules a policy is made of, at most.
const MAX_LISTS: usize = 20;

/// Lists of rules, those of one policy. Unused places hold an empty list.
pub type Lists = [&'static [Rule]; MAX_LISTS];

/// The rules of a service, by what takes them. Those that every program needs come on top.
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
    /// Besides these, files that are read again.
    pub files: &'static [&'static [Rule]],
}

impl Rules {
    /// The rules for one peer, or none if the service never has it.
    #[must_use]
    pub const fn of(&self, peer: Peer) -> Lists {
        let nothing: &[&[Rule]] = &[];
        let (main, datagrams, files) = match peer {
            Peer::Connection => (self.connection, nothing, nothing),
            Peer::Filter => (self.filter, nothing, nothing),
            Peer::Listeners => (self.listeners, nothing, nothing),
            Peer::Sockets => (self.listeners, self.datagrams, nothing),
            Peer::ListenersAndFiles => (self.listeners, nothing, self.files),
            Peer::SocketsAndFiles => (self.listeners, self.datagrams, self.files),
        };
        let mut lists: Lists = [&[]; MAX_LISTS];
        if !self.has(peer) {
            return lists;
        }
        let mut count = 0;
        let all = [main, datagrams, files, &[log::RULES, sys::RULES]];
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

    /// Whether the service can have this peer.
    #[must_use]
    pub const fn has(&self, peer: Peer) -> bool {
        let files = !self.files.is_empty();
        let datagrams = !self.datagrams.is_empty();
        match peer {
            Peer::Connection => !self.connection.is_empty(),
            Peer::Filter => !self.filter.is_empty(),
            Peer::Listeners => !self.listeners.is_empty(),
            Peer::Sockets => datagrams,
            Peer::ListenersAndFiles => files,
            Peer::SocketsAndFiles => datagrams && files,
        }
    }
}

/// The policies of a service, compiled.
#[derive(Debug)]
pub struct Policies([Policy; Peer::ALL.len()]);

impl Policies {
    /// Compiles the rules for each peer.
    #[must_use]
    pub const fn new(rules: &Rules) -> Self {
        let mut policies = [Policy::new(&[]); Peer::ALL.len()];
        let mut index = 0;
        while index < policies.len() {
            policies[index] = Policy::new(&rules.of(Peer::ALL[index]));
            index += 1;
        }
        Self(policies)
    }

    /// The policy for a peer.
    #[must_use]
    pub fn of(&self, peer: Peer) -> &Policy {
        &self.0[peer as usize]
    }
}
