//! `flood KIND PORT SERVICE COUNT SECONDS` floods a service on 127.0.0.1, and prints the results: `served refused cut dropped
//! wrong`, in connections or datagrams, each counted once.
//!
//! - `burst`: COUNT connections at once, from many addresses. The reply of each is checked.
//! - `crowd`: the same, from 200 addresses.
//! - `halves`: the same as `burst`, but each client sends first and shuts its side down.
//! - `hold`: COUNT connections that are silent for SECONDS.
//! - `trickle`: COUNT connections that send an octet a second, for SECONDS.
//! - `reset`: COUNT connections, reset as soon as they are established.
//! - `vanish`: COUNT connections whose client disappears without a TCP segment.
//! - `deaf`: COUNT connections that never read, and send as much as they can, for SECONDS.
//! - `below`: COUNT connections that send just less than a mebibyte, and are then silent, for SECONDS.
//! - `grow`: COUNT connections that send and read as fast as they can for a third of SECONDS, so that the kernel gives them the
//!   largest buffers, and then continue to send without reading.
//! - `withhold`: the same, but then they receive and acknowledge nothing.
//! - `datagrams`: COUNT datagrams as fast as they can be sent.
//! - `forged`: one client's COUNT datagrams, a second apart, while a forger sends some 2,000 a second in the names of 200
//!   networks.
//! - `answer`: tries until one client is served, and prints the milliseconds that this took.
//!
//! *Served* clients got the whole reply, *refused* nothing, *cut* only the beginning, *dropped* nothing and no end within SECONDS
//! (for those that hold, trickle or are deaf: still open at the end), *wrong* an octet that no reply contains.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

#[derive(Default)]
struct Count {
    served: usize,
    refused: usize,
    cut: usize,
    dropped: usize,
    wrong: usize,
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kind, port, service, count, seconds] = arguments.as_slice() else {
        panic!("flood KIND PORT SERVICE COUNT SECONDS")
    };
    let number = |text: &String| text.parse::<u32>().expect("a number");
    let (count, limit) = (number(count), Duration::from_secs(number(seconds).into()));
    // As many as 250 networks with 40 hosts have.
    let addresses = if kind == "crowd" { 200 } else { 10_000 };
    let flood = Flood { port: number(port).try_into().expect("a port"), service, limit, addresses };
    let more = rustix::process::Rlimit { current: Some(200_000), maximum: Some(200_000) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, more);
    let counted = match kind.as_str() {
        "burst" | "crowd" => flood.burst(count, service == "echo"),
        "halves" => flood.burst(count, true),
        "hold" => flood.hold(count, |_| true),
        "trickle" => flood.trickle(count),
        "reset" => flood.reset(count),
        "vanish" => flood.vanish(count),
        "deaf" => flood.hold(count, |client| flood.send_all(client, usize::MAX)),
        "below" => flood.hold(count, |client| flood.send_all(client, (1 << 20) - 8192)),
        "grow" => flood.grow(count, |_| {}),
        "withhold" => flood.grow(count, |client| take_nothing(&client.socket)),
        "datagrams" => flood.datagrams(count),
        "forged" => flood.forged(count),
        "answer" => return flood.answer(),
        _ => panic!("no such flood"),
    };
    let Count { served, refused, cut, dropped, wrong } = counted;
    println!("{served} {refused} {cut} {dropped} {wrong}");
}

struct Flood<'a> {
    port: u16,
    service: &'a str,
    /// For the whole flood.
    limit: Duration,
    /// The number of addresses that the clients use.
    addresses: u32,
}

struct Client {
    socket: TcpStream,
    number: u32,
    connected: bool,
    reply: Vec<u8>,
    sent: usize,
}

impl Flood<'_> {
    /// A connection in progress, from one of many addresses; `None` if even that is refused.
    fn start(&self, number: u32) -> Option<Client> {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
        let [_, _, host, network] = (number % self.addresses).to_be_bytes();
        let from = Ipv4Addr::new(127, network, host, 9);
        bind(&socket, &SocketAddr::from((from, 0))).expect("an address of loopback's");
        match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return None,
        }
        Some(Client { socket: socket.into(), number, connected: false, reply: Vec::new(), sent: 0 })
    }

    fn payload(number: u32) -> Vec<u8> {
        format!("client {number} ").repeat(10).into_bytes()
    }

    fn is_whole(&self, client: &Client) -> bool {
        match self.service {
            "echo" => client.reply == Self::payload(client.number),
            "discard" => true,
            "chargen" => client.reply.len() > 1000,
            "daytime" => client.reply.len() == 26,
            "time" => client.reply.len() == 4,
            "lunchd" => client.reply.starts_with(b"HTTP/1.1 "),
            _ => fortunes().any(|fortune| fortune == client.reply),
        }
    }

    fn is_prefix(&self, client: &Client) -> bool {
        match self.service {
            "echo" => Self::payload(client.number).starts_with(&client.reply),
            "discard" => client.reply.is_empty(),
            "chargen" | "lunchd" => true,
            "daytime" => client.reply.len() < 26,
            "time" => client.reply.len() < 4,
            _ => fortunes().any(|fortune| fortune.starts_with(&client.reply)),
        }
    }

    fn burst(&self, count: u32, talks: bool) -> Count {
        let start = Instant::now();
        let mut counted = Count::default();
        let mut clients = Vec::new();
        for number in 0..count {
            match self.start(number) {
                Some(client) => clients.push(client),
                None => counted.refused += 1,
            }
        }
        while !clients.is_empty() && start.elapsed() < self.limit {
            let ready = Self::ready(&clients, Duration::from_secs(1));
            let mut ready = ready.into_iter();
            clients.retain_mut(|client| !ready.next().unwrap_or(false) || !self.advance(client, talks, &mut counted));
        }
        counted.dropped += clients.len();
        counted
    }

    /// The clients that are ready.
    fn ready(clients: &[Client], limit: Duration) -> Vec<bool> {
        let mut wanted: Vec<_> = clients
            .iter()
            .map(|client| {
                let interest = if client.connected { PollFlags::IN } else { PollFlags::OUT };
                PollFd::new(&client.socket, interest)
            })
            .collect();
        let limit = Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(1), tv_nsec: 0 };
        let _ = poll(&mut wanted, Some(&limit));
        wanted.iter().map(|one| !one.revents().is_empty()).collect()
    }

    /// Runs the next step of a client, and returns whether it is done.
    fn advance(&self, client: &mut Client, talks: bool, counted: &mut Count) -> bool {
        if !client.connected {
            if sockopt::socket_error(&client.socket) != Ok(Ok(())) {
                counted.refused += 1;
                return true;
            }
            client.connected = true;
            if talks {
                let _ = client.socket.write_all(&Self::payload(client.number));
                let _ = client.socket.shutdown(Shutdown::Write);
            }
            return false;
        }
        match client.socket.read_to_end(&mut client.reply) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            _ => {}
        }
        self.judge(client, counted);
        true
    }

    fn judge(&self, client: &Client, counted: &mut Count) {
        *(if self.is_whole(client) {
            &mut counted.served
        } else if client.reply.is_empty() {
            &mut counted.refused
        } else if self.is_prefix(client) {
            &mut counted.cut
        } else {
            &mut counted.wrong
        }) += 1;
    }

    /// Connections that are established or refused.
    fn connected(&self, count: u32, counted: &mut Count) -> Vec<Client> {
        let start = Instant::now();
        let mut clients = Vec::new();
        let mut starting: Vec<_> = (0..count).filter_map(|number| self.start(number)).collect();
        counted.refused += count as usize - starting.len();
        while !starting.is_empty() && start.elapsed() < self.limit {
            let ready = Self::ready(&starting, Duration::from_secs(1));
            for index in (0..starting.len()).rev().filter(|index| ready[*index]) {
                let mut client = starting.swap_remove(index);
                if sockopt::socket_error(&client.socket) == Ok(Ok(())) {
                    client.connected = true;
                    clients.push(client);
                } else {
                    counted.refused += 1;
                }
            }
        }
        counted.dropped += starting.len();
        clients
    }

    /// Keeps connections for the time. `act` is called for each now and then, and returns whether it is still open.
    fn hold(&self, count: u32, mut act: impl FnMut(&mut Client) -> bool) -> Count {
        let mut counted = Count::default();
        let mut clients = self.connected(count, &mut counted);
        let start = Instant::now();
        while start.elapsed() < self.limit {
            clients.retain_mut(|client| {
                let mut octet = [0; 1];
                let open = act(client) && !matches!(client.socket.peek(&mut octet), Ok(0)) && !was_reset(client);
                counted.refused += usize::from(!open);
                open
            });
            std::thread::sleep(Duration::from_millis(200));
        }
        counted.dropped += clients.len();
        counted
    }

    /// Sends what the connection accepts, up to this many octets. Returns whether it is still open.
    fn send_all(&self, client: &mut Client, limit: usize) -> bool {
        let web = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
        let octets = if self.service == "lunchd" { &web[..] } else { &[b'x'; 4096] };
        while client.sent < limit {
            // Continues a partly sent request where it stopped.
            let from = client.sent % octets.len();
            match client
                .socket
                .write(&octets[from..octets.len().min(limit.saturating_sub(client.sent).saturating_add(from))])
            {
                Ok(count) => client.sent += count,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn grow(&self, count: u32, then: impl Fn(&Client)) -> Count {
        let mut counted = Count::default();
        let mut clients = self.connected(count, &mut counted);
        let start = Instant::now();
        let mut chunk = vec![0; 1 << 20];
        while start.elapsed() < self.limit / 3 {
            for client in &mut clients {
                let more = client.sent.saturating_add(1 << 20);
                self.send_all(client, more);
                let _ = client.socket.read(&mut chunk);
            }
        }
        clients.iter().for_each(then);
        while start.elapsed() < self.limit {
            clients.retain_mut(|client| {
                let open = self.send_all(client, usize::MAX) && !was_reset(client);
                counted.refused += usize::from(!open);
                open
            });
            std::thread::sleep(Duration::from_millis(200));
        }
        counted.dropped += clients.len();
        counted
    }

    fn trickle(&self, count: u32) -> Count {
        let mut counted = Count::default();
        let mut clients = self.connected(count, &mut counted);
        let mut sent = Vec::new();
        let start = Instant::now();
        while start.elapsed() < self.limit {
            sent.push(b'a' + u8::try_from(sent.len() % 26).unwrap_or(0));
            clients.retain_mut(|client| {
                let open = client.socket.write_all(&sent[sent.len() - 1..]).is_ok();
                let more = client.socket.read_to_end(&mut client.reply);
                let open = open && more.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                if !open {
                    counted.refused += 1;
                }
                open
            });
            std::thread::sleep(Duration::from_secs(1));
        }
        for client in &mut clients {
            // The rest.
            let _ = client.socket.set_nonblocking(false);
            let _ = client.socket.set_read_timeout(Some(Duration::from_mins(1)));
            let _ = client.socket.shutdown(Shutdown::Write);
            let _ = client.socket.read_to_end(&mut client.reply);
            let right = self.service != "echo" || client.reply == sent;
            *(if right { &mut counted.served } else { &mut counted.wrong }) += 1;
        }
        counted
    }

    fn reset(&self, count: u32) -> Count {
        let mut counted = Count::default();
        for client in self.connected(count, &mut counted) {
            let _ = sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO));
            counted.served += 1;
        }
        counted
    }

    fn vanish(&self, count: u32) -> Count {
        let mut counted = Count::default();
        for mut client in self.connected(count, &mut counted) {
            let _ = client.socket.write(b"x");
            vanish(&client.socket);
            counted.served += 1;
        }
        counted
    }

    /// *Served* are those that had a reply, *dropped* the others.
    fn datagrams(&self, count: u32) -> Count {
        let mut counted = Count::default();
        let sockets: Vec<_> = (0..64_u8)
            .map(|network| {
                let socket = UdpSocket::bind((Ipv4Addr::new(127, network, 1, 9), 0)).expect("a port");
                socket.connect((Ipv4Addr::LOCALHOST, self.port)).expect("an address");
                socket.set_nonblocking(true).expect("a socket");
                socket
            })
            .collect();
        let collect = |counted: &mut Count| {
            let mut reply = [0; 2048];
            let before = counted.served + counted.wrong;
            for socket in &sockets {
                while let Ok(length) = socket.recv(&mut reply) {
                    let right = self.service != "echo" || reply[..length] == *b"datagram";
                    *(if right { &mut counted.served } else { &mut counted.wrong }) += 1;
                }
            }
            counted.served + counted.wrong > before
        };
        for number in 0..count {
            let _ = sockets[number as usize % sockets.len()].send(b"datagram");
            if number % 1024 == 0 {
                collect(&mut counted);
            }
        }
        let start = Instant::now();
        let mut last = Instant::now();
        while start.elapsed() < self.limit && last.elapsed() < Duration::from_secs(1) {
            if collect(&mut counted) {
                last = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        counted.dropped = count as usize - counted.served - counted.wrong;
        counted
    }

    /// *Served* are the client's replies, *dropped* its requests without one.
    fn forged(&self, count: u32) -> Count {
        let socket = |ip: [u8; 4]| {
            let socket = UdpSocket::bind((Ipv4Addr::from(ip), 0)).expect("a port");
            socket.connect((Ipv4Addr::LOCALHOST, self.port)).expect("an address");
            socket
        };
        let networks: Vec<_> = (0..200).map(|network| socket([127, 1, network, 9])).collect();
        // Three clients, of which the best counts: one may share its bucket with a forged network.
        let clients = [2, 3, 4].map(|network| socket([127, network, 0, 9]));
        for client in &clients {
            client.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        }
        let over = AtomicBool::new(false);
        let ask = |client: &UdpSocket| {
            let mut counted = Count::default();
            for _ in 0..count {
                let start = Instant::now();
                let mut reply = [0; 2048];
                let answer = client.send(b"").and_then(|_| client.recv(&mut reply));
                *(match answer {
                    Ok(length) if fortunes().any(|fortune| *fortune == reply[..length]) => &mut counted.served,
                    Ok(_) => &mut counted.wrong,
                    Err(_) => &mut counted.dropped,
                }) += 1;
                std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
            }
            counted
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Some 2,000 a second, evenly: ten for each network.
                for network in networks.iter().cycle().take_while(|_| !over.load(Relaxed)) {
                    let _ = network.send(b"");
                    std::thread::sleep(Duration::from_micros(400));
                }
            });
            let asking: Vec<_> = clients.iter().map(|client| scope.spawn(move || ask(client))).collect();
            let counted = asking.into_iter().map(|client| client.join().expect("a client"));
            let best = counted.max_by_key(|counted| counted.served).unwrap_or_default();
            over.store(true, Relaxed);
            best
        })
    }

    fn answer(&self) {
        let start = Instant::now();
        while start.elapsed() < self.limit {
            let mut counted = Count::default();
            if let Some(mut client) = self.start(9_999) {
                let own = Instant::now();
                while own.elapsed() < self.limit {
                    let talks = self.service != "qotd";
                    if self.service == "chargen" && client.reply.len() > 1000 {
                        counted.served = 1;
                        break;
                    }
                    if Self::ready(std::slice::from_ref(&client), Duration::from_secs(1))[0]
                        && self.advance(&mut client, talks, &mut counted)
                    {
                        break;
                    }
                }
            }
            if counted.served == 1 {
                println!("{}", start.elapsed().as_millis());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("never");
    }
}

fn was_reset(client: &Client) -> bool {
    sockopt::socket_error(&client.socket) != Ok(Ok(()))
}

/// Makes the kernel drop every segment for a socket before TCP sees it: `SO_ATTACH_FILTER` in socket(7).
#[allow(unsafe_code)]
fn take_nothing(socket: &TcpStream) {
    use std::os::fd::AsRawFd;
    let mut nothing = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }; // BPF_RET
    let filter = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).expect("a few octets");
    // SAFETY: the filter and its one instruction live during the call.
    let answer = unsafe {
        let filter = (&raw const filter).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, filter, length)
    };
    assert_eq!(answer, 0, "every socket takes a filter");
}

/// Makes the kernel forget a connection, without a segment to the other end: `TCP_REPAIR` in tcp(7).
#[allow(unsafe_code)]
fn vanish(socket: &TcpStream) {
    use std::os::fd::AsRawFd;
    let on = 1_i32;
    let place = (&raw const on).cast();
    // SAFETY: the value is read from an integer that lives during the call.
    let answer = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, 19, place, 4) };
    assert_eq!(answer, 0, "vanishing takes CAP_NET_ADMIN");
}

/// All texts of the built-in collection, as they are sent.
fn fortunes() -> impl Iterator<Item = &'static [u8]> {
    static ALL: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    let all = ALL.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).expect("data/") {
            let text = std::fs::read_to_string(entry.expect("a file").path()).expect("a text");
            let fortunes = text.split("\n%\n").map(|one| format!("{}\n", one.trim_end_matches('\n')));
            all.extend(fortunes.map(|one| one.replace('\n', "\r\n").into_bytes()));
        }
        all
    });
    all.iter().map(Vec::as_slice)
}
