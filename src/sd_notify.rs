//! Notifies the service manager: `sd_notify(3)`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::stdio::{dup2_stdout, stdout};

/// The minimum time between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// The service manager, on descriptor 1, which is connected before the lock-down.
#[derive(Debug, Default)]
pub struct Manager {
    connected: bool,
    /// The interval between keep-alive messages, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
    /// The last status line, and when it was told.
    status: Option<(String, Instant)>,
    /// Whether it may be another one by now.
    outdated: bool,
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
        Ok(Self { connected: true, watchdog, ..Self::default() })
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
    pub fn keep_alive(&mut self, now: Instant) {
        if let Some((interval, _)) = self.watchdog.filter(|(_, due)| now >= *due) {
            self.notify(b"WATCHDOG=1");
            self.watchdog = Some((interval, now + interval));
        }
    }

    /// Whether there is a service manager.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Sends the status line if it differs from the last one and that one is old enough; otherwise when [`Self::due`] says.
    /// `changed` says whether the line may have changed since the last call. Returns whether the manager has the current line.
    pub fn status(&mut self, changed: bool, now: Instant, line: impl FnOnce() -> String) -> bool {
        if let Some(line) = self.next_status(changed, now, line) {
            // A newline would begin another field.
            self.notify(format!("STATUS={}", line.replace('\n', " ")).as_bytes());
        }
        !self.outdated
    }

    fn next_status(&mut self, changed: bool, now: Instant, line: impl FnOnce() -> String) -> Option<String> {
        self.outdated |= changed;
        if !self.connected || !self.outdated || self.status_due().is_some_and(|due| due > now) {
            return None;
        }
        self.outdated = false;
        let line = line();
        if self.status.as_ref().is_some_and(|(told, _)| *told == line) {
            return None;
        }
        self.status = Some((line.clone(), now));
        Some(line)
    }

    fn status_due(&self) -> Option<Instant> {
        self.status.as_ref().map(|(_, told)| *told + STATUS_INTERVAL)
    }

    /// When [`Self::keep_alive`] or [`Self::status`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let status = self.status_due().filter(|_| self.outdated && self.connected);
        [self.watchdog.map(|(_, due)| due), status].into_iter().flatten().min()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_every_five_seconds_at_most_and_wakes_nobody_up_without_a_change() {
        let mut manager = Manager { connected: true, ..Manager::default() };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut status = |changed, seconds, line: &str| {
            let told = manager.next_status(changed, after(seconds), || line.to_owned());
            (told, manager.due().map(|due| due.duration_since(start).as_secs()))
        };
        let told = |line: &str| Some(line.to_owned());
        assert_eq!(status(true, 0, "one"), (told("one"), None));
        assert_eq!(status(true, 1, "two"), (None, Some(5)));
        assert_eq!(status(false, 4, "two"), (None, Some(5)));
        assert_eq!(status(false, 5, "two"), (told("two"), None));
        assert_eq!(status(true, 20, "two"), (None, None), "the same is not said again");
        assert_eq!(status(true, 21, "three"), (told("three"), None));
    }
}
