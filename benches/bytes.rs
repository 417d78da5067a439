//! The cost of a byte: one TCP connection on loopback, through a daemon with `--shared` and through a process for one connection,
//! compared with BSD inetd, xinetd and socat. All take turns in one run.
//!
//! `make bench` runs this in its own network namespace, because inetd's internal services have fixed ports.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Goal, KEEPER, Result, Rows, SHARED, Server, as_f64, given, peer, program, wait_for};

const ROUNDS: usize = 9;
const OCTETS: usize = 256 << 20;
const CHUNK: usize = 256 * 1024;

enum Way {
    /// It listens there.
    Port(SocketAddr, #[allow(dead_code)] Option<Server>),
    /// It is started with the connection.
    Process(&'static str),
}

struct Contender {
    name: &'static str,
    way: Way,
    rates: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, way: Way) -> Self {
        Self { name, way, rates: Vec::new() }
    }

    /// Octets a second, from the first sent to the end of the connection.
    fn run(&mut self, echoes: bool) -> Result<()> {
        let (client, _server) = match &self.way {
            Way::Port(address, _) => (TcpStream::connect(address)?, None),
            Way::Process(name) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let client = TcpStream::connect(listener.local_addr()?)?;
                let connection: OwnedFd = listener.accept()?.0.into();
                let mut command = Command::new(program(name)?);
                command.stdin(connection.try_clone()?).stdout(connection).stderr(Stdio::inherit());
                (client, Some(Child(command.spawn()?)))
            }
        };
        client.set_read_timeout(Some(Duration::from_mins(1)))?; // a peer that hangs is an error
        let start = Instant::now();
        let mut sender = client.try_clone()?;
        let received = thread::scope(|scope| {
            scope.spawn(move || {
                let chunk = vec![b'x'; CHUNK];
                (0..OCTETS / CHUNK).try_for_each(|_| sender.write_all(&chunk))?;
                sender.shutdown(Shutdown::Write)
            });
            drain(client)
        })?;
        if received != if echoes { OCTETS } else { 0 } {
            return Err(format!("{}: {received} octets came back", self.name).into());
        }
        self.rates.push(as_f64(OCTETS) / start.elapsed().as_secs_f64() / f64::from(1 << 30));
        Ok(())
    }
}

/// A process for one connection, which ends by itself.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

fn drain(mut client: TcpStream) -> Result<usize> {
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match client.read(&mut chunk)? {
            0 => return Ok(received),
            count => received += count,
        }
    }
}

fn xinetd() -> Result<Server> {
    let services: String = [("echo", 1007), ("discard", 1009)]
        .map(|(name, port)| {
            format!(
                "service {name}\n{{\ntype = INTERNAL UNLISTED\nid = {name}-stream\nsocket_type = stream\nprotocol = tcp\n\
                 user = root\nwait = no\nport = {port}\ndisable = no\nonly_from = 127.0.0.1\n}}\n"
            )
        })
        .concat();
    let file = Path::new(&given("SCRATCH")?).join("xinetd.conf");
    fs::write(&file, format!("defaults\n{{\ncps = 10000 1\n}}\n{services}"))?;
    let mut command = Command::new(peer("usr/sbin/xinetd")?);
    Server::start(command.args(["-dontfork", "-f"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null()))
}

fn main() -> Result<()> {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let _inetd =
        Server::inetd("bytes", "echo stream tcp nowait root internal\ndiscard stream tcp nowait root internal\n", 7)?;
    let _xinetd = xinetd()?;
    // At most what a pipe takes at once (PIPE_BUF): with its default of 8 KiB, socat sooner or later deadlocks.
    let mut socat = Command::new(peer("usr/bin/socat")?);
    let _socat = Server::start(socat.args(["-b4096", "TCP-LISTEN:2007,bind=127.0.0.1,fork,reuseaddr", "PIPE"]))?;
    for port in [9, 1007, 1009, 2007] {
        wait_for(local(port))?;
    }
    let daemon = |name, mode| Server::ours(name, "tcp", mode).map(|(server, address)| Way::Port(address, Some(server)));
    let outside = |port| Way::Port(local(port), None);
    let mut rows = Rows::new();
    let groups = [
        (
            "echo",
            vec![
                Contender::new("BSD inetd", outside(7)),
                Contender::new("xinetd", outside(1007)),
                Contender::new("socat PIPE", outside(2007)),
                Contender::new("a process for it", Way::Process("echo")),
                Contender::new("a keeper's process", daemon("echo", KEEPER)?),
                Contender::new("one for all", daemon("echo", SHARED)?),
            ],
        ),
        (
            "discard",
            vec![
                Contender::new("BSD inetd", outside(9)),
                Contender::new("xinetd", outside(1009)),
                Contender::new("a process for it", Way::Process("discard")),
                Contender::new("a keeper's process", daemon("discard", KEEPER)?),
                Contender::new("one for all", daemon("discard", SHARED)?),
            ],
        ),
    ];
    for (service, mut contenders) in groups {
        for _ in 0..ROUNDS {
            contenders.iter_mut().try_for_each(|it| it.run(service == "echo"))?;
        }
        let rates = |name: &str| contenders.iter().find(|it| it.name == name).map(|it| it.rates.as_slice());
        let inetd = rates("BSD inetd").unwrap_or_default();
        for one in &contenders {
            let name = format!("{service}, {}", one.name);
            let ours = !matches!(one.name, "BSD inetd" | "xinetd" | "socat PIPE");
            let goal = match (ours, service) {
                (false, _) => Goal::None,
                (_, "echo") => Goal::AtLeast(1.7),
                _ => Goal::AtLeast(1.9),
            };
            rows.add("a byte", &name, "GiB/s", &one.rates, Some(("BSD inetd", inetd)), goal);
            if let (true, Some(socat)) = (ours, rates("socat PIPE")) {
                rows.add("a byte", &name, "GiB/s", &one.rates, Some(("socat PIPE", socat)), Goal::AtLeast(3.0));
            }
        }
    }
    rows.write("bytes")
}
