//! The cost of a process: spawn to exit, fully locked down, beside a static C program that writes 34 octets and beside
//! fortune(6). All take turns in one run, so that the machine's other load falls on all alike.
//!
//! `make bench` builds the peers and runs this with their paths in the environment.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, error, io};

const ROUNDS: usize = 1_000;

struct Contender {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    times: Vec<Duration>,
}

impl Contender {
    fn new(name: &'static str, program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self { name, program: program.into(), arguments, times: Vec::with_capacity(ROUNDS) }
    }

    /// Spawn to exit, standard input and output on /dev/null.
    fn run(&mut self, null: &File) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::from(null.try_clone()?)).stdout(Stdio::from(null.try_clone()?));
        let start = Instant::now();
        let status = command.status()?;
        self.times.push(start.elapsed());
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {status}", self.name))) }
    }

    fn percentile(&self, hundredths: usize) -> Duration {
        self.times[(self.times.len() - 1) * hundredths / 100]
    }
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let peer = |variable: &str| {
        env::var(variable).map_err(|_| format!("{variable} is not set: start the benchmark with `make bench`"))
    };
    let fortunes = peer("FORTUNES")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut contenders = [
        Contender::new("static C, 34 octets", peer("STATIC_C")?, &[]),
        Contender::new("qotd", env!("CARGO_BIN_EXE_qotd"), &[]),
        Contender::new("echo", env!("CARGO_BIN_EXE_echo"), &[]),
        Contender::new("discard", env!("CARGO_BIN_EXE_discard"), &[]),
        Contender::new("daytime", env!("CARGO_BIN_EXE_daytime"), &[]),
        Contender::new("qotd, no lock-down", env!("CARGO_BIN_EXE_qotd"), &["--sandbox", "off"]),
        Contender::new("fortune(6)", peer("FORTUNE")?, &[&fortunes]),
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.run(&null)?;
        }
    }
    for contender in &mut contenders {
        contender.times.sort_unstable();
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let median = |index: usize| micros(contenders[index].percentile(50));
    let (least, fortune) = (median(0), median(contenders.len() - 1));
    println!("spawn to exit, {ROUNDS} rounds, interleaved\n");
    println!("| process             | median µs | 10th to 90th percentile µs | × static C | × fortune(6) |");
    println!("|---------------------|----------:|---------------------------:|-----------:|-------------:|");
    for (index, contender) in contenders.iter().enumerate() {
        println!(
            "| {:19} | {:9.0} | {:>26} | {:10.2} | {:12.3} |",
            contender.name,
            median(index),
            format!("{:.0} to {:.0}", micros(contender.percentile(10)), micros(contender.percentile(90))),
            median(index) / least,
            median(index) / fortune,
        );
    }
    println!("\ngoals: qotd at most 1.6 × static C, and at most 0.167 × fortune(6)");
    Ok(())
}
