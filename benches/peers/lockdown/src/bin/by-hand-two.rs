//! landlock and seccompiler, as their own pages show it.

fn main() {
    let landlock = lockdown::by_hand::landlock().is_ok();
    lockdown::work(lockdown::by_hand::seccomp().is_ok() && landlock)
}
