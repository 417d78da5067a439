//! Shared by the tests of lunchd: certificates by a real openssl, a real curl, and the program with its log.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Folder, Process, fortunes_of, program, repository, tool, wait_until};

/// An authority with the certificates that it issued, for localhost and its addresses.
pub struct Authority(Folder);

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self(Folder::new(&format!("authority-{name}")));
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN={name}"
        ));
        authority.0.file("leaf", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n");
        authority
    }

    /// Runs openssl in the folder of the files.
    pub fn openssl(&self, arguments: &str) {
        let output = tool("openssl").args(arguments.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Issues `name.pem` with the key `name.key`, of a kind that openssl knows, valid for this many days from now.
    pub fn certify(&self, name: &str, key: &str, days: i32) {
        self.openssl(&format!("req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -days {days} -extfile leaf -out {name}.pem"
        ));
    }

    pub fn path(&self, file: &str) -> String {
        self.0.path().join(file).to_str().unwrap().to_owned()
    }

    pub fn folder(&self) -> &Folder {
        &self.0
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A key that is generated quickly.
pub const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

/// Runs curl, and returns its output. The test fails if curl does.
pub fn curl(arguments: &[&str]) -> String {
    let output = try_curl(arguments);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "curl {arguments:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

pub fn try_curl(arguments: &[&str]) -> Output {
    tool("curl").args(["--silent", "--show-error", "--max-time", "120"]).args(arguments).output().unwrap()
}

/// TLS over a connection, from a client that trusts only this authority, and offers one protocol by ALPN or none. Nothing is sent
/// before the first read or write.
pub fn tls(authority: &Authority, stream: TcpStream, protocol: Option<&str>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.path("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocol.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// Sends a request over TLS, and returns everything that arrives.
pub fn over_tls(authority: &Authority, stream: TcpStream, request: &[u8]) -> impl Read + use<> {
    let mut stream = tls(authority, stream, None);
    stream.conn.writer().write_all(request).unwrap();
    stream
}

/// The lunch dishes.
pub fn dishes() -> Vec<String> {
    fortunes_of(&repository().join("crates/lunchd/data/lunch"))
}

pub fn assert_dish(text: &str) {
    assert!(dishes().iter().any(|dish| dish == text), "{text:?} is no dish");
}

/// lunchd and its log so far.
pub struct Lunchd {
    pub process: Process,
    log: Arc<Mutex<String>>,
}

impl Lunchd {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program("lunchd")).args(arguments))
    }

    /// With sockets as descriptors 3 and up, and their names.
    pub fn passed(sockets: &[&OwnedFd], names: &str, arguments: &[&str]) -> Self {
        super::passing(&program("lunchd"), sockets, &format!("LISTEN_FDNAMES={names}"), arguments, Self::spawn)
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(process.0.stderr.take().expect("a pipe"));
        let written = log.clone();
        thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                if !super::is_about_landlock(&line) {
                    written.lock().unwrap().push_str(&line);
                }
                line.clear();
            }
        });
        Self { process, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn wait_for(&self, words: &str) {
        wait_until(|| self.log().contains(words));
    }

    /// The address of a scheme that `--listen` requested.
    pub fn address(&self, scheme: &str) -> SocketAddr {
        let words = format!("serving on {scheme}://");
        self.wait_for(&words);
        let log = self.log();
        let rest = log.split(&words).nth(1).unwrap();
        rest.split(';').next().unwrap().parse().unwrap()
    }

    /// Waits until it serves. Clients would wait in the kernel, but checks in /proc do not.
    pub fn locked_down(&self) {
        wait_until(|| self.status().contains("Seccomp:\t2\n"));
    }

    pub fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap()
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).unwrap().count()
    }

    /// Asserts that it ends by itself with this exit code, and returns its log.
    pub fn ended(mut self, code: i32) -> String {
        assert_eq!(self.process.wait().code(), Some(code), "{}", self.log());
        // Closes the other end of the pipe, which nothing else holds.
        wait_until(|| Arc::strong_count(&self.log) == 1);
        self.log()
    }
}
