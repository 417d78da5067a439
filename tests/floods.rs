//! Floods, in a booted systemd, on all kinds of units: whatever clients do, the port answers afterwards, no failed unit is left
//! behind, and memory is returned. `make attack` runs the long ones, compares a plain unit and inetd, and writes docs/floods.md.

mod support;

use std::time::Instant;

use support::attack::{bounded, full, table};
use support::machine::Machine;
use support::{helper, repository};

/// The result of a flood, in connections or datagrams.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    served: usize,
    refused: usize,
    cut: usize,
    dropped: usize,
    wrong: usize,
}

/// A row of the page: the flood, then the state afterwards.
struct Row {
    flood: String,
    counted: Counted,
    answers: Option<u64>,
    failed: usize,
    memory: [usize; 2],
}

const ONE_FOR_ALL: &str = "one process for all";

/// A machine with a super-server that is flooded.
struct Target {
    name: &'static str,
    machine: Machine,
    /// Whether a problem during a flood is a failure of the test: not for super-servers that are only compared.
    ours: bool,
    rows: Vec<Row>,
}

impl Target {
    fn new(name: &'static str, machine: Machine, ours: bool) -> Self {
        Self { name, machine, ours, rows: Vec::new() }
    }

    fn client(&self, arguments: &str) -> String {
        let printed = self.machine.client(&format!("{} {arguments}", helper("flood").display()));
        String::from_utf8(printed).unwrap().trim().to_owned()
    }

    /// The memory of the service manager and of all services, in KiB.
    fn memory(&self) -> usize {
        self.machine
            .shell(
                "cat $(pgrep -x 'systemd|qotd|echo|chargen|inetd' | sed 's|.*|/proc/&/status|') 2>/dev/null | \
                 awk '/^VmRSS:/ { sum += $2 } END { print sum + 0 }' || true",
            )
            .trim()
            .parse()
            .unwrap()
    }

    /// Floods a port, and checks it afterwards.
    fn flood(&mut self, what: &str, kind: &str, [port, service]: [&str; 2], count: usize, seconds: usize) -> Counted {
        let before = self.memory();
        let start = Instant::now();
        let printed = self.client(&format!("{kind} {port} {service} {count} {seconds}"));
        let took = start.elapsed();
        let mut numbers = printed.split(' ').map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        let counted = Counted { served: next(), refused: next(), cut: next(), dropped: next(), wrong: next() };
        if kind == "datagrams" && self.ours {
            // --datagram-rate: for each of 64 networks 540 octets at once and 540 a second. A reply takes 28 or more.
            let most = 64 * (540 * (usize::try_from(took.as_secs()).unwrap() + 2) / 28 + 1);
            assert!(counted.served <= most, "{}: {what}: {counted:?} in {took:?}", self.name);
        }
        self.afterwards(what, [port, service], count, counted, before);
        counted
    }

    fn afterwards(&mut self, what: &str, [port, service]: [&str; 2], count: usize, counted: Counted, before: usize) {
        let limit = if self.ours { 300 } else { 20 };
        let answers = self.client(&format!("answer {port} {service} 1 {limit}")).parse().ok();
        if self.ours {
            self.machine
                .wait_for(&format!("! systemctl list-units --no-legend --plain {}@* | grep .", support::units()));
        }
        let failed = self.machine.shell("systemctl --failed --no-legend").lines().count();
        let memory = [before, self.memory()];
        let name = self.name;
        println!("{name}: {what}: {counted:?}, answers after {answers:?} ms, failed units: {failed}, KiB: {memory:?}");
        if self.ours {
            assert_eq!(counted.wrong, 0, "{name}: {what}: a wrong octet");
            let answers = answers.unwrap_or_else(|| panic!("{name}: {what}: the port does not answer"));
            // Not if a service manager may still have to start hundreds of units for accepted connections.
            let quick = !full() || answers <= 1000 || name != ONE_FOR_ALL;
            assert!(quick, "{name}: {what}: the port answers after {answers} ms");
            assert_eq!(failed, 0, "{name}: {what}: failed units");
            assert!(memory[1] < memory[0] + 16 * 1024, "{name}: {what}: {memory:?} KiB before and after");
        }
        let flood = format!("{what}, {}", thousands(count));
        self.rows.push(Row { flood, counted, answers, failed, memory });
    }

    /// Every flood that applies to all of them. `places` is the maximum number of concurrent connections.
    fn all(&mut self) {
        let is_daemon = [ONE_FOR_ALL, "the keeper"].contains(&self.name);
        // More than a service manager accepts: the test does not wait for clients that are not accepted after a while.
        let (count, patience) = if is_daemon { (10_000, 120) } else { (bounded(1000, 10_000), bounded(10, 120)) };
        let burst = self.flood("burst", "burst", ["17", "qotd"], count, patience);
        if is_daemon {
            assert_eq!(burst.served, 10_000, "{burst:?}");
        }
        self.flood("clients that talk first and close their half", "halves", ["17", "qotd"], bounded(200, 1000), 120);
        self.flood("connections held in silence", "hold", ["7", "echo"], 2000, bounded(2, 30));
        let trickled = self.flood("an octet a second", "trickle", ["7", "echo"], 20, bounded(3, 30));
        self.flood("resets", "reset", ["7", "echo"], bounded(200, 1000), 60);
        self.flood("clients that vanish", "vanish", ["7", "echo"], bounded(50, 500), 60);
        self.flood("echo that nobody reads", "deaf", ["7", "echo"], 20, bounded(2, 20));
        self.flood("chargen that nobody reads", "deaf", ["19", "chargen"], 20, bounded(2, 20));
        if self.ours {
            assert_eq!(trickled.served, 20, "{trickled:?}");
        }
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A drop-in for a unit of the machine.
fn drop_in(machine: &Machine, unit: &str, lines: &str) {
    machine.shell(&format!(
        "mkdir -p /run/systemd/system/{unit}.d && printf '{lines}' > /run/systemd/system/{unit}.d/flood.conf"
    ));
}

fn exec(program: &str, options: &str) -> String {
    format!("[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/{program} {options}\\n")
}

/// Per-connection services, with the shipped limits.
fn each() -> Target {
    Target::new("a process for each connection", Machine::with_services("floods-each", ""), true)
}

/// The same with few slots, as on a small host.
fn few() -> Target {
    let machine = Machine::with_services("floods-few", "");
    for unit in ["fortune", "echo", "chargen"] {
        let lines = "[Socket]\\nMaxConnections=32\\nMaxConnectionsPerSource=24\\n";
        drop_in(&machine, &format!("{unit}.socket"), lines);
    }
    if !full() {
        drop_in(&machine, "echo@.service", &exec("echo", "--idle-timeout 5"));
    }
    machine.shell("systemctl daemon-reload && systemctl restart fortune.socket echo.socket chargen.socket");
    Target::new("a process for each of 32 connections", machine, true)
}

/// The command of the daemons' units.
fn keeper() -> Target {
    Target::new("the keeper", Machine::with_services("floods-keeper", "-daemon"), true)
}

/// The same with `--shared`.
fn all_in_one() -> Target {
    let machine = Machine::with_services("floods-one", "-daemon");
    for (unit, program) in [("fortune", "qotd"), ("echo", "echo"), ("chargen", "chargen")] {
        drop_in(&machine, &format!("{unit}-daemon.service"), &exec(program, "--shared"));
    }
    machine.shell("systemctl daemon-reload");
    Target::new(ONE_FOR_ALL, machine, true)
}

/// The unit of many tutorials: a dynamic user, and no limits.
fn plain() -> Target {
    let machine = Machine::boot("floods-plain");
    machine.shell(&format!("make -C {} install", repository().display()));
    for (name, port) in [("qotd", 17), ("echo", 7), ("chargen", 19)] {
        machine.shell(&format!(
            "cd /run/systemd/system && printf '[Socket]\\nListenStream={port}\\nAccept=yes\\n' > plain-{name}.socket && \
             printf '[Service]\\nDynamicUser=yes\\nStandardInput=socket\\n\
             ExecStart=/usr/local/libexec/small-services/{name}\\n' > plain-{name}@.service && \
             systemctl daemon-reload && systemctl start plain-{name}.socket"
        ));
    }
    Target::new("a plain unit", machine, false)
}

fn inetd() -> Target {
    let machine = Machine::boot("floods-inetd");
    machine.shell(&format!(
        "make -C {0} install && cp {0}/target/peers/usr/sbin/* /usr/sbin && \
         sed '/tcpd/! s/^#19/19/' /usr/local/share/small-services/inetd.conf > /run/inetd.conf && \
         systemd-run --quiet --unit=inetd inetd -i /run/inetd.conf",
        repository().display()
    ));
    machine.wait_for("nc -z 127.0.0.1 17");
    Target::new("inetd", machine, false)
}

#[test]
fn a_process_for_each_connection_is_flooded() {
    // The shipped limits take minutes to fill and to empty.
    let targets = if full() { vec![each(), few()] } else { vec![few()] };
    for mut target in targets {
        target.all();
        used_up_memory_of_one(&mut target);
        write_part(&target);
    }
}

/// Instead of `MemoryMax=`, which some machines cannot enforce: less address space than a process needs.
fn used_up_memory_of_one(target: &mut Target) {
    let before = target.memory();
    drop_in(&target.machine, "fortune@.service", "[Service]\\nLimitAS=12M\\n");
    target.machine.shell("systemctl daemon-reload");
    let printed = target.client("burst 17 qotd 20 120");
    let refused: usize = printed.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(refused, 20, "nothing rather than a part of it: {printed}");
    let log = target.machine.journal("_COMM=qotd --priority=err");
    assert!(log.contains("bytes of memory; raise MemoryMax="), "{log}");
    target.machine.shell("rm /run/systemd/system/fortune@.service.d/flood.conf; systemctl daemon-reload");
    let counted = Counted { refused, ..Counted::default() };
    target.afterwards("memory limit reached (`LimitAS=`)", ["17", "qotd"], 20, counted, before);
}

/// The floods for both kinds of daemons.
fn all_and_datagrams(target: &mut Target) {
    target.all();
    target.flood("datagrams to echo", "datagrams", ["7", "echo"], bounded(100_000, 1_000_000), 30);
    target.flood("datagrams to qotd", "datagrams", ["17", "qotd"], bounded(10_000, 1_000_000), 30);
    during_a_forged_flood(target);
}

#[test]
fn one_process_for_all_is_flooded() {
    let mut target = all_in_one();
    all_and_datagrams(&mut target);
    used_up_descriptors(&mut target);
    with_places_for_all(&mut target);
    used_up_memory_of_all(&mut target);
    write_part(&target);
}

#[test]
fn the_keeper_is_flooded() {
    let mut target = keeper();
    all_and_datagrams(&mut target);
    used_up_processes(&mut target);
    write_part(&target);
}

/// With fewer processes than it needs, it waits until some have ended.
fn used_up_processes(target: &mut Target) {
    drop_in(&target.machine, "echo-daemon.service", "[Service]\\nTasksMax=20\\n");
    target.machine.shell("systemctl daemon-reload && systemctl restart echo-daemon.service");
    let counted = target.flood("processes used up (`TasksMax=20`)", "burst", ["7", "echo"], bounded(500, 2000), 120);
    assert_eq!(counted.served, bounded(500, 2000), "{counted:?}");
}

/// Its limits at run time, by prlimit(1).
fn limit(machine: &Machine, unit: &str, limits: &str) {
    machine.shell(&format!("prlimit --pid $(systemctl show -P MainPID {unit}) {limits}"));
}

fn during_a_forged_flood(target: &mut Target) {
    let what = "a real client's datagrams during a forged flood from 200 networks";
    let count = bounded(10, 20);
    let counted = target.flood(what, "forged", ["17", "qotd"], count, 0);
    // All of them, except what the kernel drops on a busy machine.
    assert!(counted.served * 4 >= count * 3, "{counted:?}");
}

fn used_up_descriptors(target: &mut Target) {
    limit(&target.machine, "echo-daemon", "--nofile=40:16384");
    target.flood("descriptors used up", "hold", ["7", "echo"], 200, bounded(2, 10));
    let log = target.machine.journal("-u echo-daemon --priority=warning");
    assert!(log.contains("cannot accept a connection: Too many open files (os error 24); raise LimitNOFILE="), "{log}");
    limit(&target.machine, "echo-daemon", "--nofile=16384:16384");
}

/// More than a thousand concurrent echoes need more slots than the default.
fn with_places_for_all(target: &mut Target) {
    drop_in(
        &target.machine,
        "echo-daemon.service",
        &exec("echo", "--shared --max-connections 12000 --max-per-source 12000"),
    );
    target.machine.shell("systemctl daemon-reload && systemctl restart echo-daemon.service");
    let counted = target.flood("burst of echoes, `--max-connections 12000`", "burst", ["7", "echo"], 10_000, 120);
    assert_eq!(counted.served, 10_000, "{counted:?}");
}

/// Instead of `MemoryMax=`, which some machines cannot enforce: what the daemon uses without clients, and not an octet more.
fn used_up_memory_of_all(target: &mut Target) {
    let machine = &target.machine;
    machine.shell("systemctl restart echo-daemon.service && echo x | nc -N 127.0.0.1 7");
    limit(machine, "echo-daemon", "--data=0:unlimited");
    let restarts = |machine: &Machine| -> usize {
        machine.shell("systemctl show -P NRestarts echo-daemon").trim().parse().unwrap()
    };
    let before = restarts(machine);
    target.flood("memory limit reached (`prlimit --data`)", "hold", ["7", "echo"], 10_000, bounded(2, 10));
    let machine = &target.machine;
    assert!(restarts(machine) > before, "it did without more memory");
    let log = machine.journal("-u echo-daemon");
    assert!(log.contains("status=31/SYS"), "{log}");
}

#[test]
fn a_plain_unit_and_inetd_are_flooded_for_comparison() {
    if !full() {
        return; // for the page only
    }
    for mut target in [plain(), inetd()] {
        target.all();
        if target.name == "inetd" {
            target.flood("datagrams to echo", "datagrams", ["7", "echo"], 1_000_000, 30);
        }
        write_part(&target);
    }
}

/// The part of docs/floods.md about a target.
fn write_part(target: &Target) {
    let head = [
        "flood",
        "served",
        "refused",
        "cut",
        "dropped or held",
        "wrong",
        "answers after",
        "failed units",
        "memory, MiB",
    ];
    let rows: Vec<_> = target.rows.iter().map(Row::cells).collect();
    let part = format!("## {}\n\n{}", capital(target.name), table(&head, &rows));
    support::attack::write_part("floods.md", include_str!("floods/page.md"), target.name, &part);
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let Counted { served, refused, cut, dropped, wrong } = self.counted;
        let mut row = vec![self.flood.clone()];
        row.extend([served, refused, cut, dropped, wrong].map(thousands));
        row.push(self.answers.map_or_else(|| "**never**".to_owned(), |after| format!("{after} ms")));
        row.push(self.failed.to_string());
        row.push(format!("{} → {}", self.memory[0] / 1024, self.memory[1] / 1024));
        row
    }
}

fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}
