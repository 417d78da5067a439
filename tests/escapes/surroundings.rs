//! The environment in which the hijacked program tries what an attacker would: the targets, and the outcome of each action.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// By a filter of system calls.
pub const SIGSYS: i32 = 31;

/// The outcome of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused(i32),
    Killed(i32),
}

/// All actions that the program knows, each with its family.
pub fn acts(hijacked: &Path) -> Vec<(String, String)> {
    let list = Command::new(hijacked).arg("list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    list.lines().map(|line| line.split_once('\t').unwrap()).map(|(family, act)| (family.into(), act.into())).collect()
}

/// The targets: a TCP listener and local stream sockets, two local datagram sockets, and a folder to write to.
pub struct Surroundings {
    hijacked: PathBuf,
    tcp: TcpListener,
    name: String,
    _named: UnixListener,
    _service: UnixListener,
    manager: UnixDatagram,
    other: UnixDatagram,
    folder: PathBuf,
}

fn datagrams(folder: &Path, name: &str) -> UnixDatagram {
    let socket = UnixDatagram::bind(folder.join(name)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Surroundings {
    /// For the hijacked program, in an empty folder that is removed with the test.
    pub fn new(hijacked: PathBuf, test: &str, folder: &Path) -> Self {
        let name = format!("small-services-{test}-{}", std::process::id());
        Self {
            hijacked,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            _named: UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            _service: UnixListener::bind(folder.join("service")).unwrap(),
            manager: datagrams(folder, "manager"),
            other: datagrams(folder, "other"),
            name,
            folder: folder.to_owned(),
        }
    }

    /// Has the hijacked program, as a process of a service (`Io` by its name), try an action, in namespaces where it can do no
    /// harm.
    pub fn outcome(&self, service: &str, io: &str, layers: &str, act: &str) -> Outcome {
        let (client, connection) = connection();
        // The shell is the process that it attacks.
        let output = Command::new("unshare")
            .args(["--mount", "--uts", "--ipc", "sh", "-c", r#""$@"; exit $?"#, "sh"])
            .arg(&self.hijacked)
            .args([service, io, layers, act])
            .env("TCP", self.tcp.local_addr().unwrap().port().to_string())
            .env("ABSTRACT", &self.name)
            .env("SERVICE", self.folder.join("service"))
            .env("MANAGER", self.folder.join("manager"))
            .env("OTHER", self.folder.join("other"))
            .env("SCRATCH", &self.folder)
            .stdin(connection.try_clone().unwrap())
            .stdout(connection)
            .output()
            .unwrap();
        drop(client);
        for socket in [&self.manager, &self.other] {
            while socket.recv(&mut [0; 4096]).is_ok() {} // there is space for a few only
        }
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Outcome::Done,
            (Some(101), _) => panic!("{act}: {}", String::from_utf8_lossy(&output.stderr)),
            (Some(code @ 129..), _) => Outcome::Killed(code - 128),
            (Some(errno), _) => Outcome::Refused(errno),
            (None, signal) => Outcome::Killed(signal.unwrap()),
        }
    }
}

/// A client's connection, and the end of it that a super-server would pass on.
fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0.into())
}
