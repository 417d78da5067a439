//! Shared by the benchmarks: servers that end with their value, interleaved turns, and the rows of the one table.
#![allow(dead_code)] // each benchmark uses a part of it

pub mod load;
pub mod machine;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, error, fs, io, thread};

use rand::RngExt;
use rand::rngs::SmallRng;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// The options for a daemon with `--shared`, and for one with a process for each connection.
pub const SHARED: &[&str] = &["--shared"];
pub const KEEPER: &[&str] = &[];

pub type Error = Box<dyn error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

/// A value that `benches/run` puts into the environment.
pub fn given(variable: &str) -> Result<String> {
    env::var(variable).map_err(|_| format!("{variable} is not set: start the benchmark with `make bench`").into())
}

/// The folder of the peers from Debian's packages and benches/peers.
pub fn peer(path: &str) -> Result<PathBuf> {
    Ok(Path::new(&given("PEERS")?).join(path))
}

/// One of the project's programs, as installed. (As the linker leaves it, it is in smaller pieces in the page cache, and a process
/// has more page faults at its start.)
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(Path::new(&given("PROGRAMS")?).join(name))
}

/// When and on what this is measured.
pub fn this_host() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, name)| name);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!("{date}, Linux {}, {count} processors ({model})", release.trim()))
}

/// A process that ends with its value.
pub struct Server(pub Child);

impl Server {
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?))
    }

    /// Starts one of the project's daemons on a port that it chooses, and returns the address.
    pub fn ours(name: &str, scheme: &str, more: &[&str]) -> Result<(Self, SocketAddr)> {
        let mut command = Command::new(program(name)?);
        command.args(["--listen", &format!("{scheme}://127.0.0.1:0")]).args(more).stderr(Stdio::piped());
        let mut server = Self::start(&mut command)?;
        // Before it: what this kernel cannot forbid.
        let log = BufReader::with_capacity(1, server.0.stderr.as_mut().ok_or("no log")?);
        let mut lines = log.lines().map_while(std::result::Result::ok);
        let line = lines.find(|line| line.contains("://")).ok_or_else(|| format!("{name} does not serve"))?;
        let address = line.split_once("://").and_then(|(_, rest)| rest.split(';').next()).ok_or("no address")?;
        Ok((server, address.parse()?))
    }

    /// Starts one of benches/peers, which prints its port.
    pub fn c_loop(name: &str, arguments: &[&Path]) -> Result<(Self, SocketAddr)> {
        let mut server = Self::start(Command::new(peer(name)?).args(arguments).stdout(Stdio::piped()))?;
        let port = first_line(server.0.stdout.as_mut())?;
        Ok((server, format!("127.0.0.1:{}", port.trim()).parse()?))
    }

    /// Starts Debian's openbsd-inetd with these lines, and waits until it answers on `port`.
    pub fn inetd(name: &str, lines: &str, port: u16) -> Result<Self> {
        let file = given("SCRATCH").map(|folder| Path::new(&folder).join(format!("{name}.conf")))?;
        fs::write(&file, lines)?;
        // -R: its limit on starts a minute would close the port.
        let mut command = Command::new(peer("usr/sbin/inetd")?);
        let server = Self::start(command.args(["-i", "-R", "1000000"]).arg(file).process_group(0))?;
        wait_for(([127, 0, 0, 1], port).into())?;
        Ok(server)
    }

    /// Its processor time (proc(5), schedstat).
    pub fn processor_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.0.id()))?;
        Ok(Duration::from_nanos(text.split_whitespace().next().ok_or("no schedstat")?.parse()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn first_line(output: Option<&mut impl Read>) -> Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, output.ok_or("no output")?).read_line(&mut line)?;
    Ok(line)
}

/// Waits until the port is open.
pub fn wait_for(address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if start.elapsed() > Duration::from_secs(30) {
            return Err(format!("nobody listens on {address}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Connects, sends its data, reads to the end and closes.
pub fn connect_and_read(address: SocketAddr, first: &[u8]) -> io::Result<()> {
    read_to_end(TcpStream::connect(address)?, first)
}

/// A connection from this address.
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

/// Sends its data, reads to the end and closes.
pub fn read_to_end(mut connection: TcpStream, first: &[u8]) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.write_all(first)?;
    let (mut reply, mut length) = ([0; 1024], 0);
    loop {
        match connection.read(&mut reply)? {
            0 if length == 0 => return Err(io::Error::other("a connection without a reply")),
            0 => return Ok(()),
            count => length += count,
        }
    }
}

/// Runs `count` of `client` on `at_once` threads and returns the rate per second.
pub fn per_second(
    at_once: usize,
    count: usize,
    client: impl Fn(&dyn Fn() -> bool) -> io::Result<()> + Sync,
) -> Result<f64> {
    let left = AtomicUsize::new(count);
    let one_less = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let start = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(|| client(&one_less))).collect();
        clients.into_iter().try_for_each(|it| it.join().map_err(|_| io::Error::other("a client panicked"))?)
    })?;
    Ok(as_f64(count) / start.elapsed().as_secs_f64())
}

/// Runs `client` this many times on `at_once` threads, each with its own number, and returns the rate per second and the 99th
/// percentile of the times, in microseconds.
pub fn rate_and_p99(
    at_once: usize,
    count: usize,
    client: impl Fn(usize) -> io::Result<()> + Sync,
) -> Result<(f64, f64)> {
    let times = Mutex::new(Vec::with_capacity(count));
    let number = AtomicUsize::new(0);
    let rate = per_second(at_once, count, |one_less| {
        let mut own = Vec::new();
        while one_less() {
            let start = Instant::now();
            client(number.fetch_add(1, Ordering::Relaxed))?;
            own.push(micros(start.elapsed()));
        }
        times.lock().map_err(|_| io::Error::other("a client panicked"))?.extend(own);
        Ok(())
    })?;
    Ok((rate, percentile(&times.into_inner().map_err(|_| "a client panicked")?, 99)))
}

#[allow(clippy::cast_precision_loss)] // counts and octets, far below 2^52
pub fn as_f64(count: usize) -> f64 {
    count as f64
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The percentile of the values.
pub fn percentile(values: &[f64], hundredths: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * hundredths / 100]
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The interval that holds 95 % of the medians of a bootstrap.
pub fn interval(values: &[f64], random: &mut SmallRng) -> (f64, f64) {
    const RESAMPLES: usize = 4_000;
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median(&(0..values.len()).map(|_| values[random.random_range(0..values.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    (medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40])
}

/// The goal for a ratio.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// For comparison.
    None,
}

/// The results of one benchmark: a file of rows, separated by tabs, from which `benches/report.rs` makes the one table.
pub struct Rows(String);

impl Rows {
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// One measured quantity, in its unit, round by round. `peer` is its comparison, also round by round, so that other load on the
    /// machine affects both.
    pub fn add(
        &mut self,
        topic: &str,
        name: &str,
        unit: &str,
        values: &[f64],
        peer: Option<(&str, &[f64])>,
        goal: Goal,
    ) {
        let mut row = format!("{topic}\t{name}\t{unit}\t{:.4}", median(values));
        let (_, peer_values) = peer.unwrap_or(("", &[]));
        let ratios: Vec<f64> = values.iter().zip(peer_values).map(|(value, peer)| value / peer).collect();
        let spread = if ratios.is_empty() { values } else { &ratios };
        let ratio = if ratios.is_empty() { f64::NAN } else { median(values) / median(peer_values) };
        let goal = match goal {
            Goal::AtLeast(least) => format!(">\t{least}"),
            Goal::AtMost(most) => format!("<\t{most}"),
            Goal::None => "\t".to_owned(),
        };
        let name = peer.map_or("", |peer| peer.0);
        let _ =
            write!(row, "\t{name}\t{ratio:.3}\t{:.4}\t{:.4}\t{goal}", percentile(spread, 10), percentile(spread, 90));
        println!("{}", row.replace('\t', " | "));
        self.0 += &(row + "\n");
    }

    /// Writes them where the report finds them.
    pub fn write(self, benchmark: &str) -> Result<()> {
        Ok(fs::write(Path::new(&given("RESULTS")?).join(format!("{benchmark}.tsv")), self.0)?)
    }
}
