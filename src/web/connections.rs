//! The connections that are open, the one that was idle for longest first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use hashlink::LinkedHashMap;
use tokio::task::AbortHandle;

use crate::serve::host;

/// All of them, by a number that none has twice.
#[derive(Debug)]
pub(super) struct Connections {
    open: LinkedHashMap<u64, Open>,
    sources: HashMap<IpAddr, usize>,
    next: u64,
    most: usize,
    most_per_source: usize,
}

#[derive(Debug)]
struct Open {
    source: Option<IpAddr>,
    task: Option<AbortHandle>,
}

impl Connections {
    pub(super) fn new(most: u32, most_per_source: u32) -> Self {
        Self {
            open: LinkedHashMap::new(),
            sources: HashMap::new(),
            next: 0,
            most: most as usize,
            most_per_source: most_per_source as usize,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Has room for one more, if need be in the place of the one that was idle for longest. `None` if its source has as many
    /// as it may have.
    pub(super) fn admit(&mut self, from: Option<IpAddr>) -> Option<u64> {
        let source = from.map(host);
        if source.is_some_and(|source| self.sources.get(&source).is_some_and(|&count| count >= self.most_per_source)) {
            return None;
        }
        if self.open.len() >= self.most {
            self.let_oldest_go();
        }
        if let Some(source) = source {
            *self.sources.entry(source).or_default() += 1;
        }
        self.next += 1;
        self.open.insert(self.next, Open { source, task: None });
        Some(self.next)
    }

    /// Notes who serves it.
    pub(super) fn served_by(&mut self, number: u64, task: AbortHandle) {
        if let Some(open) = self.open.get_mut(&number) {
            open.task = Some(task);
        }
    }

    /// Notes that the client did something.
    pub(super) fn touch(&mut self, number: u64) {
        self.open.to_back(&number);
    }

    /// Ends the connection that was idle for longest.
    pub(super) fn let_oldest_go(&mut self) {
        if let Some((_, open)) = self.open.pop_front() {
            if let Some(task) = &open.task {
                task.abort();
            }
            self.forget(&open);
        }
    }

    /// It has ended.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(open) = self.open.remove(&number) {
            self.forget(&open);
        }
    }

    fn forget(&mut self, open: &Open) {
        if let Some(source) = open.source
            && let Entry::Occupied(mut count) = self.sources.entry(source)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
