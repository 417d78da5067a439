//! All six layers: caps, landlock, seccompiler, and plain calls for the rest.

use lockdown::by_hand;

fn main() {
    let first = by_hand::capabilities().is_ok() && by_hand::limits();
    let landlock = by_hand::landlock().is_ok();
    lockdown::work(by_hand::seccomp().is_ok() && first && landlock)
}
