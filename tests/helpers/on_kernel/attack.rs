//! The hijacked program: what it achieves with Landlock alone and with all layers, which system calls survive, and what these can
//! do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use hunker::{Architecture, Rule};
use small_services::policy::Io;

use crate::expected::{FILES_AND_NETWORKS, KEEPER_LEAVES, READERS_LEAVE};
use crate::reach::{BY_LANDLOCK, LIST, Reach};
use crate::surroundings::{Outcome, SIGSYS, Surroundings, acts};
use crate::{audit, named, say};

pub const LANDLOCK: &str = "NoNewPrivileges,Landlock";
/// If Landlock is unavailable. (The limits of a keeper's processes require it.)
const WITHOUT_LANDLOCK: &str = "NoNewPrivileges,Seccomp";

/// Processes of each way to serve: for a connection, however created, and its parent; in `make attack` also its sibling for
/// datagrams, and a daemon with `--shared`, with and without files.
const PROCESSES: [(&str, Io); 5] = [
    ("echo", Io::Connection),
    ("echo", Io::Keeper),
    ("echo", Io::Datagrams),
    ("echo", Io::Sockets),
    ("lunchd", Io::ListenersAndFiles),
];
const FEW: usize = 2;

pub fn all(programs: &Path, abi: u32, full: bool) {
    let hijacked = programs.join("hijacked");
    let folder = Path::new("/tmp/surroundings");
    fs::create_dir_all(folder).expect("a folder");
    let surroundings = Surroundings::new(hijacked.clone(), "kernel", folder);
    let every = acts(&hijacked);
    for (_, act) in every.iter().filter(|(family, _)| FILES_AND_NETWORKS.contains(&family.as_str())) {
        // Some kernels and machines do not have it even without the lock-down.
        let is_done = |layers| surroundings.outcome("qotd", "Connection", layers, act) == Outcome::Done;
        let outcome = match abi > 0 && is_done(LANDLOCK) {
            true => "**done**",
            _ if !is_done("none") => "cannot be done",
            _ if abi == 0 => "**done**",
            _ => "refused",
        };
        say("acts", act, outcome);
    }
    for layers in [LANDLOCK, "Seccomp"].into_iter().skip(usize::from(abi == 0)) {
        siblings(&hijacked, layers);
    }
    for (service, io) in PROCESSES.into_iter().take(if full { PROCESSES.len() } else { FEW }) {
        let row = named(service, io);
        let step = if full && io == Io::Connection { 1 } else { 8 };
        say("layers", &row, &stopped(&surroundings, service, io, abi, &every, step));
        say("calls", &row, &survivors(&hijacked, service, io));
        // A keeper has thousands of descriptors, which takes minutes.
        if full || io == Io::Connection {
            // The hijacked program needs Landlock to be a keeper.
            let cannot = abi == 0 && io == Io::Keeper;
            let reached = if cannot { "not tried".to_owned() } else { reached(&hijacked, service, io, abi) };
            say("reach", &row, &reached);
        }
    }
}

fn layers(abi: u32) -> &'static str {
    if abi == 0 { WITHOUT_LANDLOCK } else { "all" }
}

/// What processes of a keeper with these layers can do to each other and to the keeper.
fn siblings(hijacked: &Path, layers: &str) {
    let output = Command::new(hijacked).args(["echo", layers, "siblings"]).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    let by = if layers == LANDLOCK { "Landlock" } else { "seccomp" };
    for line in said.lines().map(|line| line.split('\t').collect::<Vec<_>>()) {
        if let [whom @ ("sibling" | "keeper"), act, outcome] = line[..] {
            let outcome = match outcome {
                "Done" => "**done**",
                "Killed(31)" => "killed",
                "Refused(1)" => "refused",
                other => other,
            };
            say("siblings", &format!("{act} the {whom}, {by} alone"), outcome);
        }
    }
}

/// The actions that all layers together leave: all that some process may do, and every n-th of the others.
fn stopped(
    surroundings: &Surroundings,
    service: &str,
    io: Io,
    abi: u32,
    every: &[(String, String)],
    step: usize,
) -> String {
    let reads = matches!(io, Io::ListenersAndFiles | Io::SocketsAndFiles | Io::KeeperAndFiles | Io::DatagramsAndFiles);
    let mut left = Vec::new();
    let known = |act: &str| [KEEPER_LEAVES, READERS_LEAVE].concat().iter().any(|(acts, _)| acts.contains(&act));
    for (_, (_, act)) in every.iter().enumerate().filter(|(number, (_, act))| number % step == 0 || known(act)) {
        let outcome = surroundings.outcome(service, &format!("{io:?}"), layers(abi), act);
        match outcome {
            Outcome::Killed(SIGSYS) => {}
            // Landlock decides which files can be reread.
            Outcome::Refused(_) if reads => {}
            Outcome::Done => left.push(act.clone()),
            other => left.push(format!("{act}: {other:?}")),
        }
    }
    if left.is_empty() { "all stopped".to_owned() } else { format!("all stopped but: {}", left.join("; ")) }
}

/// Whether the system calls that do not kill are those of the policy.
fn survivors(hijacked: &Path, service: &str, io: Io) -> String {
    let output = Command::new(hijacked)
        .args([service, &format!("{io:?}"), "Seccomp", "survivors"])
        .env("ATTACK", "brief")
        .output()
        .expect("the program");
    let printed = String::from_utf8_lossy(&output.stdout);
    let survive: BTreeSet<_> = printed.lines().map(str::to_owned).collect();
    let number = |rule: &Rule| rule.call().number(Architecture::TARGET).expect("a number").to_string();
    let allowed: BTreeSet<_> = audit::rules(service, io).map(number).collect();
    if survive == allowed && output.status.success() {
        // Debug builds have one more.
        let names: BTreeSet<_> = audit::rules(service, io).map(|rule| rule.call().name()).collect();
        return names.iter().filter(|name| **name != "fcntl").count().to_string();
    }
    let (more, fewer): (Vec<_>, Vec<_>) =
        (survive.difference(&allowed).cloned().collect(), allowed.difference(&survive).cloned().collect());
    format!("**more**: {}; **fewer**: {}", more.join(" "), fewer.join(" "))
}

/// Whether these can do what docs/escapes.md lists, and what this kernel's Landlock does not know.
fn reached(hijacked: &Path, service: &str, io: Io, abi: u32) -> String {
    let folder = format!("/tmp/reach-{service}-{io:?}");
    fs::create_dir_all(&folder).expect("a folder");
    let output = Command::new(hijacked)
        .args([service, &format!("{io:?}"), layers(abi), "reach"])
        .env("SCRATCH", folder)
        .output()
        .expect("the program");
    let printed = String::from_utf8_lossy(&output.stdout);
    let done: BTreeSet<_> = printed.lines().filter_map(|line| line.strip_suffix("\tDone").map(str::to_owned)).collect();
    let listed = listed(LIST, service, io);
    // Without a right for it, what Landlock stops if it has one.
    let by_landlock = listed_by_landlock(service, io, abi);
    let open: Vec<_> = by_landlock.iter().filter(|it| done.contains(*it)).cloned().collect();
    let more: Vec<_> = done.difference(&listed).filter(|it| !by_landlock.contains(*it)).cloned().collect();
    let fewer: Vec<_> = listed.difference(&done).cloned().collect();
    // A call, its arguments and its target. Often the arguments need no words.
    let words = |attempts: &[String]| attempts.join("; ").replace("\t\t", " ").replace('\t', " ");
    let open = words(&open);
    match (more.is_empty() && fewer.is_empty() && output.status.success(), open.is_empty()) {
        (true, true) => "as listed".to_owned(),
        (true, false) => format!("as listed, and: {open}"),
        _ => format!(
            "**more**: {}; **fewer**: {}; {}",
            words(&more),
            words(&fewer),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

fn listed(list: &[Reach], service: &str, io: Io) -> BTreeSet<String> {
    let lines = list.iter().filter(|line| (line.services)(service) && line.peers.contains(&io));
    let kinds = lines.flat_map(|line| {
        let of = |(name, kinds): &(&'static str, &'static [&'static str])| {
            if kinds.is_empty() { vec![*name] } else { kinds.to_vec() }
        };
        line.on.iter().flat_map(of).map(|on| format!("{}\t{}\t{on}", line.call, line.how)).collect::<Vec<_>>()
    });
    kinds.collect()
}

/// Files from ABI 1 on, signals from 6 on.
fn listed_by_landlock(service: &str, io: Io, abi: u32) -> BTreeSet<String> {
    let from = |line: &String| if line.starts_with("kill\t") { 6 } else { 1 };
    listed(BY_LANDLOCK, service, io).into_iter().filter(|line| abi < from(line)).collect()
}
