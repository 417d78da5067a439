//! Which files a collection was read from, and whether they are still the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the files are looked at, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells a file from another, and from itself before a change; `None` for none.
type Identity = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Paths, and what was there.
pub(super) struct Watch {
    paths: Vec<(PathBuf, Identity)>,
    /// What is there since, at the last look.
    changed: Option<Vec<Identity>>,
    next: Option<Instant>,
}

impl Watch {
    /// Remembers what is there now: to be called before the files are read, so that no change is missed.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let with_identity = |path: PathBuf| {
            let is = identity(&path);
            (path, is)
        };
        Self { paths: paths.into_iter().map(with_identity).collect(), changed: None, next: None }
    }

    /// Whether files were changed since, and are not being changed any more, so that half a file is not read: either two looks
    /// in a row see the same, or the last change is older than the time between them.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = now.checked_add(INTERVAL);
        let present: Vec<Identity> = self.paths.iter().map(|(path, _)| identity(path)).collect();
        if self.paths.iter().map(|(_, was)| was).eq(&present) {
            self.changed = None;
            return false;
        }
        let settled = self.changed.as_ref() == Some(&present) || is_old(&present);
        self.changed = Some(present);
        settled
    }

    /// Takes what is there now for what was there, so that no change is seen until the next one.
    pub(super) fn accept(&mut self) {
        for (path, is) in &mut self.paths {
            *is = identity(path);
        }
        self.changed = None;
    }
}

/// Whether nothing has changed for a while, by the kernel's own time stamps.
fn is_old(present: &[Identity]) -> bool {
    let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return false };
    let before = now.saturating_sub(2 * INTERVAL);
    let limit = (i64::try_from(before.as_secs()).unwrap_or(i64::MAX), i64::from(before.subsec_nanos()));
    present.iter().all(|identity| identity.is_some_and(|(.., changed)| changed < limit))
}

fn identity(path: &Path) -> Identity {
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.len(), (it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec())))
}
