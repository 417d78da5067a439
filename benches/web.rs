//! The cost of a request to lunchd, compared with Debian's nginx: one worker, the same text, the same certificate. Both take turns
//! in one run, so that other load on the machine affects both alike.
//!
//! `make bench` runs this in its own network, with the peers' paths in the environment.

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Goal, Result, Rows, Server, as_f64, given, median, micros, peer, per_second, wait_for};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};

const ROUNDS: usize = 25;
/// Persistent connections, each with one request in progress.
const KEPT: usize = 32;
/// HTTP/2: connections, and concurrent requests in each.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 16;
/// Concurrent clients, each with a new connection.
const AT_ONCE: usize = 16;
const FIELDS: [(&str, &str); 8] = [
    ("vary", "Accept"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];
const TEXT: &str = "Mushroom risotto with parsley\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// One of them, and what was measured in each round.
struct Contender {
    name: &'static str,
    /// For HTTP and for HTTPS: nginx is one server for both.
    servers: Vec<Server>,
    http: SocketAddr,
    https: SocketAddr,
    rates: Vec<f64>,
    processor: Vec<f64>,
}

impl Contender {
    fn new(name: &'static str, servers: Vec<Server>, http: SocketAddr, https: SocketAddr) -> Self {
        Self { name, servers, http, https, rates: Vec::new(), processor: Vec::new() }
    }

    fn lunchd(site: &Site) -> Result<Self> {
        let file = site.text();
        let limits = ["--max-connections", "1000", "--max-per-source", "1000", "--connection-timeout", "3600"];
        let fortunes = ["--fortunes".to_owned(), file.display().to_string()];
        let [certificate, key] = site.files();
        let identity = ["--certificate".to_owned(), certificate, "--key".to_owned(), key];
        let start = |scheme: &str, identity: &[String]| {
            let words: Vec<_> = identity.iter().chain(&fortunes).map(String::as_str).collect();
            Server::ours("lunchd", scheme, &[&limits, &words[..]].concat())
        };
        let ((plain, http), (secure, https)) = (start("http", &[])?, start("https", &identity)?);
        Ok(Self::new("lunchd", vec![plain, secure], http, https))
    }

    /// As Debian configures it, with a site of this `location`.
    fn nginx(name: &'static str, site: &Site, port: u16, location: &str) -> Result<Self> {
        let (http, https) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], port + 1)));
        let [certificate, key] = site.files();
        let file = site.folder.join(format!("nginx-{port}.conf"));
        let folder = site.folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/nginx-{port}-{name};"))
            .concat();
        // The headers of lunchd's answers beyond those of every server.
        let fields = FIELDS.map(|(name, value)| format!("add_header {name} \"{value}\";")).concat();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {folder}/nginx-{port}.pid; error_log stderr;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ sendfile on; tcp_nopush on; access_log off; default_type text/plain; keepalive_requests 1000000000; {temporary}\n\
             ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n\
             {fields}\n\
             server {{ listen {http}; listen {https} ssl http2; location / {{ {location} }} }} }}\n"
        );
        fs::write(&file, configuration)?;
        let mut command = Command::new(peer("usr/sbin/nginx")?);
        let server = Server::start(command.args(["-e", "stderr", "-c"]).arg(&file).stderr(Stdio::inherit()))?;
        wait_for(http)?;
        Ok(Self::new(name, vec![server], http, https))
    }

    fn processor_time(&self) -> Result<Duration> {
        self.servers.iter().map(Server::processor_time).sum()
    }

    /// One round of one kind.
    fn measure(&mut self, site: &Site, kind: &Kind) -> Result<()> {
        let before = self.processor_time()?;
        self.rates.push((kind.run)(self, site, kind.count)?);
        let used = self.processor_time()?.saturating_sub(before);
        self.processor.push(micros(used) / as_f64(kind.count));
        Ok(())
    }

    fn plain(&self) -> io::Result<TcpStream> {
        let client = TcpStream::connect(self.http)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(client)
    }

    fn secure(&self, config: &Arc<ClientConfig>) -> io::Result<Tls> {
        let client = TcpStream::connect(self.https)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(Duration::from_mins(1)))?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        Ok(StreamOwned::new(ClientConnection::new(config.clone(), name).map_err(io::Error::other)?, client))
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for all, and clients that trust it.
struct Site {
    folder: PathBuf,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Site {
    fn new() -> Result<Self> {
        let folder = Path::new(&given("SCRATCH")?).join("web");
        let identity = folder.join("identity");
        fs::create_dir_all(&identity)?;
        fs::create_dir_all(folder.join("fortunes"))?;
        fs::write(folder.join("fortunes/text"), TEXT)?;
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout"]);
        openssl.arg(identity.join("key.pem")).arg("-out").arg(identity.join("certificate.pem"));
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        if !openssl.stderr(Stdio::null()).status()?.success() {
            return Err("openssl makes no certificate".into());
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(identity.join("certificate.pem"))?)?;
        let config = |protocol: &str| -> Result<_> {
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots.clone());
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            config.resumption = Resumption::disabled();
            Ok(Arc::new(config))
        };
        Ok(Self { http1: config("http/1.1")?, http2: config("h2")?, folder })
    }

    /// In a separate directory, like the certificate: the program warns if other files stay readable.
    fn text(&self) -> PathBuf {
        self.folder.join("fortunes/text")
    }

    fn files(&self) -> [String; 2] {
        ["certificate.pem", "key.pem"].map(|name| self.folder.join("identity").join(name).display().to_string())
    }
}

/// What is measured: how, the number of requests in a round, and the goal relative to nginx.
struct Kind {
    name: &'static str,
    count: usize,
    run: fn(&Contender, &Site, usize) -> Result<f64>,
}

const KINDS: [Kind; 5] = [
    Kind { name: "HTTP/1.1, kept connections", count: 20_000, run: kept },
    Kind { name: "HTTP/1.1 over TLS, kept connections", count: 15_000, run: kept_over_tls },
    Kind { name: "HTTP/2", count: 20_000, run: http2 },
    Kind { name: "HTTP/1.1, a new connection each", count: 5_000, run: new },
    Kind { name: "HTTP/1.1 over TLS, a new connection each", count: 600, run: new_over_tls },
];

fn kept(one: &Contender, _: &Site, count: usize) -> Result<f64> {
    let clients: Vec<_> = (0..KEPT).map(|_| one.plain()).collect::<io::Result<_>>()?;
    ask_in_turns(clients, count)
}

fn kept_over_tls(one: &Contender, site: &Site, count: usize) -> Result<f64> {
    let clients: Vec<_> = (0..KEPT).map(|_| one.secure(&site.http1)).collect::<io::Result<_>>()?;
    ask_in_turns(clients, count)
}

/// Sends requests over all connections at once, repeatedly: one client with many requests in progress, so that it needs little of
/// the time.
fn ask_in_turns(mut clients: Vec<impl Read + Write>, count: usize) -> Result<f64> {
    let mut length = 0;
    for client in &mut clients {
        client.write_all(REQUEST)?;
        length = first_answer(client)?;
    }
    let mut answer = vec![0; length];
    let start = Instant::now();
    for _ in 0..count / clients.len() {
        clients.iter_mut().try_for_each(|client| client.write_all(REQUEST))?;
        clients.iter_mut().try_for_each(|client| client.read_exact(&mut answer))?;
    }
    check(&answer)?;
    Ok(as_f64(count) / start.elapsed().as_secs_f64())
}

/// The length of all answers: they differ only in their dates.
fn first_answer(client: &mut impl Read) -> Result<usize> {
    let mut answer = Vec::new();
    while !answer.ends_with(TEXT.as_bytes()) {
        let mut octet = [0];
        client.read_exact(&mut octet)?;
        answer.push(octet[0]);
    }
    check(&answer)?;
    Ok(answer.len())
}

fn check(answer: &[u8]) -> Result<()> {
    let fits = answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(TEXT.as_bytes());
    if fits { Ok(()) } else { Err(format!("an answer is {}", String::from_utf8_lossy(answer)).into()) }
}

fn http2(one: &Contender, site: &Site, count: usize) -> Result<f64> {
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| one.secure(&site.http2)).collect::<io::Result<_>>()?;
    for client in &mut clients {
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        // Its preface and SETTINGS are answered before the measurement.
        client.flush()?;
    }
    let mut streams = 1_u32;
    let mut octets = vec![0; 64 * 1024];
    let start = Instant::now();
    for _ in 0..count / CONNECTIONS / STREAMS {
        let mut requests: Vec<u8> =
            (0..STREAMS).zip((streams..).step_by(2)).flat_map(|(_, stream)| get(stream)).collect();
        // WINDOW_UPDATE: the connection may receive the same amount again.
        requests.extend([0, 0, 4, 8, 0, 0, 0, 0, 0]);
        requests.extend(u32::try_from(STREAMS * TEXT.len())?.to_be_bytes());
        streams += 2 * u32::try_from(STREAMS)?;
        clients.iter_mut().try_for_each(|client| client.write_all(&requests))?;
        for client in &mut clients {
            let (mut ended, mut text) = (0, 0);
            while ended < STREAMS {
                let mut about = [0; 9];
                client.read_exact(&mut about)?;
                let length = u32::from_be_bytes([0, about[0], about[1], about[2]]) as usize;
                client.read_exact(octets.get_mut(..length).ok_or("a frame is too long")?)?;
                // The last frame of a stream, DATA (RFC 9113, section 6.1).
                ended += usize::from(about[3] == 0 && about[4] & 1 != 0);
                text += if about[3] == 0 { length } else { 0 };
            }
            if text != STREAMS * TEXT.len() {
                return Err("the answers are other texts".into());
            }
        }
    }
    Ok(as_f64(count) / start.elapsed().as_secs_f64())
}

/// HEADERS with the end of the stream: GET, https, /, and the authority (RFC 7541, appendix A).
fn get(stream: u32) -> Vec<u8> {
    let head = [&[0x82, 0x87, 0x84, 0x01, 9], &b"localhost"[..]].concat();
    [&[0, 0, 14, 1, 5][..], &stream.to_be_bytes(), &head].concat()
}

fn new(one: &Contender, _: &Site, count: usize) -> Result<f64> {
    per_second(AT_ONCE, count, |one_less| {
        while one_less() {
            ask_once(one.plain()?)?;
        }
        Ok(())
    })
}

fn new_over_tls(one: &Contender, site: &Site, count: usize) -> Result<f64> {
    per_second(AT_ONCE, count, |one_less| {
        while one_less() {
            ask_once(one.secure(&site.http1)?)?;
        }
        Ok(())
    })
}

fn ask_once(mut client: impl Read + Write) -> io::Result<()> {
    client.write_all(LAST_REQUEST)?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    check(&answer).map_err(io::Error::other)
}

fn main() -> Result<()> {
    let site = Site::new()?;
    let mut rows = Rows::new();
    let text = format!("root {}; index text;", site.text().with_file_name("").display());
    let mut all = [
        Contender::lunchd(&site)?,
        Contender::nginx("nginx", &site, 8081, &text)?,
        // Its configuration contains the text, so it reads no file.
        Contender::nginx("nginx's return", &site, 8083, &format!("return 200 '{TEXT}';"))?,
    ];
    for kind in KINDS {
        for one in &mut all {
            (one.rates, one.processor) = Default::default();
        }
        for _ in 0..ROUNDS {
            all.iter_mut().try_for_each(|one| one.measure(&site, &kind))?;
        }
        let [ours, others @ ..] = &all;
        for other in others {
            let goal = if other.name == "nginx" { Goal::AtLeast(1.0) } else { Goal::None };
            for (unit, ours, theirs, goal) in [
                ("requests/s", &ours.rates, &other.rates, goal),
                ("processor µs", &ours.processor, &other.processor, Goal::None),
            ] {
                rows.add("a request", kind.name, unit, ours, Some((other.name, theirs)), goal);
                let ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
                println!("  median of the rounds' ratios: {:.3}", median(&ratios));
            }
        }
    }
    rows.write("web")
}
