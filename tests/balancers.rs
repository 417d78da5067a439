//! lunchd behind balancers: which ones it trusts for the addresses of clients, alone and behind Debian's `HAProxy`.

mod support;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use proxy_header::{ProxiedAddress, ProxyHeader, Tlv};
use support::web::{Authority, EC, Lunchd, assert_dish, curl, try_curl};
use support::{Folder, HUNG, Process, connected_from, passing, repository, wait_until};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Long enough that no connection is closed for being idle.
const PATIENT: [&str; 2] = ["--idle-timeout", "1000"];

/// lunchd with HTTP and HTTPS. Connections from 127.0.0.1 are from a balancer.
fn lunchd(authority: &Authority, more: &[&str]) -> (Lunchd, SocketAddr, SocketAddr) {
    authority.certify("site", EC, 1);
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let mut arguments = vec!["--certificate", &certificate, "--key", &key, "--proxy-protocol", "127.0.0.1"];
    arguments.extend(["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]);
    let lunchd = Lunchd::start(&[&arguments, more].concat());
    let (http, https) = (lunchd.address("http"), lunchd.address("https"));
    (lunchd, http, https)
}

/// lunchd with HTTP alone. Connections from 127.0.0.1 are from a balancer.
fn plain(more: &[&str]) -> (Lunchd, SocketAddr) {
    let arguments = ["--listen", "http://127.0.0.1:0", "--proxy-protocol", "127.0.0.1"];
    let lunchd = Lunchd::start(&[&arguments, more].concat());
    let http = lunchd.address("http");
    (lunchd, http)
}

/// Connects from one of the host's addresses.
fn connected(from: &str, to: SocketAddr) -> TcpStream {
    connected_from(from.parse::<IpAddr>().unwrap(), to)
}

/// A header that names a client, in version 1 and in version 2.
fn naming(client: &str) -> [Vec<u8>; 2] {
    let (client, own): (IpAddr, IpAddr) = (client.parse().unwrap(), "192.0.2.80".parse().unwrap());
    let own = if client.is_ipv4() { own } else { "2001:db8::80".parse().unwrap() };
    let header = ProxyHeader::with_address(ProxiedAddress::stream((client, 40_000).into(), (own, 80).into()));
    let mut both = [vec![], vec![]];
    header.encode_v1(&mut both[0]).unwrap();
    header.encode_v2(&mut both[1]).unwrap();
    both
}

/// A header for a connection of the balancer itself.
fn naming_nobody() -> [Vec<u8>; 2] {
    let mut local = vec![];
    ProxyHeader::with_local().encode_v2(&mut local).unwrap();
    [b"PROXY UNKNOWN\r\n".to_vec(), local]
}

/// Whether a request gets a dish, over a connection that stays open.
fn is_answered(client: &mut (impl Read + Write)) -> bool {
    if client.write_all(REQUEST).is_err() {
        return false;
    }
    let (mut reply, mut octet) = (Vec::new(), [0]);
    loop {
        match client.read(&mut octet) {
            Ok(0) => return false,
            Ok(_) => reply.push(octet[0]),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
                return false;
            }
        }
        let text = String::from_utf8_lossy(&reply);
        if text.split_once("\r\n\r\n").is_some_and(|(_, dish)| dish.ends_with('\n')) {
            return text.starts_with("HTTP/1.1 200 ");
        }
    }
}

/// Whether the connection is closed before any octet arrives.
fn is_closed(client: &mut impl Read) -> bool {
    match client.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
            true
        }
    }
}

#[test]
fn limits_per_source_use_the_address_that_a_balancer_names() {
    for (version, [one, same, other]) in [
        (0, ["192.0.2.1", "192.0.2.1", "192.0.2.2"]),
        (1, ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"]),
        (0, ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]),
        (1, ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]),
    ] {
        let (_lunchd, http) = plain(&[&["--max-per-source", "1"][..], &PATIENT].concat());
        let named = |client: &str| {
            let mut stream = connected("127.0.0.1", http);
            stream.write_all(&naming(client)[version]).unwrap();
            stream
        };
        let mut first = named(one);
        assert!(is_answered(&mut first));
        assert!(is_closed(&mut named(same)), "{same} has one already");
        let mut elsewhere = named(other);
        assert!(is_answered(&mut elsewhere) && is_answered(&mut first), "{other} is another");
        // A closed connection no longer counts.
        drop(first);
        wait_until(|| is_answered(&mut named(same)));
        // The balancer's own connections count for the balancer.
        let mut own = connected("127.0.0.1", http);
        own.write_all(&naming_nobody()[version]).unwrap();
        assert!(is_answered(&mut own));
        let mut another = connected("127.0.0.1", http);
        another.write_all(&naming_nobody()[1 - version]).unwrap();
        assert!(is_closed(&mut another));
    }
}

#[test]
fn a_connection_without_a_header_is_closed_and_logged_once() {
    let authority = Authority::new("nobody");
    let (lunchd, http, https) = lunchd(&authority, &[]);
    let [text, binary] = naming("192.0.2.1");
    let mut cut = binary.clone();
    cut[15] = 4; // two addresses take more
    let mut datagrams = binary.clone();
    datagrams[13] = 0x12;
    let [mut version, mut command, mut unix] = [binary.clone(), binary.clone(), binary.clone()];
    version[12] = 0x11;
    command[12] = 0x22;
    unix[13] = 0x31; // two paths take more
    let mut endless = binary.clone();
    endless[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    for bad in [
        REQUEST,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        &version,
        &command,
        &unix,
        &[b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
        &text[1..],
        &binary[2..],
        &cut,
        &datagrams,
        &endless,
    ] {
        for address in [http, https] {
            let mut client = connected("127.0.0.1", address);
            client.write_all(bad).unwrap();
            assert!(is_closed(&mut client), "{:?}", String::from_utf8_lossy(bad));
        }
    }
    let lines = || lunchd.log().lines().filter(|line| line.contains("that did not begin with a PROXY header")).count();
    wait_until(|| lines() > 0);
    assert_eq!(lines(), 1, "{}", lunchd.log());
    assert!(
        lunchd.log().contains("a connection from 127.0.0.1 that did not begin")
            && lunchd.log().contains("--proxy-protocol")
    );
    // A missing or incomplete header has as much time as any other client. A connection that is closed without data is no error.
    let (lunchd, http) = plain(&["--idle-timeout", "1"]);
    for begun in [&b""[..], &text[..10], &text[..text.len() - 1], &binary[..13], &binary[..20]] {
        let mut client = connected("127.0.0.1", http);
        client.write_all(begun).unwrap();
        assert!(is_closed(&mut client));
        connected("127.0.0.1", http).write_all(begun).unwrap();
    }
    assert!(!lunchd.log().contains("PROXY"), "{}", lunchd.log());
}

#[test]
fn a_header_may_arrive_in_any_pieces_and_together_with_a_request() {
    let (_lunchd, http) = plain(&PATIENT);
    let mut long = vec![];
    ProxyHeader::with_tlvs(
        Some(ProxiedAddress::stream("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap())),
        [Tlv::Authority("a.example".into()), Tlv::Custom(0xe0, vec![7; 3000].into())],
    )
    .encode_v2(&mut long)
    .unwrap();
    for header in naming("192.0.2.1").iter().chain(&naming("2001:db8::1")).chain(&naming_nobody()).chain([&long]) {
        let mut client = connected("127.0.0.1", http);
        // With the first part of a request. The rest follows.
        client.write_all(&[header, &REQUEST[..7]].concat()).unwrap();
        client.write_all(&REQUEST[7..]).unwrap();
        let mut reply = [0; 15];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 200 OK");
        if header.len() < 200 {
            let mut client = connected("127.0.0.1", http);
            client.set_nodelay(true).unwrap();
            for octet in header {
                client.write_all(&[*octet]).unwrap();
            }
            assert!(is_answered(&mut client));
        }
    }
}

#[test]
fn a_local_header_may_have_any_content_and_a_missing_one_is_awaited_for_the_connection_timeout() {
    let (_lunchd, http) = plain(&[&PATIENT[..], &["--connection-timeout", "5"]].concat());
    // LOCAL, with valid and invalid families.
    for family in [0, 0x11, 0x21, 0x77] {
        let mut client = connected("127.0.0.1", http);
        client.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20").and_then(|()| client.write_all(&[family, 0, 0])).unwrap();
        assert!(is_answered(&mut client), "{family:#x}");
    }
    let mut silent = connected("127.0.0.1", http);
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "an answer to a silent client");
}

#[test]
fn only_the_named_balancers_are_trusted() {
    let authority = Authority::new("elsewhere");
    let (lunchd, http, https) = lunchd(&authority, &[&["--max-per-source", "1"][..], &PATIENT].concat());
    let ca = authority.path("ca.pem");
    let url = format!("https://localhost:{}/", https.port());
    let resolve = format!("localhost:{}:127.0.0.1", https.port());
    let secure = ["--interface", "127.0.0.2", "--resolve", &resolve, "--cacert", &ca, &url];
    // Without a header, as without a balancer.
    assert_dish(&curl(&secure));
    // From anyone else, a header is an invalid request or handshake.
    for header in naming("192.0.2.1") {
        let mut client = connected("127.0.0.2", http);
        client.write_all(&[&header, REQUEST].concat()).unwrap();
        let mut reply = [0; 12];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 400", "{}", String::from_utf8_lossy(&header));
        drop(client);
        let mut client = connected("127.0.0.3", https);
        client.write_all(&header).unwrap();
        let mut reply = Vec::new();
        let _ = client.read_to_end(&mut reply);
        // Version 1 begins with a letter, like HTTP and unlike TLS.
        let reply = String::from_utf8_lossy(&reply);
        assert!(!reply.contains("HTTP") || reply.starts_with("HTTP/1.1 400"), "{reply}");
    }
    let output = try_curl(&[&["--haproxy-protocol"][..], &secure].concat());
    assert!(!output.status.success());
    // Their own addresses count.
    let mut held = connected("127.0.0.4", http);
    held.write_all(REQUEST).unwrap();
    let mut reply = [0; 12];
    held.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 301");
    let mut second = connected("127.0.0.4", http);
    let _ = second.write_all(&naming("192.0.2.7")[0]);
    assert!(is_closed(&mut second));
    assert!(!lunchd.log().contains("PROXY"), "{}", lunchd.log());
}

#[test]
fn a_balancer_on_a_unix_domain_socket_is_trusted_if_configured() {
    let folder = Folder::new("balancer");
    let path = folder.path().join("socket");
    let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
    let ask = |header: &[u8]| {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(HUNG)).unwrap();
        client.write_all(header).unwrap();
        (is_answered(&mut client), client)
    };
    let lunchd = Lunchd::passed(&[&listener], "http", &["--proxy-protocol", "192.0.2.0/24"]);
    assert!(ask(b"").0);
    drop(lunchd);
    let arguments = [&["--proxy-protocol", "192.0.2.0/24,unix", "--max-per-source", "1"][..], &PATIENT].concat();
    let lunchd = Lunchd::passed(&[&listener], "http", &arguments);
    let [text, binary] = naming("192.0.2.1");
    let (answered, _kept) = ask(&text);
    assert!(answered && !ask(&binary).0 && ask(&naming("192.0.2.2")[1]).0);
    // The limit per source does not apply to them, as it does not apply to Unix-domain sockets.
    let (one, other) = (ask(&naming_nobody()[0]), ask(&naming_nobody()[1]));
    assert!(one.0 && other.0);
    assert!(!ask(b"").0);
    lunchd.wait_for("a connection from a Unix-domain socket that did not begin with a PROXY header");
    let log = Lunchd::start(&["--proxy-protocol", "192.0.2.1/24"]).ended(2);
    assert!(log.contains("this is the address of a host, not of a network"), "{log}");
}

/// Debian's `HAProxy`, with these sections of its configuration. Its listening sockets are passed as `fd@3` and up.
struct Haproxy {
    folder: Folder,
    _process: Process,
}

impl Haproxy {
    fn start(name: &str, sockets: &[&OwnedFd], sections: &str) -> Self {
        let folder = Folder::new(name);
        let file = folder.file(
            "haproxy.cfg",
            format!(
                "global\n stats socket {}\ndefaults\n mode tcp\n retries 0\n timeout connect 60s\n timeout client 60s\n \
                 timeout server 60s\n timeout check 60s\n{sections}",
                folder.path().join("stats").display()
            ),
        );
        let program = repository().join("target/peers/usr/sbin/haproxy");
        let arguments = ["-q", "-db", "-f", file.to_str().unwrap()];
        let process = passing(&program, sockets, "", &arguments, Process::start);
        let haproxy = Self { folder, _process: process };
        wait_until(|| haproxy.try_states().is_some());
        haproxy
    }

    /// The state of each server and the check that determined it, from `show stat`.
    fn states(&self) -> Vec<(String, String)> {
        self.try_states().expect("it runs")
    }

    fn try_states(&self) -> Option<Vec<(String, String)>> {
        let mut socket = UnixStream::connect(self.folder.path().join("stats")).ok()?;
        socket.write_all(b"show stat\n").ok()?;
        let mut table = String::new();
        socket.read_to_string(&mut table).ok()?;
        let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = rows.next()?;
        let at = |name: &str| names.iter().position(|it| *it == name);
        let (server, status, check) = (at("svname")?, at("status")?, at("check_status")?);
        let servers = rows.filter(|row| row.get(server).is_some_and(|name| name.starts_with("server")));
        Some(servers.map(|row| (row[status].to_owned(), row[check].trim_start_matches("* ").to_owned())).collect())
    }
}

/// A listening socket and its address.
fn listening(at: &str) -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

#[test]
fn limits_per_source_apply_to_the_clients_of_haproxy() {
    for (send, mode) in
        [("send-proxy", "tcp"), ("send-proxy-v2", "tcp"), ("send-proxy", "http"), ("send-proxy-v2", "http")]
    {
        let (lunchd, http) = plain(&[&["--max-per-source", "1"][..], &PATIENT].concat());
        let ((v4, front), (v6, front6)) = (listening("127.0.0.1:0"), listening("[::1]:0"));
        let name = format!("haproxy-{send}-{mode}");
        let sections = format!("listen http\n mode {mode}\n bind fd@3\n bind fd@4\n server server {http} {send}\n");
        let _haproxy = Haproxy::start(&name, &[&v4, &v6], &sections);
        let mut first = connected("127.0.0.2", front);
        assert!(is_answered(&mut first), "{send}, {mode}");
        // On HAProxy's connection to the server, which names the same client: it is closed, or HAProxy answers 502 or similar.
        assert!(!is_answered(&mut connected("127.0.0.2", front)), "{send}, {mode}");
        let mut other = connected("127.0.0.3", front);
        assert!(is_answered(&mut other) && is_answered(&mut first), "{send}, {mode}");
        assert_dish(&curl(&[&format!("http://{front6}/")]));
        assert!(!lunchd.log().contains("PROXY"), "{}", lunchd.log());
    }
}

#[test]
fn haproxy_passes_tls_through() {
    let authority = Authority::new("passthrough");
    for send in ["send-proxy", "send-proxy-v2"] {
        let (lunchd, _, https) = lunchd(&authority, &[&["--max-per-source", "1"][..], &PATIENT].concat());
        let (socket, front) = listening("127.0.0.1:0");
        let sections = format!("listen tls\n bind fd@3\n server server {https} {send}\n");
        let _haproxy = Haproxy::start(&format!("haproxy-tls-{send}"), &[&socket], &sections);
        let (ca, url) = (authority.path("ca.pem"), format!("https://localhost:{}/", front.port()));
        let from = |ip: &str, version: &str| {
            let resolve = format!("localhost:{}:127.0.0.1", front.port());
            try_curl(&[version, "--interface", ip, "--resolve", &resolve, "--cacert", &ca, &url])
        };
        for version in ["--http1.1", "--http2"] {
            // The server sees the end of the previous connection a moment later.
            wait_until(|| from("127.0.0.2", version).status.success());
        }
        // A connection without data counts for its client, too.
        let mut held = connected("127.0.0.3", front);
        wait_until(|| !from("127.0.0.3", "--http2").status.success());
        wait_until(|| from("127.0.0.2", "--http2").status.success());
        held.set_nonblocking(true).unwrap();
        assert_eq!(held.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it is open all the while");
        assert!(!lunchd.log().contains("PROXY"), "{}", lunchd.log());
    }
}

#[test]
fn the_health_checks_of_haproxy_succeed() {
    let authority = Authority::new("health");
    let (mut lunchd, http, https) = lunchd(&authority, &[]);
    let mut sections = String::new();
    // HAProxy's health checks name no client: LOCAL in version 2, UNKNOWN in version 1.
    let asks = " option httpchk\n http-check send meth GET uri / ver HTTP/1.1 hdr Host localhost\n";
    for (number, send) in ["send-proxy", "send-proxy-v2"].into_iter().enumerate() {
        for (kind, options, server) in [
            ("connects", "", format!("{http} {send} check")),
            ("http", asks, format!("{http} {send} check")),
            ("tls", "", format!("{https} {send} check check-ssl verify none")),
            ("https", asks, format!("{https} {send} check check-ssl verify none")),
        ] {
            writeln!(sections, "backend {kind}{number}\n{options} server server {server} inter 50ms").unwrap();
        }
    }
    let haproxy = Haproxy::start("haproxy-health", &[], &sections);
    let expected = ["L4OK", "L7OK", "L6OK", "L7OK"].repeat(2);
    wait_until(|| {
        let states = haproxy.states();
        states.iter().map(|(status, check)| (status.as_str(), check.as_str())).eq(expected.iter().map(|it| ("UP", *it)))
    });
    assert!(!lunchd.log().contains("PROXY"), "{}", lunchd.log());
    lunchd.process.signal("TERM");
    lunchd.process.wait();
    wait_until(|| haproxy.states().iter().all(|(status, _)| status == "DOWN"));
}
