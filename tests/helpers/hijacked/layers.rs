//! The lock-down, as a whole or layer by layer, of whoever there is: of a process that the keeper made, first the keeper's and then
//! its own.

use std::os::fd::RawFd;
use std::path::PathBuf;

use hunker::{Children, Layer, Mode};
use small_services::numbers::FIRST_FREE;
use small_services::policy::Io;

use crate::audit;

/// Of a process for one connection: all layers, where the keeper made it.
const FORKED: &str = "forked";

pub fn is_keeper(peer: Io) -> bool {
    matches!(peer, Io::Keeper | Io::KeeperAndFiles)
}

/// Who made the process, if it was the keeper.
fn keeper_of(peer: Io, layers: &str) -> Option<Io> {
    match peer {
        Io::Connection if layers == FORKED => Some(Io::Keeper),
        Io::Datagrams => Some(Io::Keeper),
        Io::DatagramsAndFiles => Some(Io::KeeperAndFiles),
        _ => None,
    }
}

/// Whether a layer is one of `all`, `none`, or those with names, with commas between them.
fn has(layers: &str, layer: Layer) -> bool {
    ["all", FORKED].contains(&layers) || layers.split(',').any(|name| name == format!("{layer:?}"))
}

/// Applies layers to this process. What is beneath `readable` stays so.
pub fn apply(service: &str, peer: Io, layers: &str, readable: &[PathBuf]) {
    let policy = |peer| audit::policy(service, peer);
    if let Some(keeper) = keeper_of(peer, layers) {
        Keeper::new(service, keeper, layers, readable).narrow(peer);
    } else if is_keeper(peer) {
        Keeper::new(service, peer, layers, readable);
    } else if layers == "all" {
        // What is missing is nothing: the mode is strict.
        let _ = hunker::down(&policy(peer), readable, Mode::Strict).expect("a kernel with every layer");
    } else {
        for layer in Layer::ALL.into_iter().filter(|&layer| has(layers, layer)) {
            layer.apply(&policy(peer)).expect("a kernel with every layer");
        }
    }
}

/// A process that has the keeper's layers, and what its processes need for theirs.
pub struct Keeper<'a> {
    service: &'a str,
    io: Io,
    layers: &'a str,
    children: Option<Children>,
}

impl<'a> Keeper<'a> {
    /// Makes this process one.
    pub fn new(service: &'a str, io: Io, layers: &'a str, readable: &[PathBuf]) -> Self {
        let policy = audit::policy(service, io);
        let mut children = None;
        if has(layers, Layer::Limits) {
            // All of them. What it holds has a number that means nothing.
            let root = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH) };
            let mut number: RawFd = root;
            while number < FIRST_FREE - 1 {
                number = unsafe { libc::dup(root) };
            }
            let (_, made) = hunker::down_to_fork(&policy, readable, Mode::Strict).expect("a kernel with every layer");
            children = Some(made);
        } else {
            for layer in Layer::ALL.into_iter().filter(|&layer| has(layers, layer)) {
                layer.apply(&policy).expect("a kernel with every layer");
            }
        }
        Self { service, io, layers, children }
    }

    /// Makes this process one of its processes, by the same layers.
    pub fn narrow(&self, child: Io) {
        let narrower = audit::narrower(self.service, child, self.io);
        if let Some(children) = &self.children {
            children.part(child != Io::Connection).expect("a domain of its own");
            children.narrow(&narrower).expect("a policy of its own");
            return;
        }
        if has(self.layers, Layer::Landlock) {
            Layer::Landlock.apply(&audit::policy(self.service, child)).expect("a domain of its own");
        }
        if has(self.layers, Layer::Seccomp) {
            hunker::narrow(&narrower).expect("a policy of its own");
        }
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        std::mem::forget(self.children.take()); // closing takes a call
    }
}
