//! The lock-down: hunker's layers, and what of them is missing, in the words of a service.

use std::path::{Path, PathBuf};

use hunker::{Landlock, Layer, LayerError, Policy, Rights};

use crate::file::Readable;
use crate::log;
use crate::policy::Io;

/// What to do when the kernel lacks a layer.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse to serve unless every layer holds, and Landlock lacks nothing (Linux 7.2)
    Full,
    /// Refuse to serve unless every layer holds; what an old Landlock lacks, seccomp does
    Strict,
    /// Use the layers that the kernel has, and log the others
    BestEffort,
    /// No lock-down at all
    Off,
}

/// A layer cannot be had, and the program will not serve without it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not have it, and the mode asks for it.
    #[error("will not serve: {0}; {how}, or start with --sandbox {less}", how = advice(.0), less = less(.0))]
    Missing(hunker::Error),
    /// The kernel has it.
    #[error("will not serve: {0}; check the limits that the program was started with")]
    Failed(hunker::Error),
    /// Files that are read again are in the root directory.
    #[error(
        "will not serve: files that are read again are in {}, which is the root directory, and all that is beneath would stay \
         readable, which is every file of the host; move them into a directory of their own", .0.display()
    )]
    Everything(PathBuf),
}

/// What to do about a layer that is missing.
pub(crate) fn advice(missing: &hunker::Error) -> String {
    let allow = || {
        let calls = match missing.layer {
            Layer::Capabilities => "capget, capset and prctl",
            Layer::Limits => "prlimit64",
            Layer::NotDumpable | Layer::NoNewPrivileges => "prctl",
            Layer::Landlock => "landlock_create_ruleset, landlock_add_rule and landlock_restrict_self",
            Layer::Seccomp => "seccomp",
        };
        format!("{calls} ({FILTERS})")
    };
    match &missing.reason {
        LayerError::NoLandlock => {
            format!("use a newer kernel, with CONFIG_SECURITY_LANDLOCK=y, or have that filter allow {}", allow())
        }
        LayerError::DisabledLandlock => {
            "add landlock to lsm= on the kernel's command line (/sys/kernel/security/lsm is the list), and boot again"
                .to_owned()
        }
        LayerError::UnknownRights { rights, .. } => format!("boot Linux {} or newer", rights.kernel()),
        LayerError::ForbiddenLandlock => format!("have that filter allow {}", allow()),
        reason if reason.is_forbidden() => {
            format!("have the filter that forbids it, a container's perhaps, allow {}", allow())
        }
        _ if missing.layer == Layer::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER=y".to_owned(),
        _ => "use a kernel that has it".to_owned(),
    }
}

/// Where filters come from.
const FILTERS: &str = "systemd-nspawn: --system-call-filter=; Docker, Podman: a profile by --security-opt seccomp=; a unit: \
                       SystemCallFilter=";

/// The mode that does without.
fn less(missing: &hunker::Error) -> &'static str {
    if matches!(missing.reason, LayerError::UnknownRights { .. }) { "strict" } else { "best-effort" }
}

/// What an older Landlock cannot forbid, if there is anything.
pub(crate) fn shortfall(landlock: &Landlock) -> Option<String> {
    let Landlock { abi, missing } = landlock;
    (!missing.is_empty()).then(|| format!("this kernel (Landlock ABI {abi}) cannot forbid {missing}"))
}

/// What of the lock-down an older Landlock does not do.
#[derive(Debug, Default)]
pub struct Shortfall {
    landlock: Landlock,
    unstopped: Rights,
    has_seccomp: bool,
}

impl Shortfall {
    /// Puts it on the log. That is for a daemon, once: where each client has a process, each would write it, and a filter to whoever
    /// reads its output. `small-services doctor` says it for these.
    pub fn log(&self) {
        let Some(shortfall) = shortfall(&self.landlock) else { return };
        let instead = match (self.has_seccomp, self.unstopped.is_empty()) {
            (false, _) => "and without seccomp nothing does".to_owned(),
            (true, true) => "seccomp does".to_owned(),
            (true, false) => format!("seccomp does, but for {}", self.unstopped),
        };
        log::notice(&format!("{shortfall}; {instead}"));
    }
}

/// Applies every layer, before one octet from the network is read, and leaves what is beneath these directories readable. The
/// log says where that is more than is needed.
///
/// # Errors
///
/// [`Error::Failed`] and [`Error::Everything`], and in [`Mode::Full`] and [`Mode::Strict`] [`Error::Missing`], which in
/// [`Mode::BestEffort`] is a warning on the log.
pub fn lock_down(policy: &Policy, io: Io, readable: &[Readable], mode: Mode) -> Result<Shortfall, Error> {
    let (shortfall, _) =
        apply(io, readable, mode, |directories, mode| Ok((hunker::down(policy, directories, mode)?, ())))?;
    Ok(shortfall)
}

/// The same for a process that makes one for each connection: returns what these lock themselves down with.
///
/// # Errors
///
/// As [`lock_down`].
pub fn lock_down_to_fork(
    policy: &Policy,
    io: Io,
    readable: &[Readable],
    mode: Mode,
) -> Result<(Shortfall, Option<hunker::Children>), Error> {
    apply(io, readable, mode, |directories, mode| hunker::down_to_fork(policy, directories, mode))
}

/// `None` if nothing is to be locked down.
fn apply<T>(
    io: Io,
    readable: &[Readable],
    mode: Mode,
    down: impl FnOnce(&[PathBuf], hunker::Mode) -> Result<(hunker::Report, T), hunker::Error>,
) -> Result<(Shortfall, Option<T>), Error> {
    let mode = match mode {
        Mode::Full => hunker::Mode::Full,
        Mode::Strict => hunker::Mode::Strict,
        Mode::BestEffort => hunker::Mode::BestEffort,
        Mode::Off => {
            // Not since its start either: who switches the lock-down off may want to look into it.
            let _ = hunker::allow_dumping();
            return Ok((Shortfall::default(), None));
        }
    };
    let directories: Vec<_> = readable.iter().map(|it| it.directory.clone()).collect();
    let (report, result) = down(&directories, mode).map_err(|error| match error.reason {
        LayerError::RootDirectory(directory) => Error::Everything(directory),
        ref reason if reason.is_missing() => Error::Missing(error),
        _ => Error::Failed(error),
    })?;
    let has_seccomp = report.missing.iter().all(|it| it.layer != Layer::Seccomp);
    let shortfall = Shortfall { landlock: report.landlock, unstopped: report.unstopped, has_seccomp };
    for missing in report.missing {
        let message = format!("{missing}; serving without it");
        // Where each client has a process, each would write to the log: `small-services doctor` says it there.
        if io == Io::Connection { log::info(&message) } else { log::warning(&message) }
    }
    for Readable { directory, more } in readable {
        if let Some(more) = more {
            log::warning(&format!(
                "all that is beneath {} stays readable to the locked-down program, so {} too; move the files that it is to \
                 read again into a directory that holds nothing else",
                directory.display(),
                Path::new(more).display(),
            ));
        }
    }
    Ok((shortfall, Some(result)))
}
