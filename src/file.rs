//! Files and directories of the host. They are opened first and examined afterwards, since a path may change its target between
//! two calls. After the lock-down, `openat` is the only call with a path, and Landlock checks it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hunker::{Pin, Rule, Syscall};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::numbers::FILE;

/// For files that are reloaded: fortunes that changed, a time zone, a certificate. Landlock decides where they may be, but it
/// only checks openat. So no other call may take a path, as statx and newfstatat do whatever their flags are.
pub(crate) const READ: &[Rule] = &[
    Rule::new(
        Syscall::OPENAT,
        // AT_FDCWD; O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, the same number on both architectures.
        &[Pin::is(0, 0xffff_ff9c), Pin::is(2, 0x8_0900)],
        "open a file or directory for reading",
    ),
    Rule::new(Syscall::FSTAT, &[FILE], "check a file's type and whether it changed"),
    Rule::new(Syscall::READ, &[FILE], "read a file"),
];

/// Allows a daemon to list the directories that it reloads.
pub const LIST: Rule = Rule::new(Syscall::GETDENTS64, &[FILE], "list a directory");

/// Opens a path, and examines the descriptor.
fn open(path: &Path) -> io::Result<(File, Stat)> {
    // O_NONBLOCK: opening a FIFO must not wait for its writer. The policy pins these flags and those of the standard library.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Not `File::metadata`, whose system call can also take a path.
    let stat = fstat(&file)?;
    Ok((file, stat))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether the kernel refused to open a socket, or a device without a driver.
fn is_unopenable(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::NODEV))
}

/// Opens a regular file. Anything else is refused: reading from a FIFO or a device may never end.
///
/// # Errors
///
/// The system's; [`ErrorKind::InvalidInput`] if it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<(File, Version)> {
    match open(path) {
        Ok((file, stat)) if kind(&stat).is_file() => Ok((file, Version::new(&stat))),
        Err(error) if !is_unopenable(&error) => Err(error),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads a regular file of at most `limit` octets, before or after the lock-down.
///
/// # Errors
///
/// The system's; [`ErrorKind::InvalidInput`] if it is not a regular file; [`ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let max = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    open_regular(path)?.0.take(max).read_to_end(&mut octets)?;
    if octets.len() <= limit { Ok(octets) } else { Err(ErrorKind::FileTooLarge.into()) }
}

/// The version of the file at a path.
pub(crate) fn look(path: &Path) -> io::Result<Version> {
    open(path).map(|(_, stat)| Version::new(&stat))
}

/// Whether a path leads to a directory.
pub(crate) fn is_directory(path: &Path) -> io::Result<bool> {
    match open(path) {
        Err(error) if is_unopenable(&error) => Ok(false),
        opened => opened.map(|(_, stat)| kind(&stat).is_dir()),
    }
}

/// The entries of a directory, by name; `None` if it is not a directory. After the lock-down, this requires [`LIST`].
///
/// # Errors
///
/// The system's.
pub fn list(path: &Path) -> io::Result<Option<BTreeMap<OsString, FileType>>> {
    let directory = match open(path) {
        Ok((file, stat)) if kind(&stat).is_dir() => file,
        Err(error) if !is_unopenable(&error) => return Err(error),
        _ => return Ok(None),
    };
    let mut entries = BTreeMap::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            entries.insert(OsStr::from_bytes(name).to_owned(), entry.file_type());
        }
    }
    Ok(Some(entries))
}

/// Whether an error is not the file's: the process or the system is out of descriptors or memory.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Identifies a file and its state: it differs between two files, and after a change of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    file: (u64, u64),
    pub(crate) length: u64,
    pub(crate) modified: (i64, u64),
    pub(crate) changed: (i64, u64),
}

impl Version {
    /// The version of an open file.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&fstat(file)?))
    }

    /// Whether nothing was written since `earlier`. A rename and a new mode change only `changed`.
    pub(crate) fn has_content_of(&self, earlier: &Self) -> bool {
        (self.file, self.length, self.modified) == (earlier.file, earlier.length, earlier.modified)
    }

    /// Whether this is a version of the file with these properties.
    pub(crate) fn is_version_of(&self, stat: &Stat) -> bool {
        self.file == (stat.st_dev, stat.st_ino)
    }

    fn new(stat: &Stat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            length: stat.st_size.try_into().unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// A directory that stays readable after the lock-down, with everything beneath it.
#[derive(Debug)]
pub struct Readable {
    /// Its path.
    pub directory: PathBuf,
    /// One entry that need not be readable, for a warning.
    pub more: Option<OsString>,
}

impl Readable {
    /// A directory that holds only files to reload.
    #[must_use]
    pub fn all(directory: PathBuf) -> Self {
        Self { directory, more: None }
    }

    /// A directory of which only the files that `is_read` selects are reloaded.
    pub fn new(directory: PathBuf, is_read: impl Fn(&OsStr) -> bool) -> Self {
        let entries = list(&directory).ok().flatten().unwrap_or_default();
        let more = entries.into_iter().find(|(name, kind)| kind.is_dir() || !is_read(name));
        Self { directory, more: more.map(|(name, _)| name) }
    }
}

/// The directories that must stay readable so that files can be reloaded, with the names of the files in each. They hold the
/// files and the targets of their links. Access to a file alone is not enough, because its replacement is another file.
pub fn directories_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> BTreeMap<PathBuf, BTreeSet<OsString>> {
    let mut directories: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
    for path in files {
        for path in [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten() {
            let (directory, name) = split(&path);
            let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
            directories.entry(directory).or_default().extend(name.map(OsStr::to_owned));
        }
    }
    directories
}

/// The directory of a path, and the name in it.
pub(crate) fn split(path: &Path) -> (&Path, Option<&OsStr>) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    (parent.unwrap_or(Path::new(".")), path.file_name())
}

/// A name in an open directory: even if the path changes its target meanwhile, no other directory is affected.
pub(crate) struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    /// The place of a path, without following a symbolic link.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let (directory, Some(name)) = split(path) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it does not name a file"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory, flags, Mode::empty())?;
        Ok(Self { directory, name: name.to_owned() })
    }

    /// Another name in the same directory.
    pub(crate) fn beside(&self, name: OsString) -> io::Result<Self> {
        Ok(Self { directory: self.directory.try_clone()?, name })
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// A path to it by way of the open directory.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(&self.name)
    }

    fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The properties of what has the name, if anything has.
    pub(crate) fn look(&self) -> io::Result<Option<Stat>> {
        match statat(self.directory(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Creates a file, which must not exist, and opens it for writing.
    pub(crate) fn create(&self, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(self.directory(), &self.name, flags, mode)?.into())
    }

    /// Renames it, and replaces what has the new name.
    pub(crate) fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(renameat(self.directory(), &self.name, to.directory(), &to.name)?)
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(self.directory(), &self.name, AtFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::{env, fs, process, thread};

    use rustix::fs::{RenameFlags, mknodat, renameat_with};

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_whatever_replaces_it() {
        let folder = env::temp_dir().join(format!("small-services-file-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let (file, fifo) = (folder.join("file"), folder.join("fifo"));
        fs::write(&file, "text\n").expect("it is there");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
        let over = AtomicBool::new(false);
        let [regular, refused, wrong] = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &file, CWD, &fifo, RenameFlags::EXCHANGE).expect("both are there");
                }
            });
            let mut outcomes = [0_u32; 3];
            for round in 0..10_000_000 {
                if round >= 20_000 && outcomes[0] > 0 && outcomes[1] > 0 {
                    break;
                }
                let outcome = match open_regular(&file) {
                    Ok((opened, _)) if opened.metadata().is_ok_and(|it| it.is_file()) => 0,
                    Err(error) if error.kind() == ErrorKind::InvalidInput => 1,
                    _ => 2,
                };
                outcomes[outcome] += 1;
            }
            over.store(true, Ordering::Relaxed);
            outcomes
        });
        fs::remove_dir_all(folder).expect("it is there");
        assert_eq!(wrong, 0);
        assert!(regular > 0 && refused > 0, "it saw one of the two only");
    }
}
