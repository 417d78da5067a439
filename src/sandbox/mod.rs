//! The lock-down: what stands between a hijacked service and the rest of the machine.
//!
//! Six layers, applied in the order of [`Layer::ALL`]. All are the process's own and last until it ends; none needs
//! privileges.

#[cfg(test)] // build.rs compiles the table
mod bpf;
mod capabilities;
mod landlock;
mod limits;
pub mod policy;
mod seccomp;

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub use crate::file::Readable;
use crate::report;
use policy::{Peer, Service};

/// What to do when the kernel lacks a layer.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse to serve unless every layer holds
    Strict,
    /// Use the layers that the kernel has, and log the others
    BestEffort,
    /// No lock-down at all
    Off,
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
    /// No file, no TCP port, no abstract socket or process outside: every right that the kernel's Landlock knows.
    Landlock,
    /// Only the system calls of the policy table, with its arguments; any other kills the process.
    Seccomp,
}

impl Layer {
    /// All layers, in the order in which they are applied.
    pub const ALL: [Self; 6] =
        [Self::Capabilities, Self::Limits, Self::NotDumpable, Self::NoNewPrivileges, Self::Landlock, Self::Seccomp];

    /// Applies this layer alone.
    ///
    /// # Errors
    ///
    /// What the kernel answered when it did not take the layer.
    pub fn apply(self, service: Service, peer: Peer) -> Result<(), LayerError> {
        self.apply_but(service, peer, &[])
    }

    fn apply_but(self, service: Service, peer: Peer, readable: &[Readable]) -> Result<(), LayerError> {
        match self {
            Self::Capabilities => capabilities::drop_all(),
            Self::Limits => limits::set(),
            Self::NotDumpable => limits::forbid_dumping(),
            Self::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
            Self::Landlock => landlock::forbid_everything_but(readable),
            Self::Seccomp => seccomp::attach(service, peer),
        }
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
    /// Nothing: there is no Landlock.
    #[error("this kernel has no Landlock, or it was not enabled at boot by lsm=")]
    NoLandlock,
    /// Not asked: a directory that is to stay readable is the root.
    #[error("{} is the root directory", .0.display())]
    Everything(PathBuf),
    /// That nobody may ask: a kernel never answers so.
    #[error("a filter outside of the program forbids the Landlock calls, that of a container perhaps")]
    ForbiddenLandlock,
    /// To the filter.
    #[error(transparent)]
    Seccomp(#[from] seccompiler::Error),
}

impl LayerError {
    /// Whether the kernel, or the container around the program, does not have the layer. Otherwise it has it, and applying
    /// it failed for a reason of the moment.
    fn is_missing(&self) -> bool {
        let missing = |errno: Option<i32>| {
            let errno = errno.map(Errno::from_raw_os_error);
            matches!(errno, Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM))
        };
        match self {
            Self::System(errno) => missing(Some(errno.raw_os_error())),
            Self::NoLandlock | Self::ForbiddenLandlock => true,
            Self::Seccomp(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error)) => {
                missing(error.raw_os_error())
            }
            Self::Landlock(error) => missing(os_error(error)),
            Self::Capabilities(_) | Self::Seccomp(_) | Self::Everything(_) => false,
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

/// A layer cannot be had, and the program will not serve without it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not have it, and the mode is strict.
    #[error(
        "will not serve: the sandbox layer {layer} is missing ({reason}); \
         use a kernel that has it, or start with --sandbox best-effort"
    )]
    Missing {
        /// Which.
        layer: Layer,
        /// What the kernel answered.
        reason: LayerError,
    },
    /// The kernel has it.
    #[error(
        "will not serve: the sandbox layer {layer} could not be applied ({reason}); \
         check the limits that the program was started with"
    )]
    Failed {
        /// Which.
        layer: Layer,
        /// What the kernel answered.
        reason: LayerError,
    },
    /// Files that are read again are in the root directory.
    #[error(
        "will not serve: files that are read again are in {}, which is the root directory, and all that is beneath would stay \
         readable, which is every file of the host; move them into a directory of their own", .0.display()
    )]
    Everything(PathBuf),
}

/// Applies every layer, before one octet from the network is read.
///
/// # Errors
///
/// [`Error::Failed`], and in [`Mode::Strict`] [`Error::Missing`], which in [`Mode::BestEffort`] is a warning on the log.
pub fn lock_down(service: Service, peer: Peer, mode: Mode) -> Result<(), Error> {
    lock_down_but(service, peer, &[], mode)
}

/// Applies every layer, and leaves what is beneath these directories readable. The log says where that is more than is needed.
///
/// # Errors
///
/// Those of [`lock_down`]; [`Error::Everything`] for the root directory.
pub fn lock_down_but(service: Service, peer: Peer, readable: &[Readable], mode: Mode) -> Result<(), Error> {
    if mode == Mode::Off {
        // Not since its start either: who switches the lock-down off may want to look into it.
        let _ = limits::allow_dumping();
        return Ok(());
    }
    for layer in Layer::ALL {
        match layer.apply_but(service, peer, readable) {
            Ok(()) => {}
            Err(LayerError::Everything(directory)) => return Err(Error::Everything(directory)),
            Err(reason) if !reason.is_missing() => return Err(Error::Failed { layer, reason }),
            Err(reason) if mode == Mode::Strict => return Err(Error::Missing { layer, reason }),
            Err(reason) => {
                let message = format!("the sandbox layer {layer} is missing ({reason}); serving without it");
                // Where each client has a process, each would write to the log: `small-services doctor` says it there.
                if peer == Peer::Connection { report::info(&message) } else { report::warning(&message) }
            }
        }
    }
    for Readable { directory, more } in readable {
        if let Some(more) = more {
            report::warning(&format!(
                "all that is beneath {} stays readable to the locked-down program, so {} too; move the files that it is to \
                 read again into a directory that holds nothing else",
                directory.display(),
                Path::new(more).display(),
            ));
        }
    }
    Ok(())
}
