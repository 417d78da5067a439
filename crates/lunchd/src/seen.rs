//! Reports connections and requests to the service manager and the log.

use std::cell::RefCell;
use std::time::Instant;

use hyper::StatusCode;
use tokio::sync::Notify;

use small_services::internals::{ConnectionLog, Counts, Ended, Manager, Outcome, listed};

/// Counts, and the log of connections if there is one.
pub(super) struct Seen {
    state: RefCell<State>,
    changed: Notify,
}

struct State {
    counts: Counts,
    /// By the first digit of their status code, 2 to 5.
    requests: [u64; 4],
    log: Option<ConnectionLog>,
    /// Whether the status is out of date. The task that updates it was woken when this was set.
    outdated: bool,
}

impl Seen {
    pub(super) fn new(log: Option<ConnectionLog>) -> Self {
        let state = State { counts: Counts::default(), requests: [0; 4], log, outdated: false };
        Self { state: RefCell::new(state), changed: Notify::new() }
    }

    /// Sets the number of open connections.
    pub(super) fn open(&self, count: usize) {
        let mut state = self.state.borrow_mut();
        state.counts.open = count;
        self.note(&mut state);
    }

    /// Records a connection that ended or was refused. It is logged unless it is `quiet`.
    pub(super) fn ended(&self, outcome: Outcome, ended: &Ended, quiet: bool) {
        let mut state = self.state.borrow_mut();
        state.counts.add(outcome);
        if let Some(log) = state.log.as_mut().filter(|_| !quiet) {
            let was_due = log.due();
            log.add(outcome, ended, Instant::now());
            if log.due() != was_due {
                self.changed.notify_one();
            }
        }
        self.note(&mut state);
    }

    /// Counts an answered request.
    pub(super) fn answered(&self, status: StatusCode) {
        let mut state = self.state.borrow_mut();
        if let Some(count) = state.requests.get_mut(usize::from(status.as_u16() / 100).wrapping_sub(2)) {
            *count += 1;
        }
        self.note(&mut state);
    }

    /// Records that the fortunes were reloaded.
    pub(super) fn reloaded(&self) {
        self.note(&mut self.state.borrow_mut());
    }

    /// Wakes the task that updates the status, unless it was woken already.
    fn note(&self, state: &mut State) {
        if !std::mem::replace(&mut state.outdated, true) {
            self.changed.notify_one();
        }
    }

    /// Waits until there is something to report.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// When something has to be logged.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state.borrow().log.as_ref().and_then(ConnectionLog::due)
    }

    /// Reports what is due. `fortunes` makes a part of the status line.
    pub(super) fn tell(&self, manager: &mut Manager, fortunes: impl FnOnce() -> String) {
        let now = Instant::now();
        let State { counts, requests, log, outdated } = &mut *self.state.borrow_mut();
        let told = manager.status(*outdated, now, || {
            let classes = ["2xx", "3xx", "4xx", "5xx"];
            let requests: Vec<_> = requests.iter().copied().zip(classes).collect();
            counts.line(listed("requests", &requests).into_iter().chain([fortunes()]))
        });
        *outdated = !told;
        if let Some(log) = log {
            log.advance(now);
        }
    }

    /// Logs what is still outstanding.
    pub(super) fn end(&self) {
        if let Some(log) = &mut self.state.borrow_mut().log {
            log.end();
        }
    }
}
