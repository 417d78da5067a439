//! lunchd's HTTP and TLS, as specified in their RFCs.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use support::web::{Authority, EC, Lunchd, Tls, assert_dish, curl, tls};
use support::{connected, tool};

/// One lunchd for HTTP and one for HTTPS, so that neither redirects to the other.
fn both(authority: &Authority, more: &[&str]) -> ([Lunchd; 2], SocketAddr, SocketAddr) {
    authority.certify("site", EC, 1);
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let identity = ["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"];
    let secure = Lunchd::start(&[&identity, more].concat());
    let plain = Lunchd::start(&[&["--listen", "http://127.0.0.1:0"], more].concat());
    let (http, https) = (plain.address("http"), secure.address("https"));
    ([plain, secure], http, https)
}

/// Sends these octets, and returns everything up to an orderly end.
fn raw(address: SocketAddr, octets: &str) -> String {
    let mut client = connected(address);
    client.write_all(octets.as_bytes()).unwrap();
    String::from_utf8(support::read_all(&mut client)).expect("ASCII")
}

/// The status of each answer.
fn statuses(replies: &str) -> Vec<&str> {
    let lines = replies.lines().filter(|line| line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 200 "));
    lines.filter_map(|line| line.split(' ').nth(1)).collect()
}

/// The status of the only answer.
fn status(reply: &str) -> &str {
    if let [status] = statuses(reply)[..] { status } else { "none, or several" }
}

/// A client of HTTP/2 that knows only frames (RFC 9113, section 4.1).
struct Http2(Tls);

/// Frame types, and the ACK flag.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

impl Http2 {
    fn new(authority: &Authority, https: SocketAddr) -> Self {
        let mut client = Self(tls(authority, connected(https), Some("h2")));
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).unwrap();
    }

    /// The next frame: type, flags and payload; `None` at an orderly end, which requires a `close_notify`.
    fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut about = [0; 9];
        match self.0.read_exact(&mut about[..1]) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && !error.to_string().contains("close_notify") => {
                return None;
            }
            other => other.unwrap(),
        }
        self.0.read_exact(&mut about[1..]).unwrap();
        let length = usize::from(about[0]) << 16 | usize::from(about[1]) << 8 | usize::from(about[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        Some((about[3], about[4], payload))
    }

    /// Sends a request with exactly these fields (RFC 7541, section 6.2.2), and returns the first octet of the answer's head: for
    /// common statuses an index of the static table.
    fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> u8 {
        let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let head: Vec<u8> =
            fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect();
        self.send(HEADERS, 5, stream, &head);
        loop {
            match self.next().expect("an answer") {
                (HEADERS, _, head) => return head[0],
                (kind, _, payload) => assert!([SETTINGS, DATA, WINDOW_UPDATE].contains(&kind), "{kind}: {payload:?}"),
            }
        }
    }
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "localhost")];
/// `:status` 200 and 400 (RFC 7541, appendix A).
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

#[test]
fn a_handshake_that_fails_ends_with_its_alert() {
    let authority = Authority::new("alerts");
    let (_lunchds, _, https) = both(&authority, &[]);
    // RFC 7301, section 3.2; RFC 8446, section 6.2.
    for (arguments, alert) in [
        ("-tls1_3 -alpn nonsense", 120),
        ("-tls1_2 -alpn nonsense", 120),
        ("-tls1_3 -groups P-521", 40),
        ("-tls1_2 -cipher AES128-SHA", 40),
        ("-tls1_3 -sigalgs RSA+SHA256", 40),
    ] {
        let mut openssl = tool("openssl");
        openssl.args(["s_client", "-connect", &https.to_string()]).args(arguments.split(' '));
        let output = openssl.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("SSL alert number {alert}\n")), "{arguments}: {said}");
    }
}

#[test]
fn an_idle_connection_over_http_2_ends_with_goaway_and_close_notify() {
    let authority = Authority::new("goaway");
    let (_lunchds, _, https) = both(&authority, &["--idle-timeout", "1"]);
    // One client that answers the server's PING, and one that does not: both get the first GOAWAY.
    for (requests, awake) in [(0, true), (1, true), (2, true), (3, true), (2, false)] {
        let mut client = Http2::new(&authority, https);
        for number in 0..requests {
            assert_eq!(client.ask(2 * number + 1, &GET), OK);
        }
        let mut last_streams = Vec::new();
        while let Some((kind, flags, payload)) = client.next() {
            match kind {
                PING if flags == 0 && awake => client.send(PING, ACK, 0, &payload),
                GOAWAY => {
                    assert_eq!(payload[4..8], [0; 4], "no error");
                    last_streams.push(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                }
                _ => {}
            }
        }
        // First that no more requests are accepted, then which was the last (RFC 9113, section 6.8).
        let last = [Some(0x7fff_ffff), (awake).then_some((2 * requests).saturating_sub(1))];
        assert_eq!(last_streams, last.into_iter().flatten().collect::<Vec<_>>(), "{requests} requests, awake: {awake}");
    }
}

#[test]
fn a_silent_client_of_tls_gets_close_notify() {
    let authority = Authority::new("silent");
    let (_lunchds, _, https) = both(&authority, &["--idle-timeout", "1"]);
    for protocol in [None, Some("http/1.1"), Some("h2")] {
        let mut client = tls(&authority, connected(https), protocol);
        let mut rest = Vec::new();
        // rustls fails if the connection ends without one.
        client.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
    }
}

#[test]
fn a_client_may_negotiate_http_1_0() {
    let authority = Authority::new("alpn");
    let (_lunchds, _, https) = both(&authority, &[]);
    let mut client = tls(&authority, connected(https), Some("http/1.0"));
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.0"[..]));
    assert_dish(reply.split_once("\r\n\r\n").unwrap().1);
}

#[test]
fn http_on_the_https_port_gets_400_with_an_explanation() {
    let authority = Authority::new("no-tls");
    let (lunchds, _, https) = both(&authority, &[]);
    let before = lunchds[1].log();
    let large = "x".repeat(1 << 20);
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{large}", large.len()),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let reply = raw(https, &request);
        assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
        assert!(reply.contains("connection: close\r\n") && reply.contains("\r\ndate: "), "{reply}");
        assert!(reply.contains("content-security-policy: default-src 'none'"), "{reply}");
        assert!(
            reply.ends_with("\r\n\r\nThis port is for https; use an address that begins with https://\n"),
            "{reply}"
        );
    }
    let url = format!("http://{https}/");
    assert_eq!(curl(&["--write-out", "%{http_code}", "--output", "/dev/null", &url]), "400");
    assert_eq!(curl(&["--write-out", "%{http_code}", "--output", "/dev/null", "--head", &url]), "400");
    assert_eq!(lunchds[1].log(), before);
}

#[test]
fn every_version_of_http_1_is_served_and_no_other() {
    let authority = Authority::new("versions");
    let (_lunchds, http, _) = both(&authority, &[]);
    for (version, expected) in [
        ("HTTP/1.0", "200"),
        ("HTTP/1.1", "200"),
        // RFC 9110, section 2.5.
        ("HTTP/1.2", "200"),
        ("HTTP/1.9", "200"),
        // RFC 9110, section 15.6.6.
        ("HTTP/2.0", "505"),
        ("HTTP/3.0", "505"),
        ("HTTP/0.9", "505"),
        ("HTTP/1.10", "400"),
        ("HTTP/2", "400"),
        ("http/1.1", "400"),
    ] {
        let reply = raw(http, &format!("GET / {version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(status(&reply), expected, "{version}: {reply}");
    }
    // Only the request with that version, and none after it.
    let get = |version: &str| format!("GET / {version}\r\nHost: localhost\r\n\r\n");
    let reply = raw(http, &["HTTP/1.1", "HTTP/1.2", "HTTP/2.0", "HTTP/1.1"].map(get).concat());
    assert_eq!(statuses(&reply), ["200", "200", "505"], "{reply}");
}

#[test]
fn a_target_must_have_the_form_of_its_method() {
    let authority = Authority::new("targets");
    let (_lunchds, http, https) = both(&authority, &[]);
    for (line, expected) in [
        // RFC 9110, section 7.1, and RFC 9112, section 3.2.
        ("GET *", "400"),
        ("HEAD *", "400"),
        ("OPTIONS *", "405"),
        ("CONNECT /", "400"),
        ("CONNECT *", "400"),
        ("CONNECT localhost", "400"),
        ("CONNECT http://localhost:80/", "400"),
        ("CONNECT localhost:443", "405"),
        ("GET localhost:443", "400"),
        ("GET index", "400"),
        // RFC 9110, section 7.4.
        ("GET http://localhost/", "200"),
        ("GET HTTP://localhost/", "200"),
        ("GET https://localhost/", "421"),
        ("GET ftp://localhost/", "421"),
    ] {
        let reply = raw(http, &format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(status(&reply), expected, "{line}: {reply}");
    }
    let over_tls = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut reply = String::new();
        support::web::over_tls(&authority, connected(https), request.as_bytes()).read_to_string(&mut reply).unwrap();
        status(&reply).to_owned()
    };
    assert_eq!(["GET https://localhost/", "GET http://localhost/"].map(over_tls), ["200", "421"]);
}

#[test]
fn an_incomplete_request_gets_408() {
    let authority = Authority::new("slow");
    let (_lunchds, http, https) = both(&authority, &["--idle-timeout", "1"]);
    for beginning in ["G", "\r\nGET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        // RFC 9110, section 15.5.9.
        let reply = raw(http, beginning);
        assert!(reply.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{beginning:?}: {reply}");
        assert!(reply.contains("connection: close\r\n"), "{reply}");
        let mut reply = String::new();
        support::web::over_tls(&authority, connected(https), beginning.as_bytes()).read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 408 "), "{beginning:?}: {reply}");
    }
    let reply = raw(http, "GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!(statuses(&reply), ["404", "408"], "{reply}");
    // Between two requests no answer is due.
    assert_eq!(raw(http, ""), "");
    assert_eq!(raw(http, "\r\n"), "");
    let reply = raw(http, "GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{reply}");
}

#[test]
fn a_request_over_http_2_is_well_formed_and_its_cookies_are_one_field() {
    let authority = Authority::new("fields");
    let (_lunchds, _, https) = both(&authority, &[]);
    let mut client = Http2::new(&authority, https);
    let (mut status, mut stream) = (0, 1);
    let mut ask = |more: &[(&str, &str)]| {
        status = client.ask(stream, &[&GET, more].concat());
        stream += 2;
        status
    };
    // RFC 9113, section 8.3.1.
    for (host, expected) in [
        ("localhost", OK),
        ("LocalHost:443", OK),
        ("localhost:", OK),
        ("localhost:80", BAD_REQUEST),
        ("elsewhere.example", BAD_REQUEST),
        ("", BAD_REQUEST),
    ] {
        assert_eq!(ask(&[("host", host)]), expected, "{host:?}");
    }
    // Section 8.2.1.
    for (value, expected) in
        [("a b", OK), ("", OK), (" a", BAD_REQUEST), ("a ", BAD_REQUEST), ("\ta", BAD_REQUEST), (" ", BAD_REQUEST)]
    {
        assert_eq!(ask(&[("x-any", value)]), expected, "{value:?}");
        assert_eq!(ask(&[("x-any", value), ("accept", "*/*")]), expected, "{value:?}");
    }
    // Section 8.2.3.
    let crumbs = [("cookie", "a=b"); 200];
    assert_eq!(ask(&crumbs), OK);
    assert_eq!(ask(&[("x-any", "a"); 64]), OK);
    assert_eq!(ask(&[&crumbs[..], &[("x-any", "a"); 63]].concat()), OK);
    assert_ne!(ask(&[&crumbs[..], &[("x-any", "a"); 64]].concat()), OK);
    assert_ne!(ask(&[("x-any", "a"); 65]), OK);
}

#[test]
fn a_slow_reader_over_http_2_gets_the_whole_answer() {
    let authority = Authority::new("taken-slowly");
    let folder = support::Folder::new("taken-slowly");
    let text = format!("{}\n", "x".repeat(999_999));
    let long = folder.file("long", &text).to_str().unwrap().to_owned();
    let more = ["--idle-timeout", "1", "--fortunes", "--max-length", "1048576", &long];
    let (_lunchds, _, https) = both(&authority, &more);
    let mut client = Http2::new(&authority, https);
    assert_eq!(client.ask(1, &GET), OK);
    let (mut taken, mut granted, mut ended) = (0, 0, false);
    while !ended {
        let (kind, flags, payload) = client.next().unwrap_or_else(|| panic!("only {taken} octets came"));
        match kind {
            DATA => (taken, ended) = (taken + payload.len(), flags & 1 != 0),
            PING if flags == 0 => client.send(PING, ACK, 0, &payload),
            _ => {}
        }
        if taken - granted >= 32_768 && !ended {
            // Longer in total than the idle timeout; and a connection at its time limit.
            thread::sleep(Duration::from_millis(300));
            for stream in [0, 1] {
                client.send(WINDOW_UPDATE, 0, stream, &u32::try_from(taken - granted).unwrap().to_be_bytes());
            }
            granted = taken;
        }
    }
    assert_eq!(taken, text.len());
}
