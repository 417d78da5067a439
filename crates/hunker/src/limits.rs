//! setrlimit(2) and `PR_SET_DUMPABLE`: no new processes, no growing files, no core files.

use rustix::fs::{FileType, fstat};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::stdio::{stderr, stdout};

use crate::LayerError;

const NONE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };

pub(crate) fn set() -> Result<(), LayerError> {
    setrlimit(Resource::Core, NONE)?;
    // The output or the log may be a file, which must be able to grow.
    let writes_a_file = [stdout(), stderr()]
        .iter()
        .any(|descriptor| fstat(descriptor).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file()));
    if !writes_a_file {
        setrlimit(Resource::Fsize, NONE)?;
    }
    Ok(())
}

/// The limit counts the processes of the user. For a service with its own user that is this process.
#[inline]
pub(crate) fn forbid_processes() -> Result<(), LayerError> {
    Ok(setrlimit(Resource::Nproc, NONE)?)
}

pub(crate) fn forbid_dumping() -> Result<(), LayerError> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Reverts [`Layer::NotDumpable`](crate::Layer::NotDumpable), for a process that made itself undumpable at its start and is then
/// started without a lock-down, so that a debugger can attach.
///
/// # Errors
///
/// The kernel's error.
pub fn allow_dumping() -> Result<(), LayerError> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}
