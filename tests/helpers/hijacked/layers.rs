//! Applies the lock-down, as a whole or layer by layer. In a process that the keeper created: first the keeper's, then its own.

use std::os::fd::RawFd;
use std::path::PathBuf;

use hunker::{Children, Layer, Mode};
use small_services::numbers::FIRST_FREE;
use small_services::policy::Io;

use crate::audit;

/// For a process for one connection: all layers, as if the keeper had created it.
const FORKED: &str = "forked";

pub fn is_keeper(peer: Io) -> bool {
    matches!(peer, Io::Keeper | Io::KeeperAndFiles)
}

/// Whether the keeper created the process.
fn keeper_of(peer: Io, layers: &str) -> Option<Io> {
    match peer {
        Io::Connection if layers == FORKED => Some(Io::Keeper),
        Io::Datagrams => Some(Io::Keeper),
        Io::DatagramsAndFiles => Some(Io::KeeperAndFiles),
        _ => None,
    }
}

/// Whether a layer is in `all`, `none`, or a list of names separated by commas.
fn has(layers: &str, layer: Layer) -> bool {
    ["all", FORKED].contains(&layers) || layers.split(',').any(|name| name == format!("{layer:?}"))
}

/// Applies layers to this process. `readable` stays readable.
pub fn apply(service: &str, peer: Io, layers: &str, readable: &[PathBuf]) {
    let policy = |peer| audit::policy(service, peer);
    if let Some(keeper) = keeper_of(peer, layers) {
        Keeper::new(service, keeper, layers, readable).narrow(peer);
    } else if is_keeper(peer) {
        Keeper::new(service, peer, layers, readable);
    } else if layers == "all" {
        // No layer is missing: the mode is strict.
        let _ = hunker::down(&policy(peer), readable, Mode::Strict).expect("a kernel with every layer");
    } else {
        for layer in Layer::ALL.into_iter().filter(|&layer| has(layers, layer)) {
            layer.apply(&policy(peer)).expect("a kernel with every layer");
        }
    }
}

/// A process with the keeper's layers, and what its children need for theirs.
pub struct Keeper<'a> {
    service: &'a str,
    io: Io,
    layers: &'a str,
    children: Option<Children>,
}

impl<'a> Keeper<'a> {
    /// Turns this process into a keeper.
    pub fn new(service: &'a str, io: Io, layers: &'a str, readable: &[PathBuf]) -> Self {
        let policy = audit::policy(service, io);
        let mut children = None;
        if has(layers, Layer::Limits) {
            // All of them. The descriptors that it holds have numbers without a meaning.
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

    /// Turns this process into one of the keeper's processes, with the same layers.
    pub fn narrow(&self, child: Io) {
        let narrower = audit::narrower(self.service, child, self.io);
        if let Some(children) = &self.children {
            children.enter_domain(child != Io::Connection).expect("its own domain");
            children.narrow(&narrower).expect("its own policy");
            return;
        }
        if has(self.layers, Layer::Landlock) {
            Layer::Landlock.apply(&audit::policy(self.service, child)).expect("its own domain");
        }
        if has(self.layers, Layer::Seccomp) {
            hunker::narrow(&narrower).expect("its own policy");
        }
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        std::mem::forget(self.children.take()); // closing requires a call
    }
}
