//! Executable memory, and the system call tables of other architectures.

use std::ffi::c_long;

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, O_CREAT, O_RDONLY, O_RDWR, PROT_EXEC, PROT_READ, PROT_WRITE};

use super::acts::{Act, Ready, address, call, flags, one, open, page, scratch, text, with};
use super::carried::{ANSWER, FUNCTION};

fn maps(protection: i32) -> Ready {
    one(libc::SYS_mmap, [0, 4096, protection.into(), (MAP_PRIVATE | MAP_ANONYMOUS).into(), -1, 0])
}

fn protects(number: c_long, what: std::io::Result<c_long>, protection: i32) -> Ready {
    with(what, move |page| call(number, [page, 4096, protection.into(), -1]))
}

/// The page that contains this function.
fn code() -> c_long {
    address(code as fn() -> c_long as *const ()) & !4095
}

pub const EXECUTABLE: &[Act] = &[
    ("map memory to write and execute", || maps(PROT_READ | PROT_WRITE | PROT_EXEC)),
    ("map memory to execute", || maps(PROT_READ | PROT_EXEC)),
    ("make memory executable", || protects(libc::SYS_mprotect, page(0), PROT_READ | PROT_EXEC)),
    ("make memory executable by a key", || protects(libc::SYS_pkey_mprotect, page(0), PROT_READ | PROT_EXEC)),
    ("make its code writable", || protects(libc::SYS_mprotect, Ok(code()), PROT_READ | PROT_WRITE | PROT_EXEC)),
    ("map a file to execute", || {
        with(open("/bin/sh", O_RDONLY), |file| {
            call(libc::SYS_mmap, [0, 4096, (PROT_READ | PROT_EXEC).into(), MAP_PRIVATE.into(), file, 0])
        })
    }),
    ("map a file that it wrote as code", || {
        let (path, length) = (text(scratch("code")), flags(FUNCTION.len()));
        Box::new(move || {
            let how = (O_CREAT | O_RDWR).into();
            let file = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path, how, 0o600])?;
            call(libc::SYS_write, [file, FUNCTION.as_ptr() as c_long, length])?;
            let protection = (PROT_READ | PROT_EXEC).into();
            let code = call(libc::SYS_mmap, [0, 4096, protection, MAP_PRIVATE.into(), file, 0])?;
            let function = unsafe { std::mem::transmute::<*const (), extern "C" fn() -> u32>(code as *const ()) };
            assert_eq!(function(), ANSWER);
            Ok(())
        })
    }),
    ("attach shared memory to execute", || {
        let shared = call(libc::SYS_shmget, [libc::IPC_PRIVATE.into(), 4096, 0o600]);
        with(shared, |shared| {
            let attached = call(libc::SYS_shmat, [shared, 0, libc::SHM_EXEC.into()]);
            let _ = call(libc::SYS_shmctl, [shared, libc::IPC_RMID.into(), 0]);
            attached
        })
    }),
    ("have all memory executable", || one(libc::SYS_personality, [flags(libc::READ_IMPLIES_EXEC)])),
    ("open its own memory to write", || {
        one(libc::SYS_openat, [libc::AT_FDCWD.into(), text("/proc/self/mem"), O_RDWR.into(), 0])
    }),
];

#[cfg(not(target_arch = "x86_64"))]
pub const TABLES: &[Act] = &[];

#[cfg(target_arch = "x86_64")]
pub use x86::TABLES;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::io;

    use super::super::acts::{Act, Ready, one, page};

    /// A call through the 32-bit gate. Its pointers must be below 4 GiB.
    fn gate(number: u32, arguments: [u32; 3]) -> io::Result<i32> {
        let mut answer = i64::from(number);
        let [first, second, third] = arguments.map(u64::from);
        unsafe {
            asm!(
                "xchg rbx, {first}",
                "int 0x80",
                "xchg rbx, {first}",
                first = inout(reg) first => _,
                inout("rax") answer,
                in("rcx") second,
                in("rdx") third,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        #[allow(clippy::cast_possible_truncation)] // the low half is the result
        let answer = answer as i32;
        if (-4095..0).contains(&answer) { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer) }
    }

    fn by_gate(number: u32, arguments: [u32; 3]) -> Ready {
        Box::new(move || gate(number, arguments).map(drop))
    }

    /// A string at an address below 4 GiB.
    fn low(text: &[u8]) -> u32 {
        let Ok(page) = page(libc::MAP_32BIT) else { return 0 };
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), page as *mut u8, text.len()) };
        u32::try_from(page).unwrap_or(0)
    }

    const X32: i64 = 0x4000_0000;

    pub const TABLES: &[Act] = &[
        ("ask for its number by the 32-bit table", || by_gate(20, [0; 3])),
        ("open a file by the 32-bit table", || by_gate(5, [low(b"/etc/passwd\0"), 0, 0])),
        ("open a socket by the 32-bit table", || by_gate(359, [2, 1, 0])),
        ("signal a process by the 32-bit table", || by_gate(37, [std::os::unix::process::parent_id(), 0, 0])),
        ("change a limit by the 32-bit table", || by_gate(76, [4, low(&[0; 8]), 0])),
        ("write to the log by the 32-bit table", || by_gate(4, [2, low(b""), 0])),
        ("ask for its number by the x32 table", || one(libc::SYS_getpid | X32, [])),
        ("open a file by the x32 table", || {
            one(libc::SYS_openat | X32, [libc::AT_FDCWD.into(), super::text("/etc/passwd"), 0])
        }),
        ("open a socket by the x32 table", || one(libc::SYS_socket | X32, [2, 1, 0])),
    ];
}
