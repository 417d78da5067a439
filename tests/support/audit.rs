//! All policies, for docs/policies.md and for tests.

use hunker::{Narrower, Policy, Rule};

use small_services::engine::Engine;
use small_services::policy::{Io, Rules};
use small_services::protocol;
use small_services::service::Service;

/// Every service with its rules: those that docs/policies.md shows and the tests check.
pub const SERVICES: &[(&str, Rules)] = &[
    ("qotd", Engine::Reply.rules().with(protocol::Qotd::EXTRA)),
    ("echo", Engine::Echo.rules()),
    ("daytime", Engine::Reply.rules()),
    ("discard", Engine::Discard.rules()),
    ("chargen", Engine::Repeat.rules()),
    ("systat", Engine::Reply.rules().with(protocol::Systat::EXTRA)),
    // It has no files.
    ("time", Rules { files: &[], ..Engine::Reply.rules() }),
    // Any service that answers a request.
    ("finger", Engine::Answer.rules()),
    ("lunchd", lunchd::RULES),
];

/// The services, each with every `Io` that it can have.
pub fn combinations() -> impl Iterator<Item = (&'static str, Io)> {
    SERVICES.iter().flat_map(|(name, rules)| Io::ALL.into_iter().filter(|&io| rules.has(io)).map(move |io| (*name, io)))
}

fn of(service: &str) -> Option<&'static Rules> {
    SERVICES.iter().find(|(name, _)| *name == service).map(|(_, rules)| rules)
}

/// The rules for a service and an `Io`; none if there is no such combination.
pub fn rules(service: &str, io: Io) -> impl Iterator<Item = &'static Rule> + use<> {
    of(service).into_iter().flat_map(move |rules| rules.of(io)).flatten()
}

/// The policy for a service and an `Io`, compiled at run time.
pub fn policy(service: &str, io: Io) -> Policy {
    of(service).map_or_else(|| panic!("there is no service {service}"), |rules| Policy::new(&rules.of(io)))
}

/// The policy that a keeper's process adds to the inherited one.
pub fn narrower(service: &str, io: Io, keeper: Io) -> Narrower {
    let rules = of(service).unwrap_or_else(|| panic!("there is no service {service}"));
    Narrower::new(&rules.of(io), &rules.of(keeper))
}
