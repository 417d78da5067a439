//! Prints every policy of the services as this program has it: the rules, and what they were compiled to. Built for another
//! architecture, it shows that one's numbers and flags; tests/cross.rs reads it.

#[allow(dead_code)] // the tests use the rest
#[path = "../support/audit.rs"]
mod audit;

use std::fmt::Write as _;

use hunker::Architecture;

fn main() {
    let mut lines = String::new();
    for (service, peer) in audit::combinations() {
        let _ = writeln!(lines, "policy {service} {peer:?}");
        for rule in audit::rules(service, peer) {
            let number = rule.call().number(Architecture::TARGET).expect("the policy compiled");
            let _ = write!(lines, "rule {} {number}", rule.call().name());
            for pin in rule.pins() {
                let _ = write!(lines, " {} {} {}", pin.position(), pin.min(), pin.max());
            }
            lines.push('\n');
        }
        for it in audit::policy(service, peer).instructions() {
            let _ = writeln!(lines, "code {} {} {} {}", it.code, it.jt, it.jf, it.k);
        }
    }
    print!("{lines}");
}
