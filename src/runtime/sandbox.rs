//! The lock-down: applies hunker's layers, and reports the missing ones with advice.

use std::path::{Path, PathBuf};

use hunker::{Landlock, Layer, LayerError, Policy, Rights};

use crate::file::Readable;
use crate::log;
use crate::policy::Io;

/// What to do when the kernel lacks a layer.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse to serve unless every layer and every Landlock right is available (Linux 7.2)
    Full,
    /// Refuse to serve unless every layer is available; seccomp covers gaps in Landlock
    Strict,
    /// Use the layers that the kernel has, and log the missing ones
    BestEffort,
    /// Serve without any lock-down
    Off,
}

/// Why the program refuses to serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel lacks a layer that the mode requires.
    #[error("refuses to serve: {0}; {how}, or start with --sandbox {weaker}", how = advice(.0), weaker = weaker(.0))]
    Missing(hunker::Error),
    /// The kernel has the layer, but applying it failed.
    #[error("refuses to serve: {0}; check the limits of the unit or shell that starts the program")]
    Failed(hunker::Error),
    /// Files to reload are in the root directory.
    #[error(
        "refuses to serve: files to reload are in {}, the root directory, so every file of the host would stay readable; move \
         them to a separate directory", .0.display()
    )]
    Everything(PathBuf),
}

/// The next step if a layer is missing.
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
            format!("use a newer kernel with CONFIG_SECURITY_LANDLOCK=y, or have that filter allow {}", allow())
        }
        LayerError::DisabledLandlock => {
            "add landlock to lsm= on the kernel's command line (/sys/kernel/security/lsm is the list), and reboot"
                .to_owned()
        }
        LayerError::UnknownRights { rights, .. } => format!("boot Linux {} or newer", rights.kernel()),
        LayerError::ForbiddenLandlock => format!("have that filter allow {}", allow()),
        reason if reason.is_forbidden() => {
            format!("have the filter that forbids it, perhaps that of a container, allow {}", allow())
        }
        _ if missing.layer == Layer::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER=y".to_owned(),
        _ => "use a kernel that has this layer".to_owned(),
    }
}

/// Where to change a system call filter.
const FILTERS: &str = "systemd-nspawn: --system-call-filter=; Docker, Podman: a profile by --security-opt seccomp=; a unit: \
                       SystemCallFilter=";

/// The strictest mode that serves without this layer.
fn weaker(missing: &hunker::Error) -> &'static str {
    if matches!(missing.reason, LayerError::UnknownRights { .. }) { "strict" } else { "best-effort" }
}

/// What an older Landlock cannot forbid, if anything.
pub(crate) fn shortfall(landlock: &Landlock) -> Option<String> {
    let Landlock { abi, missing } = landlock;
    (!missing.is_empty()).then(|| format!("this kernel (Landlock ABI {abi}) cannot forbid {missing}"))
}

/// The part of the lock-down that an older Landlock lacks.
#[derive(Debug, Default)]
pub struct Shortfall {
    landlock: Landlock,
    unstopped: Rights,
    has_seccomp: bool,
}

impl Shortfall {
    /// Logs it once, for a daemon. A per-connection process would repeat it for each client, and a filter would disturb its
    /// reader; `small-services doctor` reports it for these.
    pub fn log(&self) {
        let Some(shortfall) = shortfall(&self.landlock) else { return };
        let instead = match (self.has_seccomp, self.unstopped.is_empty()) {
            (false, _) => "and without seccomp nothing does".to_owned(),
            (true, true) => "seccomp does".to_owned(),
            (true, false) => format!("seccomp does, except for {}", self.unstopped),
        };
        log::notice(&format!("{shortfall}; {instead}"));
    }
}

/// Applies every layer, before one octet from the network is read. Everything beneath the `readable` directories stays readable;
/// a warning names what need not be there.
///
/// # Errors
///
/// [`Error::Failed`] and [`Error::Everything`]; also [`Error::Missing`], which is only a warning in [`Mode::BestEffort`].
pub fn lock_down(policy: &Policy, io: Io, readable: &[Readable], mode: Mode) -> Result<Shortfall, Error> {
    let (shortfall, _) =
        apply(io, readable, mode, |directories, mode| Ok((hunker::down(policy, directories, mode)?, ())))?;
    Ok(shortfall)
}

/// Like [`lock_down`], for a process that forks one for each connection: also returns the layers that these apply to themselves.
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

/// Applies the layers; `None` with [`Mode::Off`].
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
            // The program is undumpable since its start; without a lock-down, a debugger may attach.
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
        // A per-connection process would repeat the warning for each client; `small-services doctor` reports it.
        if io == Io::Connection { log::info(&message) } else { log::warning(&message) }
    }
    for Readable { directory, more } in readable {
        if let Some(more) = more {
            log::warning(&format!(
                "everything beneath {} stays readable to the locked-down program, including {}; move the files that it \
                 reloads to a directory that holds nothing else",
                directory.display(),
                Path::new(more).display(),
            ));
        }
    }
    Ok((shortfall, Some(result)))
}
