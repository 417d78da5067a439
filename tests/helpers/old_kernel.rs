//! `old_kernel CALL PROGRAM...` runs a program as on a kernel that does not know a system call: `landlock` or `seccomp`. With
//! `forbidden`, it is the filter of a container that does not want to hear of Landlock; with `full`, what a process needs to
//! forbid itself others fails.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [call, program, rest @ ..] = arguments.as_slice() else { panic!("old_kernel CALL PROGRAM...") };
    let number = match call.as_str() {
        "landlock" | "forbidden" => libc::SYS_landlock_create_ruleset,
        "seccomp" => libc::SYS_seccomp,
        "full" => libc::SYS_prlimit64,
        _ => panic!("no such call: {call}"),
    };
    let errno = match call.as_str() {
        "forbidden" => libc::EPERM,
        "full" => libc::ENOMEM,
        _ => libc::ENOSYS,
    };
    let rules = if call == "full" {
        let nproc = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::RLIMIT_NPROC.into());
        vec![SeccompRule::new(vec![nproc.expect("a condition")]).expect("a rule")]
    } else {
        vec![]
    };
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(BTreeMap::from([(number, rules)]), SeccompAction::Allow, answer, architecture);
    let filter: BpfProgram = filter.expect("a filter").try_into().expect("a small filter");
    seccompiler::apply_filter(&filter).expect("a kernel with seccomp");
    panic!("cannot start {program}: {}", Command::new(program).args(rest).exec());
}
