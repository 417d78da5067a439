//! lunchd's limits, the renewal of its certificate, and its lock-down.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use small_services::policy::Io;
use support::web::{Authority, EC, Lunchd, assert_dish, curl, try_curl};
use support::{Folder, Process, audit, connected, helper, program, resident, tool, wait_until};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn plain(more: &[&str]) -> (Lunchd, SocketAddr) {
    let lunchd = Lunchd::start(&[&["--listen", "http://127.0.0.1:0"], more].concat());
    let http = lunchd.address("http");
    (lunchd, http)
}

fn secure(authority: &Authority, more: &[&str]) -> (Lunchd, SocketAddr) {
    authority.certify("site", EC, 1);
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let arguments = ["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"];
    let lunchd = Lunchd::start(&[&arguments, more].concat());
    let https = lunchd.address("https");
    (lunchd, https)
}

/// Sends a request over a connection that stays open. Returns whether it was answered.
fn ask(client: &mut TcpStream) -> bool {
    client.write_all(REQUEST).is_ok() && is_answered(client)
}

/// Whether a new connection is answered.
fn ask_over_tls(authority: &Authority, https: SocketAddr) -> bool {
    let url = format!("https://localhost:{}/", https.port());
    try_curl(&["--cacert", &authority.path("ca.pem"), &url]).status.success()
}

/// The length of the next read: 0 if the server has ended the connection in any way. Panics if it does neither.
fn next(client: &mut TcpStream, piece: &mut [u8]) -> usize {
    client.read(piece).unwrap_or_else(|error| {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "it hangs");
        0
    })
}

/// Whether a whole dish arrives.
fn is_answered(client: &mut TcpStream) -> bool {
    let mut reply = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match next(client, &mut piece) {
            0 => return false,
            length => reply.extend_from_slice(&piece[..length]),
        }
        if let Some((_, dish)) = String::from_utf8_lossy(&reply).split_once("\r\n\r\n")
            && dish.ends_with('\n')
        {
            assert_dish(dish);
            return true;
        }
    }
}

/// Whether the server has ended the connection in any way, without further octets.
fn is_closed(client: &mut TcpStream) -> bool {
    next(client, &mut [0; 64]) == 0
}

#[test]
fn the_connection_of_an_idle_client_is_closed() {
    let authority = Authority::new("idle");
    let (_lunchd, https) = secure(&authority, &["--idle-timeout", "1"]);
    let (_other, http) = plain(&["--idle-timeout", "1"]);
    for (address, beginning) in [(https, &b"\x16\x03\x01"[..]), (http, &REQUEST[..20])] {
        assert!(is_closed(&mut connected(address)), "it said nothing");
        let mut client = connected(address);
        client.write_all(beginning).unwrap();
        let last_word = support::read_all(&mut client);
        let expected = if address == http { &b"HTTP/1.1 408 "[..] } else { b"" };
        assert!(last_word.starts_with(expected) && last_word.is_empty() == expected.is_empty(), "{last_word:?}");
    }
    let mut client = connected(http);
    assert!(ask(&mut client));
    assert!(is_closed(&mut client), "it was served");
    // An HTTP/2 client after its handshake.
    let mut openssl = tool("openssl");
    openssl.args(["s_client", "-quiet", "-alpn", "h2", "-connect", &https.to_string()]).stdin(Stdio::piped());
    let mut idle = Process::start(openssl.stdout(Stdio::piped()).stderr(Stdio::null()));
    let input = idle.0.stdin.take();
    let mut received = Vec::new();
    idle.0.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    drop(input);
    assert!(!received.is_empty(), "its settings, and then the end");
}

#[test]
fn the_connection_of_a_client_that_sends_slowly_or_does_not_read_is_closed() {
    let (lunchd, http) = plain(&["--idle-timeout", "1"]);
    let mut client = connected(http);
    client.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    // So slowly that the time is up long before the head is too long (16 KiB).
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut sent, mut reply) = (0, Vec::new());
    wait_until(|| {
        sent += usize::from(client.write_all(b"x").is_ok());
        !matches!(client.read_to_end(&mut reply), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(sent < 8192 && !reply.starts_with(b"HTTP/1.1 431 "), "{sent} octets: {}", String::from_utf8_lossy(&reply));
    let before = lunchd.descriptors();
    // Sends requests and never reads: the kernel buffers the answers until the server cannot write.
    let mut client = connected(http);
    let many = REQUEST.repeat(1000);
    wait_until(|| client.write_all(&many).is_err());
    wait_until(|| lunchd.descriptors() <= before);
    assert!(ask(&mut connected(http)));
}

#[test]
fn a_request_with_a_body_of_any_length_is_answered_at_once() {
    // The idle time is longer than any test waits, so no answer would come before it.
    let (_lunchd, http) = plain(&["--idle-timeout", "10000"]);
    let answer = |mut client: TcpStream, code: &str| {
        let reply = String::from_utf8(support::read_all(&mut client)).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {code} ")) && reply.contains("connection: close\r\n"), "{reply}");
    };
    for length in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut slow = connected(http);
            write!(slow, "POST / HTTP/1.1\r\nHost: localhost\r\n{expect}{length}\r\n\r\n").unwrap();
            answer(slow, "405");
        }
    }
    // A client that sends everything before it reads.
    let large = vec![b'x'; 20_000_000];
    let mut busy = connected(http);
    write!(busy, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n").unwrap();
    busy.write_all(&large).unwrap();
    answer(busy, "405");
    let mut busy = connected(http);
    write!(busy, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ").unwrap();
    busy.write_all(&large).unwrap();
    answer(busy, "431");
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends 32 requests over one HTTP/2 connection and accepts only the heads of the answers. Returns when all heads have arrived, or
/// the connection has ended.
fn ask_and_take_nothing(https: SocketAddr) -> Process {
    let mut openssl = tool("openssl");
    openssl.args(["s_client", "-quiet", "-alpn", "h2", "-connect", &https.to_string()]).stdin(Stdio::piped());
    let mut client = Process::start(openssl.stdout(Stdio::piped()).stderr(Stdio::null()));
    // SETTINGS: the initial window of a stream is 0.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    // GET, https, /, and the authority (RFC 7541, appendix A).
    let head = [&[0x82, 0x87, 0x84, 0x01, 9], &b"localhost"[..]].concat();
    let requests: Vec<u8> = (0..32).flat_map(|number| frame(1, 5, 2 * number + 1, &head)).collect();
    let octets = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &requests].concat();
    client.0.stdin.as_mut().unwrap().write_all(&octets).unwrap();
    let output = client.0.stdout.as_mut().unwrap();
    let (mut heads, mut about) = (0, [0; 9]);
    while heads < 32 && output.read_exact(&mut about).is_ok() {
        let length = usize::from(about[0]) << 16 | usize::from(about[1]) << 8 | usize::from(about[2]);
        let mut payload = vec![0; length];
        if output.read_exact(&mut payload).is_err() {
            break;
        }
        heads += usize::from(about[3] == 1);
    }
    client
}

#[test]
fn clients_that_do_not_read_fill_no_more_than_the_shared_budget() {
    let authority = Authority::new("memory");
    let folder = Folder::new("long");
    let text = format!("{}\n", "x".repeat(1_047_999));
    let long = folder.file("long", &text).to_str().unwrap().to_owned();
    let more = ["--idle-timeout", "10000", "--fortunes", "--max-length", "1048576", &long];
    let (lunchd, https) = secure(&authority, &more);
    let url = format!("https://localhost:{}/", https.port());
    let ca = authority.path("ca.pem");
    let get = || curl(&["--cacert", &ca, "--include", &url]);
    // 64 of them exhaust the budget. Then the oldest client is evicted.
    let mut first = ask_and_take_nothing(https);
    let second = ask_and_take_nothing(https);
    let refused = get();
    assert!(refused.starts_with("HTTP/2 503") && refused.contains("retry-after: 1"), "{refused}");
    first.0.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    wait_until(|| get().ends_with(&text));
    let more: Vec<_> = (0..6).map(|_| ask_and_take_nothing(https)).collect();
    let resident = support::resident(&lunchd.process);
    assert!(resident < 128 * 1024, "{resident} KiB");
    drop((second, more));
    wait_until(|| get().ends_with(&text));
}

#[test]
fn a_busy_connection_ends_at_its_time_limit() {
    let (_lunchd, http) = plain(&["--connection-timeout", "1"]);
    let mut client = connected(http);
    wait_until(|| !ask(&mut client));
}

#[test]
fn a_handshake_that_does_not_begin_ends_at_the_connection_timeout() {
    let authority = Authority::new("handshake");
    let (_lunchd, https) = secure(&authority, &["--idle-timeout", "1000", "--connection-timeout", "1"]);
    assert!(is_closed(&mut connected(https)));
}

#[test]
fn the_kernel_delays_no_piece_of_an_answer() {
    let folder = Folder::new("pieces");
    let cookies = folder.file("cookies", "twenty octets a line".repeat(50) + "\n");
    let long = folder.file("long", ("twenty octets a line\n".repeat(20_000) + "%\n").repeat(2));
    let trace = folder.path().join("trace");
    for (file, flags) in [(&cookies, "MSG_MORE"), (&long, "MSG_NOSIGNAL, ")] {
        let mut command = tool("strace");
        command.args(["--trace=sendto", "--output", trace.to_str().unwrap()]).arg(program("lunchd"));
        command.args(["--listen", "http://127.0.0.1:0", "--fortunes", "--max-length", "1000000"]).arg(file);
        let mut lunchd = Lunchd::spawn(&mut command);
        let url = format!("http://{}/", lunchd.address("http"));
        curl(&["--header", "Connection: close", &url]);
        let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", lunchd.process.0.id())).unwrap();
        assert!(Command::new("kill").args(["-s", "TERM", traced.trim()]).status().unwrap().success());
        assert!(lunchd.process.wait().success());
        let trace = fs::read_to_string(&trace).unwrap();
        let sent: Vec<_> = trace.lines().filter(|line| line.contains("sendto(")).collect();
        assert!(!sent.is_empty() && sent.iter().all(|line| line.contains(flags)), "{flags}: {sent:#?}");
    }
}

#[test]
fn one_connection_too_many_evicts_the_longest_idle_one() {
    let (_lunchd, http) = plain(&["--max-connections", "2", "--max-per-source", "2", "--idle-timeout", "1000"]);
    let (mut first, mut second) = (connected(http), connected(http));
    assert!(ask(&mut first) && ask(&mut second) && ask(&mut first));
    // A third connection from the same source gets no slot. One from elsewhere gets the second's.
    assert!(is_closed(&mut connected(http)));
    drop(first);
    let mut third = connected(http);
    wait_until(|| {
        third = connected(http);
        ask(&mut third)
    });
    let elsewhere = ["--interface", "127.0.0.2", &format!("http://{http}/")];
    assert_dish(&curl(&elsewhere));
    assert!(is_closed(&mut second));
    assert!(ask(&mut third));
}

#[test]
fn before_it_stops_it_answers_requests_in_progress() {
    let (mut lunchd, http) = plain(&[]);
    // All connections had ended once. It must not stop early because of that.
    let mut first = connected(http);
    first.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    first.read_to_string(&mut String::new()).unwrap();
    let mut client = connected(http);
    client.write_all(&REQUEST[..20]).unwrap();
    // A later client is answered, so the half has arrived.
    assert!(ask(&mut connected(http)));
    lunchd.process.signal("TERM");
    wait_until(|| TcpStream::connect(http).is_err());
    client.write_all(&REQUEST[20..]).unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_dish(reply.split_once("\r\n\r\n").expect("an answer").1);
    assert!(lunchd.process.wait().success());
    assert_eq!(lunchd.log().lines().filter(|line| !line.contains("LISTEN_")).count(), 1, "{}", lunchd.log());
}

/// Ends the load, also if the test fails.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_new_certificate_is_loaded_under_load_and_no_connection_is_lost() {
    let (old, new) = (Authority::new("before"), Authority::new("after"));
    let (lunchd, https) = secure(&old, &[]);
    let url = format!("https://localhost:{}/", https.port());
    new.certify("site", EC, 1);
    let both = old
        .folder()
        .file("both.pem", [old.path("ca.pem"), new.path("ca.pem")].map(|it| fs::read(it).unwrap()).concat());
    let stop = AtomicBool::new(false);
    let trusts_new = || try_curl(&["--cacert", &new.path("ca.pem"), &url]).status.success();
    assert!(!trusts_new());
    thread::scope(|scope| {
        for version in ["--http1.1", "--http2"] {
            let (both, url, stop) = (both.to_str().unwrap(), &url, &stop);
            scope.spawn(move || {
                let mut arguments = vec![version, "--cacert", both];
                // Each curl sends ten requests over one connection.
                arguments.extend([url.as_str(); 10]);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(curl(&arguments).lines().count(), 10);
                    assert_eq!(
                        curl(&[&arguments[..], &["--write-out", "%{num_connects}"]].concat()).matches('1').count(),
                        1
                    );
                }
            });
        }
        let _enough = Enough(&stop);
        // A connection from before continues.
        let mut openssl = tool("openssl");
        openssl.args(["s_client", "-quiet", "-alpn", "http/1.1", "-connect", &https.to_string()]).stdin(Stdio::piped());
        let mut kept = Process::start(openssl.stdout(Stdio::piped()).stderr(Stdio::null()));
        let (mut input, mut output) = (kept.0.stdin.take().unwrap(), kept.0.stdout.take().unwrap());
        let mut ask = || {
            input.write_all(REQUEST).unwrap();
            let mut reply = String::new();
            while reply.split_once("\r\n\r\n").is_none_or(|(_, dish)| !dish.ends_with('\n')) {
                let mut octet = [0];
                output.read_exact(&mut octet).unwrap();
                reply.push(octet[0].into());
            }
            assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
        };
        ask();
        // Each replaced atomically, as for files that are read meanwhile.
        for file in ["site.pem", "site.key"] {
            fs::copy(new.path(file), old.path("new")).unwrap();
            fs::rename(old.path("new"), old.path(file)).unwrap();
        }
        lunchd.process.signal("HUP");
        lunchd.wait_for("reloaded the certificate");
        assert!(trusts_new());
        ask();
        // An unusable certificate changes nothing.
        fs::remove_file(old.path("site.key")).unwrap();
        lunchd.process.signal("HUP");
        lunchd.wait_for("continuing with the previous certificate");
        assert!(trusts_new());
        ask();
    });
}

#[test]
fn after_the_lock_down_it_reads_only_its_certificate() {
    let authority = Authority::new("landlock");
    let (lunchd, https) = secure(&authority, &[]);
    lunchd.locked_down();
    let elsewhere = Folder::new("elsewhere");
    fs::copy(authority.path("site.pem"), elsewhere.path().join("site.pem")).unwrap();
    fs::remove_file(authority.path("site.pem")).unwrap();
    symlink(elsewhere.path().join("site.pem"), authority.path("site.pem")).unwrap();
    lunchd.process.signal("HUP");
    lunchd.wait_for("continuing with the previous certificate");
    assert!(lunchd.log().contains("Permission denied"), "{}", lunchd.log());
    assert_dish(&curl(&["--cacert", &authority.path("ca.pem"), &format!("https://localhost:{}/", https.port())]));
}

#[test]
fn a_key_that_only_privileged_processes_can_read_is_logged_at_the_start() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: needs root");
        return;
    }
    let authority = Authority::new("privileged");
    let warnings = |lunchd: &Lunchd| lunchd.log().lines().filter(|line| line.contains("cannot reread ")).count();
    let (lunchd, https) = secure(&authority, &[]);
    assert_eq!((ask_over_tls(&authority, https), warnings(&lunchd)), (true, 0));
    // As with certbot's group for keys: root reads it only because root may read everything.
    let chown = |user: &str, file: &str| {
        assert!(Command::new("chown").args([user, &authority.path(file)]).status().unwrap().success());
    };
    let start = || {
        let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
        Lunchd::start(&["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"])
    };
    for (owned, mode) in [("site.key", 0o600), ("site.key", 0o640), (".", 0o700)] {
        chown("65534:65534", owned);
        fs::set_permissions(authority.path(owned), Permissions::from_mode(mode)).unwrap();
        let lunchd = start();
        lunchd.wait_for("or restart lunchd after each renewal");
        let file = if owned == "." { "site.pem" } else { owned };
        assert!(
            lunchd
                .log()
                .contains(&format!("cannot reread {} after the lock-down: Permission denied", authority.path(file)))
        );
        assert_eq!((ask_over_tls(&authority, lunchd.address("https")), warnings(&lunchd)), (true, 1));
        chown("0:0", owned);
    }
}

#[test]
fn a_replaced_certificate_directory_requires_a_restart_and_is_logged() {
    let authority = Authority::new("swapped");
    let folder = Folder::new("swapped");
    let [current, new, old] = ["current", "new", "old"].map(|name| folder.path().join(name));
    let fill = |directory: &Path| {
        fs::create_dir(directory).unwrap();
        for file in ["site.pem", "site.key"] {
            fs::copy(authority.path(file), directory.join(file)).unwrap();
        }
    };
    authority.certify("site", EC, 1);
    fill(&current);
    fill(&new);
    let [certificate, key] = ["site.pem", "site.key"].map(|file| current.join(file).to_str().unwrap().to_owned());
    let arguments = ["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"];
    let lunchd = Lunchd::start(&arguments);
    let https = lunchd.address("https");
    fs::rename(&current, old).unwrap();
    fs::rename(new, &current).unwrap();
    lunchd.process.signal("HUP");
    lunchd.wait_for("continuing with the previous certificate");
    assert!(lunchd.log().contains("if its directory is new, or a symbolic link has a new target"), "{}", lunchd.log());
    assert!(lunchd.log().contains("restart lunchd"), "{}", lunchd.log());
    assert!(ask_over_tls(&authority, https));
}

#[test]
fn directories_that_stay_readable_with_other_files_are_logged() {
    let authority = Authority::new("beneath");
    authority.certify("site", EC, 1);
    let own = Folder::new("own");
    let (certificate, key) = (own.path().join("certificate.pem"), own.path().join("key.pem"));
    fs::copy(authority.path("site.pem"), &certificate).unwrap();
    fs::copy(authority.path("site.key"), &key).unwrap();
    let files = ["--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let listen = ["--listen", "https://127.0.0.1:0"];
    let start = |more: &[&str]| Lunchd::start(&[&files[..], &listen, more].concat());
    let warnings = || {
        let lunchd = start(&[]);
        lunchd.locked_down();
        lunchd.process.signal("TERM");
        let log = lunchd.ended(0);
        log.lines().filter(|line| line.contains("stays readable")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(warnings(), [""; 0]);
    own.file("another.key", "secret");
    let warnings = warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("including another.key; move"), "{warnings:?}");
    // The test may not write into the root directory.
    let log = start(&["--fortunes", "/", own.file("cookies", "one\n").to_str().unwrap()]).ended(1);
    assert!(log.contains("refuses to serve") && log.contains("every file of the host"), "{log}");
}

#[test]
fn it_has_one_thread_and_no_privileges() {
    let (lunchd, http) = plain(&[]);
    lunchd.locked_down();
    assert!(ask(&mut connected(http)));
    let tasks = fs::read_dir(format!("/proc/{}/task", lunchd.process.0.id())).unwrap().count();
    assert_eq!(tasks, 1);
    let status = lunchd.status();
    for line in [
        "CapInh:\t0000000000000000\n",
        "CapPrm:\t0000000000000000\n",
        "CapEff:\t0000000000000000\n",
        "CapAmb:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n",
        "Threads:\t1\n",
    ] {
        assert!(status.contains(line), "no {line:?} in\n{status}");
    }
}

#[test]
fn it_makes_only_the_calls_of_the_table() {
    let authority = Authority::new("strace");
    authority.certify("site", EC, 1);
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let trace = authority.path("trace");
    let mut command = tool("strace");
    command.args(["-f", "-I", "2", "--output", &trace]).arg(program("lunchd"));
    command.args(["--certificate", &certificate, "--key", &key, "--idle-timeout", "1"]);
    let mut lunchd = Lunchd::spawn(command.args(["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]));
    let url = format!("https://localhost:{}/", lunchd.address("https").port());
    for version in ["--http1.1", "--http2"] {
        assert_dish(&curl(&[version, "--cacert", &authority.path("ca.pem"), &url]));
    }
    assert!(is_closed(&mut connected(lunchd.address("http"))));
    let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", lunchd.process.0.id())).unwrap();
    let signal = |name| assert!(Command::new("kill").args(["-s", name, traced.trim()]).status().unwrap().success());
    signal("HUP");
    lunchd.wait_for("reloaded the certificate");
    signal("TERM");
    assert!(lunchd.process.wait().success());
    let trace = fs::read_to_string(trace).unwrap();
    let (_, after) = trace.split_once("seccomp(SECCOMP_SET_MODE_FILTER").expect("a filter is attached");
    let calls = after.lines().skip(1).filter_map(|line| line.split_once('(')?.0.split_whitespace().last());
    let made: BTreeSet<_> = calls.map(str::to_owned).collect();
    let table: BTreeSet<_> =
        audit::rules("lunchd", Io::ListenersAndFiles).map(|rule| rule.call().name().to_owned()).collect();
    assert!(made.is_subset(&table), "{made:?}");
    // clock_gettime is used only where the vDSO cannot answer, memory may suffice, and no fortunes of the host are followed.
    let elsewhere = ["clock_gettime", "brk", "pread64", "getdents64", "fcntl"];
    let unused: Vec<_> = table.difference(&made).filter(|call| !elsewhere.contains(&call.as_str())).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// Sends exactly these octets, and returns everything that arrives.
fn answered(address: SocketAddr, octets: &[u8]) -> String {
    let mut client = connected(address);
    // It may be refused before it has arrived completely.
    let _ = client.write_all(octets).and_then(|()| client.shutdown(Shutdown::Write));
    let mut reply = Vec::new();
    let _ = client.read_to_end(&mut reply);
    String::from_utf8(reply).unwrap()
}

#[test]
fn an_ambiguous_request_is_refused() {
    let (lunchd, http) = plain(&[]);
    let before = lunchd.log();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 5x",
        "Content-Length: -1",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
        "X: a\r\n folded: b",
        "X\0: a",
        "X: a\0b",
        "X: a\rb",
        // This one is valid, but must be the connection's last (RFC 9112, section 6.1).
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}");
        let reply = answered(http, request.as_bytes());
        let status = if fields.contains('\n') && fields.ends_with("chunked") { "405" } else { "400" };
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{fields:?}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{fields:?}: another request was answered: {reply}");
    }
    assert!(ask(&mut connected(http)));
    assert_eq!(lunchd.log(), before, "what clients do wrong is not for the log");
}

#[test]
fn large_requests_do_not_exhaust_its_memory() {
    let (lunchd, http) = plain(&[]);
    assert!(ask(&mut connected(http)));
    let before = resident(&lunchd.process);
    let fields = "X: x\r\n".repeat(65);
    let long = "x".repeat(1 << 20);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\n\r\n"),
    ] {
        let reply = answered(http, head.as_bytes());
        // A client that is still sending may see a reset before the answer.
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }
    let body = vec![b'x'; 16 << 20];
    let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let reply = answered(http, &[request.as_bytes(), &body].concat());
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 405 "), "{reply}");
    let after = resident(&lunchd.process);
    assert!(after < before + 1024, "{before} KiB before, {after} after");
    assert!(ask(&mut connected(http)));
}

#[test]
fn a_request_may_arrive_octet_by_octet() {
    let (_lunchd, http) = plain(&[]);
    let mut client = connected(http);
    client.set_nodelay(true).unwrap();
    for octet in REQUEST {
        client.write_all(&[*octet]).unwrap();
    }
    assert!(is_answered(&mut client));
}

#[test]
fn it_refuses_an_old_kernel_or_says_what_it_lacks() {
    for (missing, layer) in [("landlock", "Landlock"), ("seccomp", "seccomp")] {
        let start = |mode: &str| {
            let mut command = Command::new(helper("old_kernel"));
            command.arg(missing).arg(program("lunchd")).args(["--sandbox", mode, "--listen", "http://127.0.0.1:0"]);
            Lunchd::spawn(&mut command)
        };
        let log = start("strict").ended(1);
        assert!(log.contains(&format!("refuses to serve: the sandbox layer {layer} is missing")), "{log}");
        let lunchd = start("best-effort");
        assert!(ask(&mut connected(lunchd.address("http"))));
        lunchd.wait_for(&format!("the sandbox layer {layer} is missing"));
    }
}
