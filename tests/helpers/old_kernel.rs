//! `old_kernel CALL PROGRAM...` runs a program as on a kernel that does not know a system call: `landlock` or `seccomp`. With
//! `forbidden`, it is the filter of a container that does not want to hear of Landlock.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [call, program, rest @ ..] = arguments.as_slice() else { panic!("old_kernel CALL PROGRAM...") };
    let number = match call.as_str() {
        "landlock" | "forbidden" => libc::SYS_landlock_create_ruleset,
        "seccomp" => libc::SYS_seccomp,
        _ => panic!("no such call: {call}"),
    };
    let errno = if call == "forbidden" { libc::EPERM } else { libc::ENOSYS };
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().expect("an architecture that seccomp knows");
    let filter = SeccompFilter::new(BTreeMap::from([(number, vec![])]), SeccompAction::Allow, answer, architecture);
    let filter: BpfProgram = filter.expect("a filter").try_into().expect("a small filter");
    seccompiler::apply_filter(&filter).expect("a kernel with seccomp");
    panic!("cannot start {program}: {}", Command::new(program).args(rest).exec());
}
