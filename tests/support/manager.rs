//! A service manager, as `sd_notify(3)` has it: a socket that a program under test reports to.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::HUNG;

pub struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    pub fn new(path: PathBuf) -> Self {
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(HUNG)).unwrap();
        Self { path, socket }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message.
    pub fn next(&self) -> String {
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}
