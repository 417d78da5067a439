//! `small-services doctor` on a booted systemd: healthy, and with each fault introduced on purpose.

mod support;

use small_services::services::{self, Row};
use support::helper;
use support::machine::Machine;

/// The doctor's report for people and as JSON. The exit code must agree.
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

/// Introduces a fault, asserts that the doctor names it, removes it, and asserts that all is well.
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
fn a_container_that_may_start_no_unit_is_told_what_serves_there() {
    // systemd itself needs a directory that it cannot mount.
    let options = ["--drop-capability=CAP_SYS_ADMIN", "--tmpfs=/run/lock"];
    let machine = Machine::boot_release("container", "bookworm", &options);
    machine.shell(&format!("make -C {} install", support::repository().display()));
    machine.shell("systemctl enable --now fortune.socket 2>&1");
    assert_eq!(machine.shell("nc 127.0.0.1 17 </dev/null"), "");
    let text = machine.shell("! small-services doctor");
    assert!(text.contains("problem: this host: its systemd lacks CAP_SYS_ADMIN"), "{text}");
    assert!(text.contains("serve without units: with --listen"), "{text}");
    machine.shell("(setpriv --reuid 65534 --clear-groups qotd --listen 127.0.0.1:1717 &) >/dev/null 2>&1");
    machine.wait_for("nc 127.0.0.1 1717 </dev/null | grep .");
}

#[test]
fn faults_of_sockets_are_named_and_nothing_else_is_wrong() {
    let machine = Machine::with_services("faults", "");
    let (well, text) = doctor(&machine);
    assert!(well, "{text}");
    assert!(text.contains("fortune.socket") && text.contains("systemd listens on [::]:17 stream"), "{text}");
    assert!(text.contains("fortune@.service") && text.contains("exposure 0."), "{text}");
    assert!(text.contains("fortune-daemon.service") && text.contains(", a process per connection, exposure"), "{text}");
    assert!(text.contains("every layer of the lock-down is available"), "{text}");

    // Another program holds the port.
    names(
        &machine,
        "systemctl stop echo.socket && systemd-run --quiet --unit=thief nc -lk 7 && until nc -z 127.0.0.1 7; do :; done; \
         ! systemctl start echo.socket",
        &["problem: echo.socket", "tcp port 7 is used by nc (process"],
        "systemctl stop thief && systemctl reset-failed echo.socket && systemctl start echo.socket",
    );
    // A service is enabled without its socket.
    names(
        &machine,
        "systemctl disable --now time.socket 2>&1 && systemctl add-wants multi-user.target time-daemon.service 2>&1",
        &["problem: time-daemon.service", "enabled (by multi-user.target), but its socket time-daemon.socket is not"],
        "rm /etc/systemd/system/multi-user.target.wants/time-daemon.service && systemctl daemon-reload && \
         systemctl enable --now time.socket 2>&1",
    );
    // A socket failed on a limit.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nTriggerLimitIntervalSec=10s\\nTriggerLimitBurst=5\\n");
    names(
        &machine,
        &format!(
            "{add} && systemctl restart fortune.socket && \
             for i in {{1..20}}; do nc -d -w 1 127.0.0.1 17 >/dev/null || true; done"
        ),
        &[
            "problem: fortune.socket",
            "exceeded a limit (trigger-limit-hit)",
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
        &["problem: discard.socket", "with Accept=no, it starts discard.service, which does not exist"],
        &format!("{remove} && systemctl reset-failed; systemctl start discard.socket"),
    );
    // An address that this host does not have.
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nListenStream=\\nListenStream=192.0.2.1:13\\n");
    names(
        &machine,
        &format!("{add}; ! systemctl restart daytime.socket 2>&1"),
        &["problem: daytime.socket", "192.0.2.1 is not an address of this host"],
        &format!("{remove} && systemctl reset-failed; systemctl restart daytime.socket"),
    );
}

#[test]
fn faults_of_services_and_of_access_are_named() {
    let machine = Machine::with_services("access", "");
    // A program that is not executable.
    names(
        &machine,
        "chmod 700 /usr/local/libexec/small-services/chargen",
        &["problem: chargen@.service", "chargen is not executable by every user"],
        "chmod 755 /usr/local/libexec/small-services/chargen",
    );
    // An address list blocks clients.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nIPAddressDeny=any\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart fortune.socket"),
        &["problem: fortune.socket", "refuses all clients", "IPAddressAllow="],
        &format!("{remove} && systemctl restart fortune.socket"),
    );
    // A socket in a separate network namespace.
    let (add, remove) = drop_in("echo.socket", "[Socket]\\nPrivateNetwork=yes\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart echo.socket"),
        &["problem: echo.socket", "PrivateNetwork=yes"],
        &format!("{remove} && systemctl restart echo.socket"),
    );
    // More connections than the limits allow.
    let (add, remove) = drop_in(
        "echo-daemon.service",
        "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/echo --max-connections 4000\\n",
    );
    names(
        &machine,
        &format!("systemctl stop echo.socket && {add} && systemctl start echo-daemon.socket"),
        &[
            "problem: echo-daemon.service",
            "4000 connections take up to 4010 tasks, but TasksMax= is 1024",
            "4000 connections take up to 1492 MiB, but MemoryMax= is 512 MiB",
        ],
        &format!("{remove} && systemctl stop echo-daemon.socket && systemctl start echo.socket"),
    );
    // A unit whose confinement was removed.
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
    // A socket without permission to connect.
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nListenStream=/run/daytime\\nSocketMode=0600\\n");
    names(
        &machine,
        &format!("{add} && systemctl restart daytime.socket"),
        &["problem: daytime.socket", "only the owner of /run/daytime may connect (SocketMode=0600)"],
        &format!("{remove} && systemctl restart daytime.socket"),
    );
    // A daemon that cannot start, and one whose datagrams go to another program.
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
        &[
            "problem: fortune-daemon.service",
            "it keeps failing",
            "was restarted",
            "its last message: unexpected argument '--bad' found",
        ],
        &format!(
            "{remove} && systemctl stop fortune-daemon.socket fortune-daemon.service && systemctl start fortune.socket"
        ),
    );
    // An intended address list is not a fault.
    let (add, remove) = drop_in("fortune.socket", "[Socket]\\nIPAddressDeny=any\\nIPAddressAllow=192.0.2.0/24\\n");
    machine.shell(&format!("{add} && systemctl restart fortune.socket"));
    let (well, text) = doctor(&machine);
    assert!(well && text.contains("only 192.0.2.0/24 may connect"), "{text}");
    machine.shell(&format!("{remove} && systemctl restart fortune.socket"));
    // A service that does not answer.
    let (add, remove) = drop_in(
        "fortune@.service",
        "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/qotd /no/such/file\\n",
    );
    names(&machine, &add, &["problem: fortune@.service", "cannot read /no/such/file: No such file"], &remove);
}

#[test]
fn faults_of_lunchd_are_named() {
    let machine = Machine::with_services("web", "");
    let make_with = |key: &str, more: &str, folder: &str| {
        format!(
            "install -d -m 700 {folder} && openssl req -x509 -newkey {key} -nodes -subj /CN=localhost {more} \
             -keyout {folder}/key.pem -out {folder}/certificate.pem 2>/dev/null"
        )
    };
    let (ec, named) = ("ec -pkeyopt ec_paramgen_curve:P-256", "-addext subjectAltName=DNS:localhost -days 90");
    let make =
        |days: i32, folder: &str| make_with(ec, &format!("-addext subjectAltName=DNS:localhost -days {days}"), folder);
    let restart = "systemctl restart lunchd.service";
    machine.shell(&format!(
        "{} && systemctl enable --now lunchd-http.socket lunchd-https.socket 2>&1",
        make(90, "/etc/lunchd")
    ));
    machine.shell("printf 'GET /healthz HTTP/1.0\r\n\r\n' | nc -N 127.0.0.1 80 | grep -q '^ok$'");
    let (well, text) = doctor(&machine);
    assert!(well, "{text}");
    for line in ["systemd listens on [::]:80 stream", "systemd listens on [::]:443 stream"] {
        assert!(text.contains(line), "{text}");
    }
    // How it is, and what it says of itself.
    let of_lunchd: Vec<_> = text.lines().filter(|line| line.starts_with("lunchd.service ")).collect();
    assert!(
        of_lunchd.len() == 2 && of_lunchd[1].contains("connections: ") && of_lunchd[1].contains("; fortunes: "),
        "{text}"
    );
    machine.shell("{ small-services doctor --json || true; } | grep '\"state\": \"connections: '");

    // The certificate files.
    names(
        &machine,
        "mv /etc/lunchd/key.pem /run/",
        &["problem: lunchd.service", "cannot read /etc/lunchd/key.pem, which it needs for https"],
        "mv /run/key.pem /etc/lunchd/",
    );
    machine.shell(&format!("cp -a /etc/lunchd /run/good && {}", make(1, "/run/short")));
    names(
        &machine,
        "cp /run/short/* /etc/lunchd",
        &[
            "problem: lunchd.service",
            "/etc/lunchd/certificate.pem expires on ",
            "renew it, then `systemctl try-reload-or-restart lunchd.service`",
        ],
        "cp /run/good/* /etc/lunchd",
    );
    names(
        &machine,
        "cp /run/short/key.pem /etc/lunchd",
        &["problem: lunchd.service", "the key /etc/lunchd/key.pem does not belong to the certificate"],
        "cp /run/good/* /etc/lunchd",
    );
    // A certificate that curl accepts and browsers refuse.
    for (key, more, advice) in [
        ("ed25519", named, "create a P-256 key"),
        (ec, "-days 90", "request one with the host's name as subjectAltName"),
    ] {
        names(
            &machine,
            &make_with(key, more, "/etc/lunchd"),
            &["problem: lunchd.service", "browsers refuse its certificate /etc/lunchd/certificate.pem", advice],
            "cp /run/good/* /etc/lunchd",
        );
    }
    // A certificate that only lunchd itself refuses.
    names(
        &machine,
        &format!(
            "openssl req -x509 -newkey ed448 -nodes -days 90 -subj /CN=localhost -keyout /etc/lunchd/key.pem \
             -out /etc/lunchd/certificate.pem 2>/dev/null && ! {restart} 2>&1 && \
             until [ $(systemctl show -P NRestarts lunchd.service) -ge 1 ]; do :; done"
        ),
        &["problem: lunchd.service", "it keeps failing", "its last message: ", "journalctl -u lunchd.service"],
        &format!("cp /run/good/* /etc/lunchd && systemctl stop lunchd.service && {restart}"),
    );
    // A socket unit that was enabled too late.
    names(
        &machine,
        &format!("systemctl stop lunchd-https.socket && {restart} && ! systemctl start lunchd-https.socket 2>&1"),
        &["problem: lunchd-https.socket", "while lunchd.service runs", "run `systemctl stop lunchd.service`, then"],
        "systemctl stop lunchd.service && systemctl start lunchd-https.socket lunchd-http.socket",
    );
    // Another web server.
    names(
        &machine,
        "systemctl stop lunchd-http.socket && systemd-run --quiet --unit=thief nc -lk 80 && \
         until nc -z 127.0.0.1 80; do :; done; ! systemctl start lunchd-http.socket",
        &["problem: lunchd-http.socket", "tcp port 80 is used by nc (process"],
        "systemctl stop thief && systemctl reset-failed lunchd-http.socket && systemctl stop lunchd.service; \
         systemctl start lunchd-http.socket lunchd-https.socket",
    );
    // Another program behind the sockets.
    let (add, remove) = drop_in(
        "lunchd.service",
        "[Service]\\nExecStart=\\nExecStart=/usr/local/libexec/small-services/daytime --shared\\n",
    );
    names(
        &machine,
        &format!("{add} && {restart}"),
        &["problem: lunchd-http.socket", "problem: lunchd-https.socket", "gets a wrong answer: 26 octets"],
        &format!("{remove} && {restart}"),
    );
}

#[test]
fn a_kernel_without_a_layer_is_named() {
    let machine = Machine::with_services("kernel", "");
    for (call, layer) in [("landlock", "Landlock"), ("seccomp", "seccomp")] {
        let text = machine.shell(&format!("! {} {call} small-services doctor", helper("old_kernel").display()));
        assert!(text.contains(&format!("the sandbox layer {layer} is missing")), "{text}");
        assert!(text.contains("do: use a ") && text.contains("with CONFIG_SEC"), "{text}");
    }
    let forbidden = machine.shell(&format!("! {} forbidden small-services doctor", helper("old_kernel").display()));
    assert!(forbidden.contains("a filter outside of the program forbids the Landlock calls"), "{forbidden}");
    assert!(forbidden.contains("do: have that filter allow landlock_create_ruleset"), "{forbidden}");
    // An older Landlock is enough, unless a unit requires all rights.
    let old = helper("old_kernel");
    let text = machine.shell(&format!("{} abi-2 small-services doctor", old.display()));
    assert!(text.contains("this kernel (Landlock ABI 2) cannot forbid truncating files"), "{text}");
    machine.shell(
        "folder=/run/systemd/system/fortune@.service.d && mkdir -p $folder && printf '[Service]\nExecStart=\n\
         ExecStart=/usr/local/libexec/small-services/qotd --sandbox full\n' > $folder/full.conf && systemctl daemon-reload",
    );
    let text = machine.shell(&format!("! {} abi-2 small-services doctor", old.display()));
    assert!(text.contains("problem: fortune@.service: it is started with --sandbox full, but this kernel"), "{text}");
    assert!(text.contains("do: boot Linux 7.2 or newer, or start it with --sandbox strict"), "{text}");
    machine.shell("rm -r /run/systemd/system/fortune@.service.d && systemctl daemon-reload");
    // Units with --sandbox best-effort accept that. Then nothing is wrong.
    for Row { unit, program, .. } in services::all() {
        machine.shell(&format!(
            "folder=/run/systemd/system/{unit}@.service.d && mkdir -p $folder && printf '[Service]\nExecStart=\n\
             ExecStart=/usr/local/libexec/small-services/{program} --sandbox best-effort\n' > $folder/best.conf"
        ));
    }
    machine.shell("systemctl daemon-reload");
    let text = machine.shell(&format!("{} landlock small-services doctor", helper("old_kernel").display()));
    assert!(text.contains("Landlock is missing") && text.contains("best-effort serves without it"), "{text}");
    // Features that are too old or disabled.
    machine.shell("rm -r /run/systemd/system/*@.service.d && systemctl daemon-reload");
    machine.shell(
        "mkdir /run/old && printf '#!/bin/sh\n[ \"$1\" = --version ] && echo systemd 247 && exit\nexec /bin/systemctl \"$@\"\n' \
         > /run/old/systemctl && chmod +x /run/old/systemctl && echo 0 > /run/old/none",
    );
    let text = machine.shell("! PATH=/run/old:$PATH small-services doctor");
    assert!(text.contains("its systemd 247 is older than 249"), "{text}");
    names(
        &machine,
        "mount --bind /run/old/none /proc/sys/user/max_user_namespaces",
        &["problem: fortune@.service", "user.max_user_namespaces is 0", "PrivateUsers=no"],
        "umount /proc/sys/user/max_user_namespaces",
    );
}

#[test]
fn faults_of_files_and_of_what_was_read_of_them_are_named() {
    let machine = Machine::with_services("files", "");
    let programs = "/usr/local/libexec/small-services";
    // An unknown option: the report quotes the program's own message.
    let misspelt = format!("[Service]\\nExecStart=\\nExecStart={programs}/qotd --dayly\\n");
    let (add, remove) = drop_in("fortune@.service", &misspelt);
    names(
        &machine,
        &add,
        &[
            "problem: fortune.socket",
            "gets no answer",
            "its last message: unexpected argument '--dayly' found",
            "journalctl -u 'fortune@*.service'",
        ],
        &remove,
    );
    // A drop-in that systemd has not read, and one that it does not understand.
    let (_, remove) = drop_in("echo.socket", "");
    let folder = "/run/systemd/system/echo.socket.d";
    names(
        &machine,
        &format!("mkdir {folder} && printf '[Socket]\nBacklog=7\n' > {folder}/late.conf"),
        &["problem: echo.socket", "its files have changed since systemd read them", "systemctl daemon-reload"],
        &remove,
    );
    let (add, remove) = drop_in("echo.socket", "[Socket]\\nMaxConnectoins=5\\n");
    names(&machine, &add, &["problem: echo.socket", "MaxConnectoins", "systemctl edit echo.socket"], &remove);
    // A program that is not static, without a root directory.
    names(
        &machine,
        &format!("cp -p {programs}/time /run/time && install -m 711 /bin/true {programs}/time"),
        &["problem: time@.service", "is dynamically linked"],
        &format!("install -m 711 /run/time {programs}/time"),
    );
    let root = machine.shell("systemctl show -P RootDirectory time@1.service");
    let root = root.trim();
    names(
        &machine,
        &format!("mv {root} {root}.away"),
        &["problem: time@.service", &format!("its root directory {root} is missing"), "make install"],
        &format!("rm -rf {root}; mv {root}.away {root}"),
    );
    // Fortunes that are missing.
    let cookies = "/usr/share/games/fortunes";
    machine.shell(&format!("rm -rf {cookies} && mkdir -p {cookies} /srv/own && echo own > /srv/own/own"));
    let serve = |path: &str| {
        let shown = format!("BindReadOnlyPaths={cookies}\\n");
        drop_in("fortune@.service", &format!("[Service]\\n{shown}ExecStart=\\nExecStart={programs}/qotd {path}\\n"))
    };
    let (add, remove) = serve(cookies);
    names(&machine, &add, &["problem: fortune@.service", "/usr/share/games/fortunes is empty"], &remove);
    let (add, remove) = serve("all");
    names(
        &machine,
        &add,
        &[
            "problem: fortune@.service",
            "no collections are installed in /usr/share/games/fortunes, /usr/share/games/fortune, ",
        ],
        &remove,
    );
    let (add, remove) = serve(cookies);
    names(
        &machine,
        &format!("{add} && install -m 600 /srv/own/own {cookies}/own"),
        &[
            "its user may not read any file in /usr/share/games/fortunes",
            "run `chmod o+r` on the files in /usr/share/games/fortunes",
        ],
        &format!("{remove} && rm {cookies}/own"),
    );
    let (add, remove) = serve("/srv/own");
    names(
        &machine,
        &add,
        &["it cannot see /srv/own: it has its own root directory", "BindReadOnlyPaths=/srv/own"],
        &remove,
    );
    let (add, remove) = serve(&format!("{cookies}/own"));
    names(
        &machine,
        &format!("{add} && install -m 600 /srv/own/own {cookies}/own"),
        &["its user may not read /usr/share/games/fortunes/own", "chmod o+r /usr/share/games/fortunes/own"],
        &format!("{remove} && rm {cookies}/own"),
    );
    machine.shell("mkdir -p /home/own /tmp/own && echo own | tee /home/own/own > /tmp/own/own");
    let hidden = [("/srv/own", "InaccessiblePaths="), ("/home/own", "ProtectHome="), ("/tmp/own", "PrivateTmp=")];
    for (path, by) in hidden {
        let line = format!("[Service]\\nExecStart=\\nExecStart={programs}/qotd {path}\\n");
        let (add, remove) = drop_in("fortune-daemon.service", &line);
        names(
            &machine,
            &format!("{add} && systemctl start fortune-daemon.socket"),
            &["problem: fortune-daemon.service", &format!("it cannot see {path}: {by} hides it")],
            &format!("{remove} && systemctl stop fortune-daemon.socket && systemctl start fortune.socket"),
        );
    }
}

#[test]
fn a_program_that_was_replaced_is_named_however_it_was_started() {
    let machine = Machine::with_services("replaced", "");
    let programs = "/usr/local/libexec/small-services";
    machine.shell(&format!("cp -p {programs}/time /run/time"));
    // A program that was replaced while it runs.
    machine.shell("systemctl start time-daemon.socket && nc 127.0.0.1 37 </dev/null | wc -c");
    names(
        &machine,
        &format!("install -m 711 /run/time {programs}/time"),
        &["problem: time-daemon.service", "a program that was replaced", "systemctl restart time-daemon.service"],
        "systemctl restart time-daemon.service",
    );
    // The same for programs that none of our units started: by hand, and by a custom unit.
    let listen = format!("{programs}/echo --listen 127.0.0.1:77");
    machine.shell(&format!("({listen} &) >/dev/null 2>&1; until nc -z 127.0.0.1 77; do :; done"));
    names(
        &machine,
        &format!("cp -p {programs}/echo /run/echo && install -m 711 /run/echo {programs}/echo"),
        &["problem: this host: process ", &format!("`{listen}`, runs a program that was replaced"), "do: run `kill "],
        "kill $(pgrep -x echo) && until ! pgrep -x echo; do :; done",
    );
    machine.shell(&format!(
        "systemd-run --quiet --unit=own {programs}/echo --listen 127.0.0.1:77 && until nc -z 127.0.0.1 77; do :; done"
    ));
    names(
        &machine,
        &format!("install -m 711 /run/echo {programs}/echo"),
        &["problem: own.service: it runs a program that was replaced", "systemctl restart own.service"],
        "systemctl stop own.service",
    );
    // An open connection continues with the old program, and ends by itself.
    machine.shell("mkfifo /run/in; (nc 127.0.0.1 7 < /run/in >/run/out &) 2>/dev/null >&2; (sleep 1000 > /run/in &) 2>/dev/null >&2");
    machine.wait_for("pgrep -x echo");
    machine.shell(&format!("install -m 711 /run/echo {programs}/echo"));
    let (well, text) = doctor(&machine);
    assert!(well, "{text}");
}

#[test]
fn sockets_that_only_look_wrong_are_told_from_those_that_are() {
    let machine = Machine::with_services("looks", "");
    // By default, restarts are not limited.
    machine.shell("for i in {1..12}; do systemctl restart echo.socket; done");
    let (add, remove) = drop_in("echo.socket", "[Unit]\\nStartLimitIntervalSec=1min\\nStartLimitBurst=2\\n");
    names(
        &machine,
        &format!("{add} && for i in {{1..4}}; do systemctl restart echo.socket || true; done 2>/dev/null"),
        &["problem: echo.socket", "exceeded a limit (start-limit-hit)", "StartLimitIntervalSec=0"],
        &format!("{remove} && systemctl reset-failed echo.socket && systemctl start echo.socket"),
    );
    // An address that does not exist yet, and a device: clients on this host cannot reach them.
    let (add, remove) =
        drop_in("daytime.socket", "[Socket]\\nListenStream=\\nListenStream=192.0.2.1:13\\nFreeBind=yes\\n");
    machine.shell(&format!("{add} && systemctl restart daytime.socket"));
    let (well, text) = doctor(&machine);
    assert!(well && text.contains("192.0.2.1 is currently not an address of this host"), "{text}");
    machine.shell(&format!("{remove} && systemctl restart daytime.socket"));
    // No device, and no service when a client connects: in systemd's words if it has any.
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nBindToDevice=other\\n");
    names(
        &machine,
        &format!("{add}; ! systemctl restart daytime.socket 2>&1"),
        &[
            "problem: daytime.socket",
            "systemd says: daytime.socket: Failed to create listening socket ([::]:13): No such device",
        ],
        &format!("{remove} && systemctl reset-failed && systemctl restart daytime.socket"),
    );
    names(
        &machine,
        "systemctl mask --runtime time@.service 2>&1 && (nc 127.0.0.1 37 </dev/null || true) && \
         until systemctl is-failed time.socket; do :; done && systemctl unmask --runtime time@.service 2>&1",
        &["problem: time.socket: it failed (resources), so its port is closed", "systemctl start time.socket"],
        "systemctl reset-failed && systemctl start time.socket",
    );
    // systemd has lost its descriptors: the socket is active, but no client is served.
    names(
        &machine,
        "systemctl mask --runtime time.socket 2>&1 && systemctl unmask --runtime time.socket 2>&1 && ! nc -z 127.0.0.1 37",
        &["problem: time.socket", "Connection refused", "do: run `systemctl restart time.socket`"],
        "systemctl restart time.socket",
    );
    machine.client("ip link add other type dummy || ip link add other type veth peer name another");
    let (add, remove) = drop_in("daytime.socket", "[Socket]\\nBindToDevice=other\\n");
    machine.shell(&format!("{add} && systemctl restart daytime.socket"));
    let (well, text) = doctor(&machine);
    assert!(well && text.contains("only clients on other may connect (BindToDevice=)"), "{text}");
    machine.shell(&format!("{remove} && systemctl restart daytime.socket"));
    // Another program holds one address of a UDP port.
    let thief = machine.folder().file(
        "thief",
        "import socket\nthief = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\nthief.bind((\"127.0.0.1\", 37))\nthief.recv(1)\n",
    );
    let code = std::fs::read_to_string(thief).unwrap();
    names(
        &machine,
        &format!(
            "printf '%s' '{code}' > /run/thief.py && systemctl start time-daemon.socket && \
             systemd-run --quiet --unit=thief python3 /run/thief.py && until ss -Hlun sport = :37 | grep -q 127.0.0.1; do :; done"
        ),
        &["problem: time-daemon.socket", "datagrams to udp port 37 at 127.0.0.1 go to python3 (process"],
        "systemctl stop thief",
    );
}
