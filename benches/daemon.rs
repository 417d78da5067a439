//! The cost of a connection and of a datagram in a daemon with `--shared`, compared with minimal C loops and BSD inetd's internal
//! services; of a datagram also in a process of the keeper. Then the cost of open connections. All take turns in one run, so that
//! other load on the machine affects all alike.
//!
//! `make bench` builds the peers and runs this in its own network, with their paths in the environment.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::load::{AT_ONCE, Load};
use support::{Goal, KEEPER, Result, Rows, SHARED, Server, as_f64, micros, program};

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 6_000;
const DATAGRAMS: usize = 100_000;
/// Open idle connections.
const MANY: usize = 10_000;
const UNLIMITED: [&str; 6] = ["--max-connections", "12000", "--datagram-rate", "0", "--datagram-total", "0"];

/// A server, and what was measured in each round: clients a second, its processor time for each in microseconds, the same including
/// the client's, and the 99th percentile of the clients' waiting time.
struct Contender {
    name: &'static str,
    server: Server,
    address: SocketAddr,
    /// What clients send before they read.
    first: &'static [u8],
    rates: Vec<f64>,
    processor: Vec<f64>,
    together: Vec<f64>,
    p99: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, (server, address): (Server, SocketAddr), first: &'static [u8]) -> Self {
        let [rates, processor, together, p99] = [const { Vec::new() }; 4];
        Self { name, server, address, first, rates, processor, together, p99 }
    }

    fn ours(name: &'static str, service: &str, scheme: &str, first: &'static [u8], mode: &[&str]) -> Result<Self> {
        let arguments = [mode, &UNLIMITED].concat();
        Ok(Self::new(name, Server::ours(service, scheme, &arguments)?, first))
    }

    fn connections(&mut self, load: Load) -> Result<()> {
        let before = self.server.processor_time()?;
        let taken = load.run(CONNECTIONS, self.address, self.first)?;
        let used = self.server.processor_time()?.saturating_sub(before);
        self.processor.push(micros(used) / as_f64(CONNECTIONS));
        self.together.push(micros(used + taken.processor) / as_f64(CONNECTIONS));
        self.rates.push(taken.rate);
        self.p99.push(taken.p99);
        Ok(())
    }

    /// One client with as many concurrent requests as there are concurrent clients elsewhere. (As many clients with one request
    /// each would measure how they take turns on the other processor.)
    fn datagrams(&mut self) -> Result<()> {
        let client = UdpSocket::bind((self.address.ip(), 0))?; // this host is its own client
        client.connect(self.address)?;
        client.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut reply = [0; 1024];
        let (mut answered, mut under_way, mut lost) = (0, 0, 0);
        let start = Instant::now();
        while answered < DATAGRAMS {
            while under_way < AT_ONCE {
                client.send(b"x")?;
                under_way += 1;
            }
            // Waits for one, and receives all that are available.
            let mut flags = RecvFlags::empty();
            while recv(&client, &mut reply, flags).is_ok() {
                (answered, under_way, flags) = (answered + 1, under_way.saturating_sub(1), RecvFlags::DONTWAIT);
            }
            if flags.is_empty() {
                (under_way, lost) = (0, lost + 1);
                if lost > 20 {
                    return Err("datagrams are not answered".into());
                }
            }
        }
        self.rates.push(as_f64(answered) / start.elapsed().as_secs_f64());
        Ok(())
    }
}

fn connections(rows: &mut Rows, load: Load) -> Result<()> {
    let mut all = [
        Contender::new("C accept, write, close", Server::c_loop("accept", &[])?, b""),
        Contender::new("C, closing in order", Server::c_loop("accept_in_order", &[])?, b""),
        Contender::ours("qotd", "qotd", "tcp", b"", SHARED)?,
        Contender::ours("qotd, clients talk first", "qotd", "tcp", &[b'x'; 1024], SHARED)?,
        Contender::ours("qotd, no lock-down", "qotd", "tcp", b"", &[SHARED, &["--sandbox", "off"]].concat())?,
    ];
    for _ in 0..ROUNDS {
        all.iter_mut().try_for_each(|it| it.connections(load))?;
    }
    let (c, topic) = (&all[0], format!("a connection, {}", load.name()));
    for one in &all {
        let goals = match (one.name, load) {
            ("qotd", Load::Threads) => [Goal::AtLeast(1.0), Goal::AtMost(0.75), Goal::AtMost(1.2)],
            _ => [Goal::None; 3],
        };
        let mut row = |unit, values: &[f64], peer: &[f64], goal| {
            rows.add(&topic, one.name, unit, values, Some((c.name, peer)), goal);
        };
        row("connections/s", &one.rates, &c.rates, goals[0]);
        row("processor µs", &one.processor, &c.processor, goals[1]);
        row("processor µs, client's too", &one.together, &c.together, Goal::None);
        row("p99 µs", &one.p99, &c.p99, goals[2]);
    }
    Ok(())
}

fn datagrams(rows: &mut Rows) -> Result<()> {
    let inetd =
        Server::inetd("daemon", "echo dgram udp wait root internal\necho stream tcp nowait root internal\n", 7)?;
    let mut all = [
        // It does not answer loopback's own addresses; benches/run adds this one.
        Contender::new("BSD inetd, echo", (inetd, ([192, 0, 2, 1], 7).into()), b""),
        Contender::new("C recvfrom, sendto", Server::c_loop("answer", &[])?, b""),
        Contender::ours("qotd", "qotd", "udp", b"", SHARED)?,
        Contender::ours("echo", "echo", "udp", b"", SHARED)?,
        Contender::ours("echo, a keeper's process", "echo", "udp", b"", KEEPER)?,
    ];
    for _ in 0..ROUNDS {
        all.iter_mut().try_for_each(Contender::datagrams)?;
    }
    let (inetd, c) = (&all[0], &all[1]);
    for one in &all[1..] {
        let goal = if one.name.starts_with("echo") { Goal::AtLeast(1.3) } else { Goal::None };
        rows.add("a datagram", one.name, "replies/s", &one.rates, Some((inetd.name, &inetd.rates)), goal);
        rows.add("a datagram", one.name, "replies/s", &one.rates, Some((c.name, &c.rates)), Goal::None);
    }
    Ok(())
}

/// The private memory of a process (proc(5), smaps), in KiB.
fn private_memory(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps"))?;
    let private =
        text.lines().filter_map(|line| line.strip_prefix("Private_Clean:").or(line.strip_prefix("Private_Dirty:")));
    private.map(|rest| Ok(rest.trim().trim_end_matches(" kB").parse::<f64>()?)).sum()
}

fn idle_clients(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let connect = |index: usize| {
        let mut client = TcpStream::connect(address)?;
        if index.is_multiple_of(500) {
            // The answer shows that the earlier ones have been accepted.
            client.write_all(b"x")?;
            client.read_exact(&mut [0])?;
        }
        Ok(client)
    };
    (0..count).map(connect).collect()
}

fn open_connections(rows: &mut Rows) -> Result<()> {
    // One process for one connection, waiting.
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let connection: std::os::fd::OwnedFd = listener.accept()?.0.into();
    let process = Command::new(program("echo")?)
        .stdin(connection.try_clone()?)
        .stdout(connection)
        .stderr(Stdio::null())
        .spawn()?;
    let mut process = Server(process);
    client.write_all(b"x")?;
    client.read_exact(&mut [0])?;
    // Beside a daemon, so that pages mapped from the program's file count as shared, as with several processes.
    let (_other, _) = Server::ours("echo", "tcp", SHARED)?;
    let waiting = private_memory(process.0.id())?;
    rows.add("memory", "a waiting echo", "KiB", &[waiting], Some(("300 KiB", &[300.0])), Goal::AtMost(1.0));
    drop(client);
    process.0.wait()?;

    // A daemon with `--shared`: the growth for each connection, and whether the last costs as much as the first.
    let limits = ["--max-connections", "12000", "--max-per-source", "12000", "--idle-timeout", "3600"];
    let (server, address) = Server::ours("echo", "tcp", &[SHARED, &limits].concat())?;
    let turn = |count: usize| -> Result<f64> {
        let before = server.processor_time()?;
        for _ in 0..count {
            let mut client = TcpStream::connect(address)?;
            client.write_all(b"x")?;
            client.read_exact(&mut [0])?;
        }
        Ok(micros(server.processor_time()?.saturating_sub(before)) / as_f64(count))
    };
    turn(2_000)?;
    let few: Vec<f64> = (0..ROUNDS).map(|_| turn(500)).collect::<Result<_>>()?;
    let before = private_memory(server.0.id())?;
    let clients = idle_clients(address, MANY)?;
    let growth = (private_memory(server.0.id())? - before) / as_f64(MANY);
    let many: Vec<f64> = (0..ROUNDS).map(|_| turn(500)).collect::<Result<_>>()?;
    drop(clients);
    rows.add(
        "memory",
        "the daemon's growth by an idle connection, without the kernel's",
        "KiB",
        &[growth],
        Some(("1 KiB", &[1.0])),
        Goal::AtMost(1.0),
    );
    let peer = Some(("with none open", few.as_slice()));
    rows.add("a connection", "echo, one after the other, 10,000 open", "processor µs", &many, peer, Goal::AtMost(1.1));
    Ok(())
}

fn main() -> Result<()> {
    let most = Rlimit { current: Some(16_384), maximum: Some(16_384) };
    setrlimit(Resource::Nofile, most)?;
    let mut rows = Rows::new();
    Load::ALL.into_iter().try_for_each(|load| connections(&mut rows, load))?;
    datagrams(&mut rows)?;
    open_connections(&mut rows)?;
    rows.write("daemon")
}
