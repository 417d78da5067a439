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

/// An architecture that policies are compiled for. Both are little endian. Each has its own system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `x86_64`
    X86_64,
    /// `aarch64`
    Aarch64,
}

impl Architecture {
    /// The architecture that the program is compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const TARGET: Self = Self::X86_64;
    /// The architecture that the program is compiled for.
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

/// What to do if the kernel lacks a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Fail unless every layer holds and the kernel's Landlock can forbid every right that this crate knows. A newer version of
    /// this crate may know more rights.
    Full,
    /// Fail unless every layer holds. Landlock must know the rights on files of its first version ([`Rights::floor`]), and each
    /// later right for which the policy has a call, except signals. The report lists the other rights that it lacks.
    Strict,
    /// Apply the layers that the kernel has. Report the others.
    BestEffort,
}

/// One layer of the lock-down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// No capability in any set: effective, permitted, inheritable, ambient, and bounding if the process may change it.
    Capabilities,
    /// No new process, no core file, no growing file.
    Limits,
    /// Not dumpable: no ptrace(2) by the same user, /proc/self owned by root.
    NotDumpable,
    /// execve(2) never grants a privilege again.
    NoNewPrivileges,
    /// Access to no file, port, Unix-domain socket or other process: forbids every right that the kernel's Landlock knows.
    Landlock,
    /// Only the system calls of the policy, with its arguments. Any other call kills the process.
    Seccomp,
}

impl Layer {
    /// All layers, in the order in which they are applied.
    pub const ALL: [Self; 6] =
        [Self::Capabilities, Self::Limits, Self::NotDumpable, Self::NoNewPrivileges, Self::Landlock, Self::Seccomp];

    /// Applies this layer alone, to test what it stops without the others.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    pub fn apply(self, policy: &Policy) -> Result<(), LayerError> {
        self.apply_except(policy, &[], Mode::BestEffort).map(drop)
    }

    /// Applies this layer, except to the `readable` directories. For Landlock, returns what the kernel supports.
    fn apply_except(self, policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Option<Landlock>, LayerError> {
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

/// Why a layer could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A plain system call failed.
    #[error(transparent)]
    System(#[from] Errno),
    /// Changing the bounding set failed.
    #[error(transparent)]
    Capabilities(#[from] caps::errors::CapsError),
    /// A Landlock call failed.
    #[error(transparent)]
    Landlock(#[from] ::landlock::RulesetError),
    /// The kernel has no Landlock calls.
    #[error(
        "this kernel has no Landlock, being older than 5.13 or built without it, or a filter outside of the program hides it"
    )]
    NoLandlock,
    /// Landlock is disabled.
    #[error("this kernel's Landlock was not enabled at boot")]
    DisabledLandlock,
    /// A filter forbids the Landlock calls. The kernel itself never returns this error.
    #[error(
        "a filter outside of the program forbids the Landlock calls, for example that of a container or a service manager"
    )]
    ForbiddenLandlock,
    /// The kernel's Landlock lacks rights that the mode requires.
    #[error("this kernel, Landlock ABI {abi}, cannot forbid {rights}")]
    UnknownRights {
        /// Its version.
        abi: u32,
        /// The missing rights.
        rights: Rights,
    },
    /// A directory to keep readable is the root directory, which holds every file of the host.
    #[error("{} is the root directory", .0.display())]
    RootDirectory(PathBuf),
}

impl LayerError {
    /// Whether the kernel, or the container around the program, lacks the layer. If not, the layer exists but could not be applied.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = |errno| matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM);
        match self {
            Self::System(errno) => missing(*errno),
            Self::NoLandlock | Self::DisabledLandlock | Self::ForbiddenLandlock | Self::UnknownRights { .. } => true,
            Self::Landlock(error) => os_error(error).map(Errno::from_raw_os_error).is_some_and(missing),
            Self::Capabilities(_) | Self::RootDirectory(_) => false,
        }
    }

    /// Whether the call was forbidden, usually by a filter between the program and the kernel.
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

/// The system's error number at the root of an error.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.raw_os_error(),
        None => error.source().and_then(os_error),
    }
}

/// A layer could not be applied. The process is not locked down.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox layer {layer} {} ({reason})", reason.verdict())]
pub struct Error {
    /// The layer.
    pub layer: Layer,
    /// Why it could not be applied.
    pub reason: LayerError,
}

/// What the kernel lacks.
#[derive(Debug, Default)]
#[must_use = "the log should say what is missing"]
pub struct Report {
    /// The missing layers: none, except with [`Mode::BestEffort`].
    pub missing: Vec<Error>,
    /// The kernel's Landlock, with the rights that it cannot forbid: none with [`Mode::Full`].
    pub landlock: Landlock,
    /// Those of these rights that the policy does not forbid either: at most signals with [`Mode::Strict`].
    pub unstopped: Rights,
}

impl Report {
    fn add_landlock(&mut self, landlock: Landlock, policy: &Policy, readable: &[PathBuf]) {
        self.landlock = landlock;
        self.unstopped = landlock.missing.intersection(policy.reached(!readable.is_empty()));
    }

    fn add_missing(&mut self, error: Error) {
        if error.layer == Layer::Seccomp {
            self.unstopped = self.landlock.missing;
        }
        self.missing.push(error);
    }
}

/// Locks this process down irrevocably: applies every layer. Call it before reading the first byte from outside.
///
/// The process can still read and list everything beneath the `readable` directories, if the policy allows the calls. If the policy
/// [sends datagrams](Policy::sends_datagrams), Landlock does not forbid that.
///
/// # Errors
///
/// The first layer that could not be applied. With [`Mode::BestEffort`], layers that the kernel lacks are in the report instead.
/// After an error the process is partly locked down: exit.
pub fn down(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<Report, Error> {
    let mut report = Report::default();
    for layer in Layer::ALL {
        match layer.apply_except(policy, readable, mode) {
            Ok(None) => {}
            Ok(Some(landlock)) => report.add_landlock(landlock, policy, readable),
            Err(reason) if mode == Mode::BestEffort && reason.is_missing() => {
                report.add_missing(Error { layer, reason });
            }
            Err(reason) => return Err(Error { layer, reason }),
        }
    }
    Ok(report)
}

/// Like [`down`], for a process that forks children and locks each down further. It may create processes, and keeps the rulesets
/// that its children apply to themselves.
///
/// # Errors
///
/// As for [`down`].
pub fn down_to_fork(policy: &Policy, readable: &[PathBuf], mode: Mode) -> Result<(Report, Children), Error> {
    let mut report = Report::default();
    let mut children = Children { forbidding_all: None, as_parent: None, seccomp: true };
    for layer in Layer::ALL {
        let applied = match layer {
            Layer::Limits => limits::set().map(|()| None),
            // Before the layer: afterwards no directory can be opened for a rule.
            Layer::Landlock => {
                children.prepare(policy, readable).and_then(|()| layer.apply_except(policy, readable, mode))
            }
            _ => layer.apply_except(policy, readable, mode),
        };
        match applied {
            Ok(None) => {}
            Ok(Some(landlock)) => report.add_landlock(landlock, policy, readable),
            Err(reason) if mode == Mode::BestEffort && reason.is_missing() => {
                children.seccomp &= layer != Layer::Seccomp;
                report.add_missing(Error { layer, reason });
            }
            Err(reason) => return Err(Error { layer, reason }),
        }
    }
    Ok((report, children))
}

/// What the children of a process need to lock themselves down, prepared before the process locks itself down: see
/// [`down_to_fork`].
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

    /// The first step in a child: enters its own Landlock domain, so that it cannot affect its siblings. With `as_parent` the
    /// child keeps its parent's access: reading its files, and sending datagrams.
    ///
    /// This requires `landlock_restrict_self`. The descriptors may be closed afterwards.
    ///
    /// # Errors
    ///
    /// The kernel's error. The child must exit then.
    #[inline]
    pub fn enter_domain(&self, as_parent: bool) -> Result<(), LayerError> {
        let ruleset = if as_parent { &self.as_parent } else { &self.forbidding_all };
        ruleset.as_ref().map_or(Ok(()), |ruleset| Ok(sys::restrict_self(ruleset)?))
    }

    /// The descriptors of the rulesets, for the child to close.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.forbidding_all, &self.as_parent].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    /// The last step in a child: forbids new processes, and all calls outside its policy.
    ///
    /// This requires `prlimit64` and `seccomp`.
    ///
    /// # Errors
    ///
    /// The kernel's error. The child must exit then. The kernel limits the memory for filters across the whole system.
    #[inline]
    pub fn narrow(&self, child: &Narrower) -> Result<(), LayerError> {
        limits::forbid_processes()?;
        if self.seccomp { narrow(child) } else { Ok(()) }
    }
}

/// Attaches a further filter to a process that is already locked down: a child that needs less than its parent, or the next
/// stage of a program. The outer policy must allow the call:
/// `Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1)], "narrow")`.
///
/// # Errors
///
/// The kernel's error.
#[inline]
pub fn narrow(child: &Narrower) -> Result<(), LayerError> {
    Ok(sys::attach(child.policy.instructions())?)
}
