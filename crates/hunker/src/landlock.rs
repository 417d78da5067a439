//! landlock(7): every right that the running kernel can forbid is forbidden; the one exception is to read files that are named,
//! and to read and to list what is beneath directories that are.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use crate::{LayerError, sys};

/// The newest rights that the `landlock` crate knows; it leaves out those that the kernel does not know.
const NEWEST: ABI = ABI::V9;

/// Rights that Landlock can forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// On files.
    pub files: BitFlags<AccessFs>,
    /// On the network.
    pub network: BitFlags<AccessNet>,
    /// To reach what is outside of the process's domain.
    pub scopes: BitFlags<Scope>,
}

impl Rights {
    fn of(abi: ABI) -> Self {
        Self { files: AccessFs::from_all(abi), network: AccessNet::from_all(abi), scopes: Scope::from_all(abi) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The names, with commas between them.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|it| format!("{it:?}"));
        let network = self.network.iter().map(|it| format!("{it:?}"));
        let scopes = self.scopes.iter().map(|it| format!("{it:?}"));
        f.write_str(&files.chain(network).chain(scopes).collect::<Vec<_>>().join(", "))
    }
}

/// Returns the rights that the kernel does not know.
pub(crate) fn forbid_everything_but(readable: &[PathBuf]) -> Result<Rights, LayerError> {
    let asked = Rights::of(NEWEST);
    let status = ruleset(readable)?
        .no_new_privs(false) // a layer of its own
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(unavailable());
    }
    let known = Rights::of(ABI::from(status.landlock));
    Ok(Rights {
        files: asked.files & !known.files,
        network: asked.network & !known.network,
        scopes: asked.scopes & !known.scopes,
    })
}

/// Why there is no Landlock: the crate does not tell.
fn unavailable() -> LayerError {
    match sys::ask_for_landlock() {
        Err(Errno::PERM | Errno::ACCESS) => LayerError::ForbiddenLandlock,
        _ => LayerError::NoLandlock,
    }
}

/// The same, to be applied by a process that can open nothing any more.
pub(crate) fn prepared(readable: &[PathBuf]) -> Result<OwnedFd, LayerError> {
    Option::from(ruleset(readable)?).ok_or_else(unavailable)
}

/// All rights that are known, but to read and to list these.
fn ruleset(readable: &[PathBuf]) -> Result<RulesetCreated, LayerError> {
    let opened: Vec<_> = readable.iter().map(|it| open(it)).collect::<Result<_, _>>()?;
    let asked = Rights::of(NEWEST);
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
    let open = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let (one, root) = (fstat(&open)?, stat("/")?);
    if (one.st_dev, one.st_ino) == (root.st_dev, root.st_ino) {
        return Err(LayerError::Everything(path.to_owned()));
    }
    let is_directory = FileType::from_raw_mode(one.st_mode).is_dir();
    // The kernel knows no listing of a file, and refuses a rule that allows it.
    Ok((open, if is_directory { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() }))
}
