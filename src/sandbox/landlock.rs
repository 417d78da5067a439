//! landlock(7): every right that the running kernel can forbid is forbidden; the one exception is to read files in
//! directories that are named, and to list these.

use std::io::ErrorKind;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};

use super::LayerError;
use crate::sys;

/// The newest rights that the `landlock` crate knows; it leaves out those that the kernel does not know.
const NEWEST: ABI = ABI::V9;

pub(super) fn forbid_everything_but(readable: &[PathBuf]) -> Result<(), LayerError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::ReadFile | AccessFs::ReadDir))?
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
