//! What `make` and cargo build under different environments. Without optimization, which is not tested here.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Folder, repository};

/// Flags as distributions set them: they override those in `.cargo/config.toml`.
const FLAGS: [&str; 2] = ["-C", "force-frame-pointers=yes"];

/// The build folder of these tests, emptied each time.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("builds")
}

fn run(command: &mut Command) -> Output {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MAKE") || name.ends_with("RUSTFLAGS")) {
        command.env_remove(name);
    }
    for (name, value) in [("LTO", "off"), ("OPT_LEVEL", "0"), ("CODEGEN_UNITS", "16"), ("STRIP", "debuginfo")] {
        let name = format!("CARGO_PROFILE_RELEASE_{name}");
        if command.get_envs().all(|(set, _)| set != name.as_str()) {
            command.env(name, value);
        }
    }
    command.current_dir(repository()).output().unwrap()
}

fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.env("CARGO_TARGET_DIR", folder());
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The names of the files in a folder of programs.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "messages");
    names.sort();
    names
}

/// Whether a program needs a loader: it has a program header of type `PT_INTERP`.
fn needs_loader(program: &Path) -> bool {
    let elf = fs::read(program).unwrap();
    assert!(elf.starts_with(b"\x7fELF\x02\x01"), "{}", program.display());
    let number = |at: usize, length: usize| {
        elf[at..at + length].iter().rev().fold(0, |sum, octet| sum << 8 | usize::from(*octet))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(headers + index * size, 4) == 3)
}

/// Whether a file contains these bytes.
fn contains(file: &Path, octets: &str) -> bool {
    fs::read(file).unwrap().windows(octets.len()).any(|window| window == octets.as_bytes())
}

#[test]
fn make_run_builds_one_static_program_anywhere_and_with_any_flags() {
    let programs = Folder::new("builds");
    let elsewhere = programs.path().join("elsewhere");
    let encoded = FLAGS.join("\x1f");
    let where_to = [format!("builddir={}", folder().display()), format!("programs={}", elsewhere.display())];
    let target = folder().display().to_string();
    let _ = fs::remove_dir_all(folder().join("programs"));
    let builds = |argument: &str, variables: &[(&str, &str)], programs: &Path| {
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "run", "ARGS=--version", argument]);
        make.envs(variables.iter().copied()).env("CARGO_NET_OFFLINE", "true");
        let output = run(&mut make);
        assert!(output.status.success(), "{variables:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), concat!("qotd ", env!("CARGO_PKG_VERSION"), "\n"));
        assert_eq!(names(programs), ["qotd"]);
        let qotd = programs.join("qotd");
        assert!(!needs_loader(&qotd), "{variables:?}");
        // Debug symbols are kept only on request. No path of the build machine is in the program.
        let symbols = variables.contains(&("CARGO_PROFILE_RELEASE_STRIP", "none"));
        let sections = Command::new("readelf").args(["--wide", "--sections"]).arg(&qotd).output().unwrap();
        assert_eq!(text(&sections.stdout).contains(" .debug_info "), symbols, "{variables:?}");
        let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
        for path in [&home.unwrap(), env!("CARGO_MANIFEST_DIR")] {
            assert!(!contains(&qotd, path), "{variables:?}: {path}");
        }
        assert!(contains(&qotd, "/cargo/registry/src/"), "what takes the place of that path");
    };
    let symbols = [("CARGO_PROFILE_RELEASE_STRIP", "none"), ("CARGO_PROFILE_RELEASE_DEBUG", "limited")];
    let flags = FLAGS.join(" ");
    builds(&where_to[0], &[&[("RUSTFLAGS", flags.as_str())][..], &symbols].concat(), &folder().join("programs"));
    builds(&where_to[1], &[("CARGO_ENCODED_RUSTFLAGS", &encoded), ("CARGO_TARGET_DIR", &target)], &elsewhere);
}

#[test]
fn a_program_that_is_not_static_does_not_build_and_says_why() {
    let output = run(cargo().args(["check", "--quiet", "--locked", "--bin", "qotd"]).env("RUSTFLAGS", FLAGS.join(" ")));
    let said = text(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(said.matches("the programs must be statically linked").count(), 1, "{said}");
    assert!(said.contains("build with `make`"), "{said}");
}

#[test]
fn cargo_install_shadows_no_program_of_the_host() {
    let root = Folder::new("cargo-install");
    let output = run(cargo().args(["install", "--quiet", "--locked", "--path", ".", "--root"]).arg(root.path()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(names(&root.path().join("bin")), ["qotd", "small-services"]);
}
