//! The cost of a connection and of a datagram in one process for all clients, beside C loops that do nothing else. All take
//! turns in one run, so that the machine's other load falls on all alike.
//!
//! `make bench` builds the peers and runs this with their paths in the environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, error, fs, io, thread};

type Result<T> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 8_000;
const DATAGRAMS: usize = 60_000;
/// Clients at a time.
const AT_ONCE: usize = 32;

/// A server, and what was measured: clients a second, and its processor time for each in microseconds.
struct Contender {
    name: &'static str,
    server: Child,
    address: SocketAddr,
    /// Whether clients send something before they read.
    talks_first: bool,
    per_second: Vec<f64>,
    processor: Vec<f64>,
}

impl Contender {
    /// One of the C loops, which prints its port.
    fn peer(name: &'static str, variable: &str) -> Result<Self> {
        let program =
            env::var(variable).map_err(|_| format!("{variable} is not set: start the benchmark with `make bench`"))?;
        let mut server = Command::new(program).stdout(Stdio::piped()).spawn()?;
        let port = first_line(server.stdout.as_mut())?;
        Ok(Self::new(name, server, format!("127.0.0.1:{}", port.trim()).parse()?, false))
    }

    /// One of ours, which says on the log where it serves.
    fn ours(name: &'static str, program: &str, scheme: &str, sandbox: &str, talks_first: bool) -> Result<Self> {
        let mut server = Command::new(PathBuf::from(program))
            .args(["--listen", &format!("{scheme}://127.0.0.1:0")])
            .args(["--sandbox", sandbox, "--max-connections", "4000", "--datagram-rate", "0", "--datagram-total", "0"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let line = first_line(server.stderr.as_mut())?;
        let address = line.split_once("://").and_then(|(_, rest)| rest.split(';').next()).ok_or("no address")?;
        Ok(Self::new(name, server, address.parse()?, talks_first))
    }

    fn new(name: &'static str, server: Child, address: SocketAddr, talks_first: bool) -> Self {
        Self { name, server, address, talks_first, per_second: Vec::new(), processor: Vec::new() }
    }

    fn measure(&mut self, count: usize, client: fn(SocketAddr, bool, &AtomicUsize) -> io::Result<()>) -> Result<()> {
        let left = AtomicUsize::new(count);
        let (address, talks_first) = (self.address, self.talks_first);
        let before = processor_time(&self.server)?;
        let start = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| client(address, talks_first, &left))).collect();
            clients.into_iter().try_for_each(|it| it.join().map_err(|_| io::Error::other("a client panicked"))?)
        })?;
        let elapsed = start.elapsed();
        let used = processor_time(&self.server)?.saturating_sub(before);
        let count = f64::from(u32::try_from(count)?);
        self.per_second.push(count / elapsed.as_secs_f64());
        self.processor.push(used.as_secs_f64() * 1e6 / count);
        Ok(())
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn first_line(output: Option<&mut impl Read>) -> Result<String> {
    let mut line = String::new();
    BufReader::with_capacity(1, output.ok_or("no output")?).read_line(&mut line)?;
    Ok(line)
}

/// The time that a process was on a processor (proc(5), schedstat).
fn processor_time(process: &Child) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", process.id()))?;
    Ok(Duration::from_nanos(text.split_whitespace().next().ok_or("no schedstat")?.parse()?))
}

fn one_less(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Connects, reads to the end and closes, as long as there are connections left.
fn connect(address: SocketAddr, talks_first: bool, left: &AtomicUsize) -> io::Result<()> {
    let mut reply = [0; 1024];
    while one_less(left) {
        let mut connection = TcpStream::connect(address)?;
        if talks_first {
            connection.write_all(&[b'x'; 1024])?;
        }
        let mut length = 0;
        loop {
            match connection.read(&mut reply)? {
                0 => break,
                count => length += count,
            }
        }
        if length == 0 {
            return Err(io::Error::other("a connection without a reply"));
        }
    }
    Ok(())
}

/// Asks and waits for the reply, as long as there are datagrams left.
fn ask(address: SocketAddr, _: bool, left: &AtomicUsize) -> io::Result<()> {
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(address)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reply = [0; 1024];
    while one_less(left) {
        client.send(b"x")?;
        client.recv(&mut reply)?;
    }
    Ok(())
}

fn table(title: &str, contenders: &mut [Contender]) {
    println!("\n{title}\n");
    println!("| server                      | a second | × C loop | processor µs each | × C loop |");
    println!("|-----------------------------|---------:|---------:|------------------:|---------:|");
    let median = |values: &mut Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut least = None;
    for contender in contenders {
        let (rate, processor) = (median(&mut contender.per_second), median(&mut contender.processor));
        let (least_rate, least_processor) = *least.get_or_insert((rate, processor));
        println!(
            "| {:27} | {rate:8.0} | {:8.2} | {processor:17.2} | {:8.2} |",
            contender.name,
            rate / least_rate,
            processor / least_processor,
        );
    }
}

fn main() -> Result<()> {
    let mut streams = [
        Contender::peer("C accept, write, close", "ACCEPT")?,
        Contender::ours("qotd", env!("CARGO_BIN_EXE_qotd"), "tcp", "strict", false)?,
        Contender::ours("qotd, clients talk first", env!("CARGO_BIN_EXE_qotd"), "tcp", "strict", true)?,
        Contender::ours("qotd, no lock-down", env!("CARGO_BIN_EXE_qotd"), "tcp", "off", false)?,
    ];
    let mut datagrams = [
        Contender::peer("C recvfrom, sendto", "ANSWER")?,
        Contender::ours("qotd", env!("CARGO_BIN_EXE_qotd"), "udp", "strict", false)?,
        Contender::ours("echo", env!("CARGO_BIN_EXE_echo"), "udp", "strict", false)?,
    ];
    for _ in 0..ROUNDS {
        for contender in &mut streams {
            contender.measure(CONNECTIONS, connect)?;
        }
        for contender in &mut datagrams {
            contender.measure(DATAGRAMS, ask)?;
        }
    }
    let title = format!("{AT_ONCE} clients at a time, medians of {ROUNDS} rounds, interleaved");
    table(&format!("{CONNECTIONS} connections from {title}"), &mut streams);
    println!("\ngoals: qotd at least 0.95 of the connections a second, with at most 0.85 of the processor time");
    table(&format!("{DATAGRAMS} datagrams from {title}"), &mut datagrams);
    println!("\ngoal: qotd at least 1.00 of the replies a second");
    Ok(())
}
