//! The cost of a process: spawn to exit, fully locked down, compared with a static C program that writes 34 octets and with
//! fortune(6); then the same under a real inetd, with 32 concurrent clients. All take turns in one run, so that other load on the
//! machine affects all alike.
//!
//! `make bench` builds the peers and runs this as root in its own network, with their paths in the environment.

mod support;

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use hunker::{Layer, Policy};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use small_services::engine::Engine;
use small_services::policy::Io;
use small_services::services::{self, Row};
use support::{Goal, Result, Rows, Server, connect_and_read, given, micros, peer, per_second, program};

const ROUNDS: usize = 600;
const COLLECTION_ROUNDS: usize = 50;
const INETD_ROUNDS: usize = 9;
const CONNECTIONS: usize = 600;
/// Concurrent clients.
const AT_ONCE: usize = 32;
/// Set in the process that times the layers.
const LAYERS: &str = "TIME_LAYERS";
/// Debian's user nobody. units/super-servers/inetd.conf starts the programs as this user.
const NOBODY: u32 = 65_534;

struct Contender {
    name: &'static str,
    command: Vec<PathBuf>,
    root: bool,
    times: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, command: &[PathBuf]) -> Self {
        Self { name, command: command.to_vec(), root: false, times: Vec::new() }
    }

    /// Started as root, which has more privileges to drop.
    fn by_root(self) -> Self {
        Self { root: true, ..self }
    }

    /// Spawn to exit. Input is /dev/null. Output is a pipe that is no longer read, which also ends chargen.
    fn run(&mut self, null: &File) -> Result<()> {
        let (reader, writer) = io::pipe()?;
        let endless = self.name == "chargen";
        if endless {
            drop(reader);
        }
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear().stdin(Stdio::from(null.try_clone()?));
        command.stdout(if endless { Stdio::from(writer) } else { Stdio::from(null.try_clone()?) });
        if !self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let start = Instant::now();
        let status = command.status()?;
        self.times.push(micros(start.elapsed()));
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", self.name).into()) }
    }
}

fn spawn_to_exit(rows: &mut Rows) -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let fortune = [peer("usr/games/fortune")?, given("FORTUNES")?.into()];
    let (static_c, qotd) = ([peer("reply")?], [program("qotd")?]);
    let mut contenders = vec![Contender::new("static C", &static_c)];
    for Row { program: name, .. } in services::all() {
        contenders.push(Contender::new(name, &[program(name)?]));
    }
    contenders.extend([
        Contender::new("static C, as root", &static_c).by_root(),
        Contender::new("qotd, as root", &qotd).by_root(),
        Contender::new("fortune(6)", &fortune),
    ]);
    // Each time in another order: fortune(6) fills the processor's caches, which slows down the next program.
    let mut random = SmallRng::seed_from_u64(0);
    let mut order: Vec<_> = (0..contenders.len()).collect();
    for _ in 0..ROUNDS {
        order.shuffle(&mut random);
        order.iter().try_for_each(|&index| contenders[index].run(&null))?;
    }
    let times = |name: &str| contenders.iter().find(|it| it.name == name).map_or(&[][..], |it| &it.times);
    for one in &contenders {
        let least = if one.root { "static C, as root" } else { "static C" };
        let goal = match one.name {
            "qotd" | "qotd, as root" => Goal::AtMost(1.35),
            "fortune(6)" => Goal::None,
            name if name.starts_with("static") => Goal::None,
            _ => Goal::AtMost(1.5),
        };
        rows.add("a process", one.name, "µs", &one.times, Some((least, times(least))), goal);
    }
    let fortune = Some(("fortune(6)", times("fortune(6)")));
    rows.add("a process", "qotd", "µs", times("qotd"), fortune, Goal::AtMost(1.0 / 7.0));
    rows.add("a process", "static C", "µs", times("static C"), fortune, Goal::None);
    Ok(())
}

/// Connections a second, each with a process that a real inetd starts for it.
fn under_inetd(rows: &mut Rows) -> Result<()> {
    let fortunes = given("FORTUNES")?;
    let (static_c, fortune) = (peer("reply")?, peer("usr/games/fortune")?);
    let programs = [
        ("inetd, static C", 3001, format!("{} reply", static_c.display())),
        ("inetd, qotd", 3002, format!("{} qotd", program("qotd")?.display())),
        ("inetd, fortune(6)", 3003, format!("{} fortune {fortunes}", fortune.display())),
    ];
    let lines =
        programs.each_ref().map(|(_, port, command)| format!("{port} stream tcp nowait nobody {command}\n")).concat();
    let _inetd = Server::inetd("process", &lines, 3003)?;
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..INETD_ROUNDS {
        for (rates, (_, port, _)) in rates.iter_mut().zip(&programs) {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            rates.push(per_second(AT_ONCE, CONNECTIONS, |one_less| {
                while one_less() {
                    connect_and_read(address, b"")?;
                }
                Ok(())
            })?);
        }
    }
    let [of_c, of_qotd, of_fortune] = &rates;
    let goal = Goal::AtLeast(0.85);
    rows.add("inetd nowait", programs[1].0, "connections/s", of_qotd, Some((programs[0].0, of_c)), goal);
    let goal = Goal::AtLeast(2.8);
    rows.add("inetd nowait", programs[1].0, "connections/s", of_qotd, Some((programs[2].0, of_fortune)), goal);
    rows.add("inetd nowait", programs[0].0, "connections/s", of_c, Some((programs[2].0, of_fortune)), Goal::None);
    Ok(())
}

/// In a separate process: applies the layers of the lock-down in their order, and prints the time of each in microseconds.
fn time_layers() -> Result<()> {
    let mut line = String::with_capacity(256);
    for layer in Layer::ALL {
        let start = Instant::now();
        layer.apply(&Policy::new(&Engine::Reply.rules().of(Io::Filter)))?;
        write!(line, "{} ", micros(start.elapsed()))?;
    }
    // All that the policy still allows.
    rustix::io::write(rustix::stdio::stdout(), line.as_bytes())?;
    Ok(()) // the filter kills it if its exit needs more
}

/// The parts of a process: what the static C program takes as well, each layer of the lock-down, and the rest.
fn parts(rows: &mut Rows) -> Result<()> {
    let mut layers = [const { Vec::new() }; Layer::ALL.len()];
    let mut as_root = Vec::new();
    for _ in 0..ROUNDS {
        let mut command = Command::new(env::current_exe()?);
        command.env(LAYERS, "1").stdin(Stdio::null());
        let line = String::from_utf8(command.output()?.stdout)?;
        as_root.push(line.split_whitespace().next().ok_or("no layer")?.parse()?);
        let line = String::from_utf8(command.uid(NOBODY).gid(NOBODY).output()?.stdout)?;
        for (times, took) in layers.iter_mut().zip(line.split_whitespace()) {
            times.push(took.parse()?);
        }
    }
    for (layer, times) in Layer::ALL.iter().zip(&layers) {
        rows.add("a part of a process", &layer.to_string(), "µs", times, None, Goal::None);
    }
    rows.add("a process as root", &Layer::Capabilities.to_string(), "µs", &as_root, None, Goal::None);
    Ok(())
}

/// Choosing from collections of these sizes, with fortune(6)'s indexes and without.
fn collections(rows: &mut Rows) -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let folder = PathBuf::from(given("SCRATCH")?);
    let qotd = program("qotd")?;
    for count in [100, 1_000, 10_000, 100_000] {
        let (plain, indexed) = (folder.join(format!("plain-{count}")), folder.join(format!("indexed-{count}")));
        let texts: Vec<_> =
            (0..count).map(|number| format!("Fortune {number} of {count}, of a common length.\n")).collect();
        for path in [&plain, &indexed] {
            fs::write(path, texts.join("%\n"))?;
        }
        let strfile = [program("small-services")?, "strfile".into(), "-s".into(), indexed.clone()];
        let fortune = peer("usr/games/fortune")?;
        let mut contenders = [
            Contender::new("fortune(6), index", &[fortune, indexed.clone()]),
            Contender::new("qotd, index", &[qotd.clone(), indexed]),
            Contender::new("qotd, no index", &[qotd.clone(), plain]),
        ];
        Contender::new("strfile", &strfile).by_root().run(&null)?;
        for _ in 0..COLLECTION_ROUNDS {
            contenders.iter_mut().try_for_each(|it| it.run(&null))?;
        }
        for one in &contenders {
            rows.add("a collection", &format!("{}, {count} fortunes", one.name), "µs", &one.times, None, Goal::None);
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    if env::var_os(LAYERS).is_some() {
        return time_layers();
    }
    let mut rows = Rows::new();
    spawn_to_exit(&mut rows)?;
    parts(&mut rows)?;
    collections(&mut rows)?;
    under_inetd(&mut rows)?;
    rows.write("process")
}
