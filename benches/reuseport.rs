//! One process on a port beside two with `SO_REUSEPORT`, among which the kernel spreads connections: for the keeper and for one
//! process for all. All take turns in one run, so that the machine's other load falls on all alike.
//!
//! `benches/run reuseport` runs this, in a network of its own; docs/many-hosts.md has what it prints.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use support::load::Load;
use support::{Goal, KEEPER, Result, Rows, SHARED, Server, connect_and_read, program};

const ROUNDS: usize = 15;
const CONNECTIONS: usize = 6_000;

/// Processes on one port, and how many connections they served in a second of each round.
struct Contender {
    name: &'static str,
    _servers: Vec<Server>,
    address: SocketAddr,
    rates: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, count: usize, mode: &[&str]) -> Result<Self> {
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut servers = Vec::new();
        for _ in 0..count {
            let listener = listener(address)?;
            address = listener.local_addr()?;
            servers.push(start(&listener, mode)?);
        }
        // After these clients, each process has served some.
        (0..32).try_for_each(|_| connect_and_read(address, b""))?;
        Ok(Self { name, _servers: servers, address, rates: Vec::new() })
    }
}

/// As systemd makes it with `ReusePort=`.
fn listener(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 4096)?;
    Ok(socket.into())
}

/// Passes it on as systemd does.
fn start(listener: &TcpListener, mode: &[&str]) -> Result<Server> {
    fcntl_setfd(listener, FdFlags::empty())?;
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&{}", listener.as_raw_fd());
    let mut command = Command::new("bash");
    command.args(["-c", &script, "bash"]).arg(program("qotd")?).args(mode).args(["--max-rate-per-source", "0"]);
    Server::start(command.stderr(Stdio::null()))
}

fn main() -> Result<()> {
    let mut all = [
        Contender::new("keeper, one", 1, KEEPER)?,
        Contender::new("keeper, two on the port", 2, KEEPER)?,
        Contender::new("one process for all", 1, SHARED)?,
        Contender::new("two processes for all", 2, SHARED)?,
    ];
    for _ in 0..ROUNDS {
        for one in &mut all {
            // The other load has one thread, which would be the limit.
            one.rates.push(Load::Threads.run(CONNECTIONS, one.address, b"")?.rate);
        }
    }
    let mut rows = Rows::new();
    let topic = format!("processes on a port, {}", Load::Threads.name());
    for pair in all.chunks(2) {
        for one in pair {
            rows.add(&topic, one.name, "connections/s", &one.rates, Some((pair[0].name, &pair[0].rates)), Goal::None);
        }
    }
    rows.write("reuseport")
}
