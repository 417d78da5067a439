//! getrlimit(2) and `PR_SET_DUMPABLE`: no new process, no growing file, no core.

use rustix::fs::{FileType, fstat};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::stdio::{stderr, stdout};

use crate::LayerError;

const NONE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };

pub(crate) fn set() -> Result<(), LayerError> {
    setrlimit(Resource::Core, NONE)?;
    // A filter's output or log may be a file of the user's, which has to grow.
    let writes_a_file = [stdout(), stderr()]
        .iter()
        .any(|descriptor| fstat(descriptor).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file()));
    if !writes_a_file {
        setrlimit(Resource::Fsize, NONE)?;
    }
    Ok(())
}

/// Of this user, which for a service's own is as much as of this process.
#[inline]
pub(crate) fn forbid_processes() -> Result<(), LayerError> {
    Ok(setrlimit(Resource::Nproc, NONE)?)
}

pub(crate) fn forbid_dumping() -> Result<(), LayerError> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The opposite of that layer, for a debugger: where a process that is not to be locked down made itself undumpable before it
/// knew.
///
/// # Errors
///
/// What the kernel answered.
pub fn allow_dumping() -> Result<(), LayerError> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}
