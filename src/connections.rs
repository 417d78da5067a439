//! Counts ended connections for the service manager, and logs them with `--log-connections`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::log;

/// Maximum number of log lines per second, and in a burst.
const LINES_PER_SECOND: u32 = 20;
const BURST: u32 = 200;
/// How long the log waits before it reports how many lines it left out.
const INTERVAL: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Served until the client or the service was done. Where each connection has its own process, this includes timeouts.
    Served,
    /// Idle for longer than its time limit.
    Timeout,
    /// Evicted for another connection.
    Evicted,
    /// Refused: its source has the maximum number of connections.
    RefusedSource,
    /// Refused: its source connects too often.
    RefusedRate,
    /// Refused: all slots are taken, and its source has one.
    RefusedSlot,
    /// Not served to the end: a call failed, memory was short, or its process could not lock itself down.
    Failed,
    /// Its process crashed.
    Crashed,
    /// Its TLS handshake failed.
    Tls,
    /// Still open when the service stopped.
    Stopped,
}

impl Outcome {
    /// The number of outcomes.
    const COUNT: usize = Self::Stopped as usize + 1;

    /// Its name in the journal field `RESULT=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::RefusedSource => "refused-source",
            Self::RefusedRate => "refused-rate",
            Self::RefusedSlot => "refused-slot",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::Tls => "tls-failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The number of open connections, and of ended ones for each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open now.
    pub open: usize,
    /// Served to their end, besides those counted by [`Self::add`]: the usual end of a shared daemon, which must cost little.
    pub served: u64,
    ended: [u64; Outcome::COUNT],
}

impl Counts {
    /// Counts an ended connection.
    pub fn add(&mut self, outcome: Outcome) {
        self.ended[outcome as usize] += 1;
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.ended[outcome as usize]
    }

    /// The status line. It omits whatever never happened, except that nothing was served. `more` has further parts.
    #[must_use]
    pub fn line(&self, more: impl IntoIterator<Item = String>) -> String {
        let served = self.served + self.of(Outcome::Served) + self.of(Outcome::Timeout);
        let mut line = format!("connections: {} now, {served} served", self.open);
        let reasons = [
            (Outcome::RefusedSource, "by the limit per source"),
            (Outcome::RefusedRate, "by the rate per source"),
            (Outcome::RefusedSlot, "without a free slot"),
        ];
        let refused = reasons.map(|(outcome, reason)| (self.of(outcome), reason));
        let mut parts = vec![listed("refused", &refused)];
        for (outcome, name) in [
            (Outcome::Evicted, "evicted"),
            (Outcome::Tls, "TLS failures"),
            (Outcome::Failed, "failed"),
            (Outcome::Crashed, "crashed"),
        ] {
            parts.push(Some(self.of(outcome)).filter(|&count| count > 0).map(|count| format!("{name}: {count}")));
        }
        for part in parts.into_iter().flatten().chain(more) {
            line.push_str("; ");
            line.push_str(&part);
        }
        line
    }
}

/// One part of a status line: the counts that are not 0, or `None` if all are.
#[must_use]
pub fn listed(name: &str, counts: &[(u64, &str)]) -> Option<String> {
    let some: Vec<_> = counts.iter().filter(|(count, _)| *count > 0).map(|(n, what)| format!("{n} {what}")).collect();
    (!some.is_empty()).then(|| format!("{name}: {}", some.join(", ")))
}

/// The log's record of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The client's address, or `None` over a Unix-domain socket.
    pub from: Option<SocketAddr>,
    /// How long it was open.
    pub lasted: Duration,
    /// How many octets it was sent, or discard received, if known.
    pub octets: Option<u64>,
}

/// A line for each ended connection, at a limited rate so that clients cannot fill the log.
#[derive(Debug)]
pub struct ConnectionLog {
    /// How many lines may be written now.
    left: u32,
    /// When `left` was last updated.
    since: Instant,
    left_out: u64,
    due: Option<Instant>,
}

impl ConnectionLog {
    /// Connects to the journal. Call this before the lock-down.
    #[must_use]
    pub fn open(now: Instant) -> Self {
        log::enable_fields();
        Self { left: BURST, since: now, left_out: 0, due: None }
    }

    /// Logs an ended connection, or counts it as left out.
    pub fn add(&mut self, outcome: Outcome, ended: &Ended, now: Instant) {
        if !self.may(now) || !write(outcome, ended) {
            self.left_out += 1;
            self.due.get_or_insert(now + INTERVAL);
        }
    }

    /// When [`Self::advance`] has something to report.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Reports how many lines were left out, if that is due.
    pub fn advance(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.end();
            // The log did not take it.
            self.due = (self.left_out > 0).then(|| now + INTERVAL);
        }
    }

    /// Reports how many lines were left out, due or not.
    pub fn end(&mut self) {
        self.due = None;
        let count = std::mem::take(&mut self.left_out);
        if count > 0 {
            let message = format!(
                "{count} connections ended without a log line; the maximum is {LINES_PER_SECOND} lines per second"
            );
            if !log::record(&message, &[("LEFT_OUT", &count.to_string())]) {
                self.left_out = count;
            }
        }
    }

    fn may(&mut self, now: Instant) -> bool {
        const EACH: Duration = Duration::from_millis(1000 / LINES_PER_SECOND as u64);
        let passed = now.saturating_duration_since(self.since);
        let more = u32::try_from(passed.as_millis() / EACH.as_millis()).unwrap_or(BURST).min(BURST);
        self.left = BURST.min(self.left + more);
        // What is left of a line's time counts for the next one.
        self.since = if self.left == BURST { now } else { self.since + EACH * more };
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

fn write(outcome: Outcome, ended: &Ended) -> bool {
    let seconds = format!("{:.3}", ended.lasted.as_secs_f64());
    // The port is only in the message: SOURCE= is for searching.
    let (who, source) = match ended.from {
        Some(from) => match from.ip().to_canonical() {
            // A dual-stack socket has IPv4 addresses in IPv4-mapped form.
            v4 @ IpAddr::V4(_) => (SocketAddr::new(v4, from.port()).to_string(), v4.to_string()),
            v6 @ IpAddr::V6(_) => (from.to_string(), v6.to_string()),
        },
        None => ("a Unix-domain socket".to_owned(), "unix".to_owned()),
    };
    let octets = ended.octets.map(|octets| octets.to_string());
    let mut fields = vec![("SOURCE", source.as_str()), ("DURATION", &seconds), ("RESULT", outcome.name())];
    fields.extend(octets.as_deref().map(|octets| ("OCTETS", octets)));
    log::record(&format!("connection from {who}: {} in {seconds} s", outcome.name()), &fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_what_happened_and_nothing_else() {
        let mut counts = Counts::default();
        assert_eq!(counts.line([]), "connections: 0 now, 0 served");
        counts.open = 2;
        for outcome in [Outcome::Served, Outcome::Timeout, Outcome::RefusedRate, Outcome::Evicted, Outcome::Crashed] {
            counts.add(outcome);
        }
        counts.add(Outcome::RefusedSlot);
        assert_eq!(
            counts.line(["fortunes: 7".to_owned()]),
            "connections: 2 now, 2 served; refused: 1 by the rate per source, 1 without a free slot; evicted: 1; crashed: 1; fortunes: 7"
        );
    }

    #[test]
    fn lines_have_a_maximum_at_once_and_per_second() {
        let start = Instant::now();
        let mut log = ConnectionLog { left: BURST, since: start, left_out: 0, due: None };
        let mut lines = |after: u64| {
            let now = start + Duration::from_millis(after);
            (0..1000).filter(|_| log.may(now)).count()
        };
        assert_eq!(lines(0), 200);
        assert_eq!((lines(49), lines(50), lines(99), lines(1000)), (0, 1, 0, 18 + 1));
        assert_eq!((lines(3_600_000), lines(3_600_999)), (200, 19));
    }
}
