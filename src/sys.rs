//! What the compiler cannot check: where a descriptor enters the program, and where the program ends.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that a super-server passed by number (`sd_listen_fds(3)`).
pub(crate) fn adopt(descriptor: RawFd) -> OwnedFd {
    // SAFETY: called once, before the program has opened anything, for a number that the service manager gave to us.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Closes every descriptor above standard error (`close_range(2)`), whoever leaked it to us.
///
/// Not fatal when the kernel lacks the call (before 5.9): the system call filter names the descriptors that may be used.
pub(crate) fn close_above_standard_error() {
    // SAFETY: nothing in the program owns a descriptor above 2 when a connection is about to be served.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Closes standard error, where not even /dev/null can be had in the client's place.
pub(crate) fn close_standard_error() {
    // SAFETY: nothing in the program owns descriptor 2, and writing to a closed one fails harmlessly.
    unsafe { libc::close(2) };
}

/// Ends the process at once (`_exit(2)`): no destructors and no clean-up of the runtime, which would need system calls
/// that the policy does not have.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: does not return and touches no memory of the program.
    unsafe { libc::_exit(code.into()) }
}
