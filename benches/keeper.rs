//! A process for each connection: the keeper's, compared with those of a C loop that forks and attaches the same filter, of
//! super-servers that start a program, and of a service manager that sets up a unit. Also its waiting clients and their memory, and
//! a crowd. Everything that takes time is measured in the network of one booted systemd, in turns.
//!
//! `make bench` builds the peers and runs this as root. The systemd is tests/machine's. Memory is measured in an otherwise idle
//! virtual machine (tests/guest).

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use hunker::Policy;
use rustix::process::{Resource, Rlimit, setrlimit};
use small_services::engine::Engine;
use small_services::policy::Io;
use support::machine::{boot, run};
use support::{
    Goal, KEEPER, Result, Rows, SHARED, Server, as_f64, connect_from, given, peer, program, rate_and_p99, read_to_end,
    wait_for,
};

const ROUNDS: usize = 9;
/// Concurrent clients.
const AT_ONCE: usize = 32;
/// Their addresses. None exceeds --max-rate-per-source.
const SOURCES: u8 = 200;
/// Waiting clients, in three keepers.
const WAITING: [usize; 3] = [10, 100, 1_000];
const CROWD: usize = 10_000;
/// Processes whose memory is measured.
const COUNTED: usize = 1_000;
/// Set in the process that measures in the machine's network.
const INSIDE: &str = "IN_THE_MACHINE";
const UNIT_PORT: u16 = 3200;
const KEEPER_UNIT_PORT: u16 = 3201;
const INETD_PORT: u16 = 3202;
const TCPSERVER_PORT: u16 = 3203;

/// A server, its number of clients in a round, and what was measured in each round.
struct Contender {
    name: &'static str,
    address: SocketAddr,
    clients: usize,
    rates: Vec<f64>,
    p99: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, address: SocketAddr, clients: usize) -> Self {
        Self { name, address, clients, rates: Vec::new(), p99: Vec::new() }
    }

    fn at(name: &'static str, port: u16, clients: usize) -> Result<Self> {
        let address = local(port);
        wait_for(address)?;
        Ok(Self::new(name, address, clients))
    }

    fn round(&mut self) -> Result<()> {
        let client = |number| read_to_end(connect_from(source(number), self.address)?, b"");
        let (rate, p99) =
            rate_and_p99(AT_ONCE, self.clients, client).map_err(|error| format!("{}: {error}", self.name))?;
        self.rates.push(rate);
        self.p99.push(p99);
        Ok(())
    }

    /// Microseconds per connection.
    fn costs(&self) -> Vec<f64> {
        self.rates.iter().map(|rate| 1e6 / rate).collect()
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, 0, u8::try_from(number % usize::from(SOURCES)).unwrap_or(0) + 1)
}

/// The filter of qotd's processes, instruction by instruction, in a file.
fn filter(folder: &Path) -> Result<PathBuf> {
    let policy = Policy::new(&Engine::Reply.rules().of(Io::Connection));
    let octets = |it: &hunker::Instruction| [&it.code.to_ne_bytes()[..], &[it.jt, it.jf], &it.k.to_ne_bytes()].concat();
    let file = folder.join("connection.bpf");
    fs::write(&file, policy.instructions().iter().flat_map(octets).collect::<Vec<_>>())?;
    Ok(file)
}

/// Connections a second, all contenders in turn.
fn connections(rows: &mut Rows, folder: &Path) -> Result<()> {
    let (_fork, of_fork) = Server::c_loop("fork", &[&filter(folder)?])?;
    let (_keeper, of_keeper) = Server::ours("qotd", "tcp", KEEPER)?;
    let (_shared, of_shared) = Server::ours("qotd", "tcp", SHARED)?;
    let reply = peer("reply")?;
    let line = format!("{INETD_PORT} stream tcp nowait nobody {} reply\n", reply.display());
    let _inetd = Server::inetd("keeper", &line, INETD_PORT)?;
    let mut tcpserver = Command::new(peer("usr/bin/tcpserver")?);
    // Without name look-ups, and with more concurrent connections than its default and the number of clients.
    tcpserver.args(["-HRl0", "-c1000", "-b4096", "127.0.0.1", &TCPSERVER_PORT.to_string()]).arg(&reply);
    let _tcpserver = Server::start(&mut tcpserver)?;
    let mut all = [
        Contender::new("C, fork and filter", of_fork, 6_000),
        Contender::new("keeper", of_keeper, 6_000),
        Contender::at("keeper, a unit", KEEPER_UNIT_PORT, 6_000)?,
        Contender::new("one process for all", of_shared, 12_000),
        Contender::at("BSD inetd, static C", INETD_PORT, 1_200)?,
        Contender::at("tcpserver, static C", TCPSERVER_PORT, 1_200)?,
        Contender::at("fortune@.service", UNIT_PORT, 64)?,
    ];
    for _ in 0..ROUNDS {
        all.iter_mut().try_for_each(Contender::round)?;
    }
    let [c, keeper, unit, shared, inetd, tcpserver, each] = &all;
    let mut row = |one: &Contender, beside: &Contender, goal| {
        let peer = Some((beside.name, &beside.rates[..]));
        rows.add("a process for each", one.name, "connections/s", &one.rates, peer, goal);
    };
    row(keeper, c, Goal::AtLeast(0.85));
    row(keeper, inetd, Goal::AtLeast(5.0));
    row(keeper, tcpserver, Goal::AtLeast(3.0));
    row(unit, each, Goal::AtLeast(100.0));
    row(unit, c, Goal::None);
    // As many as possible.
    for beside in [inetd, tcpserver, each] {
        row(c, beside, Goal::None);
    }
    row(shared, c, Goal::None);
    let peer = Some((c.name, &c.p99[..]));
    rows.add("a process for each", keeper.name, "p99 µs", &keeper.p99, peer, Goal::AtMost(1.2));
    crowd(rows, of_keeper)
}

/// All at once, from as many addresses as elsewhere, with the default limits.
fn crowd(rows: &mut Rows, address: SocketAddr) -> Result<()> {
    let flood = |kind: &str, count: usize| -> Result<Vec<f64>> {
        let mut command = Command::new(program("flood")?);
        command.args([kind, &address.port().to_string(), "qotd", &count.to_string(), "60"]);
        let printed = String::from_utf8(command.output()?.stdout)?;
        let numbers = printed.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>();
        numbers.map_err(|_| format!("flood {kind}: {printed}").into())
    };
    let [mut served, mut wrong, mut answers] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let counted = flood("crowd", CROWD)?;
        served.push(counted[0]);
        wrong.push(counted[4]);
        answers.push(flood("answer", 1)?[0]);
    }
    let topic = "10,000 at once, 200 addresses";
    let mut row = |name, unit, values: &[f64], (name_of_goal, value): (&str, f64), goal| {
        rows.add(topic, name, unit, values, Some((name_of_goal, &vec![value; values.len()])), goal);
    };
    row("keeper, served", "connections", &served, ("all", as_f64(CROWD)), Goal::AtLeast(1.0));
    row("keeper, wrong", "replies", &wrong, ("one", 1.0), Goal::AtMost(0.0));
    row("keeper, answers the next after", "ms", &answers, ("50 ms", 50.0), Goal::AtMost(1.0));
    Ok(())
}

/// Clients that read their reply and do not close.
fn waiting(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let clients = (0..count).map(|number| {
        let client = connect_from(source(number), address)?;
        // It has its process.
        client.peek(&mut [0])?;
        Ok(client)
    });
    clients.collect()
}

/// The cost of a connection while others wait.
fn beside_waiting(rows: &mut Rows) -> Result<()> {
    let options = [KEEPER, &["--max-connections", "2000", "--idle-timeout", "3600"]].concat();
    let mut all = Vec::new();
    for (name, count) in ["10 waiting", "100 waiting", "1,000 waiting"].into_iter().zip(WAITING) {
        let (server, address) = Server::ours("qotd", "tcp", &options)?;
        all.push((server, waiting(address, count)?, Contender::new(name, address, 3_000)));
    }
    for _ in 0..ROUNDS {
        all.iter_mut().try_for_each(|(_, _, one)| one.round())?;
    }
    let few = all[0].2.costs();
    for (_, _, one) in &all {
        let goal = if one.name == "10 waiting" { Goal::None } else { Goal::AtMost(1.2) };
        let peer = Some(("10 waiting", &few[..]));
        rows.add("a process for each", &format!("keeper, {}", one.name), "µs", &one.costs(), peer, goal);
    }
    Ok(())
}

/// Serves in each of three ways, lets clients connect and wait, and prints the growth of the server's control group, in KiB. The
/// growth of a daemon with `--shared` is that of the connections themselves.
const SCRIPT: &str = r#"
ulimit -n 20000
waiting() { # NAME COUNT COMMAND...
	group=/sys/fs/cgroup/$1 count=$2
	shift 2
	mkdir $group
	sh -c "echo \$\$ >$group/cgroup.procs && exec \"\$@\"" sh "$@" >/tmp/port 2>&1 &
	server=$!
	until port=$(sed -n 's|.*127.0.0.1:||; s|^\([0-9][0-9]*\).*|\1|p' /tmp/port) && [ -n "$port" ]; do usleep 10000; done
	# What is there for the first clients stays.
	/programs/flood hold $port qotd 100 1 >/dev/null
	sleep 2
	before=$(cat $group/memory.current)
	/programs/flood hold $port qotd $count 600 >/dev/null &
	client=$!
	# FIN_WAIT2: the client has all of its reply, and does not close.
	until [ $(grep -c ' 05 ' /proc/net/tcp) -ge $count ]; do sleep 1; done
	sleep 2
	echo $((($(cat $group/memory.current) - before) / 1024))
	kill $client $server
	wait $client $server || true
}
"#;

/// What the kernel charges to a control group, which is what `MemoryMax=` limits: private pages of processes, and the kernel's page
/// tables, stacks and records, which are most of it. (Seen from outside the group, the free memory of the machine shrinks by the
/// same amount.)
fn memory(rows: &mut Rows, folder: &Path) -> Result<()> {
    let filter = filter(folder)?;
    let folder = folder.join("guest");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let ours = |name: &str, mode: &[&str]| {
        let options = "--listen tcp://127.0.0.1:0 --max-connections 1200 --idle-timeout 3600";
        format!("waiting {name} {COUNTED} /programs/qotd {} {options}\n", mode.join(" "))
    };
    let fork = format!("waiting fork {COUNTED} /programs/fork /programs/connection.bpf\n");
    let script = format!("{SCRIPT}{}{}{fork}", ours("shared", SHARED), ours("keeper", KEEPER));
    fs::write(folder.join("script"), script)?;
    let mut guest = Command::new("tests/guest");
    guest.arg(&folder).args([program("qotd")?, program("flood")?, peer("fork")?, filter]);
    let output = guest.stdin(fs::File::open(folder.join("script"))?).stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let taken: Vec<f64> = printed.lines().filter_map(|line| line.parse().ok()).collect();
    let ([shared, keeper, fork], true) = (&taken[..], output.status.success()) else {
        return Err(format!("the guest: {printed}").into());
    };
    for (name, of_all, goal) in [("keeper", keeper, Goal::AtMost(1.0)), ("C, fork and filter", fork, Goal::None)] {
        let name = format!("{name}: a process that waits, kernel included, without its connection");
        rows.add("memory", &name, "KiB", &[(of_all - shared) / as_f64(COUNTED)], Some(("130 KiB", &[130.0])), goal);
    }
    Ok(())
}

/// The installed units, on other ports.
fn start_units(folder: &Path) -> Result<()> {
    run("run", folder, &["make", "-C", env!("CARGO_MANIFEST_DIR"), "install"])?;
    let options = KEEPER.join(" ");
    let script = format!(
        "cd /usr/local/lib/systemd/system && to=/run/systemd/system\n\
         grep -v '^ListenStream\\|^ListenDatagram\\|^Conflicts\\|^After' fortune.socket >$to/each.socket\n\
         printf '[Socket]\\nListenStream={UNIT_PORT}\\n' >>$to/each.socket\n\
         cp fortune@.service $to/each@.service\n\
         grep -v '^ListenStream\\|^ListenDatagram\\|^Conflicts\\|^After' fortune-daemon.socket >$to/keeper.socket\n\
         printf '[Socket]\\nListenStream={KEEPER_UNIT_PORT}\\n' >>$to/keeper.socket\n\
         sed -e '/^Conflicts\\|^After\\|^PartOf\\|^Requires/d' -e 's|^ExecStart=.*|& {options}|' fortune-daemon.service >$to/keeper.service\n\
         systemctl daemon-reload && systemctl start each.socket keeper.socket"
    );
    run("run", folder, &["bash", "-c", &script]).map(drop)
}

fn main() -> Result<()> {
    let scratch = PathBuf::from(given("SCRATCH")?);
    let most = Rlimit { current: Some(16_384), maximum: Some(16_384) };
    setrlimit(Resource::Nofile, most)?;
    // Second run: in the machine's network.
    if env::var_os(INSIDE).is_some() {
        let mut rows = Rows::new();
        connections(&mut rows, &scratch)?;
        beside_waiting(&mut rows)?;
        memory(&mut rows, &scratch)?;
        return rows.write("keeper");
    }
    let folder = scratch.join("machine");
    let _machine = boot(&folder, "bookworm")?;
    start_units(&folder)?;
    let mut again = Command::new("tests/machine");
    again.arg("net").arg(&folder).arg(env::current_exe()?).env(INSIDE, "1").process_group(0);
    if again.status()?.success() { Ok(()) } else { Err("the keeper could not be measured".into()) }
}
