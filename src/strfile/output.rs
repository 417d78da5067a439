//! The output: standard output, or a file that is replaced atomically.
//!
//! Other users may be able to write to the file's directory, and to replace links in it while root creates an index. So the
//! directory is opened once, no link in it is followed, and the mode of an existing file is kept only if the same user owns it.

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

/// An output.
pub(super) enum Output<'a> {
    /// Standard output.
    Standard(BufWriter<StdoutLock<'static>>),
    /// A temporary file beside the target, which is renamed at the end.
    File {
        /// The buffered file.
        writer: BufWriter<File>,
        /// Its temporary name, which is removed after a failure.
        temporary: Temporary,
        /// Its final name.
        target: &'a Place,
    },
}

/// A temporary name, which is removed on drop.
pub(super) struct Temporary(Place);

/// The file to write.
pub(super) struct Target {
    place: Place,
    /// The mode of the existing file, if it is kept.
    mode: Option<Mode>,
}

impl Target {
    /// Finds the file to write. Refuses the cookie file, a link, and anything but a regular file.
    pub(super) fn find(path: &Path, cookie: &Version) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let place = Place::of(path).map_err(failed)?;
        let Some(present) = place.look().map_err(failed)? else { return Ok(Self { place, mode: None }) };
        match FileType::from_raw_mode(present.st_mode) {
            _ if cookie.is_version_of(&present) => Err(Error::Same(path.to_owned())),
            FileType::RegularFile => {
                // Another user's mode is not kept; nor are set-user-ID bits and the like, which no index needs.
                let own = present.st_uid == geteuid().as_raw();
                let mode = own.then(|| Mode::from_raw_mode(present.st_mode) & Mode::from_raw_mode(0o777));
                Ok(Self { place, mode })
            }
            FileType::Symlink => Err(Error::Link(path.to_owned())),
            _ => Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))),
        }
    }
}

impl<'a> Output<'a> {
    /// Writes to standard output.
    pub(super) fn standard() -> Self {
        Self::Standard(BufWriter::new(io::stdout().lock()))
    }

    /// Writes to a file, which replaces an existing one.
    ///
    /// # Errors
    ///
    /// The system's.
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

    /// Flushes the output, and gives the file its name.
    ///
    /// # Errors
    ///
    /// The system's; then no file is replaced.
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
        // After the rename, nothing has this name.
        let _ = self.0.remove();
    }
}
