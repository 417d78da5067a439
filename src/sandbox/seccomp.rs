//! seccomp(2): the policy table as a filter, compiled by `build.rs`.

use seccompiler::sock_filter;

use super::LayerError;
use super::policy::{Peer, Service};

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

pub(super) fn attach(service: Service, peer: Peer) -> Result<(), LayerError> {
    Ok(seccompiler::apply_filter(program(service, peer))?)
}
