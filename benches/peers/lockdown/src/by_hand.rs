//! The layers without a library around them, as the documentation of these crates shows them.

use std::collections::BTreeMap;
use std::error::Error;

use caps::CapSet;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Empties every capability set, and the bounding set as far as it may be changed.
pub fn capabilities() -> Result<()> {
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP)? {
        caps::clear(None, CapSet::Bounding)?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set)?;
    }
    Ok(())
}

/// No new process, no core file, no growing file; not dumpable.
pub fn limits() -> bool {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads the structure.
    unsafe {
        [libc::RLIMIT_NPROC, libc::RLIMIT_CORE, libc::RLIMIT_FSIZE].iter().all(|it| libc::setrlimit(*it, &none) == 0)
            && libc::prctl(libc::PR_SET_DUMPABLE, 0) == 0
    }
}

/// Every right of the newest version. The crate leaves out those that the kernel does not know.
pub fn landlock() -> Result<()> {
    let newest = ABI::V9;
    Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// write to descriptor 1, exit_group.
pub fn seccomp() -> Result<()> {
    let is_output = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 1)?;
    let calls =
        BTreeMap::from([(libc::SYS_write, vec![SeccompRule::new(vec![is_output])?]), (libc::SYS_exit_group, vec![])]);
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
