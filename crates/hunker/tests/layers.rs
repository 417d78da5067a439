//! The effect of each layer on a process, as the kernel shows it, and the report if the kernel lacks a layer.
//!
//! A layer is irrevocable. So each test starts this program again as a process that carries out orders and prints the results.
#![allow(unsafe_code)] // for raw system calls

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::{env, io};

use hunker::{Landlock, Layer, LayerError, Mode, Narrower, Pin, Policy, Rights, Rule, Syscall};
use landlock::{ABI, Access, AccessFs, AccessNet, Scope};
use rustix::io::Errno;
use rustix::process::{Resource, dumpable_behavior, getrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

const SIGSYS: i32 = 31;
/// The user nobody on most distributions.
const NOBODY: u32 = 65_534;

/// What the locked-down process does: it inspects itself.
const LOOK: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[], "print the results"),
    Rule::new(Syscall::OPENAT, &[], "look"),
    Rule::new(Syscall::STATX, &[], "look"),
    Rule::new(Syscall::FSTAT, &[], "look"),
    Rule::new(Syscall::LSEEK, &[], "look"),
    Rule::new(Syscall::READ, &[], "look"),
    Rule::new(Syscall::CLOSE, &[], "look"),
    Rule::new(Syscall::FCNTL, &[], "close, in debug builds"),
    Rule::new(Syscall::PRCTL, &[], "look"),
    Rule::new(Syscall::PRLIMIT64, &[], "look"),
    Rule::new(Syscall::BRK, &[], "allocate memory"),
    Rule::new(Syscall::MMAP, &[], "allocate memory"),
    Rule::new(Syscall::MREMAP, &[], "allocate memory"),
    Rule::new(Syscall::MUNMAP, &[], "allocate memory"),
    Rule::new(Syscall::EXIT_GROUP, &[], "exit"),
];
const NARROW: &[Rule] = &[Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1)], "narrow")];
// Not constants, so that a broken policy compiler fails these tests and not the build.
static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::new(&[LOOK, NARROW]));
static WRITES: LazyLock<Narrower> = LazyLock::new(|| Narrower::new(&[&[LOOK[0], LOOK[14]]], &[LOOK, NARROW]));

// The process.

/// Prints one result, in a form that the tests can tell from the test harness's output.
fn say(what: &str, value: &str) {
    eprintln!("={what}={value}");
}

/// Prints the state of this process as the kernel shows it.
fn look() {
    for (path, keys) in [
        ("/proc/thread-self/status", &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"][..]),
        ("/etc/passwd", &[]),
    ] {
        match fs::read_to_string(path) {
            Ok(text) => {
                say(path, "read");
                for (key, value) in text.lines().filter_map(|line| line.split_once(":\t")) {
                    if keys.contains(&key) {
                        say(key, value);
                    }
                }
            }
            Err(error) => say(path, &error.to_string()),
        }
    }
    for (name, resource) in [("processes", Resource::Nproc), ("core", Resource::Core), ("file", Resource::Fsize)] {
        say(name, &format!("{:?}", getrlimit(resource)));
    }
    say("dumpable", &format!("{:?}", dumpable_behavior()));
}

/// Makes a system call fail with `errno` from now on; with `pinned`, only if that argument has that value.
fn answer(call: i64, pinned: Option<(u8, u64)>, errno: i32) {
    let rules = pinned.map(|(position, value)| {
        let condition = SeccompCondition::new(position, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
        SeccompRule::new(vec![condition.unwrap()]).unwrap()
    });
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = env::consts::ARCH.try_into().unwrap();
    let calls = BTreeMap::from([(call, rules.into_iter().collect())]);
    let filter: BpfProgram =
        SeccompFilter::new(calls, SeccompAction::Allow, refused, architecture).unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
}

#[test]
#[ignore = "the other tests start it as a separate process"]
fn process() {
    let Ok(orders) = env::var("ORDERS") else { return };
    for order in orders.lines() {
        let words: Vec<_> = order.split(' ').collect();
        match words.as_slice() {
            ["look"] => look(),
            ["layer", number] => {
                let layer = Layer::ALL[number.parse::<usize>().unwrap()];
                say(&format!("{layer}"), &format!("{:?}", layer.apply(&POLICY)));
            }
            ["answer", call, errno] => answer(call.parse().unwrap(), None, errno.parse().unwrap()),
            ["answer", call, errno, position, value] => {
                let pinned = Some((position.parse().unwrap(), value.parse().unwrap()));
                answer(call.parse().unwrap(), pinned, errno.parse().unwrap());
            }
            ["dumping"] => hunker::allow_dumping().unwrap(),
            [how @ ("down" | "strictly" | "fully"), readable @ ..] => {
                let readable: Vec<PathBuf> = readable.iter().map(PathBuf::from).collect();
                let mode = match *how {
                    "down" => Mode::BestEffort,
                    "strictly" => Mode::Strict,
                    _ => Mode::Full,
                };
                match hunker::down(&POLICY, &readable, mode) {
                    Ok(report) => {
                        let missing: Vec<_> = report.missing.iter().map(ToString::to_string).collect();
                        say("missing", &missing.join("; "));
                        say("abi", &report.landlock.abi.to_string());
                        say("lacking", &report.landlock.missing.to_string());
                        say("unstopped", &report.unstopped.to_string());
                    }
                    Err(error) => {
                        say("error", &error.to_string());
                        say("forbidden", &error.reason.is_forbidden().to_string());
                    }
                }
            }
            ["narrow"] => say("narrowed", &format!("{:?}", hunker::narrow(&WRITES))),
            // SAFETY: no call that a test asks for takes memory.
            ["call", number] => drop(unsafe { libc::syscall(number.parse().unwrap()) }),
            other => panic!("no such order: {other:?}"),
        }
    }
    // SAFETY: it only ends the process. Anything else would need calls that the policy does not allow.
    unsafe { libc::_exit(0) }
}

// The tests.

fn command(orders: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    // With one test thread, the main thread runs the test.
    command.args(["--exact", "process", "--include-ignored", "--nocapture", "--test-threads", "1"]);
    command.env("ORDERS", orders).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

type Said = BTreeMap<String, String>;

fn said(output: &Output) -> Said {
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    let fields = lines.lines().filter_map(|line| line.strip_prefix('=')?.split_once('='));
    fields.map(|(what, value)| (what.to_owned(), value.to_owned())).collect()
}

/// Runs the orders and returns the results that the process printed.
fn run(orders: &str) -> Said {
    run_by(command(orders))
}

fn run_by(mut command: Command) -> Said {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    said(&output)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The version of the kernel's Landlock.
fn landlock() -> i32 {
    // SAFETY: with this flag, the call takes no memory.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<()>(), 0, 1) };
    i32::try_from(answer).unwrap()
}

#[test]
fn each_layer_alone_changes_only_what_it_should() {
    let none = "0000000000000000";
    let denied = io::Error::from_raw_os_error(libc::EACCES).to_string();
    let zero = "Rlimit { current: Some(0), maximum: Some(0) }";
    let all_capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|it| (it, none));
    let held_capabilities = ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(|it| (it, none));
    let look = |orders: &str, user: Option<u32>| {
        let mut command = command(orders);
        if let Some(user) = user {
            // Its directory may not be accessible to this user.
            command.uid(user).gid(user).env_remove("LLVM_PROFILE_FILE");
        }
        run_by(command)
    };
    let mut users = vec![None];
    if is_root() && readable_by_all(&env::current_exe().unwrap()) {
        users.push(Some(NOBODY));
    }
    for user in users {
        let before = look("layer 3\nlook", user);
        let privileged = is_root() && user.is_none();
        let expected: [&[(&str, &str)]; 6] = [
            if privileged { &all_capabilities } else { &held_capabilities },
            &[("processes", zero), ("core", zero), ("file", zero)],
            &[("dumpable", "Ok(NotDumpable)")],
            &[("NoNewPrivs", "1")],
            &[("/etc/passwd", &denied), ("/proc/thread-self/status", &denied)],
            &[("Seccomp", "2")],
        ];
        for (number, (layer, changes)) in Layer::ALL.iter().zip(expected).enumerate() {
            let after = look(&format!("layer 3\nlayer {number}\nlook"), user);
            assert_eq!(after[&layer.to_string()], "Ok(())", "{layer}, {user:?}");
            for (what, value) in before.iter().filter(|(what, _)| after.contains_key(*what)) {
                let change = changes.iter().find(|(changed, _)| changed == what);
                assert_eq!(after[what], change.map_or(value.as_str(), |it| it.1), "{layer}, {user:?}: {what}");
            }
        }
        let without = look("look", user);
        assert_eq!(without["NoNewPrivs"], "0", "the test runs with no_new_privs already");
        assert_eq!(without["Seccomp"], before["Seccomp"]);
    }
}

/// Whether everyone may search each directory of the path.
fn readable_by_all(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.ancestors().all(|it| fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o001 != 0))
}

#[test]
fn a_file_that_is_the_output_or_the_log_may_grow() {
    let path = env::temp_dir().join(format!("hunker-layers-{}", std::process::id()));
    for (output, log) in [(true, false), (false, true)] {
        let file = || Stdio::from(File::create(&path).unwrap());
        let mut command = command("layer 1\nlook");
        if output {
            command.stdout(file());
        }
        if log {
            command.stderr(file());
        }
        let mut result = command.output().unwrap();
        if log {
            result.stderr = fs::read(&path).unwrap();
        }
        fs::remove_file(&path).unwrap();
        let said = said(&result);
        assert_ne!(said["file"], "Rlimit { current: Some(0), maximum: Some(0) }");
        assert_eq!(said["core"], "Rlimit { current: Some(0), maximum: Some(0) }");
    }
}

#[test]
fn allow_dumping_reverts_the_layer() {
    assert_eq!(run("layer 2\ndumping\nlook")["dumpable"], "Ok(Dumpable)");
}

#[test]
fn a_lock_down_applies_all_layers_and_reports_the_rights_that_landlock_lacks() {
    for how in ["down", "strictly"] {
        let said = run(&format!("{how} /proc\nlook"));
        assert_eq!(said["missing"], "");
        // It can read what is beneath the named directory, and nothing else.
        assert_eq!(said["/proc/thread-self/status"], "read");
        assert_eq!(said["/etc/passwd"], io::Error::from_raw_os_error(libc::EACCES).to_string());
        assert_eq!((said["NoNewPrivs"].as_str(), said["Seccomp"].as_str()), ("1", "2"));
        assert_eq!(said["CapEff"], "0000000000000000");
        assert_eq!(said["dumpable"], "Ok(NotDumpable)");
        assert_eq!(said["abi"], landlock().to_string());
        let kernel = Landlock::of_kernel().unwrap();
        assert_eq!(said["lacking"], kernel.missing.to_string());
        // The policy allows opening files with any flags.
        let unstopped = if landlock() < 3 { "truncating files" } else { "" };
        assert_eq!(said["unstopped"], unstopped);
    }
    // Without seccomp, nothing forbids the rights that Landlock lacks.
    let said = run(&format!("answer {} {}\ndown", libc::SYS_seccomp, libc::ENOSYS));
    assert_eq!(said["unstopped"], said["lacking"]);
    let full = run("fully");
    let missing = Landlock::of_kernel().unwrap().missing;
    let incomplete = format!(
        "the sandbox layer Landlock is incomplete (this kernel, Landlock ABI {}, cannot forbid {missing})",
        landlock()
    );
    assert_eq!(full.get("error"), (!missing.is_empty()).then_some(&incomplete));
}

#[test]
fn the_missing_rights_are_those_of_later_landlock_versions() {
    let lacking = Landlock::of_kernel().unwrap().missing;
    let (all, known) = (ABI::V10, ABI::from(landlock()));
    // The first version always forbids moving files.
    assert_eq!(lacking.files, AccessFs::from_all(all) & !AccessFs::from_all(known) & !AccessFs::Refer);
    assert_eq!(lacking.network, AccessNet::from_all(all) & !AccessNet::from_all(known));
    assert_eq!(lacking.scopes, Scope::from_all(all) & !Scope::from_all(known));
    assert!(Rights::default().is_empty());
    assert!(!Rights { files: AccessFs::Execute.into(), ..Rights::default() }.is_empty());
}

#[test]
fn landlock_logs_denied_accesses_by_the_kernels_default() {
    // The flags are the second argument. With flags 0 the kernel keeps its default.
    let restrict = libc::SYS_landlock_restrict_self;
    let said = run(&format!("answer {restrict} {} 1 0\ndown", libc::EIO));
    assert!(said["error"].starts_with("the sandbox layer Landlock could not be applied"), "{said:?}");
}

#[test]
fn the_root_directory_and_missing_ones_cannot_stay_readable() {
    for (readable, why) in [
        ("/", "/ is the root directory"),
        ("/proc/..", "/proc/.. is the root directory"),
        ("/no/such/directory", &Errno::NOENT.to_string()),
    ] {
        let error = format!("the sandbox layer Landlock could not be applied ({why})");
        assert_eq!(run(&format!("down {readable}"))["error"], error);
    }
}

#[test]
fn a_missing_layer_is_reported_and_a_failed_one_is_an_error() {
    let text = |errno: i32| Errno::from_raw_os_error(errno).to_string();
    let (ruleset, restrict) = (libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self);
    let forbidden = "a filter outside of the program forbids the Landlock calls, for example that of a container or a service manager";
    let none = "this kernel has no Landlock, being older than 5.13 or built without it, or a filter outside of the program hides it";
    let disabled = "this kernel's Landlock was not enabled at boot";
    let prctl = |option: i32| format!(" 0 {option}");
    let mut cases = vec![
        ("Landlock", ruleset, String::new(), libc::ENOSYS, true, Some(none.to_owned())),
        ("Landlock", ruleset, String::new(), libc::EOPNOTSUPP, true, Some(disabled.to_owned())),
        ("Landlock", ruleset, String::new(), libc::EPERM, true, Some(forbidden.to_owned())),
        ("Landlock", ruleset, String::new(), libc::EACCES, true, Some(forbidden.to_owned())),
        // With flags 0, the third argument, the call creates a ruleset. Querying the version still works.
        ("Landlock", ruleset, " 2 0".to_owned(), libc::ENOMEM, false, None),
        ("Landlock", restrict, String::new(), libc::EPERM, true, None),
        ("Landlock", restrict, String::new(), libc::E2BIG, false, None),
        ("seccomp", libc::SYS_seccomp, String::new(), libc::ENOSYS, true, Some(text(libc::ENOSYS))),
        ("seccomp", libc::SYS_seccomp, String::new(), libc::EINVAL, true, Some(text(libc::EINVAL))),
        ("seccomp", libc::SYS_seccomp, String::new(), libc::ENOMEM, false, Some(text(libc::ENOMEM))),
        ("not dumpable", libc::SYS_prctl, prctl(libc::PR_SET_DUMPABLE), libc::EPERM, true, Some(text(libc::EPERM))),
        ("no_new_privs", libc::SYS_prctl, prctl(libc::PR_SET_NO_NEW_PRIVS), libc::EIO, false, Some(text(libc::EIO))),
        ("resource limits", libc::SYS_prlimit64, String::new(), libc::EPERM, true, Some(text(libc::EPERM))),
        ("dropped capabilities", libc::SYS_capget, String::new(), libc::EIO, false, Some(text(libc::EIO))),
    ];
    if is_root() {
        cases.push(("dropped capabilities", libc::SYS_capset, String::new(), libc::EPERM, true, None));
        cases.push(("dropped capabilities", libc::SYS_prctl, prctl(libc::PR_CAPBSET_DROP), libc::EPERM, false, None));
        // The first capability that the caps crate does not know. A newer kernel may have it.
        cases.push((
            "dropped capabilities",
            libc::SYS_prctl,
            format!(" 1 {}", caps::all().len()),
            libc::EIO,
            false,
            None,
        ));
    }
    if cfg!(debug_assertions) {
        cases.push(("seccomp", libc::SYS_rt_sigaction, String::new(), libc::EIO, false, Some(text(libc::EIO))));
    }
    for (layer, call, pinned, errno, is_missing, reason) in cases {
        let said = |how: &str| run(&format!("answer {call} {errno}{pinned}\n{how}"));
        let what = if is_missing { "is missing" } else { "could not be applied" };
        let sentence = format!("the sandbox layer {layer} {what} (");
        let (best, strict) = (said("down"), said("strictly"));
        let told = best.get(if is_missing { "missing" } else { "error" }).unwrap_or_else(|| panic!("{best:?}"));
        // Errors of the bounding set come from the caps crate.
        if reason.is_some() || layer == "Landlock" {
            assert_eq!(
                strict["forbidden"],
                [libc::EPERM, libc::EACCES].contains(&errno).to_string(),
                "{layer}, {errno}"
            );
        }
        for told in [told, &strict["error"]] {
            assert!(told.starts_with(&sentence), "{layer}, {errno}: {told}");
            assert!(reason.as_ref().is_none_or(|it| *told == format!("{sentence}{it})")), "{layer}, {errno}: {told}");
        }
    }
    // EIO does not mean that the layer is missing.
    assert!(!LayerError::System(Errno::IO).is_missing());
}

#[test]
fn a_narrowed_process_has_fewer_calls() {
    assert_eq!(run("down\nnarrow")["narrowed"], "Ok(())");
    let close = libc::SYS_close;
    assert_eq!(command(&format!("down\ncall {close}")).output().unwrap().status.code(), Some(0));
    let output = command(&format!("down\nnarrow\ncall {close}")).output().unwrap();
    assert_eq!((output.status.signal(), said(&output)["narrowed"].as_str()), (Some(SIGSYS), "Ok(())"));
}

#[test]
fn a_forbidden_call_kills_and_a_debug_build_names_it() {
    for (number, name) in [(libc::SYS_getpid, "getpid"), (90_210, "system call 90210"), (7_000, "system call 7000")] {
        let output = command(&format!("down\ncall {number}")).output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGSYS), "{number}: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = format!("hunker: the policy forbids {name}\n");
        assert_eq!(told.ends_with(&line), cfg!(debug_assertions), "{number}: {told}");
    }
}
