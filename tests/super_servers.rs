//! Real super-servers (Debian's openbsd-inetd, xinetd, tcpd and tcpserver) with the files that `make install` puts into
//! share/small-services, on the real ports of their own machine, with a real syslog.

mod support;

use small_services::services::{self, Row};
use support::machine::{Machine, assert_all_answer, assert_chargen_answers_over_udp};
use support::{assert_fortune, program, repository};

const EXAMPLES: &str = "/usr/local/share/small-services";

/// A machine with everything installed and nothing started.
fn machine(name: &str) -> Machine {
    let machine = Machine::boot(name);
    machine.shell(&format!("make -C {} install", repository().display()));
    // The super-servers where their packages install them.
    let peers = repository().join("target/peers");
    machine.shell(&format!("cp {0}/usr/sbin/* /usr/sbin && cp {0}/usr/bin/tcpserver /usr/bin", peers.display()));
    machine
}

/// Starts inetd with these lines.
fn start_inetd(machine: &Machine, lines: &str) {
    machine.shell(&format!("{lines} > /run/inetd.conf && systemd-run --quiet --unit=inetd inetd -i /run/inetd.conf"));
    machine.wait_for("nc -z 127.0.0.1 17 || nc -z ::1 17");
}

#[test]
fn inetd_serves_all_over_tcp_and_udp() {
    let machine = machine("inetd");
    // Those that are not for a network are commented out.
    start_inetd(&machine, &format!("sed '/tcpd/! s/^#\\([0-9]\\)/\\1/' {EXAMPLES}/inetd.conf"));
    assert_all_answer(&machine, &["127.0.0.1"], &["127.0.0.1"]);
    assert_chargen_answers_over_udp(&machine, &["127.0.0.1"]);
    assert_fortune(&machine.client("printf 'x%.0s' {1..70000} | nc -N 127.0.0.1 17"));
    // inetd's wait: one program for all datagrams until none arrive, which is a keeper with its process.
    assert_eq!(machine.shell("pgrep -cx echo"), "2\n");
    // Nothing is logged.
    let identifiers = support::programs().chain(["inetd"]).map(|name| format!("SYSLOG_IDENTIFIER={name}"));
    assert_eq!(machine.journal(&identifiers.collect::<Vec<_>>().join(" ")), "");
}

/// Third-party services, with the line of docs/your-own-service.md.
#[test]
fn inetd_serves_the_examples() {
    let machine = machine("inetd-examples");
    for name in ["finger", "ident"] {
        machine.shell(&format!("install -m 711 {} /usr/local/libexec/{name}", program(name).display()));
    }
    machine.shell("mkdir -p /var/lib/finger && echo 'Back on Monday.' > /var/lib/finger/alice");
    let finger = "79 stream tcp nowait nobody /usr/local/libexec/finger finger";
    let page = std::fs::read_to_string(repository().join("docs/your-own-service.md")).unwrap();
    assert!(page.contains(finger));
    let ident = finger.replace("finger", "ident").replace("79", "113");
    let qotd = "17 stream tcp nowait nobody /usr/local/libexec/small-services/qotd qotd";
    start_inetd(&machine, &format!("printf '%s\\n' '{finger}' '{ident}' '{qotd}'"));
    let ask = |request: &str, port: u16| {
        String::from_utf8(machine.client(&format!("printf '{request}' | nc -N 127.0.0.1 {port}"))).unwrap()
    };
    assert_eq!(ask("alice\\r\\n", 79), "Back on Monday.\r\n");
    assert_eq!(ask("\\r\\n", 79), "alice\r\n");
    assert_eq!(ask("bob\\r\\n", 79), "There is no such user, or no plan.\r\n");
    assert_eq!(ask("6193, 23\\r\\n", 113), "6193, 23 : ERROR : HIDDEN-USER\r\n");
    // Errors go to syslog, not to the client.
    machine.shell("rm -r /var/lib/finger");
    assert_eq!(ask("alice\\r\\n", 79), "");
    machine.wait_for(
        "journalctl --sync && journalctl -q SYSLOG_IDENTIFIER=finger | grep 'cannot read the plans in /var/lib/finger'",
    );
}

#[test]
fn inetd_serves_ipv6_as_well() {
    let machine = machine("inetd6");
    start_inetd(
        &machine,
        &format!("sed '/tcpd/! s/^#\\([0-9]\\)/\\1/; s/ tcp / tcp6 /; s/ udp / udp6 /' {EXAMPLES}/inetd.conf"),
    );
    assert_all_answer(&machine, &["::1"], &["::1"]);
    assert_chargen_answers_over_udp(&machine, &["::1"]);
}

#[test]
fn tcpd_s_lists_are_obeyed_behind_inetd() {
    let machine = machine("tcpd");
    machine.shell(&format!(
        "echo 'ALL: ALL' > /etc/hosts.deny && echo '{}: 127.0.0.1 127.0.0.2' > /etc/hosts.allow",
        support::programs().collect::<Vec<_>>().join(" ")
    ));
    start_inetd(&machine, &format!("sed -n '/tcpd/ s/^#\\([0-9]\\)/\\1/p' {EXAMPLES}/inetd.conf"));
    assert_all_answer(&machine, &["127.0.0.1"], &[]);
    assert_fortune(&machine.client("nc -N -s 127.0.0.2 127.0.0.2 17 </dev/null"));
    assert_eq!(machine.client("nc -N -s 127.0.0.3 127.0.0.3 17 </dev/null || true"), b"");
    machine.wait_for("journalctl --sync && journalctl -q | grep -q 'qotd.*refused connect from 127.0.0.3'");
}

#[test]
fn xinetd_serves_all_over_tcp_and_udp_and_both_ip_versions() {
    let machine = machine("xinetd");
    machine.shell(&format!("sed -i 's/disable     = yes/disable = no/' {EXAMPLES}/xinetd.d/*"));
    machine.shell(&format!(
        "printf 'defaults\\n{{\\n}}\\nincludedir {EXAMPLES}/xinetd.d\\n' > /run/xinetd.conf && \
         systemd-run --quiet --unit=xinetd xinetd -dontfork -f /run/xinetd.conf -pidfile /run/xinetd.pid"
    ));
    machine.wait_for("nc -z 127.0.0.1 37");
    assert_all_answer(&machine, &["127.0.0.1", "::1"], &["127.0.0.1", "::1"]);
    assert_chargen_answers_over_udp(&machine, &["127.0.0.1", "::1"]);
    assert_fortune(&machine.client("printf 'x%.0s' {1..70000} | nc -N 127.0.0.1 17"));
}

#[test]
fn tcpserver_serves_all_as_its_run_script_says() {
    let machine = machine("tcpserver");
    for Row { port, program, .. } in services::all() {
        machine.shell(&format!(
            "sed 's| 0 17 \\(.*\\)/qotd$| 0 {port} \\1/{program}|' {EXAMPLES}/tcpserver > /run/{program} && chmod 755 /run/{program} && \
             systemd-run --quiet --unit=tcpserver-{program} /run/{program}"
        ));
        machine.wait_for(&format!("nc -z 127.0.0.1 {port}"));
    }
    assert_all_answer(&machine, &["127.0.0.1"], &[]);
}

#[test]
fn systemd_serves_datagrams_the_way_inetd_does() {
    let machine = machine("wait");
    machine.shell(
        "cd /run/systemd/system && \
         printf '[Socket]\nListenDatagram=7\n' > wait.socket && \
         printf '[Service]\nExecStart=/usr/local/libexec/small-services/echo --idle-timeout 1\nStandardInput=socket\n\
         StandardError=journal\n' > wait.service && systemctl daemon-reload && systemctl start wait.socket",
    );
    for _ in 0..2 {
        assert_eq!(machine.client("echo hello | nc -u -w 1 127.0.0.1 7"), b"hello\n");
        // It ends when no more requests arrive, and is started again for the next one.
        machine.wait_for("systemctl show -P ActiveState wait.service | grep -qx inactive");
        assert_eq!(machine.shell("systemctl show -P Result wait.service"), "success\n");
    }
}

/// BSD inetd's `wait`, over TCP and UDP: the keeper has the listening or datagram socket as long as it runs.
#[test]
fn a_keeper_comes_and_goes_with_its_clients_under_inetd() {
    let machine = machine("inetd-wait");
    let echo = "nobody /usr/local/libexec/small-services/echo echo --idle-timeout 1";
    let lines = [("stream tcp", "wait"), ("dgram udp", "wait")].map(|(kind, wait)| format!("'7 {kind} {wait} {echo}'"));
    let qotd = "'17 stream tcp nowait nobody /usr/local/libexec/small-services/qotd qotd'";
    start_inetd(&machine, &format!("printf '%s\\n' {} {qotd}", lines.join(" ")));
    for _ in 0..2 {
        assert_eq!(machine.client("echo hello | nc -N 127.0.0.1 7"), b"hello\n");
        assert_eq!(machine.client("echo hello | nc -N 127.0.0.1 7"), b"hello\n");
        assert_eq!(machine.client("echo hello | nc -u -w 1 127.0.0.1 7"), b"hello\n");
        // It ends with all its processes when no more clients connect, and is started again for the next one.
        machine.wait_for("! pgrep -x echo");
    }
    assert_eq!(machine.journal("SYSLOG_IDENTIFIER=echo SYSLOG_IDENTIFIER=inetd"), "");
}

#[test]
fn under_inetd_a_mistake_goes_to_syslog_and_not_to_the_client() {
    let machine = machine("syslog");
    let lines = "printf '%s\\n' '17 stream tcp nowait nobody /usr/local/libexec/small-services/qotd qotd /no/such/file' \
                 '7 stream tcp nowait nobody /usr/local/libexec/small-services/echo echo --bad'";
    start_inetd(&machine, lines);
    assert_eq!(machine.client("nc -N 127.0.0.1 17 </dev/null"), b"");
    assert_eq!(machine.client("nc -N 127.0.0.1 7 </dev/null"), b"");
    machine.wait_for("journalctl --sync && journalctl -q SYSLOG_IDENTIFIER=echo | grep .");
    let qotd = machine.journal("SYSLOG_IDENTIFIER=qotd SYSLOG_FACILITY=3 --priority=3");
    assert!(qotd.contains("cannot read /no/such/file: No such file or directory"), "{qotd}");
    let echo = machine.journal("SYSLOG_IDENTIFIER=echo SYSLOG_FACILITY=3 --priority=3");
    assert!(echo.contains("unexpected argument '--bad' found; see `echo --help`"), "{echo}");
}

#[test]
fn without_a_syslog_a_mistake_goes_nowhere_rather_than_to_the_client() {
    let machine = machine("no-syslog");
    let line = "printf '%s\\n' '17 stream tcp nowait nobody /usr/local/libexec/small-services/qotd qotd /no/such/file'";
    start_inetd(&machine, line);
    machine.shell(
        "mv /dev/log /dev/log.away 2>/dev/null || rm -f /dev/log; rm -f /dev/null && mknod -m 000 /dev/null c 1 3",
    );
    assert_eq!(
        machine.client(
            "python3 -c \"
import socket
c = socket.create_connection(('127.0.0.1', 17)); c.shutdown(1); print(c.recv(4096))\""
        ),
        b"b''\n"
    );
}
