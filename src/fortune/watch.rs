//! Detects changes of the files of a collection.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::error::Error;
use crate::file::{self, Version};

/// The minimum time between two checks of the files.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while the files are changing.
const SOON: Duration = Duration::from_millis(250);
/// The time without changes after which files are considered complete. It is longer than [`INTERVAL`], since the kernel's time
/// stamps come in ticks.
const SETTLED: Duration = Duration::from_millis(1250);

/// Paths with their versions; `None` for what is missing or unreadable.
pub(super) struct Watch {
    paths: Vec<(PathBuf, Option<Version>)>,
    /// The versions after a change, and when they were first seen.
    changed: Option<(Instant, Vec<Option<Version>>)>,
    next: Option<Instant>,
}

impl Watch {
    /// Remembers the current versions. Must be called before the files are read, so that no change is missed.
    ///
    /// # Errors
    ///
    /// If the process is out of descriptors or memory.
    pub(super) fn new(paths: Vec<PathBuf>) -> Result<Self, Error> {
        let present = look(&paths)?;
        Ok(Self { paths: paths.into_iter().zip(present).collect(), changed: None, next: None })
    }

    /// Whether files have changed, and the change is complete: either two checks with an interval between them see the same
    /// versions, or the last change is older than that. So half-written files are not read, and the first client after a while
    /// gets the new ones.
    pub(super) fn has_changed(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = now.checked_add(INTERVAL);
        // Without a free descriptor, assume no change.
        let Ok(present) = look(self.paths.iter().map(|(path, _)| path)) else { return false };
        if self.paths.iter().map(|(_, was)| was).eq(&present) {
            self.changed = None;
            return false;
        }
        let seen = self.changed.as_ref().filter(|(_, same)| *same == present).map(|&(since, _)| since);
        let is_settled = self.is_old(&present) || seen.is_some_and(|since| now.duration_since(since) >= INTERVAL);
        if !is_settled {
            self.next = now.checked_add(SOON);
            self.changed = Some((seen.unwrap_or(now), present));
        }
        is_settled
    }

    /// Remembers the current versions, so that only later changes count.
    pub(super) fn accept(&mut self) {
        if let Ok(present) = look(self.paths.iter().map(|(path, _)| path)) {
            self.paths.iter_mut().zip(present).for_each(|((_, was), is)| *was = is);
        }
        self.changed = None;
    }

    /// Whether no file has changed for a while.
    fn is_old(&self, present: &[Option<Version>]) -> bool {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let before = now.saturating_sub(SETTLED);
        let limit = (i64::try_from(before.as_secs()).unwrap_or(i64::MAX), u64::from(before.subsec_nanos()));
        let is_old = |version: Version| version.changed < limit;
        self.paths.iter().zip(present).all(|((path, was), is)| match (was, is) {
            (_, Some(is)) => is_old(*is),
            (None, None) => true,
            // Its directory tells when it was removed.
            (Some(_), None) => file::look(file::split(path).0).is_ok_and(is_old),
        })
    }
}

fn look<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<Option<Version>>, Error> {
    let look = |path: &PathBuf| match file::look(path) {
        Err(error) if file::is_shortage(&error) => Err(Error::unreadable(path, error)),
        version => Ok(version.ok()),
    };
    paths.into_iter().map(look).collect()
}
