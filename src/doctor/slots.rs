//! Whether as many connections as a daemon may have fit into the limits of its unit.

use super::Findings;
use super::service::Socket;
use crate::engine::Limits;
use crate::engine::buffers::{self, Buffers};
use crate::services::Kind;

const MIB: usize = 1 << 20;

impl Socket {
    /// Whether one process serves all clients of a daemon.
    pub(super) fn is_shared(&self) -> bool {
        self.started.arguments().contains(&"--shared")
    }

    /// `TasksMax=` and `MemoryMax=`, beside `--max-connections`: where a drop-in changes one of them only.
    pub(super) fn examine_slots(&self, findings: &mut Findings) {
        if !self.starts.ends_with("-daemon.service") {
            return;
        }
        let connections = self.started.option("--max-connections").and_then(|count| count.parse().ok());
        let connections = connections.unwrap_or(Limits::default().max_connections as usize);
        let shared = self.is_shared();
        let buffer = self.unit.get("ReceiveBuffer").parse::<u32>();
        let kind = if buffer.is_ok_and(|size| size > Buffers::REPLY.receive) { Kind::Stream } else { Kind::Reply };
        // None is `infinity`, or nothing that systemd says.
        let limit = |directive: &str| self.started.get(directive).parse::<usize>().ok();
        let tasks = if shared { 1 } else { buffers::tasks(connections) };
        if let Some(limit) = limit("TasksMax").filter(|&limit| limit < tasks) {
            findings.problem(
                Some(&self.starts),
                format!("{connections} connections take up to {tasks} tasks, and TasksMax= is {limit}"),
                format!("`systemctl edit {}`: TasksMax={tasks}, or a lower --max-connections", self.starts),
            );
        }
        let memory = buffers::daemon(connections, kind, shared).div_ceil(MIB);
        if let Some(limit) = limit("MemoryMax").map(|limit| limit / MIB).filter(|&limit| limit < memory) {
            findings.problem(
                Some(&self.starts),
                format!("{connections} connections take up to {memory} MiB, and MemoryMax= is {limit} MiB"),
                format!("`systemctl edit {}`: MemoryMax={memory}M, or a lower --max-connections", self.starts),
            );
        }
    }
}
