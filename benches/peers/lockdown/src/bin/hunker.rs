//! All six layers.

use hunker::{Mode, Pin, Policy, Rule, Syscall};

const RULES: &[Rule] =
    &[Rule::new(Syscall::WRITE, &[Pin::is(0, 1)], "write the line"), Rule::new(Syscall::EXIT_GROUP, &[], "end")];
static POLICY: Policy = Policy::new(&[RULES]);

fn main() {
    let report = hunker::down(&POLICY, &[], Mode::BestEffort);
    lockdown::work(report.is_ok_and(|it| it.missing.is_empty()))
}
