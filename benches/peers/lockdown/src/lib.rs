//! What all of these programs do, with or without a lock-down.

pub mod by_hand;

/// Writes a line and exits: with 0 if the process is locked down. With an argument, it opens a file first, which must fail.
pub fn work(is_locked_down: bool) -> ! {
    const LINE: &[u8] = b"The limit is 34 octets and exit.\r\n";
    let tries = std::env::args_os().len() > 1;
    // SAFETY: the texts are valid memory, and nothing of this process is used afterwards.
    unsafe {
        let opened = tries && libc::openat(libc::AT_FDCWD, c"/etc/passwd".as_ptr(), libc::O_RDONLY) >= 0;
        let written = libc::write(1, LINE.as_ptr().cast(), LINE.len());
        libc::_exit((opened || written < 0 || !is_locked_down).into())
    }
}
