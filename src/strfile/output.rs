//! Where the result goes: standard output, or a file that is there as a whole or not at all.
//!
//! Others may be able to write to the file's directory, and have links come and go there while somebody with more rights makes
//! an index: so the directory is opened once, nothing is followed in it, and no file's mode is taken over but of a file of the
//! same user.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;

use rustix::fs::{FileType, Mode};
use rustix::process::geteuid;

use super::Error;
use crate::file::{Place, Version};

/// What is written to.
pub(super) enum Output<'a> {
    /// Standard output.
    Standard(BufWriter<StdoutLock<'static>>),
    /// A file beside the target, which takes its name in the end.
    File {
        /// The octets.
        writer: BufWriter<File>,
        /// The name that the file has until then. It is removed if that never comes.
        temporary: Temporary,
        /// The name that it will have.
        target: &'a Place,
    },
}

/// A name that is gone with the value.
pub(super) struct Temporary(Place);

/// The name of a file to be written.
pub(super) struct Target {
    place: Place,
    /// The mode of the file that has the name.
    mode: Option<Mode>,
}

impl Target {
    /// Where a path leads, unless it is the cookie file, a link or no regular file: nobody means to replace these.
    pub(super) fn find(path: &Path, cookie: &Version) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let place = Place::of(path).map_err(failed)?;
        let Some(present) = place.look().map_err(failed)? else { return Ok(Self { place, mode: None }) };
        match FileType::from_raw_mode(present.st_mode) {
            _ if cookie.is_of(&present) => Err(Error::Same(path.to_owned())),
            FileType::RegularFile => {
                // Another user's choice is not ours to make; and rights to whoever executes it are for no index.
                let own = present.st_uid == geteuid().as_raw();
                let mode = own.then(|| Mode::from_raw_mode(present.st_mode) & Mode::from_raw_mode(0o777));
                Ok(Self { place, mode })
            }
            FileType::Symlink => Err(Error::Link(path.to_owned())),
            _ => Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"))),
        }
    }
}

impl<'a> Output<'a> {
    /// Writes to standard output.
    pub(super) fn standard() -> Self {
        Self::Standard(BufWriter::new(io::stdout().lock()))
    }

    /// Writes to a file, in place of the one that may be there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn to_file(Target { place, mode }: &'a Target) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(place.name());
        name.push(format!(".{}", process::id()));
        let temporary = place.beside(name)?;
        let file = temporary.create(mode.unwrap_or(Mode::from_raw_mode(0o666)))?;
        let temporary = Temporary(temporary);
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode.as_raw_mode()))?;
        }
        Ok(Self::File { writer: BufWriter::new(file), temporary, target: place })
    }

    /// Writes what is left, and gives the file its name.
    ///
    /// # Errors
    ///
    /// What the system says; there is no new file then.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Standard(mut writer) => writer.flush(),
            Self::File { writer, temporary, target } => {
                writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                temporary.0.rename(target)
            }
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(writer) => writer.write(octets),
            Self::File { writer, .. } => writer.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(writer) => writer.flush(),
            Self::File { writer, .. } => writer.flush(),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the renaming nothing has this name.
        let _ = self.0.remove();
    }
}
