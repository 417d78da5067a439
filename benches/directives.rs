//! What each directive of `fortune@.service` costs at each start of an instance, in the systemd of each Debian release: added to a
//! unit with none, and taken from the whole one. docs/data/directives says which belong together; docs/data and docs/costs.md get
//! the results. With `RELEASE=none` it measures nothing, and writes the page from docs/data.
//!
//! `make bench-units` runs this as root. A cost is the median of the differences of each round, in processor time of the whole
//! machine, its systemd included; the interval is a bootstrap's. What does not know noise is counted beside it: system calls,
//! mounts and the like, from the fork of the manager to the service's own first call.

#[path = "directives/page.rs"]
mod page;
mod support;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use support::machine::{address, boot, measure_inside, run, serve, settle};
use support::{Result, as_f64, connect_and_read, given, interval, median, this_host, wait_for};

const RELEASES: [&str; 3] = ["bookworm", "trixie", "sid"];
/// So often is what others are compared with measured in a round: their mean is less noisy.
const BASES: usize = 4;
/// Without these there is no such service; the last saves the manager two lines of the log for each connection.
const NEEDED: [&str; 5] = ["ExecStart", "StandardInput", "StandardOutput", "StandardError", "LogLevelMax"];
/// What directives are added to: as root, the program makes calls that they forbid.
const BARE: &str = "User=nobody";
/// The program gives up the capabilities that it would inherit, which other directives have taken from it in the shipped unit.
const ALONE: &str = "SystemCallFilter=capset";
/// How most would write it.
const PLAIN: &str = "DynamicUser=yes\nProtectHome=yes\nPrivateUsers=yes\n";
/// What is not in the unit, each with the version that it is known from.
const NEWER: &str = "benches/units/newer";
const GROUPS: &str = "docs/data/directives";

/// What a variant is compared with, and which way round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// To a unit with none.
    Added,
    /// From the whole unit.
    Taken,
    /// To the whole unit: what newer systemds have, and it does not.
    Tried,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Taken => "taken",
            Self::Tried => "tried",
        }
    }
}

struct Variant {
    /// A line of the list, or one of the units that others are compared with.
    name: String,
    way: Way,
    is_base: bool,
    unit: String,
}

/// The directives of a unit, in the order of its lines.
fn lines(unit: &str) -> impl Iterator<Item = (&str, &str)> {
    unit.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some((line.split_once('=')?.0, line)))
}

fn unit(lines: impl Iterator<Item = impl AsRef<str>>) -> String {
    lines.fold(String::from("[Service]\n"), |all, line| all + line.as_ref() + "\n")
}

/// The lines of the list: directives that belong together.
fn groups(list: &str) -> Vec<Vec<&str>> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split('\t').nth(1)?.split(' ').collect())).collect()
}

fn variants(folder: &Path, version: &str) -> Result<Vec<Variant>> {
    run("run", folder, &["make", "-C", env!("CARGO_MANIFEST_DIR"), "install"])?;
    let service = |unit: &str| -> Result<String> {
        let text = run("run", folder, &["systemctl", "cat", unit])?;
        Ok(text.split("[Service]").skip(1).map(|part| part.split("\n[").next().unwrap_or(part)).collect())
    };
    let (shipped, daemon) = (service("fortune@.service")?, service("fortune-daemon.service")?);
    let needed = || lines(&shipped).filter(|(name, _)| NEEDED.contains(name)).map(|(_, line)| line);
    let list = fs::read_to_string(GROUPS)?;
    let mut variants = Vec::new();
    for way in [Way::Added, Way::Taken] {
        let bare = || unit(needed().chain([BARE]));
        let whole = || if way == Way::Added { bare() } else { unit(lines(&shipped).map(|(_, line)| line)) };
        for _ in 0..BASES {
            variants.push(Variant { name: format!("{way:?}"), way, is_base: true, unit: whole() });
        }
        // The same once more: what this seems to cost is what nothing costs.
        variants.push(Variant { name: "nothing".to_owned(), way, is_base: false, unit: whole() });
        for group in groups(&list) {
            let is_in = |name: &&str| group.contains(name);
            // What the unit does without is measured as the daemon's has it.
            let shipped_has = lines(&shipped).any(|(name, _)| is_in(&name));
            let of_group = || lines(if shipped_has { &shipped } else { &daemon }).filter(|(name, _)| is_in(name));
            let unit = match way {
                Way::Added => {
                    let user = (!group.contains(&"DynamicUser")).then_some(BARE);
                    let more = group.contains(&"SystemCallFilter").then_some(ALONE);
                    unit(needed().chain(user).chain(of_group().map(|(_, line)| line)).chain(more))
                }
                // Without its dynamic user it would be root.
                _ if shipped_has => {
                    let user = group.contains(&"DynamicUser").then_some(BARE);
                    unit(lines(&shipped).filter(|(name, _)| !is_in(name)).map(|(_, line)| line).chain(user))
                }
                _ => unit(lines(&shipped).chain(of_group()).map(|(_, line)| line)),
            };
            // This systemd may not have it.
            if unit != whole() {
                let way = if shipped_has || way == Way::Added { way } else { Way::Tried };
                variants.push(Variant { name: group.join(" "), way, is_base: false, unit });
            }
        }
    }
    for line in fs::read_to_string(NEWER)?.lines().filter(|line| !line.starts_with('#')) {
        let (since, directive) = line.split_once(' ').ok_or("no version before a directive")?;
        if since.parse::<u32>()? <= version.parse()? {
            let unit = unit(lines(&shipped).map(|(_, line)| line).chain([directive]));
            variants.push(Variant { name: directive.to_owned(), way: Way::Tried, is_base: false, unit });
        }
    }
    let plain = unit(needed().chain(PLAIN.lines()));
    for _ in 0..BASES {
        variants.push(Variant { name: "plain".to_owned(), way: Way::Added, is_base: false, unit: plain.clone() });
    }
    Ok(variants)
}

fn main() -> Result<()> {
    // Second life: in the machine's network.
    if let Ok(folder) = env::var("MACHINE") {
        return measure(Path::new(&folder));
    }
    let only = env::var("RELEASE").ok();
    for release in RELEASES.iter().filter(|it| only.as_deref().is_none_or(|only| only == **it)) {
        let folder = Path::new(&given("SCRATCH")?).join(release);
        let _machine = boot(&folder, release)?;
        let version = run("run", &folder, &["systemctl", "--version"])?;
        let version = version.split_whitespace().nth(1).ok_or("no version")?;
        let variants = variants(&folder, version)?;
        serve(&folder, variants.iter().map(|it| it.unit.as_str()))?;
        let mut list = String::new();
        for variant in &variants {
            let _ = writeln!(list, "{}\t{}\t{}", variant.name, variant.way.name(), variant.is_base);
        }
        fs::write(folder.join("variants"), list)?;
        let machine = folder.to_str().ok_or("a folder with a strange name")?;
        measure_inside(&folder, [("MACHINE", machine), ("SYSTEMD", version)])?;
    }
    page::write()
}

/// What a variant took in each round, and what it does in one start.
struct Measured {
    name: String,
    way: Way,
    is_base: bool,
    /// Whether this systemd can start it.
    starts: bool,
    processor: Vec<f64>,
    counts: Counts,
}

fn measure(folder: &Path) -> Result<()> {
    let rounds: usize = env::var("ROUNDS").map_or(Ok(100), |it| it.parse())?;
    let list = fs::read_to_string(folder.join("variants"))?;
    let mut all = Vec::new();
    for line in list.lines() {
        let [name, way, base] = line.split('\t').collect::<Vec<_>>()[..] else { return Err("no variant".into()) };
        let way = [Way::Added, Way::Taken, Way::Tried].into_iter().find(|it| it.name() == way).ok_or("no way")?;
        let counts = Counts::default();
        let (name, is_base) = (name.to_owned(), base == "true");
        all.push(Measured { name, way, is_base, starts: true, processor: Vec::new(), counts });
    }
    wait_for(address(0))?;
    // Each time in another order: what one leaves to clean up falls on the next.
    let seed = u64::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos());
    let mut random = SmallRng::seed_from_u64(seed);
    let mut order: Vec<_> = (0..all.len()).collect();
    for round in 0..=rounds {
        order.shuffle(&mut random);
        order.retain(|&index| all[index].starts);
        for &index in &order {
            let name = &all[index].name;
            let before = settle(folder)?;
            let served = connect_and_read(address(index), b"");
            let after = settle(folder)?;
            match served {
                // (systemd 257 without a SystemCallFilter= does not get over locked SecureBits=.)
                Err(_) if round == 0 => all[index].starts = false,
                Err(error) => return Err(format!("{name}: {error}").into()),
                Ok(()) if round > 0 => all[index].processor.push(after - before),
                Ok(()) => {}
            }
        }
    }
    for (index, it) in all.iter_mut().enumerate().filter(|(_, it)| it.starts) {
        it.counts = count(folder, index)?;
    }
    report(folder, &all, seed, &mut random)
}

/// What the manager and its child do until the service's own first call.
#[derive(Default, Clone, Copy)]
struct Counts {
    calls: usize,
    mounts: usize,
    /// Of the table of mounts.
    reads: usize,
    filters: usize,
    /// In all filters.
    instructions: usize,
    /// Programs of BPF for its control group.
    bpf: usize,
}

/// Follows the manager with strace(1) over one connection.
fn count(folder: &Path, index: usize) -> Result<Counts> {
    let leader = fs::read_to_string(folder.join("leader"))?;
    let leader = leader.trim();
    let trace = folder.join("trace");
    let _ = fs::remove_file(&trace);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "64", "-p", leader, "-o"]).arg(&trace).stderr(Stdio::null());
    let mut strace = strace.spawn()?;
    let status = PathBuf::from(format!("/proc/{leader}/status"));
    let start = Instant::now();
    while fs::read_to_string(&status)?.contains("TracerPid:\t0\n") {
        if start.elapsed() > Duration::from_secs(30) {
            return Err("strace does not follow the manager".into());
        }
        thread::sleep(Duration::from_millis(2));
    }
    connect_and_read(address(index), b"")?;
    settle(folder)?;
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status()?;
    strace.wait()?;
    let text = fs::read_to_string(&trace)?;
    let (mut counts, mut begun) = (Counts::default(), HashSet::new());
    for line in text.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("bpf(BPF_PROG_LOAD") {
            counts.bpf += 1;
        }
        // The second half of a call that another process interrupted; or after the service's own program has begun.
        if process == leader || begun.contains(process) || !call.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        if call.starts_with("execve(") && call.contains("/qotd\"") {
            begun.insert(process.to_owned());
        }
        counts.calls += 1;
        let name = call.split('(').next().unwrap_or_default();
        counts.mounts += usize::from(["mount", "mount_setattr", "move_mount", "umount2", "pivot_root"].contains(&name));
        counts.reads += usize::from(name.starts_with("open") && call.contains("/self/mountinfo\""));
        if name == "seccomp" && call.contains("SECCOMP_SET_MODE_FILTER") || call.starts_with("prctl(PR_SET_SECCOMP") {
            let length = call.split("{len=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
            // Without a length it only asks whether there are filters.
            counts.filters += usize::from(length.is_some());
            counts.instructions += length.unwrap_or(0);
        }
    }
    Ok(counts)
}

/// Prints what was measured, and writes docs/data.
fn report(folder: &Path, all: &[Measured], seed: u64, random: &mut SmallRng) -> Result<()> {
    let version = given("SYSTEMD")?;
    let mean = |is: &dyn Fn(&Measured) -> bool| -> Vec<f64> {
        let bases: Vec<_> = all.iter().filter(|it| is(it)).collect();
        let rounds = bases[0].processor.len();
        (0..rounds).map(|round| bases.iter().map(|it| it.processor[round]).sum::<f64>() / as_f64(BASES)).collect()
    };
    let bare = mean(&|it| it.is_base && it.way == Way::Added);
    let whole = mean(&|it| it.is_base && it.way == Way::Taken);
    let plain = mean(&|it| it.name == "plain");
    let rounds = bare.len();
    let leader = fs::read_to_string(folder.join("leader"))?;
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", leader.trim()))?.lines().count();
    let mut costs = format!("# {}, systemd {version}, {mounts} mounts, {rounds} rounds, seed {seed}\n", this_host()?);
    costs += "directives,way,ms,from,to,calls,mounts,mountinfo,filters,instructions,bpf\n";
    let mut raw = String::from("directives,way,processor ms of each round\n");
    let ratio: Vec<f64> = whole.iter().zip(&plain).map(|(whole, plain)| whole / plain).collect();
    for it in all {
        let way = it.way.name();
        if !it.starts {
            let _ = writeln!(costs, "{},{way},does not start,,,,,,,,", it.name);
            continue;
        }
        let values: Vec<f64> = match it.way {
            // The mean of all copies: the same in the row of each.
            _ if it.name == "plain" => plain.clone(),
            Way::Added if it.is_base => bare.clone(),
            Way::Taken if it.is_base => whole.clone(),
            Way::Added => it.processor.iter().zip(&bare).map(|(value, bare)| value - bare).collect(),
            Way::Taken => it.processor.iter().zip(&whole).map(|(value, whole)| whole - value).collect(),
            Way::Tried => it.processor.iter().zip(&whole).map(|(value, whole)| value - whole).collect(),
        };
        let ((from, to), counts) = (interval(&values, random), it.counts);
        let _ = writeln!(
            costs,
            "{},{way},{:.2},{from:.2},{to:.2},{},{},{},{},{},{}",
            it.name,
            median(&values),
            counts.calls,
            counts.mounts,
            counts.reads,
            counts.filters,
            counts.instructions,
            counts.bpf
        );
        let rounds: Vec<_> = it.processor.iter().map(|value| format!("{value:.2}")).collect();
        let _ = writeln!(raw, "{},{way},{}", it.name, rounds.join(" "));
    }
    let (from, to) = interval(&ratio, random);
    let _ = writeln!(costs, "whole / plain,ratio,{:.3},{from:.3},{to:.3},,,,,,", median(&ratio));
    print!("systemd {version}\n{costs}");
    fs::create_dir_all("docs/data")?;
    fs::write(format!("docs/data/units-{version}.csv"), costs)?;
    fs::write(format!("docs/data/units-{version}-rounds.csv"), raw)?;
    Ok(())
}
