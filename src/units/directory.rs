//! Writes units to a directory: all of them, or none if a file is in the way.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

use super::check::Error;

/// Where administrators and packages install units (systemd.unit(5)).
pub(super) const SEARCHED: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// A directory for units.
pub(super) struct Directory<'a> {
    pub(super) path: &'a Path,
    /// Whether to replace existing files.
    pub(super) force: bool,
}

impl Directory<'_> {
    /// Writes units, given by name and content. Existing units with the same content are no error.
    pub(super) fn write(&self, units: &[(String, String)], port: u16) -> Result<(), Error> {
        if !self.force {
            for (name, text) in units {
                self.is_free(name, text)?;
            }
            self.port_is_free(units, port)?;
        }
        for (name, text) in units {
            let path = self.path.join(name);
            write(&path, text).map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }

    fn is_free(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(there) if there != text.as_bytes() => return Err(Error::There(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::Write { path, source: error }),
            _ => {}
        }
        let elsewhere = SEARCHED.map(Path::new).into_iter().filter(|directory| *directory != self.path);
        match elsewhere.into_iter().find(|directory| directory.join(name).exists()) {
            Some(directory) => Err(Error::Known { unit: name.to_owned(), directory: directory.to_owned() }),
            None => Ok(()),
        }
    }

    /// Checks that no other socket unit in the directory has the port.
    fn port_is_free(&self, units: &[(String, String)], port: u16) -> Result<(), Error> {
        let others = fs::read_dir(self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        let sockets = others.filter(|path| path.extension().is_some_and(|extension| extension == "socket"));
        let mut others = sockets.filter(|path| !units.iter().any(|(name, _)| path.ends_with(name)));
        let port_of = |line: &str| {
            let address = line.strip_prefix("ListenStream=").or_else(|| line.strip_prefix("ListenDatagram="))?;
            address.rsplit(':').next()?.parse::<u16>().ok()
        };
        let taken = others.find(|path| {
            fs::read_to_string(path).is_ok_and(|unit| unit.lines().any(|line| port_of(line) == Some(port)))
        });
        taken.map_or(Ok(()), |unit| Err(Error::Taken { port, unit }))
    }
}

/// Writes a file atomically; every user may read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_file_name(format!(".small-services-{}", process::id()));
    let written = write_new(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is reported.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &PathBuf, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(0o644))
}
