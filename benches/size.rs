//! What the size of a collection costs: 1 GiB of ten million fortunes beside 1 KiB of ten, with an index and without, and what
//! the index takes to be made. The small and the large one take turns, so that the machine's other load falls on both alike.
//!
//! `make bench` runs this. It needs 1.1 GiB in target/ and as much memory for the page cache.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 500;
const SCANS: usize = 9;
const FORTUNES: u32 = 10_000_000;
const SMALL: u32 = 10;
const GIB: f64 = 1_073_741_824.0;

/// A folder that is gone with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes so many fortunes of 34 to 184 octets; ten million of them are 1 GiB.
fn write(path: &Path, fortunes: u32) -> Result<()> {
    const WORDS: [&str; 8] = ["the", "packet", "arrives", "when", "nobody", "waits", "for", "it"];
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut text = String::new();
    for number in 0..fortunes {
        // Lengths and words without an order that a processor could learn.
        let mut mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
        let length = 34 + usize::try_from(mixed % 141)?;
        text.clear();
        write!(text, "{number}")?;
        let mut line = 0;
        while text.len() < length - 1 {
            text.push(if text.len() - line > 60 { '\n' } else { ' ' });
            if text.ends_with('\n') {
                line = text.len();
            }
            mixed = mixed.rotate_right(3);
            text.push_str(WORDS[usize::try_from(mixed % 8)?]);
        }
        text.push_str("\n%\n");
        file.write_all(text.as_bytes())?;
    }
    Ok(file.flush()?)
}

/// The most memory that a process had so far, in KiB; `None` if it has ended.
fn resident(process: &Child) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

/// Makes an index, and returns how long that took and the most memory that was seen, in KiB.
fn index(path: &Path, options: &[&str]) -> Result<(Duration, f64)> {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_small-services"));
    let mut process = command.arg("strfile").args(options).arg("-s").arg(path).spawn()?;
    let mut most = 0.0_f64;
    let status = loop {
        most = most.max(resident(&process).unwrap_or_default());
        match process.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    if status.success() { Ok((start.elapsed(), most)) } else { Err(format!("strfile: {status}").into()) }
}

fn qotd(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qotd"));
    command.arg(path).stderr(Stdio::null()); // where it says that there is no index
    command
}

/// Spawn to exit, in seconds.
fn time(path: &Path, null: &File) -> Result<f64> {
    let mut command = qotd(path);
    command.stdin(Stdio::from(null.try_clone()?)).stdout(Stdio::from(null.try_clone()?));
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() { Ok(elapsed.as_secs_f64()) } else { Err(format!("qotd: {status}").into()) }
}

/// The most memory of a process that has served a connection and waits for the client to close it, in KiB.
fn memory(path: &Path) -> Result<f64> {
    let (mut client, server) = UnixStream::pair()?;
    let server = OwnedFd::from(server);
    let mut process = qotd(path).stdin(server.try_clone()?).stdout(server).spawn()?;
    let mut reply = Vec::new();
    client.read_to_end(&mut reply)?;
    let most = resident(&process);
    drop(client);
    process.wait()?;
    most.filter(|_| !reply.is_empty()).ok_or_else(|| io::Error::other("qotd did not wait for its client").into())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn row(what: &str, value: &str, goal: &str, met: bool) {
    println!("| {what:54} | {value:>12} | {goal:>14} | {:6} |", if met { "met" } else { "missed" });
}

fn main() -> Result<()> {
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("size-{}", std::process::id())));
    fs::create_dir_all(&folder.0)?;
    let (small, large) = (folder.0.join("small"), folder.0.join("large"));
    write(&small, SMALL)?;
    write(&large, FORTUNES)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    #[allow(clippy::cast_precision_loss)] // of lengths, far below 2^52
    let length = |path: &Path| fs::metadata(path).map(|it| it.len() as f64);

    let scans = (0..SCANS).map(|_| time(&large, &null)).collect::<Result<Vec<_>>>()?;
    let speed = length(&large)? / GIB / median(scans);
    let scan_memory = memory(&large)?;

    let dat = large.with_extension("dat");
    let mut builds = Vec::new();
    for options in [&["-o"][..], &["-r"], &[]] {
        let (took, most) = index(&large, options)?;
        builds.push((options.first().copied().unwrap_or("no order"), took, most * 1024.0 / length(&dat)?));
    }
    index(&small, &[])?;

    let (mut quick, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quick.push(time(&small, &null)?);
        slow.push(time(&large, &null)?);
    }
    let (quick, slow) = (median(quick), median(slow));
    let index_memory = memory(&large)?;

    println!(
        "\n{FORTUNES} fortunes in {:.2} GiB beside {SMALL} in {:.0} octets, both in the page cache\n",
        length(&large)? / GIB,
        length(&small)?
    );
    println!("| {:54} | {:>12} | {:>14} | {:6} |", "", "measured", "goal", "");
    println!("|{:-<56}|{:->13}:|{:->15}:|{:-<8}|", "", "", "", "");
    row(
        &format!("with an index, {ROUNDS} rounds: large, {:.0} µs, × small, {:.0} µs", slow * 1e6, quick * 1e6),
        &format!("{:.2}", slow / quick),
        "at most 1.20",
        slow <= 1.2 * quick,
    );
    let memory_row = |what: &str, kib: f64| {
        row(what, &format!("{:.2} MiB", kib / 1024.0), "below 4 MiB", kib < 4096.0);
    };
    memory_row("with an index: resident memory", index_memory);
    row(&format!("without one: scan, median of {SCANS}"), &format!("{speed:.2} GiB/s"), "at least 2", speed >= 2.0);
    memory_row("without one: resident memory", scan_memory);
    for (order, took, ratio) in builds {
        let what = format!("strfile, {order}: {:.1} s; memory × index", took.as_secs_f64());
        // Each offset is 4 octets in the index and 8 in memory. In the alphabet's order a key of 24 is beside it, twice while
        // they are merged.
        let most = if order == "-o" { 15.0 } else { 2.5 };
        row(&what, &format!("{ratio:.2}"), &format!("at most {most:.1}"), ratio <= most);
    }
    Ok(())
}
