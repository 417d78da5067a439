//! Every policy that there is, for docs/policies.md and for tests.

use hunker::{Policy, Rule};

use small_services::policy::{Peer, Rules};
use small_services::protocol;
use small_services::service::Service;

/// Every service with its rules: what is shown in docs/policies.md, and tested.
pub const SERVICES: &[(&str, Rules)] = &[
    ("qotd", protocol::Qotd::RULES),
    ("echo", protocol::Echo::RULES),
    ("daytime", protocol::Daytime::RULES),
    ("discard", protocol::Discard::RULES),
    ("chargen", protocol::Chargen::RULES),
    ("time", protocol::Time::RULES),
    ("lunchd", lunchd::RULES),
];

/// The services, each with the peers that it can have.
pub fn combinations() -> impl Iterator<Item = (&'static str, Peer)> {
    SERVICES
        .iter()
        .flat_map(|(name, rules)| Peer::ALL.into_iter().filter(|&peer| rules.has(peer)).map(move |peer| (*name, peer)))
}

fn of(service: &str) -> Option<&'static Rules> {
    SERVICES.iter().find(|(name, _)| *name == service).map(|(_, rules)| rules)
}

/// The rules that hold for one service and peer: none for a pair that is no combination.
pub fn rules(service: &str, peer: Peer) -> impl Iterator<Item = &'static Rule> + use<> {
    of(service).into_iter().flat_map(move |rules| rules.of(peer)).flatten()
}

/// The policy of one service and peer, compiled at run time.
pub fn policy(service: &str, peer: Peer) -> Policy {
    of(service).map_or_else(|| panic!("there is no service {service}"), |rules| Policy::new(&rules.of(peer)))
}
