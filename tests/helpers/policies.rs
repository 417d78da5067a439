//! Prints every policy of the services as compiled in this program: the rules and the BPF program. Built for another architecture,
//! it prints that architecture's numbers and flags. tests/cross.rs reads it.

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
