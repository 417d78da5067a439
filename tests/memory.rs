//! Memory: what clients can make the kernel buffer fits into the limits of the units, by calculation and in practice. The practical
//! test needs a kernel that enforces `MemoryMax=`: a virtual machine with Debian's (tests/guest).

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use small_services::engine::Limits;
use small_services::engine::buffers::{self, Buffers, PROGRAM};
use small_services::services::{self, Kind, Row};
use support::attack::bounded;
use support::{Daemon, Folder, MODES, Mode, helper, program, read_all, repository, tool, wait_until};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What chargen sends on a connection in a second, in octets.
const CHARGEN: u32 = 64 << 10;
/// What lunchd needs for a connection, TLS and HTTP/2 with all its streams; and its budget for answers.
const WEB: usize = 128 * KIB;
const ANSWERS: usize = 64 * MIB;
/// The maximum of the process for one connection, including its set-up by the service manager.
const PROCESS: usize = MIB;

/// The last value of a directive in a unit; a size in octets.
fn value(name: &str, directive: &str) -> usize {
    let unit = fs::read_to_string(repository().join("units").join(name)).unwrap();
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='));
    let value = values.next_back().unwrap_or_else(|| panic!("{name} has no {directive}="));
    let number = value.trim_end_matches(char::is_alphabetic);
    let factor = match &value[number.len()..] {
        "" => 1,
        "K" => KIB,
        "M" => MIB,
        "G" => 1024 * MIB,
        other => panic!("{name}: {directive}={value}: {other}?"),
    };
    number.parse::<usize>().unwrap() * factor
}

fn connections() -> usize {
    Limits::default().max_connections as usize
}

#[test]
fn the_memory_that_clients_can_fill_fits_into_the_limits_of_the_units() {
    for Row { unit: name, kind, .. } in services::all() {
        // A tenth on top, since the kernel counts whole pages and whole segments.
        let daemon = format!("{name}-daemon.service");
        let limit = value(&daemon, "MemoryMax");
        for shared in [false, true] {
            let needed = buffers::daemon(connections(), kind, shared);
            assert!(needed <= limit - limit / 10, "{daemon}: {} of {} MiB", needed / MIB, limit / MIB);
        }
        let tasks = buffers::tasks(connections());
        assert!(tasks <= value(&daemon, "TasksMax"), "{daemon}: {tasks} tasks");
    }
    // With fewer connections than may have large buffers, all have these.
    assert_eq!(buffers::daemon(3, Kind::Stream, true), 3 * Buffers::STREAM.memory() + PROGRAM);
    let needed = connections() * (Buffers::REPLY.memory() + WEB) + ANSWERS + PROGRAM;
    let lunchd = value("lunchd.service", "MemoryMax");
    assert!(needed <= lunchd - lunchd / 10, "lunchd: {} of {} MiB", needed / MIB, lunchd / MIB);

    // Either a service for each connection, or a daemon.
    let of_service = |name: &str| {
        let processes = value(&format!("{name}.socket"), "MaxConnections") * PROCESS;
        processes.max(value(&format!("{name}-daemon.service"), "MemoryMax"))
    };
    let all = services::all().map(|row| of_service(row.unit)).sum::<usize>() + lunchd;
    let slice = value("system-smallservices.slice", "MemoryMax");
    assert!(all <= slice, "{} of {} MiB", all / MIB, slice / MIB);
    // A process and its set-up by systemd.
    let of_service = |unit: &str| {
        let processes = 2 * value(&format!("{unit}.socket"), "MaxConnections");
        processes.max(value(&format!("{unit}-daemon.service"), "TasksMax"))
    };
    let tasks = services::all().map(|row| of_service(row.unit)).sum::<usize>();
    let slice = value("system-smallservices.slice", "TasksMax");
    assert!(tasks + value("lunchd.service", "TasksMax") <= slice, "{tasks} of {slice} tasks");
}

#[test]
fn the_socket_units_have_the_buffers_of_the_programs() {
    let sockets = services::all().flat_map(|Row { unit: name, kind, .. }| {
        let buffers = if kind == Kind::Stream { Buffers::STREAM } else { Buffers::REPLY };
        [(format!("{name}.socket"), buffers), (format!("{name}-daemon.socket"), buffers)]
    });
    let web = ["lunchd-http.socket", "lunchd-https.socket"].map(|name| (name.to_owned(), Buffers::REPLY));
    for (name, Buffers { receive, send }) in sockets.chain(web) {
        let values = (value(&name, "ReceiveBuffer"), value(&name, "SendBuffer"));
        assert_eq!(values, (receive as usize, send as usize), "{name}");
    }
}

#[test]
fn the_page_has_these_sums() {
    let page = fs::read_to_string(repository().join("docs/operating.md")).unwrap();
    let (kib, mib) = (|octets: usize| octets / KIB, |octets: usize| octets.div_ceil(MIB));
    let large = buffers::MAX_LARGE;
    let of = |kind| {
        let units: Vec<_> = services::all().filter(|row| row.kind == kind).map(|row| row.unit).collect();
        units.join(", ")
    };
    let mut rows = String::new();
    let (few, many) = (Buffers::STREAM, Buffers::SMALL);
    let besides = [(Kind::Stream, "16 MiB"), (Kind::Reply, "64 MiB of long replies, 16 MiB")];
    for (kind, besides) in besides {
        let (count, each, process) = if kind == Kind::Stream {
            let process = |buffers: Buffers| kib(buffers::stream(buffers) - buffers.memory());
            (
                format!("{large} and {}", connections() - large),
                format!("{} and {}", kib(few.memory()), kib(many.memory())),
                format!("{} and {} KiB", process(few), process(many)),
            )
        } else {
            ("1,000".to_owned(), kib(Buffers::REPLY.memory()).to_string(), format!("{} KiB", kib(buffers::PROCESS)))
        };
        let [own, shared] = [false, true].map(|shared| mib(buffers::daemon(connections(), kind, shared)));
        for (unit, process, sum) in
            [(of(kind), process, own), ("the same with `--shared`".into(), String::new(), shared)]
        {
            let _ = writeln!(rows, "| {unit} | {count} | {each} KiB | {process} | {besides} | {sum} MiB | 512M |");
        }
    }
    let _ = writeln!(
        rows,
        "| lunchd | 1,000 | {} KiB | {} KiB | 64 MiB of answers, 16 MiB | {} MiB | 384M |",
        kib(Buffers::REPLY.memory()),
        kib(WEB),
        mib(connections() * (Buffers::REPLY.memory() + WEB) + ANSWERS + PROGRAM)
    );
    let slice = services::all().count() * value("echo.socket", "MaxConnections");
    let _ = writeln!(
        rows,
        "| all per-connection services, and lunchd | {slice} | in the service manager | 1 MiB | | {} MiB | 5G |",
        slice + value("lunchd.service", "MemoryMax") / MIB
    );
    assert!(page.contains(&rows), "docs/operating.md does not have these rows:\n{rows}");
    for streams in [false, true] {
        let buffers = if streams { Buffers::STREAM } else { Buffers::REPLY };
        let all = value("echo.socket", "MaxConnections") * buffers.memory();
        let words = format!("{} MiB", mib(all));
        assert!(page.contains(&words), "docs/operating.md does not say that 600 connections take {words}");
    }
}

/// The buffers of accepted connections to a port, as the kernel counts them: for receiving and for sending.
fn of_connections(port: u16) -> Vec<(usize, usize)> {
    let output = Command::new("ss").args(["-tmnH", &format!("sport = :{port}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |line: &str, name: &str| {
        let value = line.split(['(', ',', ')']).find_map(|field| field.strip_prefix(name)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    text.lines().filter(|line| line.contains("skmem:")).map(|line| (field(line, "rb"), field(line, "tb"))).collect()
}

fn in_kernel(Buffers { receive, send }: Buffers) -> (usize, usize) {
    (2 * receive as usize, 2 * send as usize)
}

#[test]
fn every_way_of_starting_bounds_the_buffers_of_a_connection() {
    for Row { program: name, kind, .. } in services::all() {
        let buffers = if kind == Kind::Stream { Buffers::STREAM } else { Buffers::REPLY };
        let buffers = if name == "chargen" { buffers.paced(CHARGEN) } else { buffers };
        // A connection from a super-server gets its own buffers, whatever those of the super-server's listening socket.
        let served = support::inetd_style(name, &["--idle-timeout", "60000"]);
        let port = served.client.peer_addr().unwrap().port();
        wait_until(|| of_connections(port) == [in_kernel(buffers)]);
        let daemon = Daemon::start(name, &["--idle-timeout", "60000"]);
        wait_until(|| {
            // Large buffers, before it is ready.
            let _client = daemon.connect();
            of_connections(daemon.address.port()).contains(&in_kernel(buffers))
        });
    }
}

/// The rate limits of accepted connections to a port, in bits a second, as the kernel reports them.
fn rates_of_connections(port: u16) -> Vec<Option<u64>> {
    let output = tool("ss").args(["-tinH", &format!("sport = :{port}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // `pacing_rate RATE`, and with a limit `pacing_rate RATE/LIMIT`.
    let limit = |line: &str| {
        let rates = line.split_once("pacing_rate ")?.1.split(' ').next()?;
        Some(rates.split_once('/').map(|(_, limit)| limit.strip_suffix("bps").unwrap().parse().unwrap()))
    };
    text.lines().filter_map(limit).collect()
}

#[test]
fn the_kernel_has_the_limit_on_the_rate_of_every_connection() {
    for (name, options, limit) in [
        ("chargen", &[][..], Some(CHARGEN)),
        ("chargen", &["--max-rate", "0"], None),
        ("chargen", &["--max-rate", "1000000"], Some(1_000_000)),
        ("echo", &[], None),
        ("echo", &["--max-rate", "65536"], Some(65_536)),
    ] {
        for mode in MODES {
            let mut served = support::served(mode, name, options);
            served.client.write_all(b"x").unwrap();
            served.client.read_exact(&mut [0]).unwrap();
            let port = served.client.peer_addr().unwrap().port();
            let limit = limit.map(|octets| u64::from(octets) * 8);
            assert_eq!(rates_of_connections(port), [limit], "{mode:?}, {name} {options:?}");
        }
    }
}

#[test]
fn the_first_streams_have_large_buffers_and_the_others_small_ones() {
    for mode in [Mode::Keeper, Mode::Shared] {
        let daemon = Daemon::start_as(mode, "echo", &[]);
        let echoed = || {
            let mut client = daemon.connect();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            client
        };
        let port = daemon.address.port();
        let count = |buffers| of_connections(port).into_iter().filter(|&have| have == in_kernel(buffers)).count();
        let mut clients: Vec<_> = (0..buffers::MAX_LARGE + 6).map(|_| echoed()).collect();
        assert_eq!((count(Buffers::STREAM), count(Buffers::SMALL)), (buffers::MAX_LARGE, 6));
        // Connections that end free their large buffers for new ones.
        clients.truncate(buffers::MAX_LARGE - 3);
        wait_until(|| (count(Buffers::STREAM), count(Buffers::SMALL)) == (buffers::MAX_LARGE - 3, 0));
        clients.extend((0..5).map(|_| echoed()));
        assert_eq!((count(Buffers::STREAM), count(Buffers::SMALL)), (buffers::MAX_LARGE, 2));
    }
}

#[test]
fn replies_that_nobody_reads_fill_no_more_than_their_limit() {
    // The longest one that qotd sends.
    const LONG: usize = MIB;
    let folder = Folder::new("kept-replies");
    // Its line end takes one octet more in the reply.
    let cookies = folder.file("cookies", [&vec![b'x'; LONG - 2][..], b"\n"].concat());
    for mode in [Mode::Keeper, Mode::Shared] {
        let daemon = Daemon::start_as(mode, "qotd", &[cookies.to_str().unwrap(), "--max-length", "1048576"]);
        let mut clients = Vec::new();
        let connect = || {
            let mut client = daemon.connect();
            (client.read(&mut [0]).unwrap() == 1).then_some(client)
        };
        clients.extend(std::iter::from_fn(connect));
        assert_eq!(clients.len(), buffers::MAX_KEPT / LONG, "{mode:?}");
        // Only the memory of those that end is free again.
        assert_eq!(read_all(&mut clients.remove(0)).len(), LONG - 1, "{mode:?}");
        wait_until(|| {
            clients.extend(connect());
            clients.len() == buffers::MAX_KEPT / LONG
        });
        // The keeper would end a process that was silent for a second.
        assert!(mode == Mode::Keeper || connect().is_none());
    }
}

/// Serves a program in a control group with its unit's limit, floods it, sends requests meanwhile, and prints the results.
const SCRIPT: &str = r#"
ulimit -n 20000
flooded() { # PROGRAM SERVICE PORT LIMIT FLOOD COUNT SECONDS OPTIONS...
	program=$1 service=$2 port=$3 limit=$4 flood=$5 count=$6 seconds=$7
	shift 7
	group=$(mktemp -d /sys/fs/cgroup/flooded.XXXXXX)
	echo $limit >$group/memory.max
	echo 0 >$group/memory.swap.max
	sh -c "echo \$\$ >$group/cgroup.procs && exec \"\$@\"" sh /programs/$program "$@" 2>/tmp/log &
	daemon=$!
	before=$(/programs/flood answer $port $service 1 60)
	/programs/flood $flood $port $service $count $seconds >/tmp/flood &
	client=$!
	sleep $((seconds * 2 / 3))
	during=$(/programs/flood answer $port $service 1 20)
	wait $client
	after=$(/programs/flood answer $port $service 1 20)
	killed=$(sed -n 's/^oom_kill //p' $group/memory.events)
	echo "$program $flood $before $during $after $killed $(($(cat $group/memory.peak) / 1024))"
	kill $daemon || cat /tmp/log
	wait $daemon
}
"#;

#[test]
fn clients_that_read_nothing_do_not_exhaust_the_memory_of_a_daemon() {
    let folder = Folder::new("memory");
    let (count, seconds) = (1000, bounded(9, 30));
    let long = "x".repeat(70) + "\n";
    let mut script = format!("{SCRIPT}yes '{}' | head -c 900000 >/tmp/long\n", long.trim_end());
    let mut runs = 0;
    let mut flooded = |program: &str, service: &str, unit: &str, port: u16, flood: &str, options: &str| {
        let limit = value(unit, "MemoryMax");
        let listen = if program == "lunchd" { "http" } else { "tcp" };
        let options = format!("--listen {listen}://127.0.0.1:{port} {options}");
        let _ = writeln!(script, "flooded {program} {service} {port} {limit} {flood} {count} {seconds} {options}");
        runs += 1;
    };
    let own = "--max-rate-per-source 0";
    let shared = "--shared";
    // Long replies: "chargen" stands for any long reply.
    let long = "--max-length 0 /tmp/long";
    flooded("echo", "echo", "echo-daemon.service", 7, "grow", own);
    flooded("echo", "echo", "echo-daemon.service", 7, "withhold", shared);
    flooded("discard", "discard", "discard-daemon.service", 9, "below", own);
    flooded("chargen", "chargen", "chargen-daemon.service", 19, "grow", own);
    flooded("qotd", "chargen", "fortune-daemon.service", 17, "deaf", &format!("{own} {long}"));
    flooded("qotd", "chargen", "fortune-daemon.service", 17, "deaf", &format!("{shared} {long}"));
    flooded("lunchd", "lunchd", "lunchd.service", 80, "grow", "");

    let programs = ["echo", "discard", "chargen", "qotd", "lunchd"].map(program);
    let mut guest = Command::new(repository().join("tests/guest"));
    guest.arg(folder.path()).arg(helper("flood")).args(programs).env("MEMORY", "6G");
    guest.stdin(fs::File::open(folder.file("commands", script)).unwrap()).stdout(Stdio::piped());
    let output = guest.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let rows: Vec<Vec<_>> = said.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows.len(), runs, "{said}");
    for row in rows {
        let [program, flood, before, during, after, killed, _] = row[..] else { panic!("{said}") };
        assert_eq!(killed, "0", "{program}, {flood}: killed for want of memory\n{said}");
        for answer in [before, during, after] {
            assert!(
                answer.parse::<u64>().is_ok(),
                "{program}, {flood}: another client is not served: {answer}\n{said}"
            );
        }
    }
}
