//! Files and directories of the host: opened first, and asked afterwards what they are. Between two calls a path may come to
//! lead elsewhere; what is open stays what it is. After the lock-down no other call than `openat` gets a path, and Landlock
//! sees that one.

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

/// Files that are read again: fortunes when they change, a time zone, and a certificate. Where they may lie is Landlock's part,
/// which sees openat only: no other call may take a path. (statx and newfstatat take one whatever their flags are.)
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

/// For directories that are read again.
pub const LIST: Rule = Rule::new(Syscall::GETDENTS64, &[FILE], "list a directory");

/// Opens whatever is there, and asks the descriptor what it is.
fn open(path: &Path) -> io::Result<(File, Stat)> {
    // O_NONBLOCK: opening a FIFO must not wait for its writer. Through the standard library, whose flags are these and no
    // others: the policy pins them.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Not `File::metadata`, whose system call could take a path as well.
    let stat = fstat(&file)?;
    Ok((file, stat))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What the kernel answers when it is asked to open a socket, or a device that nobody drives.
fn is_unopenable(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::NODEV))
}

/// Opens a regular file, and nothing else: reading from a FIFO or a device may never come to an end.
///
/// # Errors
///
/// What the system says; [`ErrorKind::InvalidInput`] if it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<(File, Version)> {
    match open(path) {
        Ok((file, stat)) if kind(&stat).is_file() => Ok((file, Version::new(&stat))),
        Err(error) if !is_unopenable(&error) => Err(error),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// Reads a regular file of `limit` octets at most, before the lock-down or after it.
///
/// # Errors
///
/// What the system says; [`ErrorKind::InvalidInput`] if it is no regular file, [`ErrorKind::FileTooLarge`].
pub fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    open_regular(path)?.0.take(most).read_to_end(&mut octets)?;
    if octets.len() <= limit { Ok(octets) } else { Err(ErrorKind::FileTooLarge.into()) }
}

/// What is there now.
pub(crate) fn look(path: &Path) -> io::Result<Version> {
    open(path).map(|(_, stat)| Version::new(&stat))
}

/// Whether there is a directory.
pub(crate) fn is_directory(path: &Path) -> io::Result<bool> {
    match open(path) {
        Err(error) if is_unopenable(&error) => Ok(false),
        opened => opened.map(|(_, stat)| kind(&stat).is_dir()),
    }
}

/// What is in a directory, by name; `None` if there is something else than a directory. After the lock-down this takes
/// [`LIST`].
///
/// # Errors
///
/// What the system says.
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

/// Whether an error is no fault of the file: the process has no descriptor left, or the system none, or no memory.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// What tells a file from another, and from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    file: (u64, u64),
    pub(crate) length: u64,
    pub(crate) modified: (i64, u64),
    pub(crate) changed: (i64, u64),
}

impl Version {
    /// An open file's.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&fstat(file)?))
    }

    /// Whether nothing was written in between. A new name, another mode, and a rename over the name change `changed` only.
    pub(crate) fn has_content_of(&self, earlier: &Self) -> bool {
        (self.file, self.length, self.modified) == (earlier.file, earlier.length, earlier.modified)
    }

    /// Whether it is of the file that was looked at.
    pub(crate) fn is_of(&self, stat: &Stat) -> bool {
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
    /// Which.
    pub directory: PathBuf,
    /// One thing in it that nobody reads again.
    pub more: Option<OsString>,
}

impl Readable {
    /// A directory that holds nothing else than what is read again.
    #[must_use]
    pub fn all(directory: PathBuf) -> Self {
        Self { directory, more: None }
    }

    /// Whatever in it is of another name is more than is read again, and so is a directory.
    pub fn new(directory: PathBuf, is_read: impl Fn(&OsStr) -> bool) -> Self {
        let entries = list(&directory).ok().flatten().unwrap_or_default();
        let more = entries.into_iter().find(|(name, kind)| kind.is_dir() || !is_read(name));
        Self { directory, more: more.map(|(name, _)| name) }
    }
}

/// The directories that have to stay readable for files to be read again, with the names of these in each: those that hold
/// the files, and those that hold what they link to. A file alone would not do: a new one is another file.
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

/// A name in a directory that is held open: whatever becomes of the path meanwhile, nothing in another directory is touched.
pub(crate) struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    /// Where a path leads now. Of a symbolic link, that is the link itself.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let (directory, Some(name)) = split(path) else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
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

    /// A path to it that goes by the open directory.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(&self.name)
    }

    fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// What has the name, if anything has.
    pub(crate) fn look(&self) -> io::Result<Option<Stat>> {
        match statat(self.directory(), &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a file where nothing is yet, and opens it to be written.
    pub(crate) fn create(&self, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(self.directory(), &self.name, flags, mode)?.into())
    }

    /// Gives it the name of another, which is gone then.
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
    fn nothing_but_a_regular_file_is_opened_whatever_takes_its_place() {
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
