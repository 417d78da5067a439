//! Where the result goes: standard output, or a file that is there as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process;

/// What is written to.
pub(super) enum Output {
    /// Standard output.
    Standard(BufWriter<StdoutLock<'static>>),
    /// A file beside the target, which takes its name in the end.
    File {
        /// The octets.
        writer: BufWriter<File>,
        /// The file's names.
        names: Names,
    },
}

/// The name that the file has, and the one that it will have. The file is removed if that never happens.
pub(super) struct Names {
    temporary: PathBuf,
    target: PathBuf,
}

impl Output {
    /// Writes to standard output.
    pub(super) fn standard() -> Self {
        Self::Standard(BufWriter::new(io::stdout().lock()))
    }

    /// Writes to a file, in place of the one that may be there. Of a symbolic link its target is replaced.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidInput` if there is something else than a regular file.
    pub(super) fn to_file(path: &Path) -> io::Result<Self> {
        let present = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Some(metadata),
            Ok(_) => return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let target = if present.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
        };
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", process::id()));
        let temporary = target.with_file_name(temporary);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        let names = Names { temporary, target };
        if let Some(present) = present {
            file.set_permissions(present.permissions())?;
        }
        Ok(Self::File { writer: BufWriter::new(file), names })
    }

    /// Writes what is left, and gives the file its name.
    ///
    /// # Errors
    ///
    /// What the system says; there is no new file then.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Standard(mut writer) => writer.flush(),
            Self::File { writer, names } => {
                writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                fs::rename(&names.temporary, &names.target)
            }
        }
    }
}

impl Write for Output {
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

impl Drop for Names {
    fn drop(&mut self) {
        // After the renaming nothing has this name.
        let _ = fs::remove_file(&self.temporary);
    }
}
