//! Attacks on units: a hijacked program in place of a unit's tries actions, each over a separate connection.

use std::collections::BTreeMap;

use super::support::machine::Machine;
use super::surroundings::{Outcome, SIGSYS};

/// By `LimitFSIZE=` of a unit.
pub const SIGXFSZ: i32 = 25;

/// Talks to the hijacked services of a machine. Each line is an action, with its port and its layers. Prints for each the run of
/// the unit in which it was tried, and the code that was returned.
const ATTACKER: &str = r#"
import concurrent.futures, contextlib, socket, sys
at_once, instances = int(sys.argv[1]), sys.argv[3] == "true"
tcp = socket.create_server(("127.0.0.1", int(sys.argv[2])))
named = socket.socket(socket.AF_UNIX); named.bind("\0hijacked"); named.listen()
# The attack's neighbour: another instance of the same unit, which says where it is.
def neighbour(port):
    client = socket.create_connection(("127.0.0.1", int(port)))
    client.settimeout(120)
    client.sendall(b"none be a neighbour\n")
    try:
        with client.makefile() as said: return client, said.readline() and said.readline()
    except ConnectionError:
        return client, ""
def attempt(line):
    port, line = line.split(" ", 1)
    for _ in range(100):
        with contextlib.ExitStack() as there, socket.create_connection(("127.0.0.1", int(port))) as client:
            if instances and "a neighbour" in line:
                beside, where = neighbour(port)
                there.enter_context(beside)
                if not where: continue
                line = line.split("\t")[0].strip() + "\t" + where
            client.settimeout(120)
            another = "client's connection" in line and socket.create_connection(("127.0.0.1", int(port)))
            said = b""
            try:
                client.sendall(line.encode())
                while octets := client.recv(4096):
                    said += octets
            except ConnectionError:
                pass
            if another: another.close()
            begun, newline, code = said.decode(errors="replace").partition("\n")
            if begun.startswith("begun ") and newline:
                return begun[6:] + "\t" + code.strip()
    sys.exit(f"what is behind port {port} does not start: {line}")
lines = sys.stdin.readlines()
with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    for outcome in pool.map(attempt, lines): print(outcome)
"#;

/// Has the hijacked programs of the units of a pattern try actions, each on the port of its unit, with layers of the program. In a
/// daemon, one after the other.
pub fn attack(machine: &Machine, units: &str, at_once: usize, layers: &str, acts: &[(u16, String)]) -> Vec<Outcome> {
    let lines = acts.iter().fold(String::new(), |lines, (port, act)| lines + &format!("{port} {layers} {act}\n"));
    let script = machine.folder().file("attacker", ATTACKER);
    let list = machine.folder().file("acts", lines);
    let instances = units.contains('@');
    let said = machine.client(&format!("python3 {} {at_once} 4444 {instances} < {}", script.display(), list.display()));
    let said = String::from_utf8(said).unwrap();
    let ends = ends(machine, units);
    let lines = said.lines().map(|line| line.split_once('\t').unwrap());
    let outcomes: Vec<_> = acts
        .iter()
        .zip(lines)
        .map(|((port, act), (run, code))| {
            // A debug build prints the name of the forbidden call instead of a code.
            let code = if code.starts_with("hunker: the policy forbids ") { "" } else { code };
            // If a connection ends without a code, the action may be the cause: then only systemd's record counts.
            match (code, ends.get(run).map(|(how, status)| (how.as_str(), *status))) {
                ("0", _) | ("", Some(("exited", 255))) => Outcome::Done,
                ("", Some(("killed", signal @ (SIGSYS | SIGXFSZ)))) => Outcome::Killed(signal),
                // 101 is a panic.
                ("", Some(("exited", errno))) if errno != 101 => Outcome::Refused(errno),
                (code, end) => Outcome::Refused(
                    code.parse().unwrap_or_else(|_| panic!("{units}, port {port}: {act}: {code:?}, {end:?}")),
                ),
            }
        })
        .collect();
    assert_eq!(outcomes.len(), acts.len());
    outcomes
}

/// How each run of units failed so far, by systemd's name for the run: `exited` or `killed`, and the code or signal.
fn ends(machine: &Machine, units: &str) -> BTreeMap<String, (String, i32)> {
    // A client sees the end before systemd, which logs it before the unit stops being active.
    machine.wait_for(&format!("! systemctl --quiet is-active '{units}'"));
    // The message that a process of a unit has ended.
    let entries = machine.journal(
        "--output=json --output-fields=INVOCATION_ID,EXIT_CODE,EXIT_STATUS MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15",
    );
    let ends = entries.lines().map(|entry| {
        let fields: serde_json::Value = serde_json::from_str(entry).unwrap();
        let field = |name| fields[name].as_str().unwrap_or_else(|| panic!("no {name}: {entry}")).to_owned();
        (field("INVOCATION_ID"), (field("EXIT_CODE"), field("EXIT_STATUS").parse().unwrap()))
    });
    ends.collect()
}
