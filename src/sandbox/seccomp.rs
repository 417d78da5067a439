//! seccomp(2): the policy table as a filter, compiled by `build.rs`.

use seccompiler::sock_filter;

use super::LayerError;
use super::policy::{Peer, Service};

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// Sets `no_new_privs` too, which the kernel asks for and the crate does not leave out; as a layer of its own it holds
/// even where this one is missing.
pub(super) fn attach(service: Service, peer: Peer) -> Result<(), LayerError> {
    Ok(seccompiler::apply_filter(program(service, peer))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, compile_from_json};

    use super::super::policy::{Call, TABLE};

    #[test]
    fn the_numbers_of_the_table_are_those_of_the_names() {
        type Column = fn(&Call) -> i64;
        let columns: [(TargetArch, Column); 2] =
            [(TargetArch::x86_64, |call| call.x86_64), (TargetArch::aarch64, |call| call.aarch64)];
        for (architecture, number) in columns {
            for rule in TABLE {
                let name = match (rule.call.name, architecture) {
                    ("epoll_wait", TargetArch::aarch64) => "epoll_pwait", // there is none of the older name
                    (name, _) => name,
                };
                let json = format!(
                    r#"{{"it": {{"mismatch_action": "kill_process", "match_action": "allow", "filter": [{{"syscall": "{name}"}}]}}}}"#
                );
                let by_name = compile_from_json(json.as_bytes(), architecture).expect("a known name");
                let rules = BTreeMap::from([(number(&rule.call), vec![])]);
                let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)
                    .expect("fits");
                assert_eq!(by_name["it"], BpfProgram::try_from(filter).expect("fits"), "{name} on {architecture:?}");
            }
        }
    }
}
