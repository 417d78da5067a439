//! The cost of a lock-down: programs that lock themselves down with hunker, with other crates and not at all, write a line and exit
//! (benches/peers/lockdown). All take turns. Each is compared round by round with the one without a lock-down.
//!
//! `make bench` builds the peers and runs this as root; `benches/run lockdown` does only that. The programs run as nobody.
#![allow(unsafe_code)] // getrusage(2)

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use support::{Goal, Result, Rows, given, median};

const ROUNDS: usize = 1000;
const NOBODY: u32 = 65_534;
/// Set in the process that runs a program under callgrind.
const COUNT: &str = "COUNT_INSTRUCTIONS";

/// The program that others are compared with: without a lock-down.
const NONE: &str = "nothing";
/// The programs, and their rows in the table.
const PROGRAMS: [(&str, &str); 7] = [
    (NONE, "no lock-down"),
    ("hunker", "hunker, six layers"),
    ("by-hand", "caps, landlock, seccompiler and plain calls, six layers"),
    ("hunker-two", "hunker, Landlock and seccomp"),
    ("by-hand-two", "landlock and seccompiler"),
    ("extrasafe", "extrasafe, Landlock and seccomp"),
    ("birdcage", "birdcage, a second program in namespaces"),
];

fn program(name: &str) -> Result<PathBuf> {
    Ok(Path::new(&given("LOCKDOWN")?).join(name))
}

fn command(name: &str, null: &File) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command.env_clear().stdin(null.try_clone()?).stdout(null.try_clone()?).stderr(null.try_clone()?);
    command.uid(NOBODY).gid(NOBODY);
    Ok(command)
}

/// The processor time of all children and their children so far, in microseconds.
fn of_children() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    [usage.ru_utime, usage.ru_stime].iter().map(|it| it.tv_sec as f64 * 1e6 + it.tv_usec as f64).sum()
}

/// The 95 % interval of a median, for any distribution: two of the ordered values.
fn interval(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = support::as_f64(sorted.len()).sqrt() * 0.98;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some dozens
    let half = half.ceil() as usize;
    let middle = sorted.len() / 2;
    (sorted[middle.saturating_sub(half)], sorted[(middle + half).min(sorted.len() - 1)])
}

/// In a separate process: callgrind runs a program as on a kernel without seccomp, whose filter would kill callgrind.
fn count() -> Result<()> {
    let without = BTreeMap::from([(libc::SYS_seccomp, vec![])]);
    let answer = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(without, SeccompAction::Allow, answer, env::consts::ARCH.try_into()?)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    let arguments: Vec<_> = env::args_os().skip_while(|it| it != "--").skip(1).collect();
    Err(Command::new(&arguments[0]).args(&arguments[1..]).env_remove(COUNT).exec().into())
}

/// The instructions of a program from its start to its end, without the kernel's.
fn instructions(name: &str) -> Result<u64> {
    let mut command = Command::new(env::current_exe()?);
    command.env_clear().env(COUNT, "1").arg("--").args(["/usr/bin/valgrind", "--tool=callgrind"]);
    command.arg("--callgrind-out-file=/dev/null").arg(program(name)?).stdin(Stdio::null()).stdout(Stdio::null());
    command.uid(NOBODY).gid(NOBODY);
    // The program reports that the lock-down failed: callgrind has no Landlock, and the filter is refused.
    let said = String::from_utf8(command.output()?.stderr)?;
    let count = said.lines().find_map(|line| line.split_once("Collected :"));
    Ok(count.ok_or_else(|| format!("callgrind counted nothing: {said}"))?.1.trim().parse()?)
}

fn main() -> Result<()> {
    if env::var_os(COUNT).is_some() {
        return count();
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for (name, _) in &PROGRAMS[1..] {
        for argument in [None, Some("open")] {
            let status = command(name, &null)?.args(argument).status()?;
            // hunker kills a process that opens a file; others refuse to open it.
            if !status.success() && (argument.is_none() || status.code().is_some()) {
                return Err(format!("{name} {argument:?}: it is not locked down: {status}").into());
            }
        }
    }
    let mut times = [const { Vec::new() }; PROGRAMS.len()];
    let mut random = SmallRng::seed_from_u64(0);
    let mut order: Vec<_> = (0..PROGRAMS.len()).collect();
    for _ in 0..ROUNDS {
        order.shuffle(&mut random);
        for &index in &order {
            let mut command = command(PROGRAMS[index].0, &null)?;
            let before = of_children();
            if !command.status()?.success() {
                return Err(format!("{} failed", PROGRAMS[index].0).into());
            }
            times[index].push(of_children() - before);
        }
    }
    // birdcage leaves it behind.
    let _ = fs::remove_dir("/tmp/birdcage-root");

    let mut rows = Rows::new();
    let mut table = String::from(
        "| | processor time | added time | 95 % interval | added instructions |\n|---|---:|---:|---:|---:|\n",
    );
    let none = instructions(NONE)?;
    for ((name, what), of_one) in PROGRAMS.iter().zip(&times) {
        rows.add("a lock-down", what, "processor µs", of_one, Some((PROGRAMS[0].1, &times[0])), Goal::None);
        write!(table, "| {what} | {:.0} µs |", median(of_one))?;
        if *name == NONE {
            table += " | | |\n";
            continue;
        }
        let more: Vec<f64> = of_one.iter().zip(&times[0]).map(|(one, none)| one - none).collect();
        let (low, high) = interval(&more);
        write!(table, " {:.0} µs | {low:.0} to {high:.0} |", median(&more))?;
        // callgrind follows no program into other namespaces.
        if *name == "birdcage" {
            table += " |\n";
        } else {
            writeln!(table, " {} |", instructions(name)?.saturating_sub(none))?;
        }
    }
    println!("\n{table}");
    rows.write("lockdown")
}
