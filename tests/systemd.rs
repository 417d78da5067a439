//! The shipped units under a real systemd, each test on its own machine: tests/machine.

mod support;

use std::process::{Command, Stdio};

use small_services::fortune::DIRECTORIES;
use small_services::services::{self, Kind, Row};
use support::machine::{Machine, assert_all_answer, assert_chargen_answers_over_udp};
use support::page::blocks;
use support::{assert_fortune, built_in_fortunes, units};

#[test]
fn every_service_answers_a_real_nc_over_both_ip_versions() {
    let machine = Machine::with_services("answers", "");
    assert_all_answer(&machine, &["127.0.0.1", "::1"], &[]);
    // A client that sends first, and one on a terminal that sends nothing.
    assert_fortune(machine.shell("printf 'x%.0s' {1..70000} | nc -N 127.0.0.1 17").as_bytes());
    assert_fortune(&machine.client("nc -d 127.0.0.1 17"));
    assert_quiet(&machine, "");
}

#[test]
fn every_service_answers_from_one_process_over_tcp_and_udp() {
    let machine = Machine::with_services("daemons", "-daemon");
    assert_all_answer(&machine, &["127.0.0.1", "::1"], &["127.0.0.1", "::1"]);
    // chargen serves UDP only on request, as in the unit.
    assert_eq!(machine.shell("ss -Hlun sport = :19"), "");
    machine.shell(
        "mkdir -p /etc/systemd/system/chargen-daemon.socket.d && \
         printf '[Socket]\nListenDatagram=19\n' > /etc/systemd/system/chargen-daemon.socket.d/udp.conf && \
         systemctl daemon-reload && systemctl restart chargen-daemon.socket",
    );
    assert_chargen_answers_over_udp(&machine, &["127.0.0.1", "::1"]);
    assert_fortune(machine.shell("printf 'x%.0s' {1..70000} | nc -N 127.0.0.1 17").as_bytes());
    // Who asks for it has a record for each connection, with fields to look for.
    machine.shell(
        "mkdir -p /run/systemd/system/echo-daemon.service.d && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/echo --log-connections\n' \
         > /run/systemd/system/echo-daemon.service.d/log.conf && systemctl daemon-reload && systemctl restart echo-daemon",
    );
    assert_eq!(machine.shell("echo logged | nc -N -s 127.0.0.9 127.0.0.1 7"), "logged\n");
    let burst = burst(&machine, 400);
    assert_eq!(burst.len(), 400);
    for answer in &burst {
        assert_fortune(answer);
    }
    machine.wait_for("journalctl --sync; journalctl -q -u echo-daemon SOURCE=127.0.0.9 | grep -q .");
    let record = machine.shell("journalctl -o json -u echo-daemon SOURCE=127.0.0.9 RESULT=served");
    for field in ["\"DURATION\":\"0.", "\"MESSAGE\":\"connection from 127.0.0.9:", "\"SYSLOG_IDENTIFIER\":\"echo\""] {
        assert!(record.contains(field), "no {field} in {record}");
    }
    let by_client = "journalctl -u echo-daemon -o cat --output-fields=SOURCE RESULT=served | sort | uniq -c | sort -n";
    assert!(machine.shell(by_client).lines().any(|line| line.trim() == "1 127.0.0.9"));
    // The status line follows within seconds.
    machine.wait_for(
        "systemctl show -P StatusText fortune-daemon.service | \
         grep -E '^connections: 0 now, 4[0-9]+ served; datagrams: [0-9]+ served.*; fortunes: [0-9]+, built in$'",
    );
    assert!(machine.shell("systemctl status fortune-daemon").contains("Status: \"connections: 0 now, 4"));
    let pids = machine.shell(&format!("systemctl show -P MainPID {}-daemon.service | grep .", units()));
    assert_eq!(pids.lines().filter(|pid| *pid != "0").count(), services::all().count(), "{pids}");
    for pid in pids.lines() {
        let uid: u32 = status(&machine, pid, "Uid").parse().unwrap();
        assert!((61_184..=65_519).contains(&uid), "a dynamic user, not {uid}");
        assert_eq!(status(&machine, pid, "Seccomp"), "2");
        assert_ne!(machine.shell(&format!("readlink /proc/{pid}/ns/net")), machine.shell("readlink /proc/1/ns/net"));
    }
    assert_eq!(machine.shell("systemctl show -P WatchdogUSec echo-daemon.service"), "30s\n");
    // When stopped, it ends cleanly. The next client starts it again.
    machine.shell("systemctl stop echo-daemon.service");
    assert_eq!(machine.shell("systemctl show -P Result echo-daemon.service"), "success\n");
    assert_eq!(machine.shell("echo again | nc -N 127.0.0.1 7"), "again\n");
    // When killed or stuck, it is restarted.
    machine.shell("kill -SEGV $(systemctl show -P MainPID echo-daemon.service)");
    machine.wait_for(
        "[ $(systemctl show -P NRestarts echo-daemon.service) = 1 ] && echo again | nc -N 127.0.0.1 7 | grep -q again",
    );
    assert_eq!(machine.journal("--priority=err -u 'fortune*'"), "");
    // The other kind of unit takes the port over, and gives it back.
    for (starts, ends) in [("fortune.socket", "fortune-daemon.socket"), ("fortune-daemon.socket", "fortune.socket")] {
        machine.shell(&format!("systemctl start {starts} && ! systemctl is-active {ends}"));
        assert_fortune(&machine.client("nc -N 127.0.0.1 17 </dev/null"));
    }
}

#[test]
fn a_shared_daemon_logs_how_many_octets_a_connection_took() {
    let machine = Machine::with_services("octets", "");
    // The client's request, and the octets that echo and discard take.
    for (port, (name, request, taken)) in (2001..).zip([
        ("echo", "hello", 5),
        ("discard", "hello", 5),
        ("time", "", 0),
        ("qotd", "", 0),
        ("chargen", "", 0),
    ]) {
        let unit = format!("octets-{name}");
        machine.shell(&format!(
            "systemd-run --quiet --unit={unit} /usr/local/libexec/small-services/{name} --shared --log-connections \
             --listen 127.0.0.1:{port} && until nc -z 127.0.0.1 {port}; do :; done"
        ));
        // Of chargen's endless reply, the client reads a part.
        let client = format!("printf '{request}' | nc -N -s 127.0.0.9 127.0.0.1 {port} | head -c 100000");
        let received = machine.client(&client).len();
        let field = format!("journalctl -q -u {unit} SOURCE=127.0.0.9 -o cat --output-fields=OCTETS | grep .");
        machine.wait_for(&format!("journalctl --sync; {field}"));
        let octets: usize = machine.shell(&field).trim().parse().unwrap();
        let expected = if name == "chargen" { octets >= received } else { octets == received.max(taken) };
        assert!(expected, "{name}: {octets} instead of {received}");
    }
}

#[test]
fn a_daemon_that_cannot_start_leaves_the_port_open() {
    let machine = Machine::with_services("restart", "-daemon");
    machine.shell("echo of > /run/own && mkdir -p /run/systemd/system/fortune-daemon.service.d");
    machine.shell(
        "printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/qotd /run/later\n' \
         > /run/systemd/system/fortune-daemon.service.d/own.conf && systemctl daemon-reload",
    );
    machine.shell("(nc -d 127.0.0.1 17 > /run/answer &) >/dev/null 2>&1");
    // Six failures: more than systemd's default limit allows in ten seconds.
    machine.wait_for("[ $(systemctl show -P NRestarts fortune-daemon.service) -ge 6 ]");
    machine.shell("echo here at last > /run/later");
    machine.wait_for("grep -q 'here at last' /run/answer");
}

#[test]
fn an_address_list_keeps_clients_out() {
    let machine = Machine::with_services("addresses", "");
    // As README.md describes, from the client that is not allowed. The machine has only its own addresses.
    machine.shell(
        "mkdir -p /etc/systemd/system/fortune.socket.d && \
         printf '[Socket]\nIPAddressDeny=any\nIPAddressAllow=127.0.0.2\n' > /etc/systemd/system/fortune.socket.d/who.conf && \
         systemctl daemon-reload && systemctl restart fortune.socket",
    );
    assert_fortune(machine.shell("nc -N -s 127.0.0.2 127.0.0.2 17 </dev/null").as_bytes());
    machine.shell("! nc -N -w 1 -s 127.0.0.3 127.0.0.3 17 </dev/null");
    assert_eq!(machine.shell("echo hello | nc -N -s 127.0.0.3 127.0.0.3 7"), "hello\n", "the others stay open");
}

/// No unit failed, and nothing was logged.
fn assert_quiet(machine: &Machine, kind: &str) {
    machine.wait_for(&format!("! systemctl list-units --no-legend --plain {}@* | grep .", units()));
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
    for Row { unit, program, .. } in services::all() {
        assert_eq!(
            machine.journal(&format!(
                "| grep -E ' {program}\\[|{unit}(@|\\.socket).*(warn|[Ff]ail|[Kk]ill|[Dd]rop)' || true"
            )),
            ""
        );
        assert_eq!(machine.shell(&format!("systemctl is-active {unit}{kind}.socket")), "active\n");
    }
}

#[test]
fn the_units_are_free_of_warnings_and_hardly_exposed() {
    let machine = Machine::with_services("exposure", "");
    for Row { unit, .. } in services::all() {
        for (socket, service) in
            [(unit.to_owned(), format!("{unit}@1")), (format!("{unit}-daemon"), format!("{unit}-daemon"))]
        {
            let warnings =
                machine.shell(&format!("systemd-analyze verify --man=no {socket}.socket {service}.service 2>&1"));
            assert_eq!(warnings, "");
            let report = machine.shell(&format!("systemd-analyze security --no-pager {service}.service"));
            let exposure = report.lines().find_map(|line| line.split_once("Overall exposure level for ")).unwrap().1;
            let level: f64 = exposure.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert!(level <= 0.5, "{service}: {report}");
        }
        // Only sockets are ever enabled.
        for (name, state) in [
            (format!("{unit}@.service"), "static"),
            (format!("{unit}-daemon.service"), "static"),
            (format!("{unit}.socket"), "enabled"),
            (format!("{unit}-daemon.socket"), "disabled"),
        ] {
            assert_eq!(machine.shell(&format!("systemctl is-enabled {name} || true")).trim(), state, "{name}");
        }
    }
}

#[test]
fn every_unit_has_its_limits() {
    let machine = Machine::with_services("limits", "");
    let expect = |unit: &str, properties: &[&str]| {
        let shown = machine.shell(&format!("systemctl show --all {unit}"));
        for property in properties {
            let key = property.split_once('=').unwrap().0;
            let line = shown.lines().find(|line| line.split_once('=').is_some_and(|(name, _)| name == key));
            assert_eq!(line, Some(*property), "{unit}");
        }
    };
    let both = [
        "DynamicUser=yes",
        "PrivateUsers=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "PrivateNetwork=yes",
        "ProtectSystem=strict",
        "MemorySwapMax=0",
        "LimitFSIZE=0",
        "LimitCORE=0",
        "OOMScoreAdjust=500",
        "Slice=system-smallservices.slice",
        "SystemCallArchitectures=native",
        "StandardError=journal",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "LogLevelMax=5",
    ];
    for Row { unit, kind, .. } in services::all() {
        expect(&format!("{unit}@1.service"), &both);
        let life = if kind == Kind::Reply { "RuntimeMaxUSec=5min" } else { "RuntimeMaxUSec=1h" };
        expect(
            &format!("{unit}@1.service"),
            &["CollectMode=inactive-or-failed", "MemoryMax=16777216", "TasksMax=4", "LimitNOFILE=16384", life],
        );
        expect(
            &format!("{unit}.socket"),
            &[
                "Accept=yes",
                "TriggerLimitIntervalUSec=0",
                "MaxConnections=600",
                "MaxConnectionsPerSource=450",
                "Backlog=1024",
                "BindIPv6Only=both",
            ],
        );
        expect(&format!("{unit}@1.service"), &["RootDirectory=/run/small-services", "InaccessiblePaths=+/sys +/dev"]);
        expect(&format!("{unit}-daemon.service"), &both);
        expect(&format!("{unit}-daemon.service"), &["NoExecPaths=+/", "ProtectKernelTunables=yes"]);
        expect(
            &format!("{unit}-daemon.service"),
            &[
                "Type=notify",
                "Restart=on-failure",
                "StartLimitIntervalUSec=0",
                "MemoryMax=536870912",
                "TasksMax=1024",
                "KillMode=mixed",
                "OOMPolicy=continue",
            ],
        );
        expect(&format!("{unit}-daemon.socket"), &["Accept=no", "TriggerLimitIntervalUSec=0", "Backlog=4096"]);
        let after =
            machine.shell(&format!("systemctl show -P After {unit}.socket {unit}@1.service {unit}-daemon.service"));
        assert!(!after.contains("network"), "{after}");
    }
    expect("system-smallservices.slice", &["TasksMax=9216", "MemoryMax=5368709120"]);
}

#[test]
fn a_connection_has_a_dynamic_user_and_nothing_else() {
    let machine = Machine::with_services("confined", "");
    // Two clients that stay connected, so that there are processes to inspect.
    machine.shell(
        "for i in 1 2; do mkfifo /run/in$i; (nc 127.0.0.1 7 < /run/in$i > /run/out$i &) 2>/dev/null >&2; done; \
         exec 5>/run/in1 6>/run/in2; echo one >&5; echo two >&6; \
         until grep -q one /run/out1 && grep -q two /run/out2; do sleep 0.05; done; \
         (sleep 1000 &) >/dev/null 2>&1",
    );
    let pids = machine.shell("pgrep -x echo");
    let pids: Vec<_> = pids.lines().collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        let uid: u32 = status(&machine, pid, "Uid").parse().unwrap();
        assert!((61_184..=65_519).contains(&uid), "a dynamic user, not {uid}");
        for (field, value) in
            [("CapEff", "0000000000000000"), ("CapBnd", "0000000000000000"), ("NoNewPrivs", "1"), ("Seccomp", "2")]
        {
            assert_eq!(status(&machine, pid, field), value, "{field}");
        }
        // Its own network, with only a loopback device that is down; files that it cannot write.
        assert_ne!(machine.shell(&format!("readlink /proc/{pid}/ns/net")), machine.shell("readlink /proc/1/ns/net"));
        let shown = machine.shell(&format!("nsenter --target {pid} --net ip -brief link"));
        assert_eq!(shown.lines().count(), 1, "{shown}");
        let root = machine.shell(&format!("findmnt --task {pid} --noheadings --output OPTIONS /"));
        assert!(root.contains("ro,"), "{root}");
        // No file of the host, no kernel object, no device; only the programs are executable.
        let root = format!("/proc/{pid}/root");
        assert_eq!(
            machine.shell(&format!("ls {root}/etc {root}/usr/local/libexec | grep -v ^/ | xargs")),
            "small-services\n"
        );
        machine.shell(&format!(
            "[ -z \"$(ls -A {root}/sys {root}/dev | grep -v :$)\" ] && [ -e {root}/proc/self ] && [ ! -e {root}/proc/sys ]"
        ));
        let programs = format!("find {root}/ -path {root}/proc -prune -o -type f -perm /111 -printf '%h\\n' | sort -u");
        assert_eq!(machine.shell(&programs), format!("{root}/usr/local/libexec/small-services\n"));
        let descriptors = machine.shell(&format!("ls -l /proc/{pid}/fd | grep -c socket:"));
        assert_eq!(descriptors, "3\n", "the connection twice, and the journal");
    }
}

fn status(machine: &Machine, pid: &str, field: &str) -> String {
    let line = machine.shell(&format!("grep ^{field}: /proc/{pid}/status"));
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_burst_of_400_connections_is_answered_400_times() {
    let machine = Machine::with_services("burst", "");
    let answers = burst(&machine, 400);
    assert_eq!(answers.len(), 400);
    for answer in &answers {
        assert_fortune(answer);
    }
    assert_fortune(&machine.client("nc -N 127.0.0.1 17 </dev/null"));
    assert_quiet(&machine, "");
}

/// Opens all connections to port 17 before it reads from the first, and returns what each received.
fn burst(machine: &Machine, connections: usize) -> Vec<Vec<u8>> {
    let script = format!(
        "import socket, sys
clients = [socket.create_connection(('127.0.0.1', 17), None, (f'127.0.0.{{n % 8 + 1}}', 0)) for n in range({connections})]
for client in clients:
    client.settimeout(120)
    answer = b''.join(iter(lambda: client.recv(4096), b''))
    sys.stdout.write(answer.hex() + '\\n')"
    );
    let printed = machine.client(&format!("python3 -c \"{script}\""));
    let decode = |line: &str| {
        (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect::<Vec<_>>()
    };
    String::from_utf8(printed).unwrap().lines().map(decode).collect()
}

#[test]
fn a_killed_connection_leaves_nothing_behind_and_the_port_open() {
    let machine = Machine::with_services("killed", "");
    machine.shell("mkfifo /run/in; (nc 127.0.0.1 7 < /run/in >/run/out &) 2>/dev/null >&2; (sleep 1000 > /run/in &) 2>/dev/null >&2");
    machine.wait_for("pgrep -x echo");
    machine.shell("kill -SEGV $(pgrep -x echo)");
    machine.wait_for("! systemctl list-units --all --no-legend --plain 'echo@*' | grep .");
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
    // The failure is in the journal all the same.
    let journal = machine.journal("--unit=echo@*");
    assert!(journal.contains("Main process exited") && journal.contains("Failed with result"), "{journal}");
    assert_eq!(machine.shell("echo again | nc -N 127.0.0.1 7"), "again\n");
}

#[test]
fn a_failure_is_in_the_journal_with_its_priority_and_not_on_the_wire() {
    let machine = Machine::with_services("journal", "");
    machine.shell(
        "mkdir -p /run/systemd/system/fortune@.service.d && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/qotd /no/such/file\n' \
         > /run/systemd/system/fortune@.service.d/missing.conf && systemctl daemon-reload",
    );
    assert_eq!(machine.client("nc -N 127.0.0.1 17 </dev/null"), b"");
    machine.wait_for("journalctl --sync && journalctl -q --no-pager _COMM=qotd | grep .");
    let journal = machine.journal("_COMM=qotd --priority=err");
    assert!(journal.contains("qotd[") && journal.contains("cannot read /no/such/file: No such file"), "{journal}");
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
}

#[test]
fn a_failed_connection_of_any_service_is_collected() {
    let machine = Machine::with_services("collected", "");
    for Row { unit, program, .. } in services::all() {
        machine.shell(&format!(
            "mkdir -p /run/systemd/system/{unit}@.service.d && \
             printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/{program} --bad\n' \
             > /run/systemd/system/{unit}@.service.d/bad.conf"
        ));
    }
    machine.shell("systemctl daemon-reload");
    for Row { port, .. } in services::all() {
        machine.shell(&format!("nc -d 127.0.0.1 {port}"));
    }
    machine.wait_for(&format!("! systemctl list-units --all --no-legend --plain {}@* | grep .", units()));
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
    let mistakes = machine.journal("--priority=err | grep -c \"unexpected argument '--bad'\"");
    assert_eq!(mistakes.trim(), services::all().count().to_string());
}

#[test]
fn a_host_s_own_cookie_files_can_be_served_from_the_hardened_unit() {
    let machine = Machine::with_services("cookies", "");
    machine.shell(
        "mkdir -p /usr/share/games/fortunes /run/systemd/system/fortune@.service.d && \
         printf 'of this host\n' > /usr/share/games/fortunes/own && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/qotd /usr/share/games/fortunes/own\n\
         BindReadOnlyPaths=/usr/share/games/fortunes\n' \
         > /run/systemd/system/fortune@.service.d/own.conf && systemctl daemon-reload",
    );
    assert_eq!(machine.client("nc -N 127.0.0.1 17 </dev/null"), b"of this host\r\n");
    // By no path, wherever the distribution has them.
    machine.shell("rm -r /usr/share/games/fortunes");
    for directory in DIRECTORIES {
        machine.shell(&format!(
            "mkdir -p {directory} && printf 'of {directory}\n' > {directory}/own && cd /run/systemd/system/fortune@.service.d && \
             sed -i 's,qotd .*,qotd all,; s,^Bind.*,BindReadOnlyPaths={directory},' own.conf && systemctl daemon-reload"
        ));
        assert_eq!(machine.client("nc -N 127.0.0.1 17 </dev/null"), format!("of {directory}\r\n").into_bytes());
        machine.shell(&format!("rm -r {directory}"));
    }
    // The zone of the host applies to daytime.
    machine.shell("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
    let shown = machine.shell("LC_ALL=C date +'%a %b %e %H'");
    let daytime = String::from_utf8(machine.client("nc -N 127.0.0.1 13 </dev/null")).unwrap();
    let later = machine.shell("LC_ALL=C date +'%a %b %e %H'");
    assert!(daytime.starts_with(shown.trim_end()) || daytime.starts_with(later.trim_end()), "{daytime} at {shown}");
}

#[test]
fn a_daemon_follows_changes_to_the_cookie_files_of_the_host() {
    let machine = Machine::with_services("changes", "-daemon");
    machine.shell(
        "mkdir -p /run/fortunes /run/systemd/system/fortune-daemon.service.d && echo old > /run/fortunes/cookies && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/qotd /run/fortunes\n' \
         > /run/systemd/system/fortune-daemon.service.d/own.conf && systemctl daemon-reload",
    );
    assert_eq!(machine.shell("nc -d 127.0.0.1 17"), "old\r\n");
    machine.shell("echo new > /run/fortunes/new && mv /run/fortunes/new /run/fortunes/cookies");
    machine.wait_for("nc -d 127.0.0.1 17 | grep -q new");
    machine.shell("echo newer > /run/fortunes/cookies && systemctl reload fortune-daemon.service");
    machine.wait_for("nc -d 127.0.0.1 17 | grep -q newer");
    assert_eq!(machine.shell("systemctl show -P NRestarts fortune-daemon.service"), "0\n");
}

#[test]
fn clients_do_not_fill_the_journal() {
    let machine = Machine::with_services("journal-flood", "");
    // The shipped limits, reduced, and a kernel without Landlock.
    machine.shell(&format!(
        "install -m 755 {} /usr/local/libexec/small-services/old_kernel && \
         mkdir -p /run/systemd/system/{{echo.socket,fortune@.service}}.d && \
         printf '[Socket]\nMaxConnections=8\nMaxConnectionsPerSource=4\n' > /run/systemd/system/echo.socket.d/few.conf && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/old_kernel landlock \
         /usr/local/libexec/small-services/qotd --sandbox best-effort\n' > /run/systemd/system/fortune@.service.d/old.conf && \
         systemctl daemon-reload && systemctl restart echo.socket",
        support::helper("old_kernel").display()
    ));
    let lines = || machine.journal("--lines=all | wc -l").trim().parse::<usize>().unwrap();
    let before = lines();
    let clients = vec!["127.0.0.1".to_owned(); 50];
    assert_eq!(count(&served(&machine, &clients)), 4);
    assert_eq!(machine.shell("systemctl show -P NRefused echo.socket"), "46\n");
    for _ in 0..20 {
        assert_fortune(&machine.client("nc 127.0.0.1 17 </dev/null"));
    }
    assert!(lines() < before + 10, "{}", machine.journal("--lines=60"));
}

#[test]
fn clients_that_reset_their_connections_add_to_the_journal_what_the_page_says() {
    let machine = Machine::with_services("resets", "");
    let script = machine.folder().file(
        "resets",
        "import socket, struct
for _ in range(100):
    client = socket.create_connection(('127.0.0.1', 7))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()
",
    );
    let lines = || {
        let lines = || machine.journal("--lines=all | wc -l").trim().parse::<usize>().unwrap();
        let before = lines();
        machine.client(&format!("python3 {}", script.display()));
        // It has accepted them all once it answers the next.
        assert_eq!(machine.shell("echo hello | nc -N 127.0.0.1 7"), "hello\n");
        lines() - before
    };
    // One line by systemd for each connection that is gone before systemd accepts it. Their number varies.
    assert!(lines() <= 110);
    drop_in(&machine, "echo.socket", "[Socket]\nLogLevelMax=crit\n");
    assert!(lines() < 10);
    machine.shell("systemctl start echo-daemon.socket");
    assert!(lines() < 10);
    let page = std::fs::read_to_string(support::repository().join("docs/operating.md")).unwrap();
    assert!(page.contains("`LogLevelMax=crit` in a drop-in"));
}

/// Gives the machine a network of IPv6 addresses, all of them its own.
fn add_ipv6_network(machine: &Machine) {
    machine.client("ip -6 route add local 2001:db8::/32 dev lo");
}

/// Connects to echo from each of these addresses, keeps the connections, and returns which of them were served.
fn served(machine: &Machine, sources: &[String]) -> Vec<bool> {
    let script = machine.folder().file(
        "sources",
        "import socket, sys
IP_FREEBIND = 15
clients = []
for source in sys.argv[1:]:
    v6 = ':' in source
    client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
    client.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    client.bind((source, 0))
    client.settimeout(60)
    clients.append(client)
    try:
        client.connect(('2001:db8:ffff::1' if v6 else '127.0.0.1', 7))
        client.sendall(b'x')
        print(client.recv(1) == b'x')
    except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
        print(False)
",
    );
    let printed = machine.client(&format!("python3 {} {}", script.display(), sources.join(" ")));
    String::from_utf8(printed).unwrap().lines().map(|line| line == "True").collect()
}

/// This many addresses of the IPv6 network with this number.
fn addresses(network: u8, count: u8) -> Vec<String> {
    (1..=count).map(|host| format!("2001:db8:0:{network:x}::{host:x}")).collect()
}

/// The number of addresses that were served.
fn count(served: &[bool]) -> usize {
    served.iter().filter(|served| **served).count()
}

/// As in containers without privileges on the host.
#[test]
fn concurrent_connections_are_served_in_a_user_namespace() {
    let machine = Machine::boot_release("many", "bookworm", &["--private-users=identity"]);
    make(&machine, "install");
    machine.shell("systemctl start echo.socket");
    let clients = vec!["127.0.0.1".to_owned(); 60];
    assert_eq!(count(&served(&machine, &clients)), 60);
}

#[test]
fn one_ipv6_network_can_take_every_slot_of_the_per_connection_units() {
    let machine = Machine::with_services("sources", "");
    add_ipv6_network(&machine);
    // The shipped limits, reduced.
    machine.shell(
        "mkdir -p /run/systemd/system/echo.socket.d && printf '[Socket]\nMaxConnections=8\nMaxConnectionsPerSource=6\n' \
         > /run/systemd/system/echo.socket.d/few.conf && systemctl daemon-reload && systemctl restart echo.socket",
    );
    let gone = || machine.wait_for("! systemctl list-units --no-legend --plain 'echo@*' | grep .");
    // One address gets its share, and another one its own.
    for address in ["127.0.0.2", "2001:db8:0:1::1"] {
        let sources = [vec![address.to_owned(); 8], vec!["127.0.0.3".to_owned()]].concat();
        let served = served(&machine, &sources);
        assert_eq!((count(&served[..8]), served[8]), (6, true), "{address}: {served:?}");
        gone();
    }
    // A network of addresses gets everything, and others nothing.
    let sources = [addresses(1, 8), vec!["127.0.0.3".to_owned()]].concat();
    let all = served(&machine, &sources);
    assert_eq!((count(&all[..8]), all[8]), (8, false), "{all:?}");
    gone();

    // With the rule of docs/operating.md, reduced as well, it gets no more than the rule allows.
    let page = std::fs::read_to_string(support::repository().join("docs/operating.md")).unwrap();
    let rule = page.split("```nft\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a rule");
    assert!(rule.contains("ct count over 150 "), "{rule}");
    let file = machine.folder().file("rule", rule.replace("over 150 ", "over 6 "));
    machine.client(&format!("nft -f {}", file.display()));
    let sources = [addresses(1, 8), addresses(2, 1), vec!["127.0.0.3".to_owned()]].concat();
    let some = served(&machine, &sources);
    assert_eq!((count(&some[..8]), some[8], some[9]), (6, true, true), "{some:?}");
}

#[test]
fn one_ipv6_network_gets_no_more_slots_of_a_daemon_than_one_address() {
    let machine = Machine::with_services("daemon-sources", "-daemon");
    add_ipv6_network(&machine);
    machine.shell(
        "mkdir -p /run/systemd/system/echo-daemon.service.d && \
         printf '[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/echo --max-connections 12\n' \
         > /run/systemd/system/echo-daemon.service.d/few.conf && systemctl daemon-reload",
    );
    let sources = [addresses(1, 12), addresses(2, 1), vec!["127.0.0.3".to_owned()]].concat();
    let some = served(&machine, &sources);
    assert_eq!((count(&some[..12]), some[12], some[13]), (6, true, true), "{some:?}");
}

/// Runs `make` in the machine with these arguments, and returns its output.
fn make(machine: &Machine, arguments: &str) -> String {
    machine.shell(&format!("make --no-print-directory -C {} {arguments}", support::repository().display()))
}

/// Asserts that a service of each kind answers.
fn assert_both_kinds_answer(machine: &Machine) {
    machine.shell("systemctl enable --now fortune.socket echo-daemon.socket 2>&1");
    assert_fortune(machine.shell("nc 127.0.0.1 17 </dev/null").as_bytes());
    assert_eq!(machine.shell("echo hello | nc -N 127.0.0.1 7"), "hello\n");
}

/// A drop-in for a unit.
fn drop_in(machine: &Machine, unit: &str, lines: &str) {
    machine.shell(&format!(
        "mkdir -p /run/systemd/system/{unit}.d && printf '{lines}' > /run/systemd/system/{unit}.d/own.conf && \
         systemctl daemon-reload"
    ));
}

#[test]
fn it_serves_from_a_prefix_of_all_allowed_characters() {
    let machine = Machine::boot("prefix");
    make(&machine, "PREFIX=/usr/aA9+b,c-d.e@f_g~h install");
    assert_both_kinds_answer(&machine);
    let warnings = "systemd-analyze verify --man=no fortune.socket fortune@1.service echo-daemon.service 2>&1";
    assert_eq!(machine.shell(warnings), "");
    make(&machine, "PREFIX=/usr/aA9+b,c-d.e@f_g~h uninstall");
    assert_eq!(machine.shell("find /usr/aA9* /etc/systemd/system /etc/tmpfiles.d -type f"), "");
}

#[test]
fn it_serves_from_below_opt_and_srv_and_home_is_refused() {
    let machine = Machine::boot("prefixes");
    // The other directories stay closed.
    for (prefix, closed) in [("/opt/x", "/srv"), ("/srv/x", "/opt")] {
        let printed = make(&machine, &format!("PREFIX={prefix} install"));
        assert!(printed.contains("The units are in /etc/systemd/system"), "{printed}");
        assert_both_kinds_answer(&machine);
        let paths = machine.shell("systemctl show -P InaccessiblePaths echo-daemon.service");
        assert!(paths.contains(closed) && !paths.contains(&prefix[..4]), "{paths}");
        make(&machine, &format!("PREFIX={prefix} uninstall"));
    }
    // By its name, and by the target of a link.
    machine.shell("mkdir -p /home/somebody && ln -s /home/somebody /usr/theirs");
    for prefix in ["/home/somebody", "/usr/theirs", "/root/x"] {
        let make = format!("make -C {} install PREFIX={prefix}", support::repository().display());
        let said = machine.shell(&format!("{make} 2>&1 && echo installed || true"));
        assert!(said.contains("the units hide") && said.contains("choose another PREFIX"), "{said}");
        assert!(!said.contains("installed"), "{said}");
    }
    assert_eq!(machine.shell("ls -A /home/somebody"), "");
}

#[test]
fn it_serves_from_a_usr_local_that_is_a_link_or_a_separate_mount() {
    let machine = Machine::boot("usr-local");
    machine.shell("rm -rf /usr/local && mkdir -p /var/usrlocal && ln -s ../var/usrlocal /usr/local");
    make(&machine, "install");
    assert_both_kinds_answer(&machine);
    assert!(machine.shell("ls -d /var/usrlocal/lib/systemd/system").ends_with("system\n"), "of the same file system");
    make(&machine, "uninstall");
    // The units are where systemd finds them before it mounts anything.
    machine.shell("rm /usr/local && mkdir /usr/local && mount -t tmpfs none /usr/local");
    let printed = make(&machine, "install");
    assert!(printed.contains("The units are in /etc/systemd/system"), "{printed}");
    assert_both_kinds_answer(&machine);
    for file in ["systemd/system/fortune.socket", "tmpfiles.d/small-services.conf"] {
        machine.shell(&format!("[ -f /etc/{file} ] && [ ! -e /usr/local/lib/{file} ]"));
    }
    make(&machine, "uninstall");
    assert_eq!(machine.shell("find /etc -name '*small-services*' -o -name '*fortune*'"), "");
}

#[test]
fn sockets_start_at_boot_where_usr_local_is_mounted_during_it() {
    let mut machine = Machine::boot("usr-local-boot");
    // Mounted at each boot, by /etc/fstab.
    let mounted = "overlay /usr/local overlay lowerdir=/var/usr-local:/var/nothing 0 0";
    machine.shell(&format!("mkdir /var/usr-local /var/nothing && echo '{mounted}' >> /etc/fstab"));
    let install = |arguments: &str| {
        machine.shell("mount -t tmpfs none /usr/local");
        make(&machine, &format!("install {arguments}"));
        machine.shell("systemctl enable fortune.socket echo-daemon.socket 2>&1 && cp -a /usr/local/. /var/usr-local && umount /usr/local");
    };
    install("");
    machine.reboot();
    assert_eq!(machine.shell("findmnt --noheadings --output FSTYPE /usr/local"), "overlay\n");
    assert_eq!(machine.shell("systemctl is-active fortune.socket echo-daemon.socket"), "active\nactive\n");
    assert_both_kinds_answer(&machine);
}

/// /usr is read-only once everything is installed. Each version of systemd mounts other things.
fn serves_with_usr_read_only(machine: &Machine) {
    make(machine, "install");
    machine.shell("mount --bind /usr /usr && mount -o remount,bind,ro /usr && ! touch /usr/local/new 2>/dev/null");
    assert_both_kinds_answer(machine);
    machine.shell("systemctl start daytime.socket && nc 127.0.0.1 13 </dev/null | grep :");
    // systemd queries the peer address of each connection again when it reloads its units. For a closed connection that is an
    // error.
    machine.wait_for("! systemctl list-units --no-legend --plain {fortune,echo,daytime}@* | grep .");
    // The host's own cookie files, in a directory without files of ours.
    machine.shell("mkdir -p /var/quotes && echo of this host > /var/quotes/own");
    let lines = "[Service]\nExecStart=\nExecStart=/usr/local/libexec/small-services/qotd /var/quotes\nBindReadOnlyPaths=/var/quotes\n";
    drop_in(machine, "fortune@.service", lines);
    assert_eq!(machine.shell("nc 127.0.0.1 17 </dev/null"), "of this host\r\n");
    assert_eq!(machine.journal("--priority=err -u 'fortune*' -u 'echo*' -u 'daytime*'"), "");
}

#[test]
fn it_serves_with_a_read_only_usr() {
    serves_with_usr_read_only(&Machine::boot("read-only"));
}

#[test]
fn it_serves_with_a_read_only_usr_under_a_newer_systemd() {
    let machine = Machine::boot_release("read-only-newer", "trixie", &[]);
    assert!(machine.shell("systemctl --version").starts_with("systemd 257 "));
    serves_with_usr_read_only(&machine);
}

/// The current state of Debian sid, which other distributions will have later. If it cannot be installed, the test is skipped.
#[test]
fn it_serves_under_the_newest_systemd_that_debian_has() {
    let root = Command::new(support::repository().join("tests/root")).arg("sid").output().unwrap();
    if !root.status.success() {
        return eprintln!("there is no Debian sid: {}", String::from_utf8_lossy(&root.stderr));
    }
    let machine = Machine::boot_release("newest", "sid", &[]);
    let version = machine.shell("systemctl --version");
    let version: u32 = version.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(version >= 262, "{version}");
    serves_with_usr_read_only(&machine);
    machine.enable_lunchd();
    assert!(machine.shell("curl --silent http://localhost/").ends_with('\n'));
    for names in [
        "fortune.socket fortune@1.service",
        "echo-daemon.socket echo-daemon.service",
        "lunchd-http.socket lunchd.service",
    ] {
        assert_eq!(machine.shell(&format!("systemd-analyze verify --man=no {names} 2>&1")), "");
    }
    assert_eq!(machine.journal("--priority=err -u 'lunchd*' -u 'fortune*' -u 'echo*'"), "");
}

#[test]
fn daytime_is_utc_on_a_host_without_a_time_zone() {
    let machine = Machine::boot("zone");
    make(&machine, "install");
    let utc = |port| {
        // Before and after: the hour may change meanwhile.
        let before = machine.shell("LC_ALL=C date -u +'%a %b %e %H'");
        let daytime = machine.shell(&format!("nc 127.0.0.1 {port} </dev/null"));
        let after = machine.shell("LC_ALL=C date -u +'%a %b %e %H'");
        assert!(
            daytime.starts_with(before.trim_end()) || daytime.starts_with(after.trim_end()),
            "{daytime} at {before}"
        );
    };
    for socket in ["daytime.socket", "daytime-daemon.socket"] {
        // First a zone: its mount point stays when the zone is gone.
        machine.shell("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
        machine.shell(&format!("systemctl start {socket} && nc 127.0.0.1 13 </dev/null | grep :"));
        let restart = "systemctl stop daytime-daemon.service";
        machine.shell(&format!("rm /etc/localtime && {restart}"));
        utc(13);
        machine.shell(&format!("ln -s /no/such/zone /etc/localtime && {restart}"));
        utc(13);
        machine.shell(&format!("rm /etc/localtime && touch /etc/localtime && {restart}"));
        utc(13);
    }
}

#[test]
fn daytime_for_all_clients_follows_the_zone_of_the_host_at_sighup() {
    let machine = Machine::boot("zone-changes");
    make(&machine, "install");
    machine.shell("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime && systemctl start daytime-daemon.socket");
    machine.shell("nc 127.0.0.1 13 </dev/null | grep :");
    for zone in ["America/New_York", "Asia/Kolkata"] {
        machine.shell(&format!("ln -sf /usr/share/zoneinfo/{zone} /etc/localtime"));
        machine.shell("systemctl reload daytime-daemon.service");
        machine.wait_for("nc 127.0.0.1 13 </dev/null | grep \"$(LC_ALL=C date +'%a %b %e %H:')\"");
    }
    // Then none: UTC. With an invalid or unreadable zone: as before.
    machine.shell("rm /etc/localtime && systemctl reload daytime-daemon.service");
    machine.wait_for("nc 127.0.0.1 13 </dev/null | grep \"$(LC_ALL=C date -u +'%a %b %e %H:')\"");
    machine.shell("cp /usr/share/zoneinfo/Asia/Tokyo /etc/localtime && systemctl reload daytime-daemon.service");
    machine.wait_for(
        "journalctl --sync && journalctl -q --no-pager -p err _COMM=daytime | grep 'continuing with the previous time zone'",
    );
    machine.shell("nc 127.0.0.1 13 </dev/null | grep \"$(LC_ALL=C date -u +'%a %b %e %H:')\"");
    assert_eq!(machine.shell("systemctl show -P NRestarts daytime-daemon.service"), "0\n");
}

#[test]
fn the_units_do_without_user_namespaces_as_the_page_says() {
    // In its own user namespace, which has its own limit.
    let machine = Machine::boot_release("namespaces", "bookworm", &["--private-users=identity"]);
    make(&machine, "install");
    let limit = "echo 0 > /proc/sys/user/max_user_namespaces";
    let leader = machine.leader();
    assert!(Command::new("nsenter").args(["-t", &leader, "-U", "sh", "-c", limit]).status().unwrap().success());
    // Nothing is served, and the doctor names the next step.
    machine.shell("systemctl enable --now fortune.socket echo-daemon.socket 2>&1");
    assert_eq!(machine.shell("nc 127.0.0.1 17 </dev/null"), "");
    let said = machine.shell("! small-services doctor");
    assert!(said.contains("problem: fortune@.service: user.max_user_namespaces is 0"), "{said}");
    let page = std::fs::read_to_string(support::repository().join("docs/troubleshooting.md")).unwrap();
    let lines = page.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a drop-in");
    assert!(said.contains(lines.lines().last().unwrap()), "{said}");
    let own = machine.shell("readlink /proc/self/ns/user");
    for (unit, instance, exposure) in
        [("fortune@.service", "fortune@1.service", "0.7"), ("echo-daemon.service", "echo-daemon.service", "0.4")]
    {
        drop_in(&machine, unit, &lines.replace('\n', "\\n"));
        let shown = machine.shell(&format!("systemd-analyze security --no-pager {instance} | grep Overall"));
        assert!(shown.contains(&format!(": {exposure} ")) && page.contains(exposure), "{shown}");
    }
    assert_both_kinds_answer(&machine);
    let namespace = "readlink /proc/$(systemctl show -P MainPID echo-daemon.service)/ns/user";
    assert_eq!(machine.shell(namespace), own);
    assert_eq!(machine.shell("grep CapBnd /proc/$(pgrep -ox echo)/status"), "CapBnd:\t0000000000000000\n");
    let said = machine.shell("small-services doctor");
    assert!(said.contains("All is well."), "{said}");
}

/// A container of runc, removed with the value.
struct Container<'a>(&'a support::Folder, String);

impl Container<'_> {
    fn runc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.0.path().join("state")).args(arguments).arg(&self.1).stdin(Stdio::null());
        command
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.runc(&["delete", "--force"]).status();
    }
}

#[test]
fn an_image_with_one_program_and_no_privileges_serves_as_the_page_says() {
    let page = std::fs::read_to_string(support::repository().join("docs/operating.md")).unwrap();
    let line = |word: &str| page.lines().find_map(|line| line.strip_prefix(word)).expect("a line of the image's");
    let entry: serde_json::Value = serde_json::from_str(line("ENTRYPOINT ")).unwrap();
    let (user, group) = line("USER ").split_once(':').unwrap();
    for (number, name) in ["qotd", "echo"].into_iter().enumerate() {
        let folder = support::Folder::new(&format!("image-{name}"));
        std::fs::create_dir(folder.path().join("rootfs")).unwrap();
        std::fs::copy(support::program(name), folder.path().join("rootfs").join(name)).unwrap();
        let container = Container(&folder, format!("small-services-{}-{number}", std::process::id()));
        assert!(Command::new("runc").args(["spec", "--bundle"]).arg(folder.path()).status().unwrap().success());
        let file = folder.path().join("config.json");
        let mut bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let process = &mut bundle["process"];
        process["terminal"] = false.into();
        process["args"] = entry.clone();
        process["args"][0] = format!("/{name}").into();
        process["user"] =
            serde_json::json!({ "uid": user.parse::<u32>().unwrap(), "gid": group.parse::<u32>().unwrap() });
        process["capabilities"] = serde_json::json!({});
        std::fs::write(&file, bundle.to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let (bundle, pid) = (folder.path().to_str().unwrap(), folder.path().join("pid"));
        let mut run = container.runc(&["run", "--detach", "--bundle", bundle, "--pid-file", pid.to_str().unwrap()]);
        assert!(run.stdout(Stdio::null()).stderr(log).status().unwrap().success());
        let said = || std::fs::read_to_string(folder.path().join("log")).unwrap();
        support::wait_until(|| said().matches("serving on").count() == 2);
        let pid = std::fs::read_to_string(pid).unwrap();
        let ask = |protocol: &str| {
            let script = format!(
                "import socket\nclient = socket.socket(socket.AF_INET, socket.SOCK_{protocol})\nclient.settimeout(60)\n\
                 client.connect((\"127.0.0.1\", 1717))\nclient.send(b\"hello\")\nprint(client.recv(1000).decode(), end=\"\")"
            );
            let output = Command::new("nsenter").args(["-n", "-t", &pid, "python3", "-c", &script]).output().unwrap();
            assert!(
                output.status.success(),
                "{name} {protocol}: {}{}",
                said(),
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        };
        for protocol in ["STREAM", "DGRAM"] {
            let answer = ask(protocol);
            if name == "echo" {
                assert_eq!(answer, b"hello");
            } else {
                assert_fortune(&answer);
            }
        }
    }
}

#[test]
fn an_upgrade_names_the_daemons_that_run_old_programs_and_one_command_restarts_them() {
    let machine = Machine::boot("upgrade");
    let notice = "still run the old programs";
    assert!(!make(&machine, "install").contains(notice));
    machine.shell("systemctl start fortune.socket echo-daemon.socket && echo hello | nc -N 127.0.0.1 7");
    machine.shell("systemctl start time-daemon.socket && nc 127.0.0.1 37 </dev/null | wc -c");
    let printed = make(&machine, "install");
    let line = printed.lines().find(|line| line.contains(notice)).expect("a notice");
    assert!(line.ends_with("`systemctl restart echo-daemon.service time-daemon.service`"), "{line}");
    let page = std::fs::read_to_string(support::repository().join("docs/installing.md")).unwrap();
    let command = page.lines().find_map(|line| line.strip_prefix("sudo systemctl try-restart ")).expect("a command");
    machine.shell(&format!("systemctl try-restart {command}"));
    let said = machine.shell("small-services doctor || true");
    assert!(!said.contains("replaced"), "{said}");
    assert_eq!(machine.shell("systemctl is-active fortune-daemon.service || true"), "inactive\n");
    assert_eq!(machine.shell("echo hello | nc -N 127.0.0.1 7"), "hello\n");
}

#[test]
fn a_day_in_the_life_goes_as_the_page_says() {
    let page = std::fs::read_to_string(support::repository().join("docs/operating.md")).unwrap();
    let (_, day) = page.split_once("\n## Set up a service\n").expect("a day");
    let (day, _) = day.split_once("\n## ").expect("its end");
    let machine = Machine::boot("day");
    let ask = || assert_fortune(machine.shell("nc localhost 17 </dev/null").as_bytes());
    let show = |unit: &str, property: &str| machine.shell(&format!("systemctl show -P {property} {unit}"));
    let printed: Vec<_> = blocks(day)
        .iter()
        .map(|block| {
            assert_eq!(block.language, "sh");
            // Root needs no sudo.
            let commands = block.text.replace("sudo ", "");
            let printed = machine.shell(&format!("set -e\ncd {}\n{commands}", support::repository().display()));
            ask();
            printed
        })
        .collect();
    let [install, watch, clients, limits, grow] = &printed[..] else { panic!("{} blocks", printed.len()) };
    let install = install.replace("\r\n", "\n");
    assert!(built_in_fortunes().iter().any(|it| install.ends_with(it)), "{install}");
    assert!(watch.contains("All is well.") && watch.contains("active (running)"), "{watch}");
    assert_eq!((clients.as_str(), limits.as_str()), ("", ""));
    assert!(show("fortune-daemon.socket", "IPAddressAllow").contains("192.0.2.0/24"));
    assert!(grow.contains("All is well.") && grow.contains("one process for all connections"), "{grow}");
    assert_eq!(show("fortune-daemon.service", "MemoryMax"), format!("{}\n", 725 << 20));
}

#[test]
fn the_defaults_of_a_distribution_enable_no_socket() {
    let machine = Machine::boot("presets");
    make(&machine, "install");
    machine.shell(
        "printf 'enable *\n' > /usr/lib/systemd/system-preset/99-all.preset && systemctl preset-all 2>/dev/null",
    );
    let sockets = machine.shell(&format!("systemctl list-unit-files --no-legend {{{},lunchd}}*.socket", units()));
    assert_eq!(sockets.lines().count(), 2 * services::all().count() + 2, "{sockets}");
    assert!(sockets.lines().all(|line| line.split_whitespace().nth(1) == Some("disabled")), "{sockets}");
    // In particular not the one that names the users. The page gives the reason.
    assert_eq!(
        machine.shell("grep systat /usr/local/lib/systemd/system-preset/80-small-services.preset | sort"),
        "disable systat-daemon.socket\ndisable systat.socket\n"
    );
    for page in ["README.md", "docs/services.md"] {
        let text = std::fs::read_to_string(support::repository().join(page)).unwrap();
        assert!(text.contains("**systat names the users of the host** to anyone"), "{page}");
    }
}

/// Logs a user in as login(1) does, over D-Bus, and stays until the session ends.
const LOGIN: &str = r"
import os, pwd, socket, struct, subprocess, sys

def text(buffer, value):
    buffer += b'\0' * (-len(buffer) % 4)
    return buffer + struct.pack('<I', len(value)) + value.encode() + b'\0'

def call(bus, serial, destination, path, interface, member, signature, body):
    fields = b''
    for code, kind, value in (1, 'o', path), (2, 's', interface), (3, 's', member), (6, 's', destination):
        fields += b'\0' * (-len(fields) % 8) + bytes([code, 1]) + kind.encode() + b'\0'
        fields = text(fields, value)
    if signature:
        fields += b'\0' * (-len(fields) % 8) + bytes([8, 1]) + b'g\0' + bytes([len(signature)]) + signature.encode() + b'\0'
    message = struct.pack('<cBBBIII', b'l', 1, 0, 1, len(body), serial, len(fields)) + fields
    bus.sendall(message + b'\0' * (-len(message) % 8) + body)

user, terminal = sys.argv[1:]
bus = socket.socket(socket.AF_UNIX)
bus.connect('/run/dbus/system_bus_socket')
for line in b'\0AUTH EXTERNAL 30\r\n', b'NEGOTIATE_UNIX_FD\r\n':
    bus.sendall(line)
    bus.recv(4096)
bus.sendall(b'BEGIN\r\n')
call(bus, 1, 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello', '', b'')
leader = subprocess.Popen(['sleep', '1000'])
body = struct.pack('<II', pwd.getpwnam(user).pw_uid, leader.pid)
for value in 'login', 'tty', 'user', '', '':
    body = text(body, value)
body += b'\0' * (-len(body) % 4) + struct.pack('<I', 0)
for value in terminal, '':
    body = text(body, value)
body += b'\0' * (-len(body) % 4) + struct.pack('<I', 0)
for value in '', '':
    body = text(body, value)
body += b'\0' * (-len(body) % 4) + struct.pack('<I', 0)
body += b'\0' * (-len(body) % 8)
manager = 'org.freedesktop.login1'
call(bus, 2, manager, '/org/freedesktop/login1', manager + '.Manager', 'CreateSession', 'uusssssussbssa(sv)', body)
# The session lasts for as long as this descriptor is open.
descriptors = []
while not descriptors:
    answer, descriptors, _, _ = socket.recv_fds(bus, 65536, 4)
    assert answer, 'the bus hung up'
leader.wait()
";

#[test]
fn systat_lists_the_users_per_connection_and_as_a_daemon() {
    let machine = Machine::boot("systat");
    make(&machine, "install");
    machine.shell(&format!("cat > /run/log-in <<'END'\n{LOGIN}\nEND\nuseradd alice && useradd bob"));
    machine.wait_for("systemctl is-active systemd-logind dbus.socket");
    let log_in = |user: &str, terminal: &str| {
        machine.shell(&format!("systemd-run --quiet --unit=log-in-{user} python3 /run/log-in {user} {terminal}"));
        machine.wait_for(&format!("loginctl --no-legend list-sessions | grep -w {user}"));
    };
    let ask = |ip: &str| String::from_utf8(machine.client(&format!("nc {ip} 11 </dev/null"))).unwrap();
    let (alice, bob) = ("alice            pts/7\r\n", "bob              pts/8\r\n");

    machine.shell("systemctl enable --now systat.socket 2>&1");
    assert_eq!(ask("127.0.0.1"), "nobody is logged in\r\n");
    log_in("alice", "pts/7");
    for ip in ["127.0.0.1", "::1"] {
        assert_eq!(ask(ip), alice);
    }

    machine.shell("systemctl disable systat.socket 2>&1; systemctl enable --now systat-daemon.socket 2>&1");
    for ip in ["127.0.0.1", "::1"] {
        assert_eq!(ask(ip), alice);
        assert_eq!(machine.client(&format!("echo | nc -u -w 1 {ip} 11")), alice.as_bytes());
    }
    // It follows logins and logouts.
    log_in("bob", "pts/8");
    machine.wait_for(&format!("nc 127.0.0.1 11 </dev/null | grep -q '{}'", bob.trim_end()));
    machine.shell("loginctl terminate-user alice");
    machine.wait_for("! nc 127.0.0.1 11 </dev/null | grep alice");
    assert_eq!(ask("127.0.0.1"), bob);
    assert_eq!(machine.shell("systemctl show -P NRestarts systat-daemon.service"), "0\n");

    // Without logind, utmp lists the users. systemd's directory for sessions exists all the same.
    machine.shell(
        "loginctl terminate-user bob && systemctl stop systemd-logind systat-daemon.service && \
         rm -f /run/systemd/sessions/* && python3 -c \"
import struct
open('/run/utmp', 'wb').write(struct.pack('hi32s4s32s308x', 7, 1, b'pts/9', b'', b'carol'))\"",
    );
    for socket in ["systat.socket", "systat-daemon.socket"] {
        machine.shell(&format!("systemctl start {socket}"));
        assert_eq!(ask("127.0.0.1"), "carol            pts/9\r\n", "{socket}");
    }
    assert_eq!(machine.journal("--priority=warning -u 'systat*'"), "");
    assert_eq!(machine.shell("systemctl list-units --failed --no-legend 'systat*'"), "");
}

#[test]
fn the_examples_are_served_from_units_that_are_made_for_them() {
    let machine = Machine::boot("examples");
    make(&machine, "install");
    for (name, port, options) in [("finger", 79, "--show /var/lib/finger"), ("ident", 113, "")] {
        let program = format!("/usr/local/libexec/{name}");
        machine.shell(&format!(
            "mkdir -p /var/lib/finger && install -m 711 {} {program} && \
             small-services units --program {program} --name {name} --port {port} {options} --directory /etc/systemd/system && \
             systemctl daemon-reload",
            support::program(name).display()
        ));
    }
    machine.shell("echo 'Back on Monday.' > /var/lib/finger/alice");
    let ask = |request: &str, ip: &str, port: u16| {
        String::from_utf8(machine.client(&format!("printf '{request}\\r\\n' | nc -N {ip} {port}"))).unwrap()
    };
    for kind in ["", "-daemon"] {
        machine.shell(&format!("systemctl enable --now finger{kind}.socket ident{kind}.socket 2>&1"));
        for ip in ["127.0.0.1", "::1"] {
            assert_eq!(ask("alice", ip, 79), "Back on Monday.\r\n", "{kind}");
            assert_eq!(ask("", ip, 79), "alice\r\n", "{kind}");
            assert_eq!(ask("alice@elsewhere", ip, 79), "Finger forwarding service denied\r\n", "{kind}");
            assert_eq!(ask("6193, 23", ip, 113), "6193, 23 : ERROR : HIDDEN-USER\r\n", "{kind}");
        }
        // systemd queries the peer address of each connection again when it reloads its units. For a closed connection that is an
        // error.
        machine.wait_for("! systemctl list-units --no-legend --plain {finger,ident}@* | grep .");
        // TCP only, as in their RFCs.
        assert_eq!(machine.shell("ss -Hlun 'sport = :79 or sport = :113'"), "");
    }
    // At SIGHUP the daemon rereads the plans, and the unit allows it.
    machine.shell("echo 'On holiday.' > /var/lib/finger/alice && systemctl reload finger-daemon.service");
    machine.wait_for("echo alice | nc -N 127.0.0.1 79 | grep -q 'On holiday'");
    for name in ["finger", "ident"] {
        let units = format!("{name}.socket {name}@1.service {name}-daemon.socket {name}-daemon.service");
        assert_eq!(machine.shell(&format!("systemd-analyze verify {units} 2>&1")), "");
        assert_eq!(machine.journal(&format!("--priority=warning -u '{name}*'")), "");
    }
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
}

#[test]
fn uninstall_leaves_nothing() {
    let machine = Machine::boot("uninstall");
    let files = "find /usr /etc /run/small-services ! -type d -newer /run/before 2>/dev/null | sort || true";
    machine.shell("touch /run/before");
    let make = format!("make -C {}", support::repository().display());
    machine
        .shell(&format!("{make} install && systemctl enable --now fortune.socket echo.socket time-daemon.socket 2>&1"));
    // A connection in progress, and a daemon.
    machine.shell("mkfifo /run/in; (nc 127.0.0.1 7 < /run/in >/run/out &) 2>/dev/null >&2; (sleep 1000 > /run/in &) 2>/dev/null >&2");
    machine.wait_for("pgrep -x echo");
    machine.shell("nc -d 127.0.0.1 37 | wc -c | grep -q 4");
    assert!(machine.shell(files).contains("/usr/local/libexec/small-services/qotd"));
    assert!(machine.shell("qotd").ends_with('\n'), "qotd is in the PATH");
    machine.shell(&format!("{make} uninstall"));
    assert_eq!(machine.shell(files), "");
    assert_eq!(
        machine.shell(
            "find / /run -xdev -name '*small-services*' ! -path '*/cgroup/*' ! -path '/tmp/*' ! -path '/work/*'"
        ),
        ""
    );
    for unit in ["fortune*", "echo*", "time-daemon*", "time.socket", "*smallservices*"] {
        assert_eq!(machine.shell(&format!("systemctl list-units --all --no-legend '{unit}'")), "", "{unit}");
    }
}
