//! landlock(7): forbids every right that the running kernel can forbid. Exceptions: reading named files, reading and listing what is
//! beneath named directories, and sending datagrams if the policy has a call for it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::fs::{CWD, FileType, Mode as Bits, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use crate::{LayerError, Mode, Policy, Rights, sys};

/// The kernel's Landlock, compared with what a lock-down asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// Its version; 0 if there is none.
    pub abi: u32,
    /// The rights that it does not know and so does not forbid.
    pub missing: Rights,
}

impl Landlock {
    /// Asks the kernel, without changing anything.
    ///
    /// # Errors
    ///
    /// Why Landlock is unavailable.
    pub fn of_kernel() -> Result<Self, LayerError> {
        let abi = sys::landlock_abi().map_err(no_landlock)?;
        Ok(Self::of(abi, Rights::all()))
    }

    fn of(abi: u32, asked: Rights) -> Self {
        Self { abi, missing: asked.without(Rights::known_by(abi)) }
    }
}

/// Why Landlock is unavailable. uname(2) would tell an old kernel from one built without Landlock, but a unit's filter may kill the
/// process for that call.
fn no_landlock(answer: Errno) -> LayerError {
    match answer {
        // A filter: the kernel never answers so.
        Errno::PERM | Errno::ACCESS => LayerError::ForbiddenLandlock,
        Errno::OPNOTSUPP => LayerError::DisabledLandlock,
        _ => LayerError::NoLandlock,
    }
}

/// Forbids the rights that a policy does not need, as far as the kernel knows them. Returns what the kernel knows, or an error if
/// the mode requires more.
pub(crate) fn forbid(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Landlock, LayerError> {
    let asked = Rights::asked_with(policy);
    // By default the kernel logs denied accesses where it audits (version 7 and later). Keep the default: a program that uses only
    // its own files causes none.
    let status = ruleset(asked, readable)?
        .no_new_privs(false) // a separate layer
        .restrict_self()?;
    let LandlockStatus::Available { effective_abi, kernel_abi } = status.landlock else {
        return Err(unavailable());
    };
    let abi = kernel_abi.unwrap_or(effective_abi as i32).unsigned_abs();
    enough(Landlock::of(abi, asked), policy, !readable.is_empty(), mode)
}

/// Why Landlock is unavailable: the landlock crate does not say.
fn unavailable() -> LayerError {
    Landlock::of_kernel().err().unwrap_or(LayerError::NoLandlock)
}

/// Checks that the kernel can forbid what a mode requires.
fn enough(landlock: Landlock, policy: &Policy, opens_files: bool, mode: Mode) -> Result<Landlock, LayerError> {
    let reached = policy.reached(opens_files);
    let may_lack = match mode {
        Mode::Full => Rights::default(),
        // Signals reach only processes of the same user: no reason to refuse to serve.
        Mode::Strict => {
            let required = Rights { scopes: reached.scopes & !Scope::Signal, ..reached };
            Rights::all().without(Rights::floor()).without(required)
        }
        Mode::BestEffort => Rights::all(),
    };
    let rights = landlock.missing.without(may_lack);
    if rights.is_empty() { Ok(landlock) } else { Err(LayerError::UnknownRights { abi: landlock.abi, rights }) }
}

/// A ruleset that forbids these rights, except reading and listing `readable`, for a process that will not be able to open files.
pub(crate) fn prepared(asked: Rights, readable: &[PathBuf]) -> Result<OwnedFd, LayerError> {
    Option::from(ruleset(asked, readable)?).ok_or_else(unavailable)
}

/// A ruleset that forbids these rights, except reading and listing `readable`.
fn ruleset(asked: Rights, readable: &[PathBuf]) -> Result<RulesetCreated, LayerError> {
    let opened: Vec<_> = readable.iter().map(|it| open(it)).collect::<Result<_, _>>()?;
    let created = Ruleset::default()
        .handle_access(asked.files)?
        .handle_access(asked.network)?
        .scope(asked.scopes)?
        .create()?
        .add_rules(opened.into_iter().map(|(it, allowed)| Ok::<_, LayerError>(PathBeneath::new(it, allowed))))?;
    Ok(created)
}

/// Opens a file or directory for a rule, and returns what stays allowed there. Refuses the root directory, which holds everything.
fn open(path: &Path) -> Result<(OwnedFd, BitFlags<AccessFs>), LayerError> {
    let open = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Bits::empty())?;
    let (one, root) = (fstat(&open)?, stat("/")?);
    if (one.st_dev, one.st_ino) == (root.st_dev, root.st_ino) {
        return Err(LayerError::RootDirectory(path.to_owned()));
    }
    let is_directory = FileType::from_raw_mode(one.st_mode).is_dir();
    // The kernel refuses a rule that allows listing a file.
    Ok((open, if is_directory { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pin, Rule, Syscall};

    #[test]
    fn the_error_number_says_why_landlock_is_unavailable() {
        assert!(matches!(no_landlock(Errno::NOSYS), LayerError::NoLandlock));
        assert!(matches!(no_landlock(Errno::OPNOTSUPP), LayerError::DisabledLandlock));
        for answer in [Errno::PERM, Errno::ACCESS] {
            assert!(matches!(no_landlock(answer), LayerError::ForbiddenLandlock));
        }
    }

    #[test]
    fn strict_requires_the_rights_on_files_and_those_the_policy_uses_and_full_requires_all() {
        let policy = |call, pins| Policy::new(&[&[Rule::new(call, pins, "")]]);
        let first = |policy: &Policy, opens_files, mode| {
            let asked = Rights::asked_with(policy);
            (0..=11).find(|&abi| enough(Landlock::of(abi, asked), policy, opens_files, mode).is_ok())
        };
        let harmless = policy(Syscall::SENDTO, &[const { Pin::is(5, 0) }]);
        for (policy, opens_files, strict, full) in [
            (harmless, false, 1, 10),
            (harmless, true, 1, 10),
            (policy(Syscall::KILL, &[]), false, 1, 10),
            (policy(Syscall::FTRUNCATE, &[]), false, 3, 10),
            (policy(Syscall::IOCTL, &[]), false, 1, 10),
            (policy(Syscall::IOCTL, &[]), true, 5, 10),
            (policy(Syscall::CONNECT, &[]), false, 10, 10),
            (policy(Syscall::SENDMMSG, &[]), false, 1, 10),
        ] {
            assert_eq!(first(&policy, opens_files, Mode::BestEffort), Some(0));
            assert_eq!(first(&policy, opens_files, Mode::Strict), Some(strict), "{policy:?}");
            assert_eq!(first(&policy, opens_files, Mode::Full), Some(full), "{policy:?}");
        }
        let lacking = enough(Landlock::of(2, Rights::all()), &policy(Syscall::FTRUNCATE, &[]), false, Mode::Strict);
        let said = lacking.map_err(|error| error.to_string());
        assert_eq!(said, Err("this kernel, Landlock ABI 2, cannot forbid truncating files".to_owned()));
    }

    #[test]
    fn landlock_does_not_stop_the_datagrams_of_a_policy_that_sends_them() {
        let sends = Policy::new(&[&[Rule::new(Syscall::SENDMMSG, &[], "")]]);
        let asked = Rights::all().without(Rights::asked_with(&sends));
        assert_eq!(asked.to_string(), "sending UDP datagrams");
        assert_eq!(Landlock::of(9, Rights::asked_with(&sends)).missing.to_string(), "binding UDP ports");
    }
}
