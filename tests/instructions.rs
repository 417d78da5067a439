//! The hot paths' instruction counts, by callgrind: no machine is too busy for them. Growth by more than 3 % is red.
//!
//! Counted are the instructions in this crate's own functions, in its debug build: what the C library does depends on the
//! processor, and what the compiler makes of the code on its version, with which the baseline is marked. After a change that
//! is meant to cost something: `UPDATE=yes cargo test --test instructions`, and commit tests/instructions.baseline.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Folder, repository};

const BASELINE: &str = "tests/instructions.baseline";
/// In hundredths.
const ALLOWED_GROWTH: u64 = 3;

/// A program run as a filter, with an input that is always the same.
struct Case {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Octets of standard input.
    input: usize,
}

const fn case(name: &'static str, program: &'static str, arguments: &'static [&'static str], input: usize) -> Case {
    Case { name, program, arguments, input }
}

const CASES: &[Case] = &[
    case("qotd", env!("CARGO_BIN_EXE_qotd"), &["--sandbox", "off", "--seed", "17"], 0),
    case("qotd-from-a-file", env!("CARGO_BIN_EXE_qotd"), &["--sandbox", "off", "--seed", "17", "data/networks"], 0),
    case("daytime", env!("CARGO_BIN_EXE_daytime"), &["--sandbox", "off", "--utc"], 0),
    case("time", env!("CARGO_BIN_EXE_time"), &["--sandbox", "off"], 0),
    case("echo-8-MiB", env!("CARGO_BIN_EXE_echo"), &["--sandbox", "off"], 8 << 20),
    case("discard-8-MiB", env!("CARGO_BIN_EXE_discard"), &["--sandbox", "off"], 8 << 20),
];

/// Sums the costs of this crate's functions in a profile, as "The Callgrind Format Specification" describes it.
fn own_instructions(profile: &str) -> u64 {
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    let (mut own, mut sum, mut is_call) = (false, 0, false);
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            // `(number) name` the first time, `(number)` from then on.
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            let known = names.entry(number).or_insert_with(|| name.contains("small_services"));
            own = *known;
        } else if let Some(called) = line.strip_prefix("cfn=") {
            if let Some((number, name)) = called.split_once(' ') {
                names.insert(number, name.contains("small_services"));
            }
        } else if line.starts_with("calls=") {
            is_call = true; // the next line is what the callee took
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut is_call)
            && own
        {
            sum += line.split(' ').nth(1).map_or(0, |cost| cost.parse::<u64>().expect("a cost"));
        }
    }
    sum
}

fn count(case: &Case, folder: &Folder) -> u64 {
    let input = folder.file(&format!("{}.input", case.name), vec![b'x'; case.input]);
    let profile = folder.path().join(format!("{}.profile", case.name));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display()), case.program])
        .args(case.arguments)
        .current_dir(repository())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(File::open(input).unwrap())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    own_instructions(&fs::read_to_string(profile).unwrap())
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    format!("{} {}", String::from_utf8(output.stdout).unwrap().trim(), std::env::consts::ARCH)
}

#[test]
fn no_hot_path_takes_three_hundredths_more_instructions_than_before() {
    let folder = Folder::new("instructions");
    let counts: Vec<_> = CASES.iter().map(|case| (case.name, count(case, &folder))).collect();
    let path = repository().join(BASELINE);
    if std::env::var_os("UPDATE").is_some() {
        let lines = counts.iter().fold(compiler() + "\n", |mut text, (name, count)| {
            let _ = writeln!(text, "{name} {count}");
            text
        });
        fs::write(&path, lines).unwrap();
    }
    compare(&path, &counts);
}

fn compare(path: &Path, counts: &[(&str, u64)]) {
    let baseline = fs::read_to_string(path).unwrap();
    let (of, lines) = baseline.split_once('\n').unwrap();
    let mut grown = String::new();
    for &(name, count) in counts {
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let before: u64 =
            line.unwrap_or_else(|| panic!("no {name} in {BASELINE}: run this with UPDATE=yes")).parse().unwrap();
        println!("{name}: {count}, before {before}");
        assert!(count > 0, "{name}: nothing was counted");
        if count * 100 > before * (100 + ALLOWED_GROWTH) {
            let _ = write!(grown, "{name}: {before} instructions, now {count}. ");
        }
    }
    if of == compiler() {
        assert!(grown.is_empty(), "{grown}If that is meant, run this with UPDATE=yes and commit {BASELINE}");
    } else {
        println!("not compared: {BASELINE} is of {of}; with this compiler, run this with UPDATE=yes once. {grown}");
    }
}
