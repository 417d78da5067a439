//! `small-services doctor` on a booted systemd, well and with each fault put in on purpose.

mod support;

use support::helper;
use support::machine::Machine;

/// What the doctor says to people and to programs; the exit code has to agree.
fn doctor(machine: &Machine) -> (bool, String) {
    let text = machine.shell("small-services doctor; echo \"exit code $?\"");
    let json = machine.shell(
        "{ small-services doctor --json || true; } | python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report[\"states\"]
assert report[\"well\"] == (not report[\"problems\"])
assert all(problem[\"advice\"] for problem in report[\"problems\"])
print(report[\"well\"])'",
    );
    let well = text.ends_with("exit code 0\n");
    assert_eq!(json.trim() == "True", well, "{text}");
    assert_eq!(well, text.contains("All is well."), "{text}");
    (well, text)
}

/// Puts a fault in, asserts that the doctor names it, takes it out again, and asserts that all is well.
fn names(machine: &Machine, fault: &str, words: &[&str], remedy: &str) {
    machine.shell(fault);
    let (well, text) = doctor(machine);
    assert!(!well, "{fault}: {text}");
    for word in words {
        assert!(text.contains(word), "{fault}: no {word:?} in\n{text}");
    }
    machine.shell(remedy);
    let (well, text) = doctor(machine);
    assert!(well, "after {remedy}: {text}");
}

/// A drop-in of a unit, and its removal.
fn drop_in(unit: &str, lines: &str) -> (String, String) {
    let folder = format!("/run/systemd/system/{unit}.d");
    (
        format!("mkdir -p {folder} && printf '{lines}' > {folder}/fault.conf && systemctl daemon-reload"),
        format!("rm -r {folder} && systemctl daemon-reload"),
    )
}

#[test]
fn a_host_without_the_units_is_told_so() {
    let machine = Machine::boot("bare");
    let doctor = support::program("small-services");
    let text = machine.shell(&format!("! {}", doctor.display()));
    assert_eq!(text, "", "without a command there is help on standard error");
    let text = machine.shell(&format!("! {} doctor", doctor.display()));
    assert!(text.contains("no unit of small-services is installed") && text.contains("make install"), "{text}");
    machine.shell(&format!("make -C {} install", support::repository().display()));
    let text = machine.shell("! small-services doctor");
    assert!(text.contains("no socket is enabled") && text.contains("systemctl enable --now"), "{text}");
}

#[test]
fn faults_of_sockets_are_named_and_nothing_else_is_wrong() {
    let machine = Machine::with_services("faults", "");
    let (well, text) = doctor(&machine);
    assert!(well, "{text}");
    assert!(text.contains("fortune.socket") && text.contains("systemd listens on [::]:17 stream"), "{text}");
    assert!(text.contains("fortune@.service") && text.contains("exposure 0."), "{text}");
    assert!(text.contains("every layer of the lock-down is there"), "{text}");

    // The port taken by another program.
    names(
        &machine,
        "systemctl stop echo.socket && systemd-run --quiet --unit=thief nc -lk 7 && until nc -z 127.0.0.1 7; do :; done; \
         ! systemctl start echo.socket",
        &["problem: echo.socket", "tcp port 7 is taken by nc (process"],
        "systemctl stop thief && systemctl reset-failed echo.socket && systemctl start echo.socket",
    );
    // A service that is enabled without its socket.
    names(
        &machine,
        "systemctl disable --now time.socket 2>&1 && systemctl add-wants multi-user.target time-daemon.service 2>&1",
        &["problem: time-daemon.service", "enabled (by multi-user.target), and its socket time-daemon.socket is not"],
        "rm /etc/systemd/system/multi-user.target.wants/time-daemon.service && systemctl daemon-reload && \
         systemctl enable --now time.socket 2>&1",
    );
    // A socket that failed on a limit.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nTriggerLimitIntervalSec=10s\\nTriggerLimitBurst=5\\n");
    names(
        &machine,
        &format!(
            "{add} && systemctl restart fortune.socket && \
             for i in {{1..20}}; do nc -d -w 1 127.0.0.1 17 >/dev/null || true; done"
        ),
        &[
            "problem: fortune.socket",
            "failed on a limit (trigger-limit-hit)",
            "TriggerLimitIntervalSec=0",
            "reset-failed",
        ],
        &format!("{remove} && systemctl reset-failed fortune.socket && systemctl start fortune.socket"),
    );
    // Accept= and template do not match.
    let (add, remove) = drop_in("discard.socket", "[Socket]\\nAccept=no\\n");
    names(
        &machine,
        &format!("systemctl stop discard.socket; {add}; ! systemctl start discard.socket 2>&1"),
        &["problem: discard.socket", "Accept=no makes it start discard.service, which does not exist"],
        &format!("{remove} && systemctl reset-failed; systemctl start discard.socket"),
    );
    // An address that this host does not have.
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nListenStream=\\nListenStream=192.0.2.1:13\\n");
    names(
        &machine,
        &format!("{add}; ! systemctl restart daytime.socket 2>&1"),
        &["problem: daytime.socket", "192.0.2.1 is no address of this host"],
        &format!("{remove} && systemctl reset-failed; systemctl restart daytime.socket"),
    );
}

#[test]
fn faults_of_services_and_of_access_are_named() {
    let machine = Machine::with_services("access", "");
    // A program that nobody may execute.
    names(
        &machine,
        "chmod 700 /usr/local/libexec/small-services/chargen",
        &["problem: chargen@.service", "chargen may not be executed by every user"],
        "chmod 755 /usr/local/libexec/small-services/chargen",
    );
    // An address list in the way.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nIPAddressDeny=any\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart fortune.socket"),
        &["problem: fortune.socket", "keeps clients out", "IPAddressAllow="],
        &format!("{remove} && systemctl restart fortune.socket"),
    );
    // A socket in a network of its own.
    let (add, remove) = drop_in("echo.socket", "[Socket]\\nPrivateNetwork=yes\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart echo.socket"),
        &["problem: echo.socket", "PrivateNetwork=yes"],
        &format!("{remove} && systemctl restart echo.socket"),
    );
    // A unit that somebody opened up.
    let (add, remove) =
        drop_in("fortune@.service", "[Service]\\nPrivateNetwork=no\\nProtectSystem=no\\nPrivateDevices=no\\n");
    names(&machine, &add, &["problem: fortune@.service", "its exposure is"], &remove);
    // A socket unit that systemd cannot load.
    let (add, remove) = drop_in("time.socket", "[Socket]\\nListenStream=\\n");
    names(
        &machine,
        &format!("systemctl stop time.socket; {add}"),
        &["problem: time.socket", "systemd cannot load it (bad-setting)"],
        &format!("{remove} && systemctl start time.socket"),
    );
    // Both kinds at once.
    names(
        &machine,
        "systemctl enable echo-daemon.socket 2>&1",
        &["problem: echo.socket", "both it and echo-daemon.socket are enabled"],
        "systemctl disable echo-daemon.socket 2>&1",
    );
    // A socket that nobody may connect to.
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nListenStream=/run/daytime\\nSocketMode=0600\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart daytime.socket"),
        &["problem: daytime.socket", "nobody but the owner of /run/daytime may connect (SocketMode=0600)"],
        &format!("{remove} && systemctl restart daytime.socket"),
    );
    // One process for all that cannot start, and one whose datagrams go to somebody else.
    let (add, remove) = drop_in(
        "fortune-daemon.service",
        "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/qotd --bad\\n",
    );
    names(
        &machine,
        &format!(
            "{add} && systemctl start fortune-daemon.socket && (nc -d -w 1 127.0.0.1 17 || true) && \
             until [ $(systemctl show -P NRestarts fortune-daemon.service) -ge 1 ]; do :; done"
        ),
        &["problem: fortune-daemon.service", "it does not stay up", "was started again"],
        &format!(
            "{remove} && systemctl stop fortune-daemon.socket fortune-daemon.service && systemctl start fortune.socket"
        ),
    );
    // A list of addresses that is as somebody wanted it is no fault.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nIPAddressDeny=any\\nIPAddressAllow=192.0.2.0/24\\n");
    machine.shell(&format!("{add} && systemctl restart fortune.socket"));
    let (well, text) = doctor(&machine);
    assert!(well && text.contains("only 192.0.2.0/24 may connect"), "{text}");
    machine.shell(&format!("{remove} && systemctl restart fortune.socket"));
    // A service that answers nothing.
    let (add, remove) = drop_in(
        "fortune@.service",
        "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/qotd /no/such/file\\n",
    );
    names(
        &machine,
        &add,
        &["problem: fortune.socket", "gets no answer", "journalctl -p err -u 'fortune@*.service'"],
        &remove,
    );
}

#[test]
fn faults_of_lunchd_are_named() {
    let machine = Machine::with_services("web", "");
    let make = |days: i32, subject: &str, folder: &str| {
        format!(
            "install -d -m 700 {folder} && openssl req -x509 -newkey ed25519 -nodes -days {days} -subj /CN={subject} \
             -addext subjectAltName=DNS:localhost -keyout {folder}/key.pem -out {folder}/certificate.pem 2>/dev/null"
        )
    };
    let restart = "systemctl restart lunchd.service";
    machine.shell(&format!(
        "{} && systemctl enable --now lunchd-http.socket lunchd-https.socket 2>&1",
        make(90, "localhost", "/etc/lunchd")
    ));
    let (well, text) = doctor(&machine);
    assert!(well, "{text}");
    for line in ["systemd listens on [::]:80 stream", "systemd listens on [::]:443 stream"] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("lunchd.service ")).count(), 1, "{text}");

    // The files that it is given.
    names(
        &machine,
        "mv /etc/lunchd/key.pem /run/",
        &["problem: lunchd.service", "/etc/lunchd/key.pem, which LoadCredential= hands over to it, cannot be read"],
        "mv /run/key.pem /etc/lunchd/",
    );
    machine.shell(&format!("cp -a /etc/lunchd /run/good && {}", make(1, "localhost", "/run/short")));
    names(
        &machine,
        "cp /run/short/* /etc/lunchd",
        &["problem: lunchd.service", "is not valid after", "renew it, then `systemctl restart lunchd.service`"],
        "cp /run/good/* /etc/lunchd",
    );
    names(
        &machine,
        "cp /run/short/key.pem /etc/lunchd",
        &["problem: lunchd.service", "the key /etc/lunchd/key.pem does not belong to the certificate"],
        "cp /run/good/* /etc/lunchd",
    );
    // One that only lunchd itself finds wrong.
    names(
        &machine,
        &format!(
            "openssl req -x509 -newkey ed448 -nodes -days 90 -subj /CN=localhost -keyout /etc/lunchd/key.pem \
             -out /etc/lunchd/certificate.pem 2>/dev/null && ! {restart} 2>&1 && \
             until [ $(systemctl show -P NRestarts lunchd.service) -ge 1 ]; do :; done"
        ),
        &["problem: lunchd.service", "it does not stay up", "journalctl -p err -u lunchd.service"],
        &format!("cp /run/good/* /etc/lunchd && systemctl stop lunchd.service && {restart}"),
    );
    // A socket that came too late.
    names(
        &machine,
        &format!("systemctl stop lunchd-https.socket && {restart} && ! systemctl start lunchd-https.socket 2>&1"),
        &["problem: lunchd-https.socket", "while lunchd.service runs", "`systemctl stop lunchd.service`, then"],
        "systemctl stop lunchd.service && systemctl start lunchd-https.socket lunchd-http.socket",
    );
    // Another web server.
    names(
        &machine,
        "systemctl stop lunchd-http.socket && systemd-run --quiet --unit=thief nc -lk 80 && \
         until nc -z 127.0.0.1 80; do :; done; ! systemctl start lunchd-http.socket",
        &["problem: lunchd-http.socket", "tcp port 80 is taken by nc (process"],
        "systemctl stop thief && systemctl reset-failed lunchd-http.socket && systemctl stop lunchd.service; \
         systemctl start lunchd-http.socket lunchd-https.socket",
    );
    // Something else behind the sockets.
    let (add, remove) =
        drop_in("lunchd.service", "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/daytime\\n");
    names(
        &machine,
        &format!("{add} && {restart}"),
        &["problem: lunchd-http.socket", "problem: lunchd-https.socket", "gets no answer: 26 octets came"],
        &format!("{remove} && {restart}"),
    );
}

#[test]
fn a_kernel_without_a_layer_is_named() {
    let machine = Machine::with_services("kernel", "");
    for (call, layer) in [("landlock", "Landlock"), ("seccomp", "seccomp")] {
        let text = machine.shell(&format!("! {} {call} small-services doctor", helper("old_kernel").display()));
        assert!(text.contains(&format!("the sandbox layer {layer} is missing")), "{text}");
        assert!(text.contains("boot a kernel with Landlock and seccomp"), "{text}");
    }
}
