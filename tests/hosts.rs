//! Tests docs/many-hosts.md: three hosts behind Debian's `HAProxy`, with the configuration, the options and the commands of the
//! page.

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use regex_lite::Regex;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use support::machine::Machine;
use support::network::Host;
use support::page::blocks;
use support::{Folder, HUNG, Process, assert_fortune, built_in_fortunes, program, read_all, repository, wait_until};

const NAMES: [&str; 3] = ["one", "two", "three"];
const BALANCER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const QOTD: u16 = 17;
const ECHO: u16 = 7;
/// Concurrent clients that each ask for one quote after another.
const CLIENTS: usize = 6;

fn page() -> String {
    fs::read_to_string(repository().join("docs/many-hosts.md")).unwrap()
}

/// The first block in a language that contains this text.
fn block<'a>(page: &'a str, language: &str, text: &str) -> &'a str {
    let mut blocks = blocks(page).into_iter();
    blocks.find(|block| block.language == language && block.text.contains(text)).expect("such a block").text
}

fn configuration(page: &str) -> &str {
    block(page, "haproxy", "frontend")
}

/// The options that the page gives to a service.
fn options<'a>(page: &'a str, service: &str) -> Vec<&'a str> {
    let call = format!("\nExecStart=/usr/local/libexec/small-services/{service} ");
    let (_, options) = page.split_once(&call).expect("options");
    options.lines().next().unwrap().split(' ').collect()
}

/// Connects from an address of the clients' network.
fn connected(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let client = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&client, &SocketAddr::from((source, 0)))?;
    connect(&client, &to)?;
    let client = TcpStream::from(client);
    client.set_read_timeout(Some(HUNG))?;
    client.set_write_timeout(Some(HUNG))?;
    Ok(client)
}

/// The address of one of 250 clients.
fn client(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, u8::try_from(number % 250).unwrap() + 1)
}

/// Whether a stream still echoes.
fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && stream.read(&mut [0]).is_ok_and(|length| length == 1)
}

/// Three hosts with qotd and echo, the balancer in front of them, and the clients' host.
struct Pool {
    haproxy: Process,
    /// qotd and echo of each host.
    daemons: Vec<[Process; 2]>,
    hosts: Vec<Host>,
    balancer: Host,
    clients: Host,
    folder: Folder,
}

impl Pool {
    fn new(name: &str, configuration: &str, qotd: &[&str]) -> Self {
        let (clients, balancer) = (Host::new(), Host::new());
        balancer.link("outside", &clients, "eth0");
        balancer.shell("ip address add 198.51.100.1/24 dev outside && ip link set outside up");
        // All addresses of this network belong to the clients.
        clients.shell(
            "ip address add 198.51.100.2/24 dev eth0 && ip link set eth0 up && ip route add local 203.0.113.0/24 dev lo",
        );
        balancer.shell("ip route add 203.0.113.0/24 via 198.51.100.2");
        let hosts: Vec<_> = (0..NAMES.len()).map(|_| Host::new()).collect();
        for (number, host) in hosts.iter().enumerate() {
            balancer.link(NAMES[number], host, "eth0");
            let (name, address) = (NAMES[number], address(number));
            host.shell(&format!("ip address add {address}/24 dev eth0 && ip link set eth0 up"));
            balancer.shell(&format!("ip address add 192.0.2.1 peer {address} dev {name} && ip link set {name} up"));
        }
        let folder = Folder::new(name);
        let echo = page();
        let echo = options(&echo, "echo");
        let daemons = hosts.iter().map(|host| started(host, qotd, &echo)).collect();
        // The part of Debian's global section that matters here.
        let stats = folder.path().join("admin.sock");
        let global = format!("global\n stats socket {} level admin\n log stdout format raw local0\n", stats.display());
        let file = folder.file("haproxy.cfg", global + configuration);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut haproxy = balancer.command(repository().join("target/peers/usr/sbin/haproxy"));
        let haproxy = Process::start(haproxy.arg("-db").arg("-f").arg(file).stdout(log));
        let pool = Self { haproxy, daemons, hosts, balancer, clients, folder };
        wait_until(|| pool.statistics().is_some());
        pool
    }

    /// The row of `show stat` for each server, by `BACKEND/SERVER`.
    fn statistics(&self) -> Option<HashMap<String, HashMap<String, String>>> {
        let mut socket = UnixStream::connect(self.folder.path().join("admin.sock")).ok()?;
        socket.write_all(b"show stat\n").ok()?;
        let mut table = String::new();
        socket.read_to_string(&mut table).ok()?;
        let mut rows = table.trim_start_matches("# ").lines().map(|line| line.split(','));
        let names: Vec<_> = rows.next()?.collect();
        let row = |row: std::str::Split<'_, char>| {
            names.iter().map(|name| (*name).to_owned()).zip(row.map(str::to_owned)).collect()
        };
        let rows = rows.map(row).filter(|row: &HashMap<String, String>| row.contains_key("svname"));
        Some(rows.map(|row| (format!("{}/{}", row["pxname"], row["svname"]), row)).collect())
    }

    fn statistic(&self, server: &str, column: &str) -> String {
        self.statistics().expect("it runs")[server][column].clone()
    }

    fn number(&self, server: &str, column: &str) -> usize {
        self.statistic(server, column).parse().unwrap()
    }

    /// Runs a block of the page on the balancer.
    fn follow(&self, page: &str, beginning: &str) -> String {
        let socket = self.folder.path().join("admin.sock");
        let script = block(page, "sh", beginning).replace("/run/haproxy/admin.sock", socket.to_str().unwrap());
        self.balancer.shell(&script)
    }

    /// Opens streams through the balancer, equally many to each host.
    fn streams(&self, count: usize) -> Vec<TcpStream> {
        self.clients.inside(|| {
            let streams = (0..count).map(|number| {
                let mut stream = connected(client(number), (BALANCER, ECHO).into()).unwrap();
                assert!(echoes(&mut stream));
                stream
            });
            let streams = streams.collect();
            let equally = |name| self.number(&format!("echo/{name}"), "scur") == count / NAMES.len();
            wait_until(|| NAMES.iter().all(equally));
            streams
        })
    }

    /// Runs `act` while clients ask for one quote after another.
    fn under_load(&self, act: impl FnOnce(&Load) + Send) -> Load {
        let load = Load::default();
        let fortunes: HashSet<_> = built_in_fortunes().into_iter().collect();
        self.clients.inside(|| {
            thread::scope(|scope| {
                let _over = Over(&load);
                for number in 0..CLIENTS {
                    let (load, fortunes) = (&load, &fortunes);
                    scope.spawn(move || load.ask_on(number, fortunes));
                }
                load.wait_for_more(100);
                act(&load);
            });
        });
        load
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(number).unwrap() + 11)
}

fn started(host: &Host, qotd: &[&str], echo: &[&str]) -> [Process; 2] {
    [("qotd", QOTD, qotd), ("echo", ECHO, echo)].map(|(name, port, options)| {
        let mut command = host.command(program(name));
        command.args(options).args(["--listen", &format!("tcp://0.0.0.0:{port}")]).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        process.serving_on("tcp://");
        process
    })
}

/// What clients received.
#[derive(Default)]
struct Load {
    whole: AtomicUsize,
    /// The addresses of clients that got no quote, or a part of one.
    lost: Mutex<Vec<SocketAddr>>,
    over: AtomicBool,
}

/// Ends the load, even when a test fails.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn ask_on(&self, first: usize, fortunes: &HashSet<String>) {
        for number in (first..).step_by(CLIENTS) {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let mut stream = connected(client(number), (BALANCER, QOTD).into()).expect("the balancer is there");
            let mut reply = Vec::new();
            let end = stream.read_to_end(&mut reply);
            let text = String::from_utf8_lossy(&reply).replace("\r\n", "\n");
            if end.is_ok() && fortunes.contains(&text) {
                self.whole.fetch_add(1, Ordering::Relaxed);
            } else {
                self.lost.lock().unwrap().push(stream.local_addr().unwrap());
            }
        }
    }

    fn wait_for_more(&self, count: usize) {
        let before = self.whole.load(Ordering::Relaxed);
        wait_until(|| self.whole.load(Ordering::Relaxed) >= before + count);
    }
}

#[test]
fn health_checks_cost_no_fortune() {
    const SHUFFLED: [&str; 3] = ["--shuffle", "--seed", "7"];
    let page = page();
    let mut limits = options(&page, "qotd");
    limits.retain(|option| *option != "--daily");
    let options = [&SHUFFLED, &limits[..]].concat();
    // The order of fortunes without health checks.
    let untouched = support::Daemon::start("qotd", &options);
    let order: Vec<_> = (0..3).map(|_| assert_fortune(&read_all(&mut untouched.connect()))).collect();
    let of_host = |pool: &Pool, number: usize| {
        let to = SocketAddr::from((address(number), QOTD));
        pool.balancer.inside(|| assert_fortune(&read_all(&mut TcpStream::connect(to).unwrap())))
    };
    let status = |pool: &Pool, name| pool.statistic(&format!("qotd/{name}"), "check_status");
    let configuration = configuration(&page);
    let plain: String = configuration.split_inclusive('\n').filter(|line| !line.contains("tcp-check")).collect();
    let from = configuration.find("    option tcp-check").unwrap();
    let echo = &configuration[from..from + configuration[from..].find("    default-server").unwrap()];
    let quotes = configuration.replacen(echo, block(&page, "haproxy", "rstring"), 1);
    let pool = |name, configuration| Pool::new(&format!("hosts-checks-{name}"), configuration, &options);
    let (pool, plain, quotes) = (pool("echo", configuration), pool("plain", &plain), pool("quotes", &quotes));
    let wait_for = |pool: &Pool, what| wait_until(|| pool.hosts.iter().all(|host| host.count(what) >= 6));

    wait_for(&pool, "PassiveOpens");
    for (number, name) in NAMES.iter().enumerate() {
        assert!(status(&pool, name).ends_with("L7OK"));
        assert_eq!((0..3).map(|_| of_host(&pool, number)).collect::<Vec<_>>(), order, "{name}");
    }
    // HAProxy's own check abandons the connection before the host has it.
    wait_for(&plain, "AttemptFails");
    for (number, name) in NAMES.iter().enumerate() {
        assert!(status(&plain, name).ends_with("L4OK"));
        assert_eq!(plain.hosts[number].count("PassiveOpens"), 0, "{name}");
        assert_eq!(of_host(&plain, number), order[0], "{name}");
    }
    // A check that asks for a quote uses one up.
    wait_for(&quotes, "PassiveOpens");
    for (number, name) in NAMES.iter().enumerate() {
        assert!(status(&quotes, name).ends_with("L7OK"));
        assert_ne!(of_host(&quotes, number), order[0], "{name}");
    }
}

#[test]
fn the_quote_of_the_day_is_the_same_on_all_hosts() {
    let page = page();
    let pool = Pool::new("hosts-daily", configuration(&page), &options(&page, "qotd"));
    let ask = || {
        let quotes = (0..9)
            .map(|number| assert_fortune(&read_all(&mut connected(client(number), (BALANCER, QOTD).into()).unwrap())));
        pool.clients.inside(|| quotes.collect::<HashSet<_>>())
    };
    // Repeated in case a day ends just then.
    wait_until(|| ask().len() == 1);
    for name in NAMES {
        assert!(pool.number(&format!("qotd/{name}"), "stot") >= 3);
    }
}

#[test]
fn a_host_is_taken_out_and_no_connection_is_lost() {
    let page = page();
    let options = options(&page, "qotd");
    let mut pool = Pool::new("hosts-drained", configuration(&page), &options);
    let mut streams = pool.streams(3 * NAMES.len());
    let mut of_one = pool.daemons.remove(0);
    let load = pool.under_load(|load| {
        pool.follow(&page, "qotd/one state drain");
        wait_until(|| pool.number("qotd/one", "scur") == 0);
        let shown = pool.follow(&page, "show stat");
        assert!(shown.contains("qotd,one,0\n") && shown.contains("echo,one,3\n"), "{shown}");
        let sent = pool.number("qotd/one", "stot");
        for daemon in &of_one {
            daemon.signal("TERM");
        }
        // These continue until their clients close.
        assert!(streams.iter_mut().all(echoes));
        streams.clear();
        for daemon in &mut of_one {
            assert!(daemon.wait().success());
        }
        load.wait_for_more(100);
        assert_eq!(pool.number("qotd/one", "stot"), sent, "nothing more is sent to it");
    });
    assert_eq!(*load.lost.lock().unwrap(), [], "of {}", load.whole.load(Ordering::Relaxed));
    // Then the host returns.
    let echo = self::options(&page, "echo");
    pool.daemons.push(started(&pool.hosts[0], &options, &echo));
    pool.follow(&page, "qotd/one state ready");
    let sent = pool.number("qotd/one", "stot");
    let load = pool.under_load(|_| wait_until(|| pool.number("qotd/one", "stot") > sent));
    assert_eq!(*load.lost.lock().unwrap(), []);
}

#[test]
fn a_host_that_is_killed_costs_its_own_connections_and_no_others() {
    let page = page();
    let mut pool = Pool::new("hosts-killed", configuration(&page), &options(&page, "qotd"));
    let mut streams = pool.streams(10 * NAMES.len());
    let of_three = pool.daemons.pop().unwrap();
    let load = pool.under_load(|load| {
        for daemon in &of_three {
            daemon.signal("KILL");
        }
        load.wait_for_more(500);
    });
    let left = streams.iter_mut().filter_map(|stream| echoes(stream).then_some(())).count();
    assert_eq!(left, 20, "of 30 streams, those of the other two hosts are left");
    let (whole, lost) = (load.whole.into_inner(), load.lost.into_inner().unwrap());
    let all = whole + lost.len();
    println!("a host of three is killed: 10 of 30 streams end, {} of {all} clients get no quote", lost.len());
    // Each client has at most one at a time.
    assert!(lost.len() <= CLIENTS, "{lost:?}");
    for client in lost {
        // `CLIENT [DATE] FRONTEND BACKEND/SERVER ...`
        let mut line = None;
        wait_until(|| {
            let log = fs::read_to_string(pool.folder.path().join("log")).unwrap();
            line = log.lines().find(|line| line.starts_with(&format!("{client} "))).map(str::to_owned);
            line.is_some()
        });
        let line = line.unwrap();
        assert!(line.contains(" qotd/three "), "{line}");
    }
    assert!(pool.haproxy.0.try_wait().unwrap().is_none());
}

#[test]
fn limits_by_source_are_those_of_the_balancer() {
    let page = page();
    let pool = Pool::new("hosts-limits", configuration(&page), &options(&page, "qotd"));
    let limit = |name: &str| -> usize {
        let found = Regex::new(&format!("sc0_{name} gt ([0-9]+)")).unwrap().captures(&page).unwrap()[1].to_owned();
        found.parse().unwrap()
    };
    pool.clients.inside(|| {
        let stream = |number| connected(client(number), (BALANCER, ECHO).into());
        // The balancer's reset may arrive before connect() returns.
        let is_echoed = |number| stream(number).is_ok_and(|mut it| echoes(&mut it));
        let mut streams: Vec<_> = (0..limit("conn_cur")).map(|_| stream(1).unwrap()).collect();
        assert!(streams.iter_mut().all(echoes));
        assert!(!is_echoed(1), "one more");
        assert!(is_echoed(2), "another source");
        drop(streams.pop());
        wait_until(|| {
            // Each attempt counts against the rate, so there are no more than 50 a second.
            thread::sleep(Duration::from_millis(20));
            is_echoed(1)
        });
        // Connects as often as possible, until the rate is too high.
        let is_served = || {
            let mut reply = Vec::new();
            connected(client(3), (BALANCER, QOTD).into()).is_ok_and(|mut it| it.read_to_end(&mut reply).is_ok())
                && !reply.is_empty()
        };
        let burst = || (0..limit("conn_rate")).filter(|_| !is_served()).count();
        wait_until(|| {
            thread::scope(|scope| {
                (0..4).map(|_| scope.spawn(burst)).collect::<Vec<_>>().into_iter().any(|it| it.join().unwrap() > 0)
            })
        });
        assert_fortune(&read_all(&mut connected(client(4), (BALANCER, QOTD).into()).unwrap()));
    });
}

/// The quotes are random, so the page's figures are right to within a fifth.
#[test]
fn a_quote_takes_the_octets_that_the_page_sums_up() {
    const COUNT: u64 = 500;
    let page = page();
    let mut options = options(&page, "qotd");
    options.retain(|option| *option != "--daily");
    let pool = Pool::new("hosts-octets", configuration(&page), &options);
    let host = &pool.hosts[0];
    let before = host.traffic("eth0");
    pool.balancer.inside(|| {
        for _ in 0..COUNT {
            assert_fortune(&read_all(&mut TcpStream::connect((address(0), QOTD)).unwrap()));
        }
    });
    let after = host.traffic("eth0");
    let measured = [0, 1, 2, 3].map(|it| (after[it] - before[it] + COUNT / 2) / COUNT);
    let [octets_in, packets_in, octets_out, packets_out] = measured;
    println!("a quote: {octets_in} octets in {packets_in} packets to the host, {octets_out} in {packets_out} from it");
    let shown = Regex::new("([0-9]+) octets in 4 packets to the host and ([0-9]+) in 4 from it").unwrap();
    let shown = shown.captures(&page).expect("the page's figures");
    for (measured, shown) in [octets_in, octets_out].into_iter().zip([&shown[1], &shown[2]]) {
        let shown: u64 = shown.parse().unwrap();
        assert!((shown * 4 / 5..=shown * 6 / 5).contains(&measured), "{measured}, not {shown}");
    }
}

#[test]
fn templates_of_the_units_serve_one_port_from_several_processes() {
    let page = page();
    let block = block(&page, "sh", "ReusePort");
    let machine = Machine::boot("hosts");
    machine.shell(&format!("make -C {} install", repository().display()));
    machine.shell("systemctl enable --now fortune-daemon.socket 2>&1");
    machine.shell(&format!("{{ {block} }} 2>&1"));
    assert_eq!(machine.shell("ss -Hltn sport = :17 | wc -l"), "2\n");
    // Both are asked eventually: the kernel chooses by the client's port.
    machine.wait_for(
        "nc 127.0.0.1 17 </dev/null | grep -q . && systemctl is-active fortune-core@1.service fortune-core@2.service",
    );
    // The port stays open while one is restarted, and nobody is refused.
    machine.shell("systemctl restart fortune-core@1.service && for _ in $(seq 20); do nc 127.0.0.1 17 </dev/null | grep -q .; done");
    assert_eq!(machine.shell("systemctl is-active fortune-daemon.socket || true"), "inactive\n");
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
}
