//! Every service over UDP, and the datagrams that it does not answer.

mod support;

use std::collections::HashSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use support::{Folder, HUNG, Process, assert_fortune, built_in_fortunes, program, tool, udp_client, wait_until};

/// A service on a UDP port of loopback, and a client.
struct Datagrams {
    process: Process,
    address: SocketAddr,
    client: UdpSocket,
}

impl Datagrams {
    fn start(name: &str, arguments: &[&str]) -> Self {
        Self::on(name, arguments, "127.0.0.1")
    }

    fn on(name: &str, arguments: &[&str], ip: &str) -> Self {
        let mut process = Process::start(
            Command::new(program(name))
                .args(["--listen", &format!("udp://{ip}:0")])
                .args(arguments)
                .stdin(Stdio::null())
                .stderr(Stdio::piped()),
        );
        let address = process.serving_on("udp://");
        Self { process, address, client: udp_client() }
    }

    fn ask(&self, question: &[u8]) -> Vec<u8> {
        ask(&self.client, question, (Ipv4Addr::LOCALHOST, self.address.port()).into())
    }

    /// Asserts that all earlier datagrams got no answer: a later request does, from a client that may have replies.
    fn assert_nothing_came(&self) {
        let other = udp_client();
        let reply = ask(&other, b"are you there?", (Ipv4Addr::LOCALHOST, self.address.port()).into());
        assert!(!reply.is_empty());
        self.client.set_nonblocking(true).unwrap();
        assert!(self.client.recv(&mut [0; 512]).is_err(), "an answer all the same");
        self.client.set_nonblocking(false).unwrap();
    }
}

fn ask(client: &UdpSocket, question: &[u8], address: SocketAddr) -> Vec<u8> {
    client.send_to(question, address).unwrap();
    let mut reply = vec![0; 65_535];
    let (length, from) = client.recv_from(&mut reply).unwrap();
    assert_eq!(from, address, "from where the request went");
    reply.truncate(length);
    reply
}

const NO_LIMIT: [&str; 4] = ["--datagram-rate", "0", "--datagram-total", "0"];

#[test]
fn qotd_answers_any_datagram_with_a_fortune() {
    let service = Datagrams::start("qotd", &NO_LIMIT);
    let fortunes = built_in_fortunes();
    let mut replies = HashSet::new();
    for question in [&b""[..], b"x", &support::noise(60_000)].iter().cycle().take(30) {
        let fortune = assert_fortune(&service.ask(question));
        assert!(fortunes.contains(&fortune), "{fortune}");
        replies.insert(fortune);
    }
    assert!(replies.len() > 10);
}

#[test]
fn echo_answers_with_the_same_octets() {
    let service = Datagrams::start("echo", &NO_LIMIT);
    for length in [0, 1, 511, 1472, 65_507] {
        let question = support::noise(length);
        assert!(service.ask(&question) == question, "{length} octets");
    }
}

#[test]
fn echo_answers_each_datagram_of_a_batch_with_its_own_octets() {
    let service = Datagrams::start("echo", &NO_LIMIT);
    let clients: Vec<_> = (0..100).map(|_| udp_client()).collect();
    // Stopped while they send, so that many requests wait at once.
    service.process.signal("STOP");
    for (number, client) in clients.iter().enumerate() {
        client.send_to(format!("{number}").as_bytes(), service.address).unwrap();
    }
    service.process.signal("CONT");
    for (number, client) in clients.iter().enumerate() {
        let mut reply = [0; 16];
        let length = client.recv(&mut reply).unwrap();
        assert_eq!(std::str::from_utf8(&reply[..length]), Ok(number.to_string().as_str()));
    }
}

#[test]
fn daytime_and_time_answer_with_the_time() {
    let daytime = Datagrams::start("daytime", &["--utc", "--format", "iso8601"]).ask(b"");
    assert!(daytime.ends_with(b"+00:00\r\n"), "{daytime:?}");
    let time = Datagrams::start("time", &[]).ask(b"");
    let since_1970 = u64::from(u32::from_be_bytes(time.try_into().unwrap())) - 2_208_988_800;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 60..=now).contains(&since_1970), "{since_1970} at {now}");
}

#[test]
fn chargen_answers_with_up_to_512_characters() {
    let service = Datagrams::start("chargen", &NO_LIMIT);
    let replies: Vec<_> = (0..50).map(|_| service.ask(b"")).collect();
    let lengths: HashSet<_> = replies.iter().map(Vec::len).collect();
    assert!(lengths.len() > 20 && lengths.iter().all(|&length| length <= 512), "{lengths:?}");
    let longest = replies.iter().max_by_key(|reply| reply.len()).unwrap();
    assert!(longest.starts_with(b" !\"#$%&'()*+,-./0123456789"));
    assert!(replies.iter().all(|reply| longest.starts_with(reply)));
}

#[test]
fn discard_receives_everything_and_answers_nothing() {
    let service = Datagrams::start("discard", &[]);
    for _ in 0..1000 {
        service.client.send_to(b"x", service.address).unwrap();
    }
    // Stop it once its lock-down is complete: then it handles the signal.
    let status = format!("/proc/{}/status", service.process.0.id());
    wait_until(|| fs::read_to_string(&status).unwrap().contains("Seccomp:\t2"));
    service.process.signal("TERM");
    let mut service = service;
    assert!(service.process.wait().success());
    service.client.set_nonblocking(true).unwrap();
    assert!(service.client.recv(&mut [0; 16]).is_err());
}

#[test]
fn a_reply_comes_from_the_address_that_the_request_went_to() {
    for ip in ["0.0.0.0", "[::]"] {
        let service = Datagrams::on("echo", &[], ip);
        for address in ["127.0.0.1", "127.0.0.5"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(ask(&service.client, b"here", (address, service.address.port()).into()), b"here");
        }
    }
    let service = Datagrams::on("echo", &[], "[::]");
    let client = UdpSocket::bind("[::1]:0").unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    assert_eq!(ask(&client, b"here", format!("[::1]:{}", service.address.port()).parse().unwrap()), b"here");
}

/// The IPv4 and UDP headers, which the limits count as well.
const HEADERS: usize = 28;
/// The longest reply on the wire, which a network may draw each second by default.
const LONGEST: usize = 512 + HEADERS;

/// The octets that a rate allows since `start`: the octets of one second at first, and one reply beyond the rest.
fn allowed(rate: usize, longest: usize, start: Instant) -> usize {
    let milliseconds = usize::try_from(start.elapsed().as_millis()).unwrap();
    rate * (milliseconds + 1001) / 1000 + longest
}

/// The octets on the wire that have arrived for a non-blocking client.
fn drawn(client: &UdpSocket) -> usize {
    let mut reply = vec![0; 65_535];
    let mut drawn = 0;
    client.set_nonblocking(true).unwrap();
    while let Ok(length) = client.recv(&mut reply) {
        drawn += length + HEADERS;
    }
    client.set_nonblocking(false).unwrap();
    drawn
}

/// A client in another network of loopback.
fn client_in(network: u8) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::new(127, 0, network, 1), 0)).unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    client
}

#[test]
fn victims_of_a_paced_forger_get_what_was_sent_and_a_small_budget() {
    const NETWORKS: u8 = 100;
    const ROUNDS: usize = 20;
    // What a network may draw in a second: one reply of the service. An empty echo costs no more than its request.
    let services =
        [("chargen", LONGEST), ("qotd", LONGEST), ("daytime", 26 + HEADERS), ("time", 4 + HEADERS), ("echo", LONGEST)];
    thread::scope(|scope| {
        for (name, rate) in services {
            scope.spawn(move || {
                let service = Datagrams::start(name, &[]);
                let networks: Vec<_> = (0..NETWORKS).map(client_in).collect();
                let start = Instant::now();
                let mut victims = 0;
                for _ in 0..ROUNDS {
                    for client in &networks {
                        client.send_to(b"", service.address).unwrap();
                    }
                    // Paced, so that a limit on requests would not apply. No outcome depends on it.
                    thread::sleep(Duration::from_millis(100));
                    victims += networks.iter().map(drawn).sum::<usize>();
                }
                let budget = allowed(rate, rate, start) * networks.len();
                let sent = HEADERS * networks.len() * ROUNDS;
                println!("{name}: sent {sent} octets, victims got {victims}, their budget is {budget}");
                // The requests had no payload, so every payload octet is beyond what was sent.
                assert!(victims > 0 && victims <= budget, "{name}: {victims} octets, with a budget of {budget}");
            });
        }
    });
}

#[test]
fn a_network_gets_no_more_octets_than_its_rate() {
    for rate in [100, LONGEST, 5000] {
        let service = Datagrams::start("qotd", &["--datagram-rate", &rate.to_string()]);
        let start = Instant::now();
        for _ in 0..1000 {
            service.client.send_to(b"", service.address).unwrap();
        }
        let other = client_in(77);
        // Another network is still answered, and so are the datagrams received before.
        wait_until(|| {
            other.send_to(b"", service.address).unwrap();
            drawn(&other) > 0
        });
        let victim = drawn(&service.client);
        let allowed = allowed(rate, LONGEST, start);
        assert!(victim > 0 && victim <= allowed, "{victim} octets of {allowed}");
    }
}

#[test]
fn all_networks_together_get_no_more_octets_than_the_total() {
    let service = Datagrams::start("qotd", &["--datagram-rate", "0", "--datagram-total", "1000"]);
    let networks: Vec<_> = (0..100).map(client_in).collect();
    let start = Instant::now();
    for client in networks.iter().cycle().take(1000) {
        client.send_to(b"", service.address).unwrap();
    }
    let mut victims = 0;
    // The total recovers in the end, and then the next client is answered.
    wait_until(|| {
        victims += networks.iter().map(drawn).sum::<usize>();
        service.client.send_to(b"", service.address).unwrap();
        let answer = drawn(&service.client);
        victims += answer;
        answer > 0
    });
    let allowed = allowed(1000, LONGEST, start);
    assert!(victims > 1000 && victims <= allowed, "{victims} octets of {allowed}");
}

/// Sends requests one by one, each waiting for its reply. Returns how many are answered.
fn answered(client: &UdpSocket, address: SocketAddr, count: usize) -> usize {
    (0..count).filter(|_| ask(client, b"", address).len() > 2).count()
}

/// Asserts that this client's requests got no answer: a probe's later request does.
fn assert_unanswered(client: &UdpSocket, probe: &UdpSocket, address: SocketAddr) {
    for _ in 0..10 {
        client.send_to(b"", address).unwrap();
    }
    ask(probe, b"", address);
    assert_eq!(drawn(client), 0);
}

#[test]
fn probes_of_exempt_networks_are_not_limited_and_everybody_else_is() {
    for mode in [&[][..], &["--shared"]] {
        let exempt = ["--datagram-rate", "1", "--datagram-exempt", "127.0.1.0/24", "--datagram-exempt", "127.0.2.1"];
        let service = Datagrams::start("qotd", &[mode, &exempt].concat());
        for network in [1, 2] {
            assert_eq!(answered(&client_in(network), service.address, 100), 100, "{mode:?}: 127.0.{network}.1");
        }
        // One reply for each network in the whole time. The neighbour of a single exempt address is not exempt.
        let neighbour = UdpSocket::bind("127.0.2.2:0").unwrap();
        neighbour.set_read_timeout(Some(HUNG)).unwrap();
        assert_eq!(answered(&neighbour, service.address, 1), 1);
        assert_unanswered(&neighbour, &client_in(1), service.address);
        // A port that looks like a service's is still refused.
        let low = UdpSocket::bind("127.0.1.1:917").unwrap();
        assert_unanswered(&low, &client_in(1), service.address);
    }
}

#[test]
fn probes_of_exempt_networks_leave_the_total_to_others() {
    for mode in [&[][..], &["--shared"]] {
        let limits = ["--datagram-rate", "0", "--datagram-total", "1", "--datagram-exempt", "127.0.1.0/24"];
        let service = Datagrams::start("qotd", &[mode, &limits].concat());
        let (probe, client) = (client_in(1), client_in(3));
        assert_eq!(answered(&probe, service.address, 100), 100, "{mode:?}");
        // The budget is full: it allows one reply, which overdraws it.
        assert_eq!(answered(&client, service.address, 1), 1, "{mode:?}");
        assert_unanswered(&client, &probe, service.address);
        assert_eq!(answered(&probe, service.address, 100), 100, "{mode:?}, when it is used up");
    }
}

#[test]
fn an_exempt_network_includes_mapped_ipv4_addresses_and_may_be_ipv6() {
    let exempt = ["--datagram-rate", "1", "--datagram-exempt", "127.0.1.0/24", "--datagram-exempt", "::1"];
    let service = Datagrams::on("qotd", &exempt, "[::]");
    let port = service.address.port();
    assert_eq!(answered(&client_in(1), (Ipv4Addr::LOCALHOST, port).into(), 20), 20, "seen as ::ffff:127.0.1.1");
    let client = UdpSocket::bind("[::1]:0").unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    assert_eq!(answered(&client, (Ipv6Addr::LOCALHOST, port).into(), 20), 20);
    let other = client_in(3);
    assert_eq!(answered(&other, (Ipv4Addr::LOCALHOST, port).into(), 1), 1);
    assert_unanswered(&other, &client_in(1), (Ipv4Addr::LOCALHOST, port).into());
}

#[test]
fn an_echo_loop_ends() {
    // Another echo service on a port that a client might have. A forged datagram starts a loop between the two.
    let service = Datagrams::start("echo", &[]);
    let start = Instant::now();
    service.client.send_to(&[b'x'; 1000], service.address).unwrap();
    service.client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut octets = [0; 1024];
    let mut turns = 0;
    while let Ok(length) = service.client.recv(&mut octets) {
        turns += 1;
        let allowed = allowed(LONGEST, HEADERS, start) / HEADERS;
        assert!(turns <= allowed, "{turns} turns, and no more than {allowed} are paid for");
        service.client.send_to(&octets[..length], service.address).unwrap();
    }
    assert!(turns > 1);
}

#[test]
fn a_fortune_that_was_not_sent_keeps_its_turn() {
    let folder = Folder::new("in-turn");
    let fortunes: HashSet<_> = (0..5).map(|number| format!("fortune {number}\n")).collect();
    let file = folder.file("fortunes", fortunes.iter().cloned().collect::<Vec<_>>().join("%\n"));
    // One reply for each network in the whole time.
    let service = Datagrams::start("qotd", &["--datagram-rate", "1", "--shuffle", file.to_str().unwrap()]);
    let mut told = HashSet::from([assert_fortune(&service.ask(b""))]);
    for _ in 0..20 {
        service.client.send_to(b"", service.address).unwrap();
    }
    // Some networks may share a bucket by chance. Then there is another.
    for network in 1..20 {
        let client = client_in(network);
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(b"", service.address).unwrap();
        let mut reply = [0; 512];
        if let Ok(length) = client.recv(&mut reply) {
            told.insert(assert_fortune(&reply[..length]));
            if told.len() == fortunes.len() {
                break;
            }
        }
        assert!(usize::from(network) < 2 * fortunes.len(), "a fortune is missing: {told:?}");
    }
    assert_eq!(told, fortunes);
}

#[test]
fn chargen_is_served_over_udp_only_on_request() {
    let mut command = Command::new(program("chargen"));
    command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    let address = process.serving_on("tcp://");
    let notice = process.line();
    assert!(notice.contains(&format!("--listen udp://{address} enables it")), "{notice}");
    UdpSocket::bind(address).expect("the UDP port is free");
    // A passed datagram socket counts as a request for UDP: inetd's `dgram`, ListenDatagram=. All other tests use udp://.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let socket = OwnedFd::from(socket);
    let mut command = Command::new(program("chargen"));
    let _process = Process::start(command.stdin(socket.try_clone().unwrap()).stdout(socket));
    assert!(ask(&udp_client(), b"", address).len() <= 512);
}

#[test]
fn datagrams_from_the_ports_of_services_are_not_answered() {
    // Two echo services would answer each other for ever.
    let service = Datagrams::start("echo", &NO_LIMIT);
    for port in [1, 7, 19, 1023] {
        let other = UdpSocket::bind(("127.0.0.77", port)).expect("root may have such a port");
        other.send_to(b"x", service.address).unwrap();
        service.assert_nothing_came();
        other.set_nonblocking(true).unwrap();
        assert!(other.recv(&mut [0; 16]).is_err(), "port {port} got an answer");
    }
}

/// echo with inetd's UDP socket, for one second after the last request.
fn under_inetd_s_wait() -> (Process, SocketAddr, OwnedFd) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let socket = OwnedFd::from(socket);
    (on_inetd_s_socket(&socket), address, socket)
}

fn on_inetd_s_socket(socket: &OwnedFd) -> Process {
    let descriptor = || Stdio::from(socket.try_clone().unwrap());
    let mut command = Command::new(program("echo"));
    command.args(["--idle-timeout", "1"]).stdin(descriptor()).stdout(descriptor()).stderr(descriptor());
    Process::start(&mut command)
}

#[test]
fn inetd_s_wait_is_recognised_and_ends_without_requests() {
    let (mut process, address, socket) = under_inetd_s_wait();
    let client = udp_client();
    assert_eq!(ask(&client, b"first", address), b"first");
    assert_eq!(ask(&client, b"second", address), b"second");
    assert!(process.wait().success());
    // The socket is inetd's. The next datagram waits in it for the next process.
    client.send_to(b"third", address).unwrap();
    let mut process = on_inetd_s_socket(&socket);
    let mut reply = [0; 16];
    assert_eq!(client.recv(&mut reply).unwrap(), 5);
    assert!(process.wait().success());
}

#[test]
fn under_inetd_s_wait_it_stays_while_datagrams_arrive() {
    let (mut process, address, _socket) = under_inetd_s_wait();
    let client = udp_client();
    let start = Instant::now();
    // Several times as long as it stays without requests.
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(ask(&client, b"again", address), b"again");
        assert!(process.0.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(process.wait().success());
}

/// The next program on the socket must get all datagrams that come after the end of this one.
#[test]
fn no_process_outlives_its_keeper() {
    let (mut process, address, _socket) = under_inetd_s_wait();
    assert_eq!(ask(&udp_client(), b"first", address), b"first");
    let [child] = support::children(process.0.id())[..] else { panic!("one process") };
    // It hardly runs any more, so that it takes long to end.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let processors = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let processor = processors.split([',', '-']).next().unwrap();
    let _busy = Process::start(tool("taskset").args(["-c", processor, "sh", "-c", "while :; do :; done"]));
    let child = child.to_string();
    assert!(tool("taskset").args(["-cp", processor, &child]).stdout(Stdio::null()).status().unwrap().success());
    assert!(tool("renice").args(["-n", "10", &child]).stdout(Stdio::null()).status().unwrap().success());
    assert!(process.wait().success());
    assert!(!fs::exists(format!("/proc/{child}")).unwrap(), "its process is still there");
}

#[test]
fn a_damaged_datagram_service_reports_only_to_the_log() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = udp_client();
    client.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    let socket = OwnedFd::from(socket);
    let mut process = Process::start(
        Command::new(program("qotd"))
            .arg("/no/such/file")
            .stdin(socket.try_clone().unwrap())
            .stdout(socket)
            .stderr(Stdio::piped()),
    );
    let mut log = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("/no/such/file"), "{log}");
    assert_eq!(process.wait().code(), Some(1));
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 512]).is_err());
}

/// Two hosts on their own network. `client` may have any address of it, and reports the octets in each direction.
#[test]
fn a_flood_in_the_name_of_one_network_draws_its_budget_and_no_more() {
    const SCRIPT: &str = r#"
set -eu
# Nothing on the wire but what is counted here.
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
ip link add outside type veth peer name inside
ip link set outside up
ip addr add 10.9.0.1/16 dev outside
# The forged hosts are all there is behind the other end; nobody there minds the replies.
ip link set inside up
ip neigh add 10.9.8.255 lladdr "$(cat /sys/class/net/inside/address)" dev outside 2>/dev/null || true
"$1" --listen udp://0.0.0.0:1717 2>/dev/null &
service=$!
trap 'kill $service' EXIT
# Until its port is open: what a closed one says is no answer.
until grep -q ':06B5 ' /proc/net/udp; do kill -0 $service; done
python3 - "$(cat /sys/class/net/outside/address)" "$(cat /sys/class/net/inside/address)" <<'PYTHON'
import socket, struct, sys, time
to, own = (bytes.fromhex(address.replace(':', '')) for address in sys.argv[1:])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
link.bind(('inside', 0))

def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff

def datagram(source, destination, payload, port=40000):
    udp = struct.pack('!HHHH', port, 1717, 8 + len(payload), 0) + payload
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton(destination))
    return to + own + b'\x08\x00' + head[:10] + struct.pack('!H', checksum(head)) + head[12:] + udp

def statistics(name):
    with open('/sys/class/net/outside/statistics/' + name) as file:
        return int(file.read())

def answered(source, destination, port=40000):
    before = statistics('tx_packets')
    link.send(datagram(source, destination, b'x', port))
    deadline = time.monotonic() + 2
    while statistics('tx_packets') == before and time.monotonic() < deadline:
        pass
    return statistics('tx_packets') > before

import subprocess
for host in range(1, 255):
    subprocess.run(['ip', 'neigh', 'replace', '10.9.8.%d' % host, 'lladdr', sys.argv[2], 'dev', 'outside'], check=True)
for host in ('10.9.7.7', '10.9.6.6'):
    subprocess.run(['ip', 'neigh', 'replace', host, 'lladdr', sys.argv[2], 'dev', 'outside'], check=True)
# To everybody, and from a service.
assert not answered('10.9.7.7', '10.9.255.255'), 'a broadcast is answered'
assert not answered('10.9.7.7', '10.9.0.1', 1023), 'a service is answered'
assert answered('10.9.7.7', '10.9.0.1'), 'a client is not answered'
assert answered('10.9.6.6', '10.9.0.1'), 'nor is another'

start = time.monotonic()
sent, received, packets = statistics('rx_bytes'), statistics('tx_bytes'), statistics('tx_packets')
for number in range(100_000):
    link.send(datagram('10.9.8.%d' % (1 + number % 254), '10.9.0.1', b''))
sent, received = statistics('rx_bytes') - sent, statistics('tx_bytes') - received
# Without Ethernet's headers.
print(sent, received - 14 * (statistics('tx_packets') - packets), int(1000 * (time.monotonic() - start)))
PYTHON
"#;
    let mut command = tool("unshare");
    command.args(["--net", "--mount", "bash", "-c", &format!("mount -t sysfs sysfs /sys\n{SCRIPT}"), "bash"]);
    let output = command.arg(program("qotd")).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let octets: Vec<u64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [sent, drawn, milliseconds] = octets[..] else { panic!("{printed}") };
    assert!(sent > 100_000 * 28, "{printed}");
    let allowed = LONGEST as u64 * (milliseconds + 1001) / 1000 + LONGEST as u64;
    assert!(drawn > 0 && drawn <= allowed, "{drawn} octets of {allowed}: {printed}");
}

/// A host with links to two others. Each client reports the octets of replies to one datagram for each of two services, and how
/// many of its connections are served.
#[test]
fn the_same_link_local_address_on_two_links_is_two_clients() {
    const SCRIPT: &str = r#"
set -eu
for host in 1 2; do
	unshare --net sleep infinity &
	hosts[host]=$!
	until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do kill -0 $!; done
	ip link add link$host type veth peer name uplink netns $!
	ip link set link$host up
	ip addr add fe80::1/64 dev link$host nodad
	nsenter --net --target $! ip link set uplink up
	nsenter --net --target $! ip addr add fe80::99/64 dev uplink nodad
	nsenter --net --target $! ip addr add fe80::98/64 dev uplink nodad
done
# One reply for each client in all the time that this takes. Two services: in one, two clients may share a bucket by chance.
for port in 1737 1738; do "$1" --datagram-rate 1 --listen "udp://[::]:$port" 2>/dev/null & done
"$2" --max-per-source 2 --listen 'tcp://[::]:1707' 2>/dev/null &
for port in udp6:06C9 udp6:06CA tcp6:06AB; do
	until grep -q ":${port#*:} " "/proc/net/${port%:*}"; do kill -0 %3; kill -0 %4; kill -0 %5; done
done
client() { # its host, its address
	exec nsenter --net --target "${hosts[$1]}" python3 -c "
import signal, socket
def client(kind):
    client = socket.socket(socket.AF_INET6, kind)
    client.bind(('$2', 0, 0, scope))
    client.settimeout(5)
    return client

scope = socket.if_nametoindex('uplink')
octets, served, kept = 0, 0, []
for port in (1737, 1738):
    datagrams = client(socket.SOCK_DGRAM)
    datagrams.sendto(b'', ('fe80::1', port, 0, scope))
    try:
        octets += len(datagrams.recv(100))
    except OSError:
        pass
for _ in range(4):
    connection = client(socket.SOCK_STREAM)
    kept.append(connection)
    try:
        connection.connect(('fe80::1', 1707, 0, scope))
        connection.send(b'x')
        served += len(connection.recv(1))
    except OSError:
        pass
print(octets, served, flush=True)
signal.pause()
"
}
for who in '1 fe80::99' '2 fe80::99' '2 fe80::98'; do
	# It goes on, and keeps what it has.
	exec {client}< <(client $who)
	read -r line <&$client
	echo "$line"
done
"#;
    let mut command = tool("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT, "bash"]);
    let output = command.args([program("time"), program("echo")]).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "8 2", "{printed}");
    assert!(lines.iter().all(|line| ["4 2", "8 2"].contains(line)), "{printed}");
}
