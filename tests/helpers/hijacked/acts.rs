//! What a hijacked service would try, by family. Every action is a bare system call, so that only the action itself meets the
//! lock-down. Everything that it needs is prepared before. If everything is allowed, the actions do no harm.

use std::ffi::{CString, c_long, c_ulong};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

/// A prepared action.
pub type Ready = Box<dyn FnOnce() -> io::Result<()>>;
/// Its name, and its preparation.
pub type Act = (&'static str, fn() -> Ready);

/// All actions, by family.
pub const FAMILIES: &[(&str, &[Act])] = &[
    ("files", super::files::FILES),
    ("execution", super::processes::EXECUTION),
    ("processes and threads", super::processes::NEW),
    ("new sockets", super::network::NEW),
    ("connections", super::network::CONNECTIONS),
    ("local sockets", super::network::LOCAL),
    ("the client's socket", super::network::OWN),
    ("sockets that it was given", super::network::GIVEN),
    ("signals", super::processes::SIGNALS),
    ("other processes' memory", super::processes::TRACING),
    ("neighbours", super::neighbours::NEIGHBOURS),
    ("namespaces and mounts", super::kernel::NAMESPACES),
    ("parts of the kernel", super::kernel::PARTS),
    ("executable memory", super::memory::EXECUTABLE),
    ("limits and identity", super::kernel::LIMITS),
    ("undoing the lock-down", super::kernel::UNDOING),
    ("other system call tables", super::memory::TABLES),
];

pub fn named(name: &str) -> Option<Ready> {
    if name == "nothing" {
        return Some(Box::new(|| Ok(())));
    }
    FAMILIES.iter().flat_map(|(_, acts)| *acts).find(|(known, _)| *known == name).map(|(_, prepare)| prepare())
}

/// One system call, with the kernel's result.
pub fn call<const N: usize>(number: c_long, arguments: [c_long; N]) -> io::Result<c_long> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, rest @ ..] = all;
    let answer = unsafe { libc::syscall(number, a, b, c, rest[0], rest[1], rest[2]) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// An action that is one system call.
pub fn one<const N: usize>(number: c_long, arguments: [c_long; N]) -> Ready {
    Box::new(move || call(number, arguments).map(drop))
}

/// The same if another error also shows that the call was allowed: the arguments make it harmless.
pub fn one_or<const N: usize>(number: c_long, arguments: [c_long; N], allowed: i32) -> Ready {
    Box::new(move || match call(number, arguments) {
        Err(error) if error.raw_os_error() != Some(allowed) => Err(error),
        _ => Ok(()),
    })
}

/// An action with a descriptor that may not be available.
pub fn with(descriptor: io::Result<c_long>, act: impl FnOnce(c_long) -> io::Result<c_long> + 'static) -> Ready {
    Box::new(move || act(descriptor?).map(drop))
}

/// A string for a system call, never freed.
pub fn text(text: impl Into<Vec<u8>>) -> c_long {
    CString::new(text).expect("no zero octet").into_raw() as c_long
}

/// Any value for a system call, never freed.
pub fn memory<T>(value: T) -> c_long {
    Box::into_raw(Box::new(value)) as c_long
}

/// Flags and numbers in the form that system calls take.
pub fn flags(bits: impl TryInto<i64>) -> c_long {
    bits.try_into().unwrap_or_else(|_| panic!("not a number for a system call"))
}

pub fn open(path: &str, how: i32) -> io::Result<c_long> {
    call(libc::SYS_openat, [libc::AT_FDCWD.into(), text(path), how.into(), 0o600])
}

/// A path that only this process uses, in the folder where it may write.
pub fn scratch(name: &str) -> String {
    let folder = std::env::var_os("SCRATCH").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    folder.join(format!("{name}-{}", std::process::id())).display().to_string()
}

/// A file there, if it can be opened.
pub fn file() -> c_long {
    let path = scratch("file");
    let _ = open(&path, libc::O_CREAT | libc::O_WRONLY);
    text(path)
}

pub fn parent() -> c_long {
    std::os::unix::process::parent_id().into()
}

/// The descriptor of the client's connection.
pub static CLIENT: AtomicI64 = AtomicI64::new(0);

pub fn client() -> c_long {
    CLIENT.load(Ordering::Relaxed)
}

/// A page of memory, to read and write.
pub fn page(extra: i32) -> io::Result<c_long> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | extra;
    call(libc::SYS_mmap, [0, 4096, protection.into(), kind.into(), -1, 0])
}

/// The address of an item of this program.
pub fn address(item: *const ()) -> c_long {
    (item as c_ulong).cast_signed()
}
