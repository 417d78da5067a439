//! landlock and seccompiler, as their own documentation shows it.

fn main() {
    let landlock = lockdown::by_hand::landlock().is_ok();
    lockdown::work(lockdown::by_hand::seccomp().is_ok() && landlock)
}
