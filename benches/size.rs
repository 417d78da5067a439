//! The cost of a collection's size: 1 GiB of ten million fortunes compared with 1 KiB of ten, with and without an index, and the
//! cost of making the index. The small and the large one take turns, so that other load on the machine affects both alike.
//!
//! `make bench` runs this. It needs 1.1 GiB in target/ and as much memory for the page cache.

mod support;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Goal, Result, Rows, micros, program};

const ROUNDS: usize = 500;
const SCANS: usize = 9;
const FORTUNES: u32 = 10_000_000;
const SMALL: u32 = 10;
const GIB: f64 = 1_073_741_824.0;

/// A folder that is removed with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes this many fortunes of 34 to 184 octets. Ten million of them are 1 GiB.
fn write(path: &Path, fortunes: u32) -> Result<()> {
    const WORDS: [&str; 8] = ["the", "packet", "arrives", "when", "nobody", "waits", "for", "it"];
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut text = String::new();
    for number in 0..fortunes {
        // Lengths and words in an order that a processor cannot predict.
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

/// The peak memory of a process so far, in KiB; `None` if it has ended.
fn resident(process: &Child) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}

/// Makes an index, and returns the time that it took and the peak memory that was seen, in KiB.
fn index(path: &Path, options: &[&str]) -> Result<(Duration, f64)> {
    let start = Instant::now();
    let mut command = Command::new(program("small-services")?);
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

fn qotd(path: &Path) -> Result<Command> {
    let mut command = Command::new(program("qotd")?);
    command.arg(path).stderr(Stdio::null()); // where it logs that there is no index
    Ok(command)
}

/// Spawn to exit, in microseconds.
fn time(path: &Path, null: &File) -> Result<f64> {
    let mut command = qotd(path)?;
    command.stdin(Stdio::from(null.try_clone()?)).stdout(Stdio::from(null.try_clone()?));
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if status.success() { Ok(micros(elapsed)) } else { Err(format!("qotd: {status}").into()) }
}

/// The peak memory of a process that has served a connection and waits for the client to close it, in KiB.
fn memory(path: &Path) -> Result<f64> {
    let (mut client, server) = UnixStream::pair()?;
    let server = OwnedFd::from(server);
    let mut process = qotd(path)?.stdin(server.try_clone()?).stdout(server).spawn()?;
    let mut reply = Vec::new();
    client.read_to_end(&mut reply)?;
    let most = resident(&process);
    drop(client);
    process.wait()?;
    most.filter(|_| !reply.is_empty()).ok_or_else(|| io::Error::other("qotd did not wait for its client").into())
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
    let mut rows = Rows::new();
    let mut row = |name: &str, unit: &str, value: &[f64], peer: (&str, &[f64]), goal| {
        rows.add("ten million fortunes, 1.1 GiB", name, unit, value, Some(peer), goal);
    };
    let below_4_mib = |kib: f64| (kib / 1024.0, ("4 MiB", &[4.0][..]), Goal::AtMost(1.0));

    let octets = length(&large)?;
    let scans = (0..SCANS).map(|_| Ok(octets / GIB / (time(&large, &null)? / 1e6))).collect::<Result<Vec<_>>>()?;
    row("no index, scanned", "GiB/s", &scans, ("2 GiB/s", &[2.0; SCANS]), Goal::AtLeast(1.0));
    let (most, peer, goal) = below_4_mib(memory(&large)?);
    row("no index, resident memory", "MiB", &[most], peer, goal);

    let dat = large.with_extension("dat");
    for options in [&["-o"][..], &["-r"], &[]] {
        let (took, most) = index(&large, options)?;
        let ratio = most * 1024.0 / length(&dat)?;
        let order = options.first().copied().unwrap_or("no order");
        row(&format!("strfile, {order}"), "s", &[took.as_secs_f64()], ("", &[]), Goal::None);
        // Each offset takes 4 octets in the index and 8 in memory. In alphabetical order each has a key of 24, twice during a
        // merge.
        let times = if order == "-o" { 15.0 } else { 2.5 };
        let name = format!("strfile, {order}, memory");
        row(&name, "times the index", &[ratio], (&format!("{times}"), &[times]), Goal::AtMost(1.0));
    }
    index(&small, &[])?;

    let (mut quick, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quick.push(time(&small, &null)?);
        slow.push(time(&large, &null)?);
    }
    row("qotd, index", "µs", &slow, ("ten fortunes", &quick), Goal::AtMost(1.2));
    let (most, peer, goal) = below_4_mib(memory(&large)?);
    row("qotd, index, resident memory", "MiB", &[most], peer, goal);
    rows.write("size")
}
