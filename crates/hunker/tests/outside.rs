//! Crates outside the workspace that use hunker: the README's example, and programs that make calls which their policies forbid.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SIGSYS: i32 = 31;

/// Opens a file, with a policy that allows it, with one that does not, and after narrowing.
const OPENS: &str = r#"
use hunker::{Mode, Narrower, Pin, Policy, Rule, Syscall};

const SHARED: &[Rule] = &[
    Rule::new(Syscall::WRITE, &[Pin::within(0, 1, 2)], "print"),
    Rule::new(Syscall::EXIT_GROUP, &[], "exit"),
    // If handlers may return, the program must not mistake a forbidden call for a successful one.
    Rule::new(Syscall::RT_SIGRETURN, &[], "return from a handler"),
];
const OPEN: &[Rule] = &[
    Rule::new(Syscall::OPENAT, &[], "open the file"),
    Rule::new(Syscall::SECCOMP, &[Pin::is(0, 1)], "narrow"),
];
static WITHOUT: Policy = Policy::new(&[SHARED]);
static WITH: Policy = Policy::new(&[SHARED, OPEN]);
static NARROWER: Narrower = Narrower::new(&[SHARED], &[SHARED, OPEN]);

fn main() {
    let how = std::env::args().nth(1).unwrap();
    let path = c"/etc/passwd".as_ptr();
    let readable: &[std::path::PathBuf] = if how == "readable" { &["/etc".into()] } else { &[] };
    let policy = if how == "without" { &WITHOUT } else { &WITH };
    hunker::down(policy, readable, Mode::Strict).unwrap();
    if how == "narrowed" {
        hunker::narrow(&NARROWER).unwrap();
    }
    unsafe {
        let open = libc::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_CLOEXEC);
        libc::_exit(if open < 0 { *libc::__errno_location() } else { 0 })
    }
}
"#;

/// A policy whose rule contradicts itself.
const CONTRADICTS: &str = r#"
use hunker::{Pin, Policy, Rule, Syscall};
static POLICY: Policy = Policy::new(&[&[Rule::new(Syscall::OPENAT, &[Pin::is(1, 0), Pin::is(1, 1)], "never")]]);
fn main() {
    println!("{}", POLICY.instructions().len());
}
"#;

/// A crate with one program.
struct Scratch {
    name: &'static str,
    folder: PathBuf,
}

impl Scratch {
    fn new(name: &'static str, program: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hunker-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).unwrap();
        let hunker = Path::new(env!("CARGO_MANIFEST_DIR"));
        // The versions of the workspace, which are available offline.
        fs::copy(hunker.join("../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\nhunker.path = {:?}\nlibc = \"0.2\"\n[workspace]\n",
            hunker.to_str().unwrap()
        );
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("src/main.rs"), program).unwrap();
        Self { name, folder }
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO"));
        command.arg("--offline").args(arguments).current_dir(&self.folder);
        // A shared target directory: dependencies are built once.
        command.env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR")).env_remove("CARGO_BUILD_TARGET").output().unwrap()
    }

    /// Builds it and runs it.
    fn run(&self, profile: &str, arguments: &[&OsStr], input: &str) -> Output {
        self.build(profile);
        let mut command = self.command(profile);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // The process may exit before it reads.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        process.wait_with_output().unwrap()
    }

    /// Builds statically, so that a loader makes no calls.
    fn build(&self, profile: &str) {
        let triple = triple();
        let flags = ["rustc", "--profile", profile, "--target", &triple, "--", "-C", "target-feature=+crt-static"];
        let built = self.cargo(&flags);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }

    fn command(&self, profile: &str) -> Command {
        let folder = if profile == "dev" { "debug" } else { profile };
        Command::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join(triple()).join(folder).join(self.name))
    }
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn the_example_of_the_readme_works() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let example = page.split("```no_run\n").nth(1).unwrap().split("```").next().unwrap();
    let scratch = Scratch::new("example", example);
    for profile in ["dev", "release"] {
        let output = scratch.run(profile, &[], "some octets\nand more");
        assert!(output.status.success(), "{profile}: {:?} {}", output.status, text(&output.stderr));
        assert_eq!(text(&output.stdout), "SOME OCTETS\nAND MORE", "{profile}");
        // If it cannot write its output, it fails with a message.
        let mut command = scratch.command(profile);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdin(Stdio::from(fs::File::open("/etc/passwd").unwrap())).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{profile}: {:?} {}", output.status, text(&output.stderr));
        assert!(text(&output.stderr).starts_with("cannot continue: "), "{profile}: {}", text(&output.stderr));
    }
}

#[test]
fn a_forbidden_call_kills_the_process_and_a_debug_build_names_it() {
    let scratch = Scratch::new("opens", OPENS);
    for profile in ["dev", "release"] {
        let run = |how: &str| scratch.run(profile, &[how.as_ref()], "");
        for how in ["without", "narrowed"] {
            let output = run(how);
            assert_eq!(output.status.signal(), Some(SIGSYS), "{profile}, {how}: {:?}", output.status);
            let said = if profile == "dev" { "hunker: the policy forbids openat\n" } else { "" };
            assert_eq!(text(&output.stderr), said, "{profile}, {how}");
        }
        // The policy allows the call. Landlock denies it, except beneath a directory that stays readable.
        assert_eq!(run("with").status.code(), Some(libc::EACCES), "{profile}");
        assert_eq!(run("readable").status.code(), Some(0), "{profile}");
    }
}

#[test]
fn a_rule_that_contradicts_itself_does_not_compile_and_names_its_call() {
    let checked = Scratch::new("contradicts", CONTRADICTS).cargo(&["check"]);
    let said = text(&checked.stderr);
    assert!(!checked.status.success() && said.contains("a rule for openat pins an argument twice"), "{said}");
}
