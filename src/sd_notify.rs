//! Notifies the service manager: `sd_notify(3)`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::stdio::{dup2_stdout, stdout};

/// The service manager, on descriptor 1, which is connected before the lock-down.
#[derive(Debug, Default)]
pub struct Manager {
    connected: bool,
    /// The interval between keep-alive messages, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
}

impl Manager {
    /// Connects descriptor 1 to the manager that `NOTIFY_SOCKET` names, if it is set.
    ///
    /// # Errors
    ///
    /// If the socket is unavailable: the manager would wait forever.
    pub fn connect(now: Instant) -> io::Result<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(Self::default()) };
        let address = address(&name)?;
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        dup2_stdout(socket)?;
        // Twice as often as required.
        let watchdog = watchdog().map(|limit| (limit / 2, now));
        Ok(Self { connected: true, watchdog })
    }

    /// Reports that the program serves clients.
    pub fn ready(&self) {
        self.notify(b"READY=1");
    }

    /// Reports that the program is about to end.
    pub fn stopping(&self) {
        self.notify(b"STOPPING=1");
    }

    /// Sends a keep-alive message if one is due.
    pub fn alive(&mut self, now: Instant) {
        if let Some((interval, _)) = self.watchdog.filter(|(_, due)| now >= *due) {
            self.notify(b"WATCHDOG=1");
            self.watchdog = Some((interval, now + interval));
        }
    }

    /// When the next keep-alive message is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Errors are ignored: the manager has its own timeouts.
    fn notify(&self, state: &[u8]) {
        if self.connected {
            let _ = rustix::io::write(stdout(), state);
        }
    }
}

/// The watchdog timeout of the manager, if it is enabled: `sd_watchdog_enabled(3)`.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse().ok();
    let foreign = number("WATCHDOG_PID").is_some_and(|pid: u64| pid != u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|_| !foreign).map(Duration::from_micros)
}

/// The address that `NOTIFY_SOCKET` names: a path, or an abstract name after `@`.
pub(crate) fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}
