//! docs/policies.md and docs/data/policies.csv, from the rules that the programs have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use hunker::Rule;
use small_services::policy::Io;

use crate::support::{audit, repository};

/// A section of the page: its heading, whether a program is in it, and a sentence.
type Section = (&'static str, fn(&str, Io) -> bool, &'static str);

const CONNECTION: usize = 0;
const DATAGRAMS: usize = 3;
const KEEPER: usize = 4;
const SECTIONS: [Section; 6] = [
    (
        "One connection",
        |_, io| io == Io::Connection,
        "A process that a super-server or a keeper starts for one connection.",
    ),
    ("Filter", |_, io| io == Io::Filter, "A program in a pipeline or on a terminal."),
    (
        "Shared process",
        |service, io| service != "lunchd" && is_shared(io),
        "A daemon with `--shared`: one process serves all clients.",
    ),
    (
        "Datagram process",
        |_, io| matches!(io, Io::Datagrams | Io::DatagramsAndFiles),
        "A keeper's process for one datagram socket.",
    ),
    (
        "Keeper",
        |_, io| matches!(io, Io::Keeper | Io::KeeperAndFiles),
        "A daemon that forks a process for each connection and each datagram socket. A process keeps the filter of its parent, so the \
         keeper's policy also has every rule of [One connection](#one-connection) and of [Datagram process](#datagram-process).",
    ),
    ("lunchd", |service, _| service == "lunchd", "One process for all clients, with files."),
];

const fn is_shared(io: Io) -> bool {
    matches!(io, Io::Listeners | Io::Sockets | Io::ListenersAndFiles | Io::SocketsAndFiles)
}

const fn has_files(io: Io) -> bool {
    matches!(io, Io::ListenersAndFiles | Io::SocketsAndFiles | Io::KeeperAndFiles | Io::DatagramsAndFiles)
}

const fn has_udp(io: Io) -> bool {
    matches!(io, Io::Sockets | Io::SocketsAndFiles)
}

/// What the list calls a process.
const fn process(io: Io) -> &'static str {
    match io {
        Io::Connection => "one connection",
        Io::Filter => "filter",
        Io::Listeners => "shared, TCP",
        Io::Sockets => "shared, TCP and UDP",
        Io::ListenersAndFiles => "shared, TCP, with files",
        Io::SocketsAndFiles => "shared, TCP and UDP, with files",
        Io::Keeper => "keeper",
        Io::KeeperAndFiles => "keeper, with files",
        Io::Datagrams => "datagrams",
        Io::DatagramsAndFiles => "datagrams, with files",
    }
}

/// The parameters of the calls in the policies, as in section 2 of the manual.
fn parameters(call: &str) -> &'static [&'static str] {
    match call {
        "accept4" => &["sockfd", "addr", "addrlen", "flags"],
        "clock_gettime" => &["clockid", "tp"],
        // As the kernel takes them, which the page of clone(2) calls the raw system call.
        "clone" => &["flags", "stack", "parent_tid", "child_tid", "tls"],
        "close_range" => &["first", "last", "flags"],
        "dup3" => &["oldfd", "newfd", "flags"],
        "epoll_ctl" => &["epfd", "op", "fd", "event"],
        "epoll_pwait" | "epoll_wait" => &["epfd", "events", "maxevents", "timeout", "sigmask"],
        "fcntl" => &["fd", "op"],
        "close" | "fstat" | "getdents64" | "pread64" | "read" | "write" => &["fd"],
        "kill" => &["pid", "sig"],
        "landlock_restrict_self" => &["ruleset_fd", "flags"],
        "prctl" => &["op", "arg2"],
        "prlimit64" => &["pid", "resource", "new_limit", "old_limit"],
        "seccomp" => &["operation", "flags", "args"],
        "wait4" => &["pid", "wstatus", "options", "rusage"],
        "openat" => &["dirfd", "path", "flags", "mode"],
        "ppoll" => &["fds", "nfds", "timeout", "sigmask"],
        "recvfrom" => &["sockfd", "buf", "size", "flags", "src_addr", "addrlen"],
        "recvmmsg" | "sendmmsg" => &["sockfd", "msgvec", "vlen", "flags"],
        "sendto" => &["sockfd", "buf", "size", "flags", "dest_addr", "addrlen"],
        "setsockopt" => &["sockfd", "level", "optname", "optval", "optlen"],
        "shutdown" => &["sockfd", "how"],
        _ => &[],
    }
}

/// What the arguments of a call may be.
fn arguments(rule: &Rule) -> String {
    let names = parameters(rule.call().name());
    let number = |value: u32| match value {
        0xffff_ff9c => "AT_FDCWD".to_owned(),
        0..16 => value.to_string(),
        _ => format!("{value:#x}"),
    };
    let pins = rule.pins().iter().map(|pin| {
        let name = names[usize::from(pin.position())];
        match (pin.min(), pin.max()) {
            (min, max) if min == max => format!("{name} = {}", number(min)),
            (min, u32::MAX) => format!("{name} ≥ {}", number(min)),
            (min, max) => format!("{name} = {} to {}", number(min), number(max)),
        }
    });
    if rule.pins().is_empty() { "any".to_owned() } else { pins.collect::<Vec<_>>().join(", ") }
}

/// The rules of a program that is built for release: debug builds have one for fcntl(2).
fn rules(service: &str, io: Io) -> impl Iterator<Item = &'static Rule> {
    audit::rules(service, io).filter(|rule| rule.call().name() != "fcntl")
}

/// Every policy, a rule a line.
fn list() -> String {
    let mut list = "service,process,call,arguments,reason\n".to_owned();
    for (service, io) in audit::combinations() {
        for rule in rules(service, io) {
            let (call, arguments) = (rule.call().name(), arguments(rule));
            writeln!(list, "{service},\"{}\",{call},\"{arguments}\",\"{}\"", process(io), rule.reason()).unwrap();
        }
    }
    list
}

type Program = (&'static str, Io);
/// Some kinds of processes, with words for them.
type Condition = (&'static str, fn(Io) -> bool);

/// Which programs of a section have a rule. Nothing: all.
fn programs(there: &[Program], all: &[Program]) -> String {
    let services = |is: fn(Io) -> bool| {
        let mut services: Vec<_> = all.iter().filter(|it| is(it.1)).map(|it| it.0).collect();
        services.dedup();
        services
    };
    let conditions: [Condition; 3] = [("", |_| true), ("with UDP", has_udp), ("with files", has_files)];
    let mut left: Vec<_> = there.iter().map(|it| it.0).collect();
    left.dedup();
    let mut words = Vec::new();
    for (condition, is) in conditions {
        // Services whose every program of this kind has it.
        let mut having = services(is);
        having.retain(|service| {
            let mut of_this = all.iter().filter(|it| it.0 == *service && is(it.1));
            left.contains(service) && of_this.all(|it| there.contains(it))
        });
        left.retain(|service| !having.contains(service));
        let mut others = services(is);
        others.retain(|service| !having.contains(service));
        let listed = match others.len() {
            0 => String::new(),
            1 => format!("not {}", others[0]),
            _ => having.join(", "),
        };
        match (having.is_empty(), listed.is_empty(), condition.is_empty()) {
            (true, ..) => {}
            (_, true, true) => words.push("all".to_owned()),
            (_, true, false) => words.push(condition.to_owned()),
            (_, false, true) => words.push(listed),
            (_, false, false) => words.push(format!("{listed}, {condition}")),
        }
    }
    assert!(left.is_empty(), "no words for {left:?}");
    words.join("; ")
}

/// Of a section, every rule with the programs that have it.
fn section(at: usize) -> BTreeMap<[String; 3], Vec<Program>> {
    let (_, is, _) = SECTIONS[at];
    let mut having: BTreeMap<[String; 3], Vec<Program>> = BTreeMap::new();
    for (service, io) in audit::combinations().filter(|(service, io)| is(service, *io)) {
        for rule in rules(service, io) {
            let line = [rule.call().name().to_owned(), arguments(rule), rule.reason().to_owned()];
            having.entry(line).or_default().push((service, io));
        }
    }
    having
}

const HEAD: &str = "| call | arguments | purpose | services |\n|---|---|---|---|\n";

/// The page: of each section, every rule once.
fn page() -> String {
    let mut page = include_str!("../policies.md").to_owned();
    for (at, (heading, is, sentence)) in SECTIONS.iter().enumerate() {
        let all: Vec<Program> = audit::combinations().filter(|(service, io)| is(service, *io)).collect();
        let mut having = section(at);
        if at == KEEPER {
            let children = [section(CONNECTION), section(DATAGRAMS)];
            having.retain(|line, _| children.iter().all(|child| !child.contains_key(line)));
        }
        write!(page, "\n## {heading}\n\n{sentence}\n\n{HEAD}").unwrap();
        for ([call, arguments, reason], there) in &having {
            writeln!(page, "| `{call}` | {arguments} | {reason} | {} |", programs(there, &all)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_policies_shows_the_rules_that_the_programs_have() {
    for (name, text) in [("docs/policies.md", page()), ("docs/data/policies.csv", list())] {
        let path = repository().join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(text == there, "{name} is not what is printed: UPDATE=yes tests/run documents");
    }
}
