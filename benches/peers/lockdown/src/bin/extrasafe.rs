//! Two contexts, as in its documentation: the first is Landlock without any path, the second seccomp.

use extrasafe::SafetyContext;
use extrasafe::builtins::{BasicCapabilities, SystemIO};

fn main() {
    let landlock = SafetyContext::new().enable(BasicCapabilities).map(SafetyContext::landlock_only);
    let landlock = landlock.and_then(SafetyContext::apply_to_current_thread).is_ok();
    let seccomp = SafetyContext::new().enable(SystemIO::nothing().allow_stdout());
    let seccomp = seccomp.and_then(SafetyContext::apply_to_current_thread).is_ok();
    lockdown::work(landlock && seccomp)
}
