//! The only unsafe code: system calls that the dependencies lack.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

use crate::Instruction;

/// Attaches a filter to this thread irrevocably. Requires `no_new_privs` or `CAP_SYS_ADMIN`.
#[inline]
pub(crate) fn attach(program: &[Instruction]) -> Result<(), Errno> {
    let Ok(len) = u16::try_from(program.len()) else { return Err(Errno::TOOBIG) };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `len` instructions, which have the layout of `sock_filter`, and changes none.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u32, &raw const program) };
    if answer < 0 { Err(last_error()) } else { Ok(()) }
}

/// Moves the process into its own Landlock domain.
#[inline]
pub(crate) fn restrict_self(ruleset: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: the call takes two numbers and no pointer.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    if answer < 0 { Err(last_error()) } else { Ok(()) }
}

/// Asks the kernel which version of Landlock it has.
pub(crate) fn landlock_abi() -> Result<u32, Errno> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag, the call reads no memory and changes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<()>(), 0_usize, VERSION) };
    u32::try_from(answer).map_err(|_| last_error())
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Names the forbidden call, in debug builds. Their filters raise SIGSYS instead of killing the process.
#[cfg(debug_assertions)]
pub(crate) mod trap {
    use std::ffi::{c_int, c_long};
    use std::mem::{self, MaybeUninit};
    use std::ptr;

    use rustix::io::Errno;

    use crate::{Architecture, Syscall};

    pub(crate) fn name_forbidden_calls() -> Result<(), Errno> {
        // SAFETY: a zeroed action has no flags and an empty mask. The handler has the signature for SA_SIGINFO and is
        // async-signal-safe.
        let answer = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = name as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut())
        };
        if answer < 0 { Err(super::last_error()) } else { Ok(()) }
    }

    /// The first fields of `siginfo_t` for SIGSYS.
    #[repr(C)]
    struct Forbidden {
        _number: c_int,
        _errno: c_int,
        _code: c_int,
        _address: *const (),
        call: c_int,
    }

    extern "C" fn name(_: c_int, info: *const Forbidden, _: *const ()) {
        // SAFETY: the kernel passes a pointer to this structure. It is valid while the handler runs.
        let number = unsafe { (*info).call };
        let known = Syscall::ALL
            .iter()
            .find(|call| call.number(Architecture::TARGET).is_some_and(|it| i64::from(it) == i64::from(number)));
        let mut digits = [0; 12];
        let texts = [
            b"hunker: the policy forbids ".as_slice(),
            known.map_or(b"system call ", |call| call.name().as_bytes()),
            if known.is_some() { b"" } else { decimal(number, &mut digits) },
            b"\n",
        ];
        for text in texts {
            // SAFETY: the text is valid memory. If this call is forbidden as well, the process ends here.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        }
        // Returning would continue the program with the call's number as the result. SIGSYS is blocked here, so another forbidden
        // call ends the process.
        loop {
            // SAFETY: there is no such call.
            unsafe { libc::syscall(c_long::from(c_int::MAX)) };
        }
    }

    fn decimal(number: c_int, digits: &mut [u8; 12]) -> &[u8] {
        let mut rest = number.unsigned_abs();
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                return &digits[at..];
            }
        }
    }

    const _: () = assert!(mem::size_of::<Forbidden>() <= mem::size_of::<libc::siginfo_t>());
}
