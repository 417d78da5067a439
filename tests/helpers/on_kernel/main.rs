//! `on_kernel bounded|full [FOLDER]`: tests the kernel that it runs on, as root, with the programs in a folder (/programs). It
//! prints lines of a section, a row and its content, separated by tabs. tests/kernels.rs runs it in virtual machines, compares the
//! results with what is expected, and makes docs/kernels.md from them.
#![allow(unsafe_code)] // the attacks' helpers share files with those that need it

mod attack;
#[allow(dead_code)] // the tests use the rest
#[path = "../../support/audit.rs"]
mod audit;
mod client;
#[allow(dead_code)]
#[path = "../../escapes/expected.rs"]
mod expected;
#[allow(dead_code)]
#[path = "../../escapes/reach.rs"]
mod reach;
mod serve;
#[path = "../../escapes/surroundings.rs"]
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hunker::Landlock;
use small_services::policy::Io;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let full = arguments.first().is_some_and(|it| it == "full");
    let programs = PathBuf::from(arguments.get(1).map_or("/programs", String::as_str));
    let abi = Landlock::of_kernel().map_or(0, |it| it.abi);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    say("kernel", "Linux", release.trim());
    say("kernel", "architecture", std::env::consts::ARCH);
    say("kernel", "Landlock's version", &abi.to_string());
    serve::all(&programs, full);
    doctor(&programs);
    attack::all(&programs, abi, full);
}

/// One line for the test.
fn say(section: &str, row: &str, cell: &str) {
    println!("{section}\t{row}\t{}", cell.replace('\n', "\\n"));
}

/// A process of a service, by the name of its kind.
fn named(service: &str, io: Io) -> String {
    format!("{service}, {io:?}")
}

fn doctor(programs: &Path) {
    for (row, arguments) in [("doctor", &["doctor"][..]), ("doctor --json", &["doctor", "--json"])] {
        let output = Command::new(programs.join("small-services")).args(arguments).output().expect("the doctor");
        say("said", row, &String::from_utf8_lossy(&output.stdout));
    }
}
