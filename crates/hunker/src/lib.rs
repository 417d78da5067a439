#![doc = include_str!("../README.md")]
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod capabilities;
mod compile;
mod landlock;
mod limits;
mod policy;
mod reach;
mod rights;
mod sys;
mod syscall;

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::io::Errno;

pub use crate::landlock::Landlock;
pub use compile::Instruction;
pub use limits::allow_dumping;
pub use policy::{Narrower, Pin, Policy, Rule};
pub use rights::{Right, Rights, kernel_of};
pub use syscall::Syscall;

/// An architecture that policies are compiled for. Both are little endian, and have numbers of system calls of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64`
    X86_64,
    /// `aarch64`
    Aarch64,
}

impl Architecture {
    /// The one that is compiled for, which is not always the one that compiles.
    #[cfg(target_arch = "x86_64")]
    pub const TARGET: Self = Self::X86_64;
    /// The one that is compiled for, which is not always the one that compiles.
    #[cfg(target_arch = "aarch64")]
    pub const TARGET: Self = Self::Aarch64;

    /// The kernel's `AUDIT_ARCH_`.
    const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "hunker has numbers of system calls for Linux on x86_64 and aarch64 only: add a column to src/syscall.rs"
);

/// What to do where the kernel lacks a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Fail, unless every layer holds, and the kernel's Landlock knows every right that this crate asks it to forbid. A newer
    /// version of this crate may ask for more.
    Full,
    /// Fail, unless every layer holds. Landlock has to know the rights on files that its first version has ([`Rights::floor`]), and
    /// of what later ones know all that the policy has a call for, but to signal. What else it does not know is in the report.
    Strict,
    /// Apply the layers that the kernel has, and report the others.
    BestEffort,
}

/// One layer of the lock-down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// No capability in any set: effective, permitted, inheritable, ambient; bounding too where it may be changed.
    Capabilities,
    /// No new process, no core file, no growing file.
    Limits,
    /// Not dumpable: no ptrace(2) by the same user, /proc/self owned by root.
    NotDumpable,
    /// execve(2) grants nothing, for ever.
    NoNewPrivileges,
    /// No file, no port, no Unix-domain socket or process outside: every right that the kernel's Landlock knows.
    Landlock,
    /// Only the system calls of the policy, with its arguments; any other kills the process.
    Seccomp,
}

impl Layer {
    /// All layers, in the order in which they are applied.
    pub const ALL: [Self; 6] =
        [Self::Capabilities, Self::Limits, Self::NotDumpable, Self::NoNewPrivileges, Self::Landlock, Self::Seccomp];

    /// Applies this layer alone: for tests of what it stops without the others.
    ///
    /// # Errors
    ///
    /// What the kernel answered when it did not take the layer.
    pub fn apply(self, policy: &Policy) -> Result<(), LayerError> {
        self.apply_but(policy, &[], Mode::BestEffort).map(drop)
    }

    /// Of Landlock, returns what the kernel has.
    fn apply_but(self, policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Option<Landlock>, LayerError> {
        match self {
            Self::Capabilities => capabilities::drop_all()?,
            Self::Limits => {
                limits::set()?;
                limits::forbid_processes()?;
            }
            Self::NotDumpable => limits::forbid_dumping()?,
            Self::NoNewPrivileges => rustix::thread::set_no_new_privs(true)?,
            Self::Landlock => return crate::landlock::forbid(policy, readable, mode).map(Some),
            Self::Seccomp => {
                #[cfg(debug_assertions)]
                sys::trap::name_forbidden_calls()?;
                sys::attach(policy.instructions())?;
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capabilities => "dropped capabilities",
            Self::Limits => "resource limits",
            Self::NotDumpable => "not dumpable",
            Self::NoNewPrivileges => "no_new_privs",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

/// What the kernel answered when it did not take a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// To a plain system call.
    #[error(transparent)]
    System(#[from] Errno),
    /// To a change of the bounding set.
    #[error(transparent)]
    Capabilities(#[from] caps::errors::CapsError),
    /// To a Landlock call.
    #[error(transparent)]
    Landlock(#[from] ::landlock::RulesetError),
    /// That there is no such call.
    #[error(
        "this kernel has no Landlock, being older than 5.13 or built without it, or a filter outside of the program hides it"
    )]
    NoLandlock,
    /// That it is switched off.
    #[error("this kernel's Landlock was not enabled at boot")]
    DisabledLandlock,
    /// That nobody may ask: a kernel never answers so.
    #[error(
        "a filter outside of the program forbids the Landlock calls, that of a container or a service manager perhaps"
    )]
    ForbiddenLandlock,
    /// That it does not know rights that the mode demands.
    #[error("this kernel, Landlock ABI {abi}, cannot forbid {rights}")]
    UnknownRights {
        /// The version.
        abi: u32,
        /// The rights.
        rights: Rights,
    },
    /// Not asked: a directory that is to stay readable is the root, beneath which is every file of the host.
    #[error("{} is the root directory", .0.display())]
    Everything(PathBuf),
}

impl LayerError {
    /// Whether the kernel, or the container around the program, does not have the layer. Otherwise it has it, and applying
    /// it failed for a reason of the moment.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = |errno| matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM);
        match self {
            Self::System(errno) => missing(*errno),
            Self::NoLandlock | Self::DisabledLandlock | Self::ForbiddenLandlock | Self::UnknownRights { .. } => true,
            Self::Landlock(error) => os_error(error).map(Errno::from_raw_os_error).is_some_and(missing),
            Self::Capabilities(_) | Self::Everything(_) => false,
        }
    }
}

impl LayerError {
    /// Whether the answer was that nobody may: what stands between the program and the kernel says so, a filter as a rule.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let errno = match self {
            Self::System(errno) => Some(*errno),
            Self::Landlock(error) => os_error(error).map(Errno::from_raw_os_error),
            Self::ForbiddenLandlock => Some(Errno::PERM),
            _ => None,
        };
        matches!(errno, Some(Errno::PERM | Errno::ACCESS))
    }

    fn verdict(&self) -> &'static str {
        match self {
            Self::UnknownRights { .. } => "is incomplete",
            _ if self.is_missing() => "is missing",
            _ => "could not be applied",
        }
    }
}

/// The system's answer at the bottom of an error.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.raw_os_error(),
        None => error.source().and_then(os_error),
    }
}

/// A layer is unavailable, and the process is not locked down.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox layer {layer} {} ({reason})", reason.verdict())]
pub struct Error {
    /// Which.
    pub layer: Layer,
    /// Why.
    pub reason: LayerError,
}

/// What the kernel could not do.
#[derive(Debug, Default)]
#[must_use = "what is missing belongs on the log"]
pub struct Report {
    /// The layers that it does not have: some with [`Mode::BestEffort`] only.
    pub missing: Vec<Error>,
    /// Its Landlock, and the rights that this does not know, and so does not forbid: none with [`Mode::Full`].
    pub landlock: Landlock,
    /// Those of them that the policy does not forbid either: with [`Mode::Strict`] to signal, at most.
    pub unstopped: Rights,
}

impl Report {
    fn tell(&mut self, landlock: Landlock, policy: &Policy, readable: &[PathBuf]) {
        self.landlock = landlock;
        self.unstopped = landlock.missing.within(policy.reached(!readable.is_empty()));
    }

    fn lack(&mut self, error: Error) {
        if error.layer == Layer::Seccomp {
            self.unstopped = self.landlock.missing;
        }
        self.missing.push(error);
    }
}

/// Locks this process down, for good: applies every layer. Do this before the first byte from outside is read.
///
/// What is beneath the directories in `readable` can still be opened to read it, and listed, as far as the policy allows these
/// calls. Where it [sends datagrams](Policy::sends_datagrams), Landlock does not stop these.
///
/// # Errors
///
/// The first layer that could not be applied. With [`Mode::BestEffort`] those that the kernel does not have are in the report
/// instead. After an error the process is locked down in part: end it.
pub fn down(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Report, Error> {
    let mut report = Report::default();
    for layer in Layer::ALL {
        match layer.apply_but(policy, readable, mode) {
            Ok(None) => {}
            Ok(Some(landlock)) => report.tell(landlock, policy, readable),
            Err(reason) if mode == Mode::BestEffort && reason.is_missing() => {
                report.lack(Error { layer, reason });
            }
            Err(reason) => return Err(Error { layer, reason }),
        }
    }
    Ok(report)
}

/// The same for a process that will fork one child after the other, each of which is locked down once more: it may make
/// processes, and it keeps what its children need to forbid themselves what is left.
///
/// # Errors
///
/// As [`down`].
pub fn down_to_fork(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<(Report, Children), Error> {
    let mut report = Report::default();
    let mut children = Children { forbidding_all: None, as_parent: None, seccomp: true };
    for layer in Layer::ALL {
        let applied = match layer {
            Layer::Limits => limits::set().map(|()| None),
            // Made first: afterwards nothing can be opened for a rule.
            Layer::Landlock => {
                children.prepare(policy, readable).and_then(|()| layer.apply_but(policy, readable, mode))
            }
            _ => layer.apply_but(policy, readable, mode),
        };
        match applied {
            Ok(None) => {}
            Ok(Some(landlock)) => report.tell(landlock, policy, readable),
            Err(reason) if mode == Mode::BestEffort && reason.is_missing() => {
                children.seccomp &= layer != Layer::Seccomp;
                report.lack(Error { layer, reason });
            }
            Err(reason) => return Err(Error { layer, reason }),
        }
    }
    Ok((report, children))
}

/// What the children of a process need to lock themselves down, made before it was locked down itself: see [`down_to_fork`].
#[derive(Debug)]
pub struct Children {
    forbidding_all: Option<OwnedFd>,
    as_parent: Option<OwnedFd>,
    seccomp: bool,
}

impl Children {
    fn prepare(&mut self, policy: &Policy, readable: &[PathBuf]) -> Result<(), LayerError> {
        self.forbidding_all = Some(crate::landlock::prepared(Rights::all(), &[])?);
        self.as_parent = Some(crate::landlock::prepared(Rights::asked_with(policy), readable)?);
        Ok(())
    }

    /// To be called in a child, first: a Landlock domain of its own, so that it can do nothing to its siblings. `as_parent`
    /// leaves it what its parent's leaves: to read its files, and to send datagrams.
    ///
    /// It takes `landlock_restrict_self`. The descriptor for it may be closed afterwards.
    ///
    /// # Errors
    ///
    /// What the kernel answered: then the child must not go on.
    #[inline]
    pub fn part(&self, as_parent: bool) -> Result<(), LayerError> {
        let ruleset = if as_parent { &self.as_parent } else { &self.forbidding_all };
        ruleset.as_ref().map_or(Ok(()), |ruleset| Ok(sys::restrict_self(ruleset)?))
    }

    /// The descriptors that this holds, to close them in a child that goes on with others.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.forbidding_all, &self.as_parent].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    /// To be called in a child, last: no process of its own, and only the calls of its policy.
    ///
    /// It takes `prlimit64` and `seccomp`.
    ///
    /// # Errors
    ///
    /// What the kernel answered: then the child must not go on. Its memory for filters is limited for the whole system.
    #[inline]
    pub fn narrow(&self, child: &Narrower) -> Result<(), LayerError> {
        limits::forbid_processes()?;
        if self.seccomp { narrow(child) } else { Ok(()) }
    }
}

/// Attaches one more filter to a process that is locked down already: a child that needs less than its parent, or the next
/// stage of a program's life. The policy around it has to allow the call for it:
/// `Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1)], "narrow")`.
///
/// # Errors
///
/// What the kernel answered.
#[inline]
pub fn narrow(child: &Narrower) -> Result<(), LayerError> {
    Ok(sys::attach(child.policy.instructions())?)
}
