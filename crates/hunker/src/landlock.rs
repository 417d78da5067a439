//! landlock(7): every right that the running kernel can forbid is forbidden. The exceptions are to read files that are named, to
//! read and to list what is beneath directories that are, and to send datagrams where the policy has a call for it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
};
use rustix::fs::{CWD, FileType, Mode as Bits, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use crate::{LayerError, Mode, Policy, Rights, sys};

/// How much of what a lock-down asks for the kernel's Landlock can forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// Its version: 0 where there is none.
    pub abi: u32,
    /// The rights that it does not know, and so does not forbid.
    pub missing: Rights,
}

impl Landlock {
    /// Asks the kernel, and changes nothing.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn of_kernel() -> Result<Self, LayerError> {
        let abi = sys::landlock_abi().map_err(no_landlock)?;
        Ok(Self::of(abi, Rights::all()))
    }

    fn of(abi: u32, asked: Rights) -> Self {
        Self { abi, missing: asked.but(Rights::known_by(abi)) }
    }
}

/// Why the kernel, or what stands between it and the program, has no Landlock. Its release would tell an old one from one that was
/// built without, but a unit's filter may kill whoever asks for it.
fn no_landlock(answer: Errno) -> LayerError {
    match answer {
        // A kernel answers nobody so.
        Errno::PERM | Errno::ACCESS => LayerError::ForbiddenLandlock,
        Errno::OPNOTSUPP => LayerError::DisabledLandlock,
        _ => LayerError::NoLandlock,
    }
}

/// Forbids what a policy does not need, as far as the kernel knows it, and returns what it knows. Where the mode demands more it is
/// an error.
pub(crate) fn forbid(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Landlock, LayerError> {
    let asked = Rights::asked_with(policy);
    // A denied access is logged where the kernel audits (from version 7 on). That is its default, and so it stays: a program
    // that keeps to its files causes none.
    let status = ruleset(asked, readable)?
        .no_new_privs(false) // a layer of its own
        .restrict_self()?;
    let LandlockStatus::Available { effective_abi, kernel_abi } = status.landlock else {
        return Err(unavailable());
    };
    let abi = kernel_abi.unwrap_or(effective_abi as i32).unsigned_abs();
    enough(Landlock::of(abi, asked), policy, !readable.is_empty(), mode)
}

/// Why there is no Landlock: the crate does not tell.
fn unavailable() -> LayerError {
    Landlock::of_kernel().err().unwrap_or(LayerError::NoLandlock)
}

/// Whether the kernel can forbid what a mode demands.
fn enough(landlock: Landlock, policy: &Policy, opens_files: bool, mode: Mode) -> Result<Landlock, LayerError> {
    let reached = policy.reached(opens_files);
    let may_lack = match mode {
        Mode::Full => Rights::default(),
        // Signals go to processes of its own user only: they are no reason to do without a service.
        Mode::Strict => {
            let demanded = Rights { scopes: reached.scopes & !Scope::Signal, ..reached };
            Rights::all().but(Rights::floor()).but(demanded)
        }
        Mode::BestEffort => Rights::all(),
    };
    let rights = landlock.missing.but(may_lack);
    if rights.is_empty() { Ok(landlock) } else { Err(LayerError::UnknownRights { abi: landlock.abi, rights }) }
}

/// A domain of these rights, but to read and to list these, for a process that can open nothing any more.
pub(crate) fn prepared(asked: Rights, readable: &[PathBuf]) -> Result<OwnedFd, LayerError> {
    Option::from(ruleset(asked, readable)?).ok_or_else(unavailable)
}

/// These rights, but to read and to list these.
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

/// Opens a file or directory to name it in a rule, with what stays allowed there: any but the root, beneath which is everything.
fn open(path: &Path) -> Result<(OwnedFd, BitFlags<AccessFs>), LayerError> {
    let open = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Bits::empty())?;
    let (one, root) = (fstat(&open)?, stat("/")?);
    if (one.st_dev, one.st_ino) == (root.st_dev, root.st_ino) {
        return Err(LayerError::Everything(path.to_owned()));
    }
    let is_directory = FileType::from_raw_mode(one.st_mode).is_dir();
    // The kernel knows no listing of a file, and refuses a rule that allows it.
    Ok((open, if is_directory { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pin, Rule, Syscall};

    #[test]
    fn why_there_is_no_landlock_is_told_by_the_answer() {
        assert!(matches!(no_landlock(Errno::NOSYS), LayerError::NoLandlock));
        assert!(matches!(no_landlock(Errno::OPNOTSUPP), LayerError::DisabledLandlock));
        for answer in [Errno::PERM, Errno::ACCESS] {
            assert!(matches!(no_landlock(answer), LayerError::ForbiddenLandlock));
        }
    }

    #[test]
    fn strict_demands_files_and_what_the_policy_has_a_call_for_and_full_everything() {
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
    fn a_process_that_sends_datagrams_may_send_them() {
        let sends = Policy::new(&[&[Rule::new(Syscall::SENDMMSG, &[], "")]]);
        let asked = Rights::all().but(Rights::asked_with(&sends));
        assert_eq!(asked.to_string(), "sending UDP datagrams");
        assert_eq!(Landlock::of(9, Rights::asked_with(&sends)).missing.to_string(), "binding UDP ports");
    }
}
