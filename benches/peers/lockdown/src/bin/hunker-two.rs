//! Only Landlock and seccomp, with what they require.

use hunker::{Layer, Pin, Policy, Rule, Syscall};

const RULES: &[Rule] =
    &[Rule::new(Syscall::WRITE, &[Pin::is(0, 1)], "write the line"), Rule::new(Syscall::EXIT_GROUP, &[], "end")];
static POLICY: Policy = Policy::new(&[RULES]);

fn main() {
    let layers = [Layer::NoNewPrivileges, Layer::Landlock, Layer::Seccomp];
    lockdown::work(layers.map(|it| it.apply(&POLICY).is_ok()) == [true; 3])
}
