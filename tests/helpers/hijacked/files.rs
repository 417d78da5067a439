//! Reading and writing files, by path and by an inherited directory.

use std::ffi::c_long;

use libc::{O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TMPFILE, O_WRONLY};

use super::acts::{Act, Ready, call, file, flags, memory, one, open, scratch, text, with};

const HERE: c_long = libc::AT_FDCWD as c_long;

/// An action that opens a file.
fn opens(path: &str, how: i32) -> Ready {
    one(libc::SYS_openat, [HERE, text(path), how.into(), 0o600])
}

/// An action that opens a file through an inherited directory.
fn opens_through(directory: &str, name: &str, how: i32) -> Ready {
    let name = text(name);
    with(open(directory, O_RDONLY | O_DIRECTORY), move |directory| {
        call(libc::SYS_openat, [directory, name, how.into(), 0o600])
    })
}

pub const FILES: &[Act] = &[
    ("read a file", || opens("/etc/passwd", O_RDONLY)),
    ("read a file of root's", || opens("/etc/shadow", O_RDONLY)),
    ("read a file through an inherited directory", || opens_through("/etc", "passwd", O_RDONLY)),
    ("read a file through /proc/self/root", || opens("/proc/self/root/etc/passwd", O_RDONLY)),
    ("read a kernel setting", || opens("/proc/sys/kernel/random/boot_id", O_RDONLY)),
    ("list a directory", || opens("/etc", O_RDONLY | O_DIRECTORY)),
    ("list an inherited directory", || {
        let entries = memory([0_u8; 4096]);
        with(open("/etc", O_RDONLY | O_DIRECTORY), move |etc| call(libc::SYS_getdents64, [etc, entries, 4096]))
    }),
    ("look at a file", || one(libc::SYS_newfstatat, [HERE, text("/etc/passwd"), memory([0_u8; 512]), 0])),
    ("look at a file, as if it were open", || {
        one(libc::SYS_newfstatat, [HERE, text("/etc/passwd"), memory([0_u8; 512]), libc::AT_EMPTY_PATH.into()])
    }),
    ("look at a file by statx", || one(libc::SYS_statx, [HERE, text("/etc/passwd"), 0, 0xfff, memory([0_u8; 512])])),
    ("look at a file by statx, as if it were open", || {
        let flag = libc::AT_EMPTY_PATH.into();
        one(libc::SYS_statx, [HERE, text("/etc/passwd"), flag, 0xfff, memory([0_u8; 512])])
    }),
    ("follow a link", || one(libc::SYS_readlinkat, [HERE, text("/proc/self/exe"), memory([0_u8; 512]), 512])),
    ("go to another directory", || one(libc::SYS_chdir, [text("/etc")])),
    ("open a file of the system's to write", || opens("/etc/hosts", O_WRONLY)),
    ("open a kernel setting to write", || opens("/proc/sys/kernel/core_pattern", O_WRONLY)),
    ("make a file among the system's", || opens("/etc", O_TMPFILE | O_RDWR)),
    ("make a temporary file", || opens(&scratch("new"), O_CREAT | O_WRONLY)),
    ("make a file through an inherited directory", || opens_through("/etc", ".", O_TMPFILE | O_RDWR)),
    ("grow an open file", || {
        let path = scratch("grow");
        let octet = memory(0_u8);
        with(open(&path, O_CREAT | O_WRONLY), move |file| call(libc::SYS_write, [file, octet, 1]))
    }),
    ("shorten a file", || one(libc::SYS_truncate, [file(), 0])),
    ("remove a file", || one(libc::SYS_unlinkat, [HERE, file(), 0])),
    ("rename a file", || one(libc::SYS_renameat2, [HERE, file(), HERE, text(scratch("renamed")), 0])),
    ("link a file", || one(libc::SYS_linkat, [HERE, file(), HERE, text(scratch("linked")), 0])),
    ("make a symbolic link", || one(libc::SYS_symlinkat, [text("/etc/passwd"), HERE, text(scratch("symbolic"))])),
    ("make a directory", || one(libc::SYS_mkdirat, [HERE, text(scratch("directory")), 0o700])),
    ("make a device", || {
        one(
            libc::SYS_mknodat,
            [HERE, text(scratch("device")), flags(libc::S_IFCHR | 0o600), flags(libc::makedev(1, 3))],
        )
    }),
    ("make a named pipe", || one(libc::SYS_mknodat, [HERE, text(scratch("pipe")), flags(libc::S_IFIFO | 0o600), 0])),
    ("change a file's mode", || one(libc::SYS_fchmodat, [HERE, file(), 0o644])),
    ("change a file's owner", || one(libc::SYS_fchownat, [HERE, file(), 0, 0, 0])),
    ("change a file's times", || one(libc::SYS_utimensat, [HERE, file(), 0, 0])),
    ("set an attribute of a file", || {
        let name = text("user.hijacked");
        one(libc::SYS_setxattr, [file(), name, text("x"), 1, 0])
    }),
    ("open a device", || opens("/dev/zero", O_RDONLY)),
];
