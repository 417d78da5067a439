//! A soak test: mixed load on all services in all three ways side by side, and requests to lunchd, for `SOAK` seconds (300 by
//! default). After each round it checks what could grow. `make soak` runs it.

mod support;

use std::time::{Duration, Instant};

use support::machine::Machine;
use support::web::assert_dish;
use support::{helper, units};

/// A round of load, for each kind: the flood, its port and service, the number of clients, and the maximum number of seconds.
const ROUND: [&str; 14] = [
    "burst @17 qotd 40 60",
    "halves @17 qotd 20 60",
    "burst @13 daytime 10 60",
    "burst @37 time 10 60",
    "burst @7 echo 300 60",
    "halves @7 echo 300 60",
    "trickle @7 echo 20 2",
    "hold @7 echo 200 1",
    "reset @7 echo 200 60",
    "deaf @7 echo 5 1",
    "halves @9 discard 200 60",
    "deaf @9 discard 5 1",
    "deaf @19 chargen 5 1",
    "datagrams @7 echo 5000 5",
];

/// The meaning of `@`: daemons use the standard ports, per-connection services and daemons with `--shared` others.
const KINDS: [&str; 3] = ["", "100", "200"];

/// What must not grow.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Resident memory of the daemons and of the service manager, in KiB.
    daemons: usize,
    manager: usize,
    /// Their open descriptors.
    descriptors: usize,
    units: usize,
    failed: usize,
    errors: usize,
}

fn sizes(machine: &Machine) -> Sizes {
    let number = |command: &str| -> usize { machine.shell(command).trim().parse().unwrap() };
    // Instances that are still ending belong to the load.
    machine.wait_for(&format!("! systemctl list-units --no-legend --plain {}@*-*.service | grep .", units()));
    let resident = |who: &str| {
        number(&format!(
            "cat $({who} | sed 's|.*|/proc/&/status|') | awk '/^VmRSS:/ {{ sum += $2 }} END {{ print sum }}'"
        ))
    };
    let daemons = format!("systemctl show -P MainPID {0}-daemon {0}-shared lunchd | grep [1-9]", units());
    Sizes {
        daemons: resident(&daemons),
        manager: resident("echo 1"),
        descriptors: number(&format!("for pid in 1 $({daemons}); do ls /proc/$pid/fd; done | wc -l")),
        units: number("systemctl list-units --all --no-legend | wc -l"),
        failed: number("systemctl --failed --no-legend | wc -l"),
        // For each client that was reset before it had its process, systemd logs that it has no name any more.
        errors: number(
            "journalctl --sync; journalctl --quiet --priority=err --no-pager | sed '/getpeername failed/d' | wc -l",
        ),
    }
}

#[test]
#[ignore = "as long as it is told: make soak"]
fn nothing_grows() {
    let seconds = std::env::var("SOAK").map_or(300, |seconds| seconds.parse().expect("SOAK is a number of seconds"));
    let machine = Machine::with_services("soak", "-daemon");
    machine.enable_lunchd();
    // On other ports, both kinds can run side by side.
    machine.shell(&format!(
        "cd /usr/local/lib/systemd/system && sed -i '/^Conflicts=/d' *-daemon.{{socket,service}} && \
         sed -i 's/^ListenStream=/&100/' {0}.socket && systemctl daemon-reload && systemctl start {0}.socket",
        units()
    ));
    machine.shell(&format!(
        "cd /usr/local/lib/systemd/system && for unit in {0}; do for kind in socket service; do \
         sed 's/-daemon/-shared/g; s/^Listen[DS][a-z]*=/&200/; s/^ExecStart=.*/& --shared/' $unit-daemon.$kind >$unit-shared.$kind; \
         done; done && systemctl daemon-reload && systemctl start {0}-shared.socket",
        units()
    ));
    let start = Instant::now();
    let mut rounds = 0;
    let mut served = 0;
    let mut after_warming_up = None;
    loop {
        let floods = KINDS.iter().flat_map(|kind| ROUND.map(|flood| flood.replace('@', kind)));
        for flood in floods {
            let printed = machine.client(&format!("{} {flood}", helper("flood").display()));
            let printed = String::from_utf8(printed).unwrap();
            let counted: Vec<usize> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
            assert_eq!(counted[4], 0, "{flood}: a wrong octet: {printed}");
            served += counted[0];
        }
        // Ten connections with twenty requests each.
        for _ in 0..10 {
            let dishes = String::from_utf8(machine.client("curl -sS 'http://127.0.0.1/?[1-20]'")).unwrap();
            dishes.split_inclusive('\n').for_each(assert_dish);
            served += dishes.lines().count();
        }
        rounds += 1;
        let sizes = sizes(&machine);
        println!("{:>5} s, round {rounds}, {served} served: {sizes:?}", start.elapsed().as_secs());
        if rounds == 2 {
            after_warming_up = Some(sizes);
        }
        if let Some(before) = after_warming_up {
            assert!(sizes.daemons <= before.daemons + 1024, "the daemons' memory grows: {before:?}, {sizes:?}");
            assert!(
                sizes.manager <= before.manager + 4096,
                "the service manager's memory grows: {before:?}, {sizes:?}"
            );
            assert!(sizes.descriptors <= before.descriptors + 8, "descriptors grow: {before:?}, {sizes:?}");
            assert!(sizes.units <= before.units + 4, "units grow: {before:?}, {sizes:?}");
            assert_eq!((sizes.failed, sizes.errors), (before.failed, before.errors), "{before:?}, {sizes:?}");
        }
        if start.elapsed() >= Duration::from_secs(seconds) && rounds > 2 {
            return;
        }
    }
}
