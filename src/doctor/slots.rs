//! Checks whether a daemon's maximum number of connections fits the limits of its unit.

use super::Findings;
use super::service::Socket;
use crate::engine::Limits;
use crate::engine::buffers::{self, Buffers};
use crate::services::Kind;

const MIB: usize = 1 << 20;

impl Socket {
    /// Whether the daemon serves all clients in one process.
    pub(super) fn is_shared(&self) -> bool {
        self.started.arguments().contains(&"--shared")
    }

    /// Compares `TasksMax=` and `MemoryMax=` with `--max-connections`: a drop-in may change only one of them.
    pub(super) fn examine_slots(&self, findings: &mut Findings) {
        if !self.starts.ends_with("-daemon.service") {
            return;
        }
        let connections = self.started.option("--max-connections").and_then(|count| count.parse().ok());
        let connections = connections.unwrap_or(Limits::default().max_connections as usize);
        let shared = self.is_shared();
        let buffer = self.unit.get("ReceiveBuffer").parse::<u32>();
        let kind = if buffer.is_ok_and(|size| size > Buffers::REPLY.receive) { Kind::Stream } else { Kind::Reply };
        // `infinity` is no number.
        let limit = |directive: &str| self.started.get(directive).parse::<usize>().ok();
        let tasks = if shared { 1 } else { buffers::tasks(connections) };
        if let Some(limit) = limit("TasksMax").filter(|&limit| limit < tasks) {
            findings.problem(
                Some(&self.starts),
                format!("{connections} connections take up to {tasks} tasks, but TasksMax= is {limit}"),
                format!("run `systemctl edit {}`, and set TasksMax={tasks} or a lower --max-connections", self.starts),
            );
        }
        let memory = buffers::daemon(connections, kind, shared).div_ceil(MIB);
        if let Some(limit) = limit("MemoryMax").map(|limit| limit / MIB).filter(|&limit| limit < memory) {
            findings.problem(
                Some(&self.starts),
                format!("{connections} connections take up to {memory} MiB, but MemoryMax= is {limit} MiB"),
                format!(
                    "run `systemctl edit {}`, and set MemoryMax={memory}M or a lower --max-connections",
                    self.starts
                ),
            );
        }
    }
}
