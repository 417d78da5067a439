//! What a hijacked process reaches with the calls that it is allowed, and with which descriptor numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::{Folder, helper};
use super::{Io, KEEPERS, reach};

/// A call, its arguments, and its target.
pub type Done = [String; 3];

/// The results of all attempts of the hijacked program with the calls that it is allowed.
pub fn reached(service: &str, peer: Io, layers: &str) -> BTreeSet<Done> {
    let folder = Folder::new(&format!("reach-{service}-{peer:?}-{layers}"));
    let output = Command::new(helper("hijacked"))
        .args([service, &format!("{peer:?}"), layers, "reach"])
        .env("SCRATCH", folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let tried = printed.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let done = tried.map(|line| <[String; 4]>::try_from(line).unwrap()).filter(|line| line[3] == "Done");
    done.map(|[call, how, on, _]| [call, how, on]).collect()
}

/// The entries of a list for a process.
pub fn listed_for(list: &[reach::Reach], service: &str, peer: Io) -> BTreeSet<Done> {
    let mut set = BTreeSet::new();
    for line in list.iter().filter(|line| (line.services)(service) && line.peers.contains(&peer)) {
        let kinds =
            line.on.iter().flat_map(|(name, kinds)| if kinds.is_empty() { vec![*name] } else { kinds.to_vec() });
        for on in kinds {
            let done = [line.call, line.how, on].map(str::to_owned);
            assert!(set.insert(done), "{} {} on {on}: listed twice", line.call, line.how);
        }
    }
    set
}

/// Asserts that a process has the kinds of descriptors that were tried, at their numbers. Returns how many have a descriptor with a
/// meaning, besides the log.
pub fn assumed(service: &str, peer: Io, process: u32, folder: &Path) -> usize {
    let open: BTreeMap<i32, String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_str().unwrap().parse().unwrap(), fs::read_link(entry.path()).unwrap()))
        .map(|(number, link)| (number, link.to_str().unwrap().to_owned()))
        .collect();
    let printed = Command::new(helper("hijacked")).args([service, &format!("{peer:?}"), "numbers"]).output().unwrap();
    let mut assumed = 0;
    for line in String::from_utf8(printed.stdout).unwrap().lines() {
        let (number, kind) = line.split_once('\t').unwrap();
        let number = number.parse().unwrap();
        if number == 2 || number >= 12 {
            continue; // the log may be anything; other numbers have no meaning
        }
        let link = match kind {
            "the signals" => "anon_inode:[signalfd]",
            "the event loop" => "anon_inode:[eventpoll]",
            "what wakes the event loop" => "anon_inode:[eventfd]",
            "a number that is kept" => "/",
            "the service manager" | "a UDP socket" => "socket:",
            _ => panic!("{kind}"),
        };
        let is = open.get(&number).map_or("closed", String::as_str);
        assert!(is.starts_with(link), "{service} on {peer:?}: {number} is {is}, not {kind}");
        assumed += 1;
    }
    let most = if matches!(peer, Io::Datagrams | Io::Connection) { 2 } else { i32::MAX };
    for (number, link) in open.range(3..) {
        let own = Path::new(link).starts_with(folder);
        let ruleset = KEEPERS.contains(&peer) && link == "anon_inode:[landlock-ruleset]";
        let listener = peer != Io::DatagramsAndFiles && link.starts_with("socket:");
        let known = *number < 12 || own || ruleset || listener;
        assert!(known && *number <= most, "{service} on {peer:?}: {number} is {link}");
    }
    assumed
}
