//! Shared by the tests: the programs as installed, real sockets as their descriptors, and time limits that only a hang reaches.
#![allow(dead_code)] // each test file uses a part of it

pub mod attack;
pub mod audit;
pub mod machine;
pub mod manager;
pub mod network;
pub mod page;
pub mod web;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use small_services::services;

/// The time after which something counts as hung. Not a measure of speed: normally nothing takes nearly as long.
pub const HUNG: Duration = Duration::from_secs(120);

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of the services' programs, in the order of the table.
pub fn programs() -> impl Iterator<Item = &'static str> {
    services::all().map(|row| row.program)
}

/// The versions of systemd that have drop-ins.
pub fn steps() -> Vec<u32> {
    let entries = fs::read_dir(repository().join("units")).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter_map(|name| name.to_str()?.parse().ok()).collect()
}

/// The names of their units, in the shell's brace syntax: `{fortune,echo}`.
pub fn units() -> String {
    format!("{{{}}}", services::all().map(|row| row.unit).collect::<Vec<_>>().join(","))
}

/// The path of a program: in the folder PROGRAMS, as `make` built it for installation, else cargo's debug build. An absolute path
/// stays as it is.
pub fn program(name: &str) -> PathBuf {
    static LUNCHD: LazyLock<PathBuf> = LazyLock::new(|| built(&["--package", "small-services-lunchd"]).join("lunchd"));
    if name.starts_with('/') {
        return name.into();
    }
    // From examples/.
    if matches!(name, "finger" | "ident") {
        return helper(name);
    }
    if let Some(directory) = env::var_os("PROGRAMS") {
        return Path::new(&directory).join(name);
    }
    if name == "lunchd" { LUNCHD.clone() } else { Path::new(env!("CARGO_BIN_EXE_qotd")).with_file_name(name) }
}

/// Additional arguments, with which a program serves on every host: some hosts do not record who is logged in.
pub fn options(name: &str) -> &'static [&'static str] {
    const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/LICENSE-MIT");
    if name == "systat" { &["--text", TEXT] } else { &[] }
}

/// One of the tests' own programs, from tests/helpers.
pub fn helper(name: &str) -> PathBuf {
    static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| built(&["--examples"]).join("examples"));
    EXAMPLES.join(name)
}

/// Has cargo build what it does not build for tests, and returns the folder of the result, which is that of the test.
fn built(what: &[&str]) -> PathBuf {
    // TARGET/TRIPLE/PROFILE/deps/TEST
    let test = env::current_exe().unwrap();
    let mut above = test.ancestors().skip(2);
    let (folder, target) = (above.next().expect("its profile's folder"), above.nth(1).expect("cargo's folder"));
    let profile = folder.file_name().and_then(OsStr::to_str).map(|name| if name == "debug" { "dev" } else { name });
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--profile", profile.expect("its name"), "--target-dir"]).arg(target);
    let output = cargo.args(what).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
    folder.to_owned()
}

/// A program of the host. Most tests need some that not every host has.
pub fn tool(name: &str) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(
        there,
        "this test needs {name}, which is not installed; tests/run says what else the tests need, and installs it as root"
    );
    Command::new(name)
}

/// Copies a program to a directory where every user may execute it. Another process makes the copy: if this process had it open for
/// writing, a child of a parallel test could inherit the descriptor, and the copy could not be executed.
pub fn public_copy(program: &Path, folder: &Folder) -> PathBuf {
    let copy = folder.path().join(program.file_name().unwrap());
    assert!(Command::new("install").args(["-m", "755"]).arg(program).arg(&copy).status().unwrap().success());
    copy
}

/// Waits until the condition holds. The test fails if it never does.
pub fn wait_until(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < HUNG, "it never happens");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A folder of a single test, removed with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        // Two tests of one process may choose the same name.
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("small-services-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A TCP connection on loopback: the client's end, and the end that a super-server would pass to the program.
pub fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    client.set_write_timeout(Some(HUNG)).unwrap();
    (client, listener.accept().unwrap().0.into())
}

/// The three ways to serve connections, which clients cannot tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A process for each connection: inetd's `nowait`, systemd's `Accept=yes`.
    Process,
    /// The keeper, which creates a process for each connection: systemd's `Accept=no`, `--listen`.
    Keeper,
    /// The same with `--shared`: one process for all connections.
    Shared,
}

pub const MODES: [Mode; 3] = [Mode::Process, Mode::Keeper, Mode::Shared];

/// The options of a daemon for this mode, without limits on this host as the only source.
pub fn daemon_arguments(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Process => panic!("that is no daemon"),
        Mode::Keeper => &["--max-rate-per-source", "0"],
        Mode::Shared => &["--shared"],
    }
}

/// The children of a process that have not been reaped.
pub fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// A program that serves a connection, and the client's end of it.
pub struct Served {
    pub client: TcpStream,
    pub process: Process,
    pub mode: Mode,
}

impl Served {
    /// Asserts that the connection ended well: its process succeeded, or the daemon continues.
    pub fn ended_well(mut self) {
        drop(self.client);
        match self.mode {
            Mode::Process => assert!(self.process.wait().success()),
            Mode::Keeper | Mode::Shared => assert!(self.process.0.try_wait().unwrap().is_none(), "it has ended"),
        }
    }
}

/// The state of a process: `S` for sleeping, `T` for stopped, `Z` for a zombie (`proc_pid_stat(5)`). `None` if there is no
/// such process.
pub fn state(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The peak memory of a process so far, in KiB.
pub fn resident(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Starts a program and connects to it.
pub fn served(mode: Mode, name: &str, arguments: &[&str]) -> Served {
    match mode {
        Mode::Process => inetd_style(name, arguments),
        Mode::Keeper | Mode::Shared => {
            let daemon = Daemon::start_as(mode, name, arguments);
            Served { client: daemon.connect(), process: daemon.process, mode }
        }
    }
}

/// A daemon on a TCP port.
pub struct Daemon {
    pub process: Process,
    pub address: SocketAddr,
}

impl Daemon {
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_as(Mode::Keeper, name, arguments)
    }

    pub fn start_as(mode: Mode, name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program(name));
        command.args(daemon_arguments(mode)).args(arguments);
        command.args(["--listen", "tcp://127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let address = process.serving_on("tcp://");
        Self { process, address }
    }

    pub fn connect(&self) -> TcpStream {
        connected(self.address)
    }
}

/// A TCP client.
pub fn connected(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    client.set_write_timeout(Some(HUNG)).unwrap();
    client
}

/// A TCP client with this address of the host.
pub fn connected_from(source: impl Into<IpAddr>, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let client = socket(family, SocketType::STREAM, None).unwrap();
    bind(&client, &SocketAddr::new(source.into(), 0)).unwrap();
    connect(&client, &to).unwrap();
    let client = TcpStream::from(client);
    client.set_read_timeout(Some(HUNG)).unwrap();
    client.set_write_timeout(Some(HUNG)).unwrap();
    client
}

/// A UDP client on loopback.
pub fn udp_client() -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(HUNG)).unwrap();
    client
}

/// Starts a program the way inetd does: the connection is descriptors 0, 1 and 2.
pub fn inetd_style(name: &str, arguments: &[&str]) -> Served {
    let (client, server) = connection();
    let process = Process::start(
        Command::new(program(name))
            .args(arguments)
            .stdin(server.try_clone().unwrap())
            .stdout(server.try_clone().unwrap())
            .stderr(server),
    );
    Served { client, process, mode: Mode::Process }
}

/// Starts a program the way a systemd unit with a separate `StandardError=` does: the connection is descriptors 0 and 1. The log
/// can be read when the program has ended.
pub fn logging(name: &str, arguments: &[&str]) -> Served {
    let (client, server) = connection();
    let process = Process::start(
        Command::new(program(name))
            .args(arguments)
            .stdin(server.try_clone().unwrap())
            .stdout(server)
            .stderr(Stdio::piped()),
    );
    Served { client, process, mode: Mode::Process }
}

/// A child that does not outlive its test.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// Its exit status. The test fails if it hangs.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(|| {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// The next line on its piped descriptor 2, except the one about what this kernel's Landlock cannot forbid.
    pub fn line(&mut self) -> String {
        let mut line = self.any_line();
        while is_about_landlock(&line) {
            line = self.any_line();
        }
        line
    }

    /// The next line, whatever it is.
    pub fn any_line(&mut self) -> String {
        let log = self.0.stderr.as_mut().expect("descriptor 2 is a pipe");
        let mut line = Vec::new();
        let mut octet = [0];
        while !line.ends_with(b"\n") && log.read(&mut octet).unwrap() > 0 {
            line.push(octet[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// The address that it serves on, from the next line on its piped descriptor 2, except warnings.
    pub fn serving_on(&mut self, scheme: &str) -> SocketAddr {
        let mut line = self.line();
        while !line.is_empty() && !line.contains("serving on ") {
            line = self.line();
        }
        let address = line.split_once("serving on ").and_then(|(_, rest)| rest.strip_prefix(scheme)?.split(';').next());
        address.unwrap_or_else(|| panic!("no address in {line:?}")).parse().unwrap()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Its exit code and its output on a piped descriptor 2, except the line about what this kernel's Landlock cannot forbid.
    pub fn log(&mut self) -> (Option<i32>, String) {
        let (code, log) = self.whole_log();
        (code, log.split_inclusive('\n').filter(|line| !is_about_landlock(line)).collect())
    }

    /// Its exit code and all its output.
    pub fn whole_log(&mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.0.stderr.take().expect("descriptor 2 is a pipe").read_to_string(&mut log).unwrap();
        (self.wait().code(), log)
    }
}

/// Whether it is the line about what this kernel's Landlock cannot forbid, which depends on the kernel.
pub fn is_about_landlock(line: &str) -> bool {
    line.contains("this kernel (Landlock ABI ") && line.contains(" cannot forbid ")
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program with sockets as descriptors 3 and up, as in `sd_listen_fds(3)`, and with additional variables.
pub fn passing<T>(
    program: &Path,
    sockets: &[&OwnedFd],
    variables: &str,
    arguments: &[&str],
    start: impl FnOnce(&mut Command) -> T,
) -> T {
    // Under a high number, so that no redirection overwrites one that is still needed.
    let inheritable: Vec<_> = sockets.iter().map(|socket| fcntl_dupfd_cloexec(socket, 100).unwrap()).collect();
    for socket in &inheritable {
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
    }
    let redirections: Vec<_> =
        (3..).zip(&inheritable).map(|(number, socket)| format!("{number}<&{}", socket.as_raw_fd())).collect();
    let script =
        format!("{variables} LISTEN_PID=$$ LISTEN_FDS={} exec \"$@\" {}", sockets.len(), redirections.join(" "));
    start(tool("bash").args(["-c", &script, "bash"]).arg(program).args(arguments))
}

/// Everything that arrives until the other end closes. A reset fails the test.
pub fn read_all(client: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("an orderly end, not a reset");
    received
}

/// Sends everything and then closes that direction, on another thread: the caller reads meanwhile.
pub fn send(client: &TcpStream, octets: Vec<u8>) -> thread::JoinHandle<std::io::Result<()>> {
    let mut client = client.try_clone().unwrap();
    thread::spawn(move || {
        client.write_all(&octets)?;
        client.shutdown(Shutdown::Write)
    })
}

/// Octets without a pattern, so that a mix-up of chunks shows.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Asserts that the octets are one fortune as RFC 865 requires, and returns its text.
pub fn assert_fortune(reply: &[u8]) -> String {
    assert!(!reply.is_empty(), "no reply at all");
    assert!(reply.len() < 512, "RFC 865: fewer than 512 octets, not {}", reply.len());
    let text = std::str::from_utf8(reply).expect("ASCII").to_owned();
    assert!(text.ends_with("\r\n"), "{text:?}");
    let bare = text.replace("\r\n", "");
    assert!(bare.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{text:?}");
    text.replace("\r\n", "\n")
}

/// All fortunes of data/, read without the program's own reader.
pub fn built_in_fortunes() -> Vec<String> {
    let data = fs::read_dir(repository().join("data")).unwrap();
    data.flat_map(|entry| fortunes_of(&entry.unwrap().path())).collect()
}

/// The fortunes of a simple cookie file.
pub fn fortunes_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.split("\n%\n").map(|fortune| format!("{}\n", fortune.trim_end_matches('\n'))).collect()
}
