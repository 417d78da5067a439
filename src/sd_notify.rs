//! The service manager that wants to know how the program is, as `sd_notify(3)` says.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::stdio::{dup2_stdout, stdout};

/// The way to the service manager: descriptor 1, connected before the lock-down.
#[derive(Debug, Default)]
pub struct Manager {
    connected: bool,
    /// How often it wants a sign of life, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
}

impl Manager {
    /// Connects descriptor 1 to the manager that `NOTIFY_SOCKET` names, if it names one.
    ///
    /// # Errors
    ///
    /// If there is no such socket: the manager would wait for ever.
    pub fn connect(now: Instant) -> io::Result<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(Self::default()) };
        let address = address(&name)?;
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        dup2_stdout(socket)?;
        // Twice as often as it wants one.
        let watchdog = watchdog().map(|limit| (limit / 2, now));
        Ok(Self { connected: true, watchdog })
    }

    /// Says that clients are served.
    pub fn ready(&self) {
        self.tell(b"READY=1");
    }

    /// Says that the end is near.
    pub fn stopping(&self) {
        self.tell(b"STOPPING=1");
    }

    /// Gives a sign of life if one is due.
    pub fn alive(&mut self, now: Instant) {
        if let Some((interval, _)) = self.watchdog.filter(|(_, due)| now >= *due) {
            self.tell(b"WATCHDOG=1");
            self.watchdog = Some((interval, now + interval));
        }
    }

    /// When [`Self::alive`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Nothing can be done if that fails; the manager has its own time limits.
    fn tell(&self, state: &[u8]) {
        if self.connected {
            let _ = rustix::io::write(stdout(), state);
        }
    }
}

/// Within what time the manager wants a sign of life, if it wants any: `sd_watchdog_enabled(3)`.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse().ok();
    let foreign = number("WATCHDOG_PID").is_some_and(|pid: u64| pid != u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|_| !foreign).map(Duration::from_micros)
}

/// What `NOTIFY_SOCKET` names: a path, or an abstract name behind `@`.
pub(crate) fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(name),
    }
}
