//! Command lines with errors: one clear sentence on the log, the right exit code, and nothing for the client.

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};

use small_services::services;
use support::{Folder, Process, connection, helper, inetd_style, logging, program, programs, read_all, tool};

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(program(name)).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Asserts that an error is one sentence with `words` on descriptor 2, that nothing is printed, and checks the exit code.
fn assert_mistake(name: &str, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(name, arguments);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {log}");
    assert!(output.stdout.is_empty(), "{name} {arguments:?} printed something");
    assert!(log.starts_with(&format!("{name}: ")) && log.lines().count() == 1 && log.ends_with('\n'), "{log:?}");
    for word in words {
        assert!(log.contains(word), "{name} {arguments:?}: no {word:?} in {log:?}");
    }
}

#[test]
fn errors_on_the_command_line_name_the_next_step() {
    for name in programs() {
        let help = format!("see `{name} --help`");
        assert_mistake(name, &["--bad"], 2, &["--bad", &help]);
        assert_mistake(name, &["--sandbox", "weak"], 2, &["weak", "strict, best-effort, off", &help]);
        assert_mistake(name, &["--idle-timeout", "0"], 2, &["--idle-timeout", &help]);
        assert_mistake(name, &["--idle-timeout", "soon"], 2, &["soon", &help]);
        assert_mistake(name, &["--listen", "localhost"], 2, &["localhost", &help]);
        let no_network = &["--datagram-exempt", "192.0.2.0/33", "write an address or a network", &help];
        assert_mistake(name, &["--datagram-exempt", "192.0.2.0/33"], 2, no_network);
        let host = &["--datagram-exempt", "192.0.2.1/24", "set all bits after the prefix to 0", &help];
        assert_mistake(name, &["--datagram-exempt", "192.0.2.1/24"], 2, host);
    }
    assert_mistake("echo", &["operand"], 2, &["operand"]);
    assert_mistake("daytime", &["--format", "rfc868"], 2, &["rfc868", "nist-like"]);
    assert_mistake("daytime", &["--format", "%"], 2, &["strftime(3)"]);
    for name in ["echo", "chargen"] {
        for rate in ["1", "4095", "-1", "1M"] {
            assert_mistake(
                name,
                &[&format!("--max-rate={rate}")],
                2,
                &["--max-rate", rate, "4096 or more", "0 for no"],
            );
        }
    }
    for name in ["qotd", "daytime", "discard", "time"] {
        assert_mistake(name, &["--max-rate", "8192"], 2, &["unexpected argument '--max-rate'"]);
    }
}

/// Mistakes that people make with addresses and with the other programs, each with the next step.
#[test]
fn typical_mistakes_lead_to_the_next_step() {
    for name in ["echo", "lunchd"] {
        let scheme = if name == "lunchd" { "http://" } else { "" };
        for port in ["17", ":17", "*:17"] {
            let words = &["write an address before the port: 127.0.0.1:17 for clients of this host, [::]:17 for all"];
            assert_mistake(name, &["--listen", &format!("{scheme}{port}")], 2, words);
        }
        for address in ["127.0.0.1", "::1", "127.0.0.1:70000"] {
            let words = &["write an address and a port, such as 127.0.0.1:1717"];
            assert_mistake(name, &["--listen", &format!("{scheme}{address}")], 2, words);
        }
        let elsewhere = format!("{scheme}no.such.name.invalid:17");
        assert_mistake(
            name,
            &["--listen", &elsewhere],
            2,
            &["'no.such.name.invalid' is not in /etc/hosts", "IP address"],
        );
        let foreign = format!("{scheme}192.0.2.1:1717");
        assert_mistake(name, &["--listen", &foreign], 1, &["cannot listen on", "`ip address` lists them"]);
        // A port that another program uses: a second daemon, say.
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let words = &[&format!("127.0.0.1:{port}: Address already in use"), &format!("`ss -lntup 'sport = :{port}'`")];
        assert_mistake(name, &["--listen", &format!("{scheme}127.0.0.1:{port}")], 1, &words.map(String::as_str));
    }
    let folder = Folder::new("typical");
    let file = folder.file("file", "a text\n");
    let unix = |path: &str| format!("unix:{path}");
    assert_mistake("echo", &["--listen", "unix:"], 2, &["write a path, such as unix:/run/qotd"]);
    assert_mistake(
        "echo",
        &["--listen", &unix(file.to_str().unwrap())],
        1,
        &["it is not a socket: choose another path"],
    );
    assert_mistake("echo", &["--listen", &unix("/no/such/socket")], 1, &["a path in an existing directory"]);
    assert_mistake("echo", &["--listen", &unix(&format!("/tmp/{}", "x".repeat(200)))], 1, &["choose a shorter path"]);
    let directory = folder.path().to_str().unwrap();

    assert_mistake("lunchd", &["--listen", "8080"], 2, &["write http or https, an address and a port"]);
    assert_mistake("lunchd", &["--listen", "https://127.0.0.1:8443"], 1, &["--certificate FILE", "--key FILE"]);
    for (arguments, code, words) in [
        (&["docter"][..], 2, &["'docter'", "see `small-services --help`"][..]),
        (&["units", "--port", "99"], 2, &["--program", "see `small-services units --help`"]),
        (
            &["units", "--program", "/etc", "--name", "x", "--port", "99"],
            1,
            &["/etc is not a regular file; name the program"],
        ),
        (&["doctor", "--ask", "qotd"], 2, &["write NAME=IP:PORT, such as qotd=127.0.0.1:17"]),
        (&["doctor", "--ask", "qotd=127.0.0.1:1"], 1, &["no answer", "`ss -lntp 'sport = :1'`"]),
        (&["strfile", "/no/such/file"], 1, &["cannot read /no/such/file: No such file", "check the path"]),
        (&["strfile", directory], 1, &["is not a cookie file", "name a text file"]),
        (
            &["unstr", "/no/such/file.txt"],
            1,
            &["/no/such/file, the cookie file of the index /no/such/file.txt", "without an extension"],
        ),
    ] {
        assert_mistake("small-services", arguments, code, words);
    }
}

#[test]
fn a_user_without_privileges_is_led_away_from_privileged_ports() {
    let folder = Folder::new("privileged");
    let unprivileged = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if unprivileged.trim() == "0" {
        return; // every port is for everybody here
    }
    for (name, address) in [("echo", "127.0.0.1:1"), ("lunchd", "http://127.0.0.1:1")] {
        let copy = support::public_copy(&program(name), &folder);
        let mut command = Command::new(&copy);
        if rustix::process::geteuid().is_root() {
            command = tool("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        }
        let output = command.args(["--listen", address]).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains("Permission denied") && log.contains("choose a higher port, or enable the socket unit"),
            "{log}"
        );
    }
}

#[test]
fn files_that_cannot_be_served_are_named_with_the_reason() {
    let folder = Folder::new("files");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    folder.file("empty", "");
    folder.file("only-separators", "%\n%\n");
    folder.file("too-long", "x".repeat(512));
    folder.file("escape", "clear \x1b[2J screen\n");
    folder.file("latin-1", b"caf\xe9\n");
    folder.file("binary", b"\x7fELF\0\0");
    fs::create_dir(path("no-files")).unwrap();
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(path("socket")).unwrap();

    assert_mistake("qotd", &[&path("missing")], 1, &["cannot read", "missing", "No such file"]);
    for name in ["empty", "only-separators", "too-long", "escape", "latin-1"] {
        assert_mistake("qotd", &[&path(name)], 1, &["no fortune to send", &path(name)]);
    }
    assert_mistake("qotd", &[&path("no-files")], 1, &["no cookie file in", &path("no-files"), "install"]);
    for (file, named) in [("binary", "binary"), ("fifo", "fifo"), ("socket", "socket")] {
        assert_mistake("qotd", &[&path(file)], 1, &["is not a cookie file", named]);
    }
    assert_mistake("qotd", &["/dev/zero"], 1, &["/dev/zero is not a cookie file"]);
    assert_mistake("qotd", &[&(path("empty") + "/below")], 1, &["cannot read"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = Folder::new("unreadable");
    let secret = folder.file("secret", "text\n");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let qotd = support::public_copy(&program("qotd"), &folder);
    let mut command = Command::new(&qotd);
    if rustix::process::geteuid().is_root() {
        command = tool("setpriv"); // root may read any file
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&qotd);
    }
    let output = command.arg(&secret).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(log.contains("cannot read") && log.contains("secret: Permission denied"), "{log}");
}

#[test]
fn a_name_with_control_characters_cannot_forge_a_line_on_the_log() {
    assert_mistake("qotd", &["/no\n<0>such\x1b[31m"], 1, &["/no\\n<0>such\\u{1b}[31m"]);
    assert_mistake("qotd", &["--bad\nline"], 2, &["--bad"]);
}

#[test]
fn cookie_files_and_directories_are_chosen_from() {
    let folder = Folder::new("choice");
    folder.file("one", "A\n%\nB\n%\nü\n");
    folder.file("two", format!("{}\n%\nC\n", "too long ".repeat(100)));
    folder.file("two.dat", "\0\0\0\x02 an index, not a cookie file");
    folder.file(".hidden", "hidden\n");
    fs::create_dir(folder.path().join("off")).unwrap();
    let directory = folder.path().to_str().unwrap();
    let mut chosen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        chosen.insert(String::from_utf8(run("qotd", &[directory]).stdout).unwrap());
    }
    assert_eq!(chosen.into_iter().collect::<Vec<_>>(), ["A\n", "B\n", "C\n", "ü\n"]);
    let mut served = inetd_style("qotd", &[folder.path().join("one").to_str().unwrap()]);
    let reply = String::from_utf8(read_all(&mut served.client)).unwrap();
    assert!(["A\r\n", "B\r\n", "ü\r\n"].contains(&reply.as_str()), "{reply:?}");
}

#[test]
fn a_valid_index_is_used_and_with_an_invalid_one_the_file_is_read() {
    let folder = Folder::new("index");
    let texts: Vec<_> = (0..20).map(|number| format!("fortune {number}\n")).collect();
    let own = folder.file("own", texts.join("%\n") + "%\n" + &"too long ".repeat(200) + "\n");
    let own = own.to_str().unwrap();
    let strfile = |options: &[&str]| {
        let made =
            Command::new(program("small-services")).args([&["strfile", "-s"], options, &[own]].concat()).status();
        assert!(made.unwrap().success());
    };
    let all = |expect_log: bool| {
        let mut shown = HashSet::new();
        // With a seed, so that every run makes the same choices.
        for seed in 0..400 {
            let output = run("qotd", &["--seed", seed.to_string().as_str(), own]);
            assert_eq!(!output.stderr.is_empty(), expect_log, "{}", String::from_utf8_lossy(&output.stderr));
            shown.insert(String::from_utf8(output.stdout).unwrap());
        }
        shown
    };
    let expected: HashSet<_> = texts.iter().cloned().collect();
    for options in [&[][..], &["-o"], &["-r"]] {
        strfile(options);
        assert_eq!(all(false), expected, "{options:?}");
    }
    // Only the text that the index points to is read: a few calls, not the file.
    let trace = folder.path().join("trace");
    let mut command = tool("strace");
    command.args(["-e", "trace=read,pread64", "-o"]).arg(&trace).arg(program("qotd")).arg(own);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("pread64(") && !trace.contains("read(3"), "{trace}");
    // Rotated: the file contains rot13, the reply does not.
    let plain = fs::read(own).unwrap();
    let rotated: Vec<u8> = plain
        .iter()
        .map(|octet| match octet {
            b'a'..=b'z' => b'a' + (octet - b'a' + 13) % 26,
            other => *other,
        })
        .collect();
    fs::write(own, rotated).unwrap();
    strfile(&["-x"]);
    assert_eq!(all(false), expected);
    // An index with wrong offsets is ignored, and the log says so.
    fs::write(own, plain).unwrap();
    let index = format!("{own}.dat");
    let mut lying = fs::read(&index).unwrap();
    lying[20] = 0;
    lying[28..32].copy_from_slice(&5_u32.to_be_bytes());
    lying[16..20].copy_from_slice(&0_u32.to_be_bytes());
    fs::write(&index, lying).unwrap();
    let output = run("qotd", &[own]);
    assert!(output.status.success() && expected.contains(&String::from_utf8(output.stdout).unwrap()));
}

#[test]
fn the_longest_reply_and_the_character_set_can_be_chosen() {
    let folder = Folder::new("eligible");
    let long = format!("{}\n", "x".repeat(2000));
    let collection = folder.file("own", format!("short\n%\nkürzer\n%\n{long}"));
    let collection = collection.to_str().unwrap();
    let shown = |arguments: &[&str]| -> HashSet<String> {
        (0..100).map(|_| String::from_utf8(run("qotd", &[arguments, &[collection]].concat()).stdout).unwrap()).collect()
    };
    let set = |texts: &[&str]| -> HashSet<String> { texts.iter().map(ToString::to_string).collect() };
    assert_eq!(shown(&[]), set(&["short\n", "kürzer\n"]));
    assert_eq!(shown(&["--charset", "ascii"]), set(&["short\n"]));
    assert_eq!(shown(&["--max-length", "0"]), set(&["short\n", "kürzer\n", &long]));
    assert_eq!(shown(&["--max-length", "7"]), set(&["short\n"]));
    assert_mistake("qotd", &["--max-length", "3", collection], 1, &["longer than 3 octets as sent"]);
    // The built-in ones, too.
    for _ in 0..50 {
        assert!(run("qotd", &["--max-length", "80"]).stdout.len() <= 80);
    }
    assert_mistake("qotd", &["--max-length", "3"], 1, &["the built-in collection"]);
}

#[test]
fn the_fortune_of_the_day_is_the_same_all_day_for_everybody_with_the_key() {
    let folder = Folder::new("daily");
    let texts: Vec<_> = (0..50).map(|number| format!("fortune {number}\n")).collect();
    let collection = folder.file("own", texts.join("%\n"));
    let collection = collection.to_str().unwrap();
    let shown = |arguments: &[&str]| String::from_utf8(run("qotd", arguments).stdout).unwrap();
    let today = || Command::new("date").args(["-u", "+%F"]).output().unwrap().stdout;
    for files in [&[][..], &[collection]] {
        // The day may end in between. Then ask again.
        let same = || {
            let day = today();
            let daily: HashSet<_> = (0..10).map(|_| shown(&[&["--daily"], files].concat())).collect();
            (daily.len() == 1 || today() != day).then_some(daily)
        };
        assert!(same().is_some() && same().is_some_and(|daily| daily.len() == 1));
        let keys: HashSet<_> =
            (0..20).map(|key| shown(&[&["--daily", "--key", key.to_string().as_str()], files].concat())).collect();
        assert!(keys.len() > 5, "{keys:?}");
        let seeded: HashSet<_> = (0..10).map(|_| shown(&[&["--seed", "7"], files].concat())).collect();
        assert_eq!(seeded.len(), 1);
    }
    assert_mistake("qotd", &["--daily", "--zone", "Mars/Olympus"], 1, &["--zone=Mars/Olympus cannot be used"]);
    assert_mistake("qotd", &["--zone", "UTC"], 2, &["--daily"]);
    assert_mistake("qotd", &["--daily", "--shuffle"], 2, &["cannot be used with"]);
    assert_mistake("qotd", &["--daily", "--seed", "3"], 2, &["cannot be used with"]);
    assert_mistake("qotd", &["--daily", "100%", "/etc/hosts"], 1, &["percentages require a random choice"]);
    assert_mistake("qotd", &["20%", "/etc/hosts"], 1, &["the percentages add up to only 20"]);
}

#[test]
fn a_large_collection_without_an_index_says_so_once() {
    let folder = Folder::new("no-index");
    let text = "A fortune of some length, so that there are not too many.\n%\n";
    for name in ["one", "two"] {
        folder.file(name, text.repeat((40 << 20) / text.len()));
    }
    let path = folder.path().to_str().unwrap();
    let log = |operand: &str| {
        let output = run("qotd", &[operand]);
        assert_eq!(output.stdout, text.as_bytes()[..text.len() - 2]);
        String::from_utf8(output.stderr).unwrap()
    };
    let said = log(path);
    assert!(said.lines().count() == 1 && said.contains("/one has no index, so 79 MiB are read"), "{said}");
    assert_eq!(log(&format!("{path}/one")), "", "40 MiB take no time");
    for name in ["one", "two"] {
        let command = format!("small-services strfile {path}/{name}");
        assert!(name == "two" || said.trim_end().ends_with(&format!("`{command}`")), "{said}");
        let made = Command::new(program("small-services")).args(command.split(' ').skip(1)).arg("-s").status();
        assert!(made.unwrap().success());
    }
    assert_eq!(log(path), "");
}

#[test]
fn all_shuffled_fortunes_are_sent_before_one_is_repeated() {
    let folder = Folder::new("shuffle");
    let texts: Vec<_> = (0..50).map(|number| format!("fortune {number}\n")).collect();
    let collection = folder.file("own", texts.join("%\n"));
    let daemon = support::Daemon::start("qotd", &["--shuffle", collection.to_str().unwrap()]);
    let mut orders = HashSet::new();
    for _ in 0..3 {
        let order: Vec<_> = (0..50).map(|_| read_all(&mut daemon.connect())).collect();
        assert_eq!(order.iter().collect::<HashSet<_>>().len(), 50, "one came again");
        orders.insert(order);
    }
    assert_eq!(orders.len(), 3, "each time in another order");
}

#[test]
fn help_and_version_are_for_people() {
    for service in services::all() {
        let name = service.program;
        let help = run(name, &["--help"]);
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && help.stderr.is_empty());
        // As in the table.
        let about = format!("{} (RFC {}): {}\n", service.title, service.rfc, service.sentence);
        assert!(text.starts_with(&about), "{name}: {text}");
        let idle = format!("[default: {}]", service.idle);
        for word in ["--sandbox", "--idle-timeout", &idle, "--listen", "inetd"] {
            assert!(text.contains(word), "{name}: no {word}");
        }
        assert_eq!(text.contains("TCP only"), !service.udp, "{name}: {text}");
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
        let version = run(name, &["--version"]);
        assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
    let mut full = Process::start(
        Command::new(program("echo"))
            .arg("--help")
            .stdout(fs::File::create("/dev/full").unwrap())
            .stderr(Stdio::piped()),
    );
    let (code, log) = full.log();
    assert_eq!(code, Some(1));
    assert!(log.contains("No space left"), "{log}");
}

#[test]
fn a_full_disk_is_an_error_of_a_filter() {
    for name in ["qotd", "daytime", "echo"] {
        let output = Command::new(program(name))
            .stdin(fs::File::open("/etc/passwd").unwrap())
            .stdout(fs::File::create("/dev/full").unwrap())
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(log.starts_with(&format!("{name}: cannot write the reply: No space left")), "{log}");
    }
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let script = format!("{} < /dev/zero | head -c 5", program("echo").display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&[0; 5][..], &b""[..]));
}

#[test]
fn a_filter_waits_for_descriptors_that_do_not_block() {
    // Larger than every buffer on the way.
    let text = "A line of sixty-four characters, many times, for a long reply.\n".repeat(10_000);
    let folder = Folder::new("non-blocking");
    let long = folder.file("long", &text);
    let start = |name: &str, arguments: &[&str]| {
        let ((input, to), (from, output)) = (io::pipe().unwrap(), io::pipe().unwrap());
        rustix::io::ioctl_fionbio(&input, true).unwrap();
        rustix::io::ioctl_fionbio(&output, true).unwrap();
        let process = Process::start(Command::new(program(name)).args(arguments).stdin(input).stdout(output));
        support::wait_until(|| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
            assert!(!status.contains("State:\tZ"), "{name} has ended");
            status.contains("Seccomp:\t2\n") && status.contains("State:\tS")
        });
        (to, from, process)
    };
    let all = |mut from: io::PipeReader| {
        let mut octets = Vec::new();
        from.read_to_end(&mut octets).unwrap();
        octets
    };

    let (_, from, mut qotd) = start("qotd", &["--max-length", "0", long.to_str().unwrap()]);
    assert_eq!(all(from), text.as_bytes());
    assert!(qotd.wait().success());

    let (mut to, from, mut echo) = start("echo", &[]);
    let octets = support::noise(1_000_000);
    let sent = octets.clone();
    let sender = std::thread::spawn(move || to.write_all(&sent));
    assert!(all(from) == octets);
    assert!(sender.join().unwrap().is_ok() && echo.wait().success());

    let (mut to, from, mut discard) = start("discard", &[]);
    to.write_all(&octets).unwrap();
    drop(to);
    assert_eq!(all(from), b"");
    assert!(discard.wait().success());

    let (_, mut from, mut chargen) = start("chargen", &[]);
    let mut lines = vec![0; 73 * 20_000];
    from.read_exact(&mut lines).unwrap();
    assert!(lines.chunks(73).all(|line| line[72] == b'\n'));
    drop(from);
    assert!(chargen.wait().success());
}

const MISTAKES: &[(&str, &[&str], i32)] = &[
    ("qotd", &["--bad"], 2),
    ("qotd", &["--help"], 2),
    ("qotd", &["--version"], 2),
    ("qotd", &["/no/such/file"], 1),
    ("qotd", &["/etc/ld.so.cache"], 1),
    ("qotd", &["/dev/zero"], 1),
    ("qotd", &["/dev/null"], 1),
    ("echo", &["--sandbox", "weak"], 2),
    ("daytime", &["--format", "%"], 2),
    ("discard", &["operand"], 2),
];

#[test]
fn after_an_error_the_client_sees_a_clean_close_and_no_octet() {
    for &(name, arguments, code) in MISTAKES {
        // Descriptor 2 is the connection, too.
        let mut served = inetd_style(name, arguments);
        assert_eq!(read_all(&mut served.client), b"", "{name} {arguments:?}");
        assert_eq!(served.process.wait().code(), Some(code), "{name} {arguments:?}");
        // The reason is on the log if there is one.
        let mut served = logging(name, arguments);
        assert_eq!(read_all(&mut served.client), b"", "{name} {arguments:?}");
        let (_, log) = served.process.log();
        assert_eq!(log.lines().count(), 1, "{name} {arguments:?}: {log}");
    }
}

#[test]
fn the_client_is_recognised_wherever_the_log_should_be() {
    let leaks = |script: &str, variables: &[(&str, String)], connection: OwnedFd, mut client: std::net::TcpStream| {
        let script = script.replace("{}", program("qotd").to_str().unwrap());
        let mut command = tool("bash");
        command.args(["-c", &script]).envs(variables.iter().cloned()).stdin(connection);
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        drop(command);
        assert_eq!(read_all(&mut client), b"", "{script}");
        assert_eq!(process.wait().code(), Some(2), "{script}");
    };
    // Passed as descriptor 3, and also as 2.
    let (client, server) = connection();
    leaks("export LISTEN_PID=$$ LISTEN_FDS=1; exec {} --bad 3<&0 2>&3 0</dev/null", &[], server, client);
    // On 2 and 1 but not on 0, then on 2 alone.
    let (client, server) = connection();
    leaks("exec {} --bad 1>&0 2>&0 0</dev/null", &[], server, client);
    let (client, server) = connection();
    leaks("exec {} --bad 2>&0 0</dev/null", &[], server, client);
    // With an environment that claims that it is the journal.
    let (client, server) = connection();
    let identity = fs::File::from(server.try_clone().unwrap()).metadata().unwrap();
    let journal = ("JOURNAL_STREAM", format!("{}:{}", identity.dev(), identity.ino()));
    leaks("exec {} --bad 1>&0 2>&0", &[journal], server, client);
}

#[test]
fn without_a_descriptor_for_its_log_it_serves_nobody() {
    // Descriptor 2 is closed, or the client is in a root directory without /dev/null, and opening the root directory instead fails.
    // A file or connection would get the number 2, and the log would be written to it.
    let folder = Folder::new("no-log");
    let trace = folder.path().join("trace");
    let script = format!(
        "exec strace -qq -o {} -e inject=openat:error=ENFILE:when=1+ {} 2>&-",
        trace.display(),
        program("echo").display()
    );
    let (mut client, server) = connection();
    let mut command = Command::new("sh");
    let mut process = Process::start(command.args(["-c", &script]).stdin(server.try_clone().unwrap()).stdout(server));
    drop(command);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"");
    assert_eq!(process.wait().code(), Some(1));
    let trace = fs::read_to_string(trace).unwrap();
    assert_eq!(trace.matches("(INJECTED)").count(), 1, "{trace}");
}

#[test]
fn a_time_zone_that_is_no_zone_file_is_named() {
    let folder = Folder::new("zone");
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // The header of a zone file with a leap second.
    let mut right = b"TZif2".to_vec();
    right.resize(44, 0);
    right[31] = 1;
    let right = folder.file("right", right);
    let named = [
        fifo.to_str().unwrap(),
        right.to_str().unwrap(),
        "/dev/zero",
        "/etc/passwd",
        "No/Such/Zone",
        "../../../etc/passwd",
    ];
    for zone in named {
        for zone in [zone.to_owned(), format!(":{zone}")] {
            let output = Command::new(program("daytime")).env("TZ", &zone).stdin(Stdio::null()).output().unwrap();
            let log = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), log.lines().count()), (Some(1), 1), "{zone}: {log}");
            assert!(log.contains(&format!("TZ={zone} ")), "{log}");
            assert_eq!(log.contains("it counts leap seconds"), zone.ends_with("right"), "{log}");
        }
    }
    for (zone, ends) in [
        ("Asia/Tokyo", "+09:00\n"),
        (":Asia/Tokyo", "+09:00\n"),
        ("CET-1", "+01:00\n"),
        ("", "+00:00\n"),
        // A zone without daylight saving time, so that the date of the run does not matter.
        ("AAA-3BBB-3", "+03:00\n"),
    ] {
        let mut command = Command::new(program("daytime"));
        let output = command.args(["--format", "iso8601"]).env("TZ", zone).stdin(Stdio::null()).output().unwrap();
        assert!(output.stdout.ends_with(ends.as_bytes()), "{zone}: {output:?}");
    }
}

#[test]
fn too_little_memory_is_named() {
    let script = format!("ulimit -v 16000; exec {}", program("qotd").display());
    let (mut client, server) = connection();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    drop(command);
    assert_eq!(read_all(&mut client), b"");
    let (code, log) = process.log();
    assert!(code == Some(1) && log.contains("bytes of memory") && log.lines().count() == 1, "{log}");
}

#[test]
fn a_panic_is_one_line_on_the_log_and_nothing_for_the_client() {
    for layers in ["none", "all"] {
        for log in ["connection", "pipe"] {
            let (mut client, server) = connection();
            let mut command = Command::new(helper("hijacked"));
            command.args(["echo", "Connection", layers, "panic"]);
            command.stdin(server.try_clone().unwrap()).stdout(server.try_clone().unwrap());
            command.stderr(if log == "pipe" { Stdio::piped() } else { Stdio::from(server.try_clone().unwrap()) });
            let mut process = Process::start(&mut command);
            drop((command, server)); // all copies of the connection except the process's
            assert_eq!(read_all(&mut client), b"", "{layers}, {log}");
            if log == "pipe" {
                let (_, log) = process.log();
                assert!(log.starts_with("hijacked: this is a defect, please report it: "), "{layers}: {log}");
                // This is a debug build: it also names the forbidden call at the end of the panic.
                let lines = log.lines().filter(|line| !line.starts_with("hunker: the policy forbids "));
                assert!(log.contains("a line\\nand another") && lines.count() == 1, "{layers}: {log}");
            }
            assert!(!process.wait().success());
        }
    }
}

#[test]
fn the_journal_gets_priorities() {
    let (journal, stream) = UnixStream::pair().unwrap();
    let stream = OwnedFd::from(stream);
    let identity = fs::File::from(stream.try_clone().unwrap()).metadata().unwrap();
    let (mut client, server) = connection();
    let mut process = Process::start(
        Command::new(program("qotd"))
            .arg("/no/such/file")
            .env("JOURNAL_STREAM", format!("{}:{}", identity.dev(), identity.ino()))
            .stdin(server.try_clone().unwrap())
            .stdout(server)
            .stderr(stream),
    );
    let mut lines = String::new();
    let mut journal = journal;
    journal.read_to_string(&mut lines).unwrap();
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.starts_with("<3>cannot read /no/such/file: "), "{lines}");
    assert_eq!(read_all(&mut client), b"");
    assert_eq!(process.wait().code(), Some(1));
}

#[test]
fn sockets_that_no_service_uses_are_refused_by_name() {
    let (sequenced, _other) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let unix: OwnedFd = std::os::unix::net::UnixDatagram::unbound().unwrap().into();
    for (socket, kind) in [(sequenced, "a SEQPACKET"), (unix, "a Unix-domain datagram")] {
        for script in ["exec {}", "LISTEN_PID=$$ LISTEN_FDS=1 exec {} 3<&0 0</dev/null"] {
            let script = script.replace("{}", program("echo").to_str().unwrap());
            let mut process = Process::start(
                Command::new("sh")
                    .args(["-c", &script])
                    .stdin(socket.try_clone().unwrap())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped()),
            );
            let (code, log) = process.log();
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains(&format!("is {kind} socket")) && log.contains("ListenStream="), "{log}");
            assert_eq!(log.lines().count(), 1, "{log}");
        }
    }
}

#[test]
fn without_anything_to_serve_the_error_names_the_next_step() {
    let echo = program("echo");
    let log = |script: &str, output: Stdio| {
        let mut command = Command::new("sh");
        command.args(["-c", &script.replace("{}", echo.to_str().unwrap())]);
        let (code, log) = Process::start(command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped())).log();
        assert_eq!((code, log.lines().count()), (Some(1), 1), "{log}");
        log
    };
    assert!(log("exec {} <&-", Stdio::null()).contains("cannot read the input: Bad file descriptor"));
    assert!(log("exec {} </", Stdio::null()).contains("cannot read the input: Is a directory"));
    // A service unit started without its socket: descriptor 0 is /dev/null, and 1 is a stream to the journal.
    let (_journal, stream) = UnixStream::pair().unwrap();
    assert!(log("exec {}", OwnedFd::from(stream).into()).contains("start the socket unit instead of the service"));
    assert!(log("NOTIFY_SOCKET=/no/such exec {} --listen 127.0.0.1:0", Stdio::null()).contains("NOTIFY_SOCKET"));
    let both = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {} --listen 127.0.0.1:0";
    assert!(log(both, Stdio::null()).contains("remove one of the two"));
    let (_client, connection) = connection();
    let script = "exec 3<&0 4<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec {}";
    let mut command = Command::new("sh");
    command.args(["-c", &script.replace("{}", echo.to_str().unwrap())]);
    let (code, log) = Process::start(command.stdin(connection).stdout(Stdio::null()).stderr(Stdio::piped())).log();
    assert!(code == Some(1) && log.contains("descriptor 3 is a connection"), "{log}");
}

#[test]
fn a_standard_input_that_nobody_reads_may_be_closed_or_a_directory() {
    for (name, shortest) in [("qotd", 2), ("daytime", 25), ("time", 4), ("chargen", 100)] {
        for input in ["<&-", "</"] {
            let script = format!("{} {input} | head -c 100", program(name).display());
            let output = tool("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
            assert!(output.stdout.len() >= shortest && output.stderr.is_empty(), "{name} {input}: {output:?}");
        }
    }
    // No super-server starts them like that for a client.
    let (mut client, server) = connection();
    let mut command = tool("bash");
    let script = format!("exec {} <&-", program("qotd").display());
    let mut process = Process::start(command.args(["-c", &script]).stdout(server).stderr(Stdio::piped()));
    drop(command);
    assert_eq!(read_all(&mut client), b"");
    let (code, log) = process.log();
    assert!(code == Some(1) && log.contains("there is nothing to serve"), "{log}");
}

#[test]
fn announced_descriptors_that_are_missing_are_refused() {
    for (environment, words) in [
        ("LISTEN_PID=$$ LISTEN_FDS=1", "check LISTEN_FDS"),
        ("LISTEN_PID=$$ LISTEN_FDS=two", "LISTEN_FDS"),
        ("LISTEN_PID=me LISTEN_FDS=1", "LISTEN_PID"),
        ("LISTEN_PID=$$ LISTEN_FDS=2", "LISTEN_FDS"),
    ] {
        let script = format!("{environment} exec {} </dev/null", program("echo").display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{environment}: {log}");
        assert!(log.contains(words) && log.lines().count() == 1, "{environment}: {log}");
    }
    // Variables for another process are ignored, with everything that belongs to them. An empty variable is like an unset one.
    for environment in [
        "LISTEN_PID=1 LISTEN_FDS=1",
        "LISTEN_PID=1 LISTEN_FDS=one",
        "LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=http:https",
        "LISTEN_FDS=1 LISTEN_FDNAMES=http",
        "LISTEN_FDNAMES=http",
        "LISTEN_PID=$$ LISTEN_FDNAMES=http",
        "LISTEN_PID= LISTEN_FDS= LISTEN_FDNAMES=",
    ] {
        let script = format!("{environment} exec {} </dev/null", program("echo").display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{environment}: {output:?}");
    }
}
