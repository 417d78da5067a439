//! The lock-down: hunker's layers, and what of them is missing, in the words of a service.

use std::path::{Path, PathBuf};

use hunker::{LayerError, Policy};

use crate::file::Readable;
use crate::log;
use crate::policy::Io;

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

/// A layer cannot be had, and the program will not serve without it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not have it, and the mode is strict.
    #[error("will not serve: {0}; {how}, or start with --sandbox best-effort", how = advice(.0))]
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

fn advice(missing: &hunker::Error) -> &'static str {
    match missing.reason {
        LayerError::ForbiddenLandlock => {
            "have that filter allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self"
        }
        _ => "use a kernel that has it",
    }
}

/// Applies every layer, before one octet from the network is read, and leaves what is beneath these directories readable. The
/// log says where that is more than is needed.
///
/// # Errors
///
/// [`Error::Failed`] and [`Error::Everything`], and in [`Mode::Strict`] [`Error::Missing`], which in [`Mode::BestEffort`] is a
/// warning on the log.
pub fn lock_down(policy: &Policy, io: Io, readable: &[Readable], mode: Mode) -> Result<(), Error> {
    apply(io, readable, mode, |directories, mode| Ok((hunker::down(policy, directories, mode)?, ()))).map(drop)
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
) -> Result<Option<hunker::Children>, Error> {
    apply(io, readable, mode, |directories, mode| hunker::down_to_fork(policy, directories, mode))
}

/// `None` if nothing is to be locked down.
fn apply<T>(
    io: Io,
    readable: &[Readable],
    mode: Mode,
    down: impl FnOnce(&[PathBuf], hunker::Mode) -> Result<(hunker::Report, T), hunker::Error>,
) -> Result<Option<T>, Error> {
    let mode = match mode {
        Mode::Strict => hunker::Mode::Strict,
        Mode::BestEffort => hunker::Mode::BestEffort,
        Mode::Off => {
            // Not since its start either: who switches the lock-down off may want to look into it.
            let _ = hunker::allow_dumping();
            return Ok(None);
        }
    };
    let directories: Vec<_> = readable.iter().map(|it| it.directory.clone()).collect();
    let (report, result) = down(&directories, mode).map_err(|error| match error.reason {
        LayerError::Everything(directory) => Error::Everything(directory),
        ref reason if reason.is_missing() => Error::Missing(error),
        _ => Error::Failed(error),
    })?;
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
    Ok(Some(result))
}
