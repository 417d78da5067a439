//! Which files a collection was read from, and whether they are still the same.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::error::Error;
use crate::file::{self, Version};

/// The minimum time between two looks at the files.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while they are being changed.
const SOON: Duration = Duration::from_millis(250);
/// How long nothing may have changed for what is there to be complete, by the kernel's time stamps. They come in ticks.
const SETTLED: Duration = Duration::from_millis(1250);

/// Paths, and what was there: nothing, or nothing that may be read, is `None`.
pub(super) struct Watch {
    paths: Vec<(PathBuf, Option<Version>)>,
    /// What is there instead, and since when.
    changed: Option<(Instant, Vec<Option<Version>>)>,
    next: Option<Instant>,
}

impl Watch {
    /// Remembers what is there now: to be called before the files are read, so that no change is missed.
    ///
    /// # Errors
    ///
    /// If the process cannot look at all.
    pub(super) fn new(paths: Vec<PathBuf>) -> Result<Self, Error> {
        let present = look(&paths)?;
        Ok(Self { paths: paths.into_iter().zip(present).collect(), changed: None, next: None })
    }

    /// Whether files were changed since, and are not being changed any more, so that half a file is not read: either two looks
    /// with an interval between them see the same, or the last change is older than that. So the first client after a while
    /// has what is new.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = now.checked_add(INTERVAL);
        // Without a descriptor to look with, nothing is known; so nothing is new.
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

    /// Takes what is there now for what was there, so that no change is seen until the next one.
    pub(super) fn accept(&mut self) {
        if let Ok(present) = look(self.paths.iter().map(|(path, _)| path)) {
            self.paths.iter_mut().zip(present).for_each(|((_, was), is)| *was = is);
        }
        self.changed = None;
    }

    /// Whether all that there is has been like this for a while.
    fn is_old(&self, present: &[Option<Version>]) -> bool {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let before = now.saturating_sub(SETTLED);
        let limit = (i64::try_from(before.as_secs()).unwrap_or(i64::MAX), u64::from(before.subsec_nanos()));
        let is_old = |version: Version| version.changed < limit;
        self.paths.iter().zip(present).all(|((path, was), is)| match (was, is) {
            (_, Some(is)) => is_old(*is),
            (None, None) => true,
            // When it went, its directory tells.
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
