//! landlock(7): every right that the running kernel can forbid is forbidden; the one exception is to read and to list what is
//! beneath directories that are named.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};

use super::LayerError;
use crate::file::Readable;
use crate::report::same_file;
use crate::sys;

/// The newest rights that the `landlock` crate knows; it leaves out those that the kernel does not know.
const NEWEST: ABI = ABI::V9;

pub(super) fn forbid_everything_but(readable: &[Readable]) -> Result<(), LayerError> {
    let directories: Vec<_> = readable.iter().map(|it| open(&it.directory)).collect::<Result<_, _>>()?;
    let rights = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(directories.into_iter().map(|it| Ok::<_, LayerError>(PathBeneath::new(it, rights))))?
        .no_new_privs(false) // a layer of its own
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        // The crate does not tell why.
        return Err(match sys::ask_for_landlock() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => LayerError::ForbiddenLandlock,
            _ => LayerError::NoLandlock,
        });
    }
    Ok(())
}

/// Opens a directory to name it in a rule: any but the root, beneath which is everything.
fn open(directory: &Path) -> Result<OwnedFd, LayerError> {
    let open = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if same_file(&fstat(&open)?, &stat("/")?) {
        return Err(LayerError::Everything(directory.to_owned()));
    }
    Ok(open)
}
