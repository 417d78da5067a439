//! lunchd's units under a real systemd, with a real curl and a real browser, each test on a machine of its own.

mod support;

use std::fs;

use support::machine::Machine;
use support::web::{Authority, EC, assert_dish};

/// A machine where everything is installed and the sockets are enabled in this order, as README.md says.
fn machine(name: &str, authority: &Authority, sockets: &str) -> Machine {
    let machine = Machine::boot(name);
    machine.shell(&format!("make -C {} install", support::repository().display()));
    authority.certify("site", EC, 1);
    machine.shell("mkdir -m 700 /etc/lunchd");
    put(&machine, authority, "site.pem", "/etc/lunchd/certificate.pem");
    put(&machine, authority, "site.key", "/etc/lunchd/key.pem");
    put(&machine, authority, "ca.pem", CA);
    machine.shell(&format!("systemctl enable --now {sockets} 2>&1"));
    machine
}

/// Puts a file of an authority's into the machine, which has a /tmp of its own.
fn put(machine: &Machine, authority: &Authority, file: &str, path: &str) {
    let text = fs::read_to_string(authority.path(file)).unwrap();
    machine.shell(&format!("umask 077; cat >{path} <<'end'\n{text}end"));
}

/// The authority that the machine's clients trust.
const CA: &str = "/run/ca.pem";
const BOTH: &str = "lunchd-http.socket lunchd-https.socket";

#[test]
fn a_dish_is_served_from_the_hardened_unit() {
    let authority = Authority::new("unit");
    let machine = machine("lunchd", &authority, BOTH);
    let ca = CA;
    assert_dish(&machine.shell(&format!("curl -sSL --cacert {ca} http://localhost/")));
    machine.shell(&format!(
        "curl -sSI --cacert {ca} https://localhost/ | grep -qi '^strict-transport-security: max-age='"
    ));
    for ip in ["127.0.0.1", "[::1]"] {
        let place =
            machine.shell(&format!("curl -sS -o /dev/null -w '%{{http_code}} %{{redirect_url}}' 'http://{ip}/a?b'"));
        assert_eq!(place, format!("301 https://{ip}/a?b"));
        for (version, spoken) in [("--http2", "2"), ("--http1.1", "1.1"), ("--tls-max 1.2", "2")] {
            let shown =
                machine.shell(&format!("curl -sS {version} --cacert {ca} -w '%{{http_version}}' https://{ip}/"));
            let (dish, version) = shown.rsplit_once('\n').unwrap();
            assert_dish(&format!("{dish}\n"));
            assert_eq!(version, spoken);
        }
    }
    // One process with one thread, and a user of its own.
    let pid = machine.shell("systemctl show -P MainPID lunchd.service").trim().to_owned();
    assert_eq!(machine.shell(&format!("ls /proc/{pid}/task | wc -l; pgrep -xc lunchd")), "1\n1\n");
    assert_eq!(machine.shell(&format!("stat -c %u /proc/{pid}/environ")), "0\n", "not dumpable");
    let status = machine.shell(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().next();
    let uid: u32 = field("Uid:").unwrap().parse().unwrap();
    assert!((61_184..=65_519).contains(&uid), "a dynamic user, not {uid}");
    for (name, value) in [("CapEff:", "0000000000000000"), ("CapAmb:", "0000000000000000"), ("Seccomp:", "2")] {
        assert_eq!(field(name), Some(value), "{name}");
    }
    // Its key is for nobody else, not even for another service.
    machine.shell(
        "! setpriv --reuid=65534 --regid=65534 --clear-groups cat /run/credentials/lunchd.service/key 2>/run/refused && \
         grep -q 'Permission denied' /run/refused",
    );
    assert_ne!(machine.shell(&format!("readlink /proc/{pid}/ns/net")), machine.shell("readlink /proc/1/ns/net"));
    // What it was given, and how.
    let journal = machine.journal("-u lunchd.service");
    assert!(journal.contains("LISTEN_FDS=2\n") && journal.contains("LISTEN_FDNAMES=http"), "{journal}");
    assert_eq!(machine.journal("--priority=warning -u 'lunchd*'"), "");

    // The units themselves.
    assert_eq!(machine.shell(&format!("systemd-analyze verify {BOTH} lunchd.service 2>&1")), "");
    let report = machine.shell("systemd-analyze security --no-pager lunchd.service");
    let exposure = report.lines().find_map(|line| line.split_once("Overall exposure level for ")).unwrap().1;
    let level: f64 = exposure.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(level <= 0.8, "{report}");
    for (property, value) in
        [("DynamicUser", "yes"), ("AmbientCapabilities", ""), ("Type", "notify"), ("WatchdogUSec", "30s")]
    {
        assert_eq!(machine.shell(&format!("systemctl show -P {property} lunchd.service")).trim(), value);
    }

    // Whichever socket is there first, and alone.
    machine.shell(&format!("systemctl stop {BOTH}"));
    machine.wait_for("! systemctl is-active lunchd.service");
    machine.shell("systemctl start lunchd-https.socket lunchd-http.socket");
    assert_dish(&machine.shell(&format!("curl -sSL --cacert {ca} http://localhost/")));
    machine.shell(&format!("systemctl stop {BOTH} && systemctl start lunchd-http.socket"));
    assert_dish(&machine.shell("curl -sS http://localhost/"));
    machine.shell(&format!("systemctl stop {BOTH} && systemctl start lunchd-https.socket"));
    assert_dish(&machine.shell(&format!("curl -sS --cacert {ca} https://localhost/")));

    // Without a service manager: the certificate on 8443, or plain on 8080 to this host only.
    let program = "/usr/local/libexec/small-services/lunchd";
    let alone = |arguments: &str, url: &str| {
        machine.shell(&format!(
            "{program} {arguments} </dev/null 2>/run/alone & \
             curl -sS --retry 30 --retry-connrefused --retry-delay 1 --cacert {ca} {url} || cat /run/alone; kill $!; wait $!"
        ))
    };
    assert_dish(&alone("", "http://127.0.0.1:8080/"));
    let identity = "-certificate /etc/lunchd/certificate.pem -key /etc/lunchd/key.pem";
    assert_dish(&alone(identity, "https://127.0.0.1:8443/"));
    assert_dish(&alone(identity, "https://[::1]:8443/"));

    // And gone again.
    machine.shell(&format!("make -C {} uninstall", support::repository().display()));
    assert_eq!(
        machine.shell("ls /usr/local/lib/systemd/system /usr/local/libexec 2>/dev/null | grep lunchd || true"),
        ""
    );
}

#[test]
fn a_new_certificate_comes_in_under_load_and_every_request_is_answered() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let machine = machine("renewed", &old, BOTH);
    new.certify("site", EC, 1);
    let (old_ca, new_ca) = (CA, "/run/new-ca.pem");
    for (file, path) in [("ca.pem", new_ca), ("site.pem", "/run/new.pem"), ("site.key", "/run/new.key")] {
        put(&machine, &new, file, path);
    }
    machine.shell(&format!("cat {old_ca} {new_ca} > /run/both.pem"));
    let trusts = |ca: &str| format!("curl -sS --cacert {ca} https://localhost/");
    assert_dish(&machine.shell(&trusts(old_ca)));
    // Clients all the while: curl after curl, each with ten requests. What one of them misses is in /run/missed.
    machine.shell(
        "for version in http1.1 http2; do (while ! [ -e /run/enough ]; do curl -sS --$version --cacert /run/both.pem \
         https://localhost/?[1-10] >/dev/null 2>>/run/missed || echo failed >>/run/missed; echo x >>/run/asked; done; \
         echo >/run/over-$version) </dev/null >/dev/null 2>&1 & done",
    );
    let busy = || {
        let before = machine.shell("wc -l </run/asked").trim().to_owned();
        machine.wait_for(&format!("[ $(wc -l </run/asked) -gt $(({before} + 2)) ]"));
    };
    machine.wait_for("[ -s /run/asked ]");
    busy();
    // SIGHUP, once the new one is where systemd put the old one.
    machine.shell(
        "mount -o remount,rw,bind /run/credentials/lunchd.service && cd /run/credentials/lunchd.service && \
         cat /run/new.pem >certificate && cat /run/new.key >key",
    );
    let pid = machine.shell("systemctl show -P MainPID lunchd.service");
    machine.shell("systemctl reload lunchd.service");
    machine.wait_for(&trusts(new_ca));
    assert_eq!(machine.shell("systemctl show -P MainPID lunchd.service"), pid);
    machine.shell(&format!("! {} 2>/dev/null", trusts(old_ca)));
    busy();
    machine.shell("touch /run/enough");
    machine.wait_for("[ -e /run/over-http1.1 ] && [ -e /run/over-http2 ]");
    assert_eq!(machine.shell("cat /run/missed"), "");
    // And by a new start, as systemd reads the files anew then: the sockets stay open meanwhile.
    machine.shell("cd /etc/lunchd && cat /run/new.pem >certificate.pem && cat /run/new.key >key.pem");
    machine.shell("systemctl restart lunchd.service");
    assert_dish(&machine.shell(&trusts(new_ca)));
    // One that will not do is in the journal, and the clients keep what they had.
    machine
        .shell("mount -o remount,rw,bind /run/credentials/lunchd.service && echo >/run/credentials/lunchd.service/key");
    machine.shell("systemctl reload lunchd.service");
    machine.wait_for(
        "journalctl --sync && journalctl -q -u lunchd.service | grep -q 'going on with the certificate from before'",
    );
    assert_dish(&machine.shell(&trusts(new_ca)));
}

#[test]
fn a_browser_shows_a_dish() {
    let authority = Authority::new("browser");
    let machine = machine("browser", &authority, BOTH);
    let folder = support::Folder::new("browser");
    let picture = folder.path().join("lunchd.png");
    // The browser trusts this very certificate; what else it finds wrong with it stays an error.
    let pin = machine.shell(
        "openssl x509 -in /etc/lunchd/certificate.pem -pubkey -noout | openssl pkey -pubin -outform der | \
         openssl dgst -sha256 -binary | base64",
    );
    let browse = |profile: &str, what: &str| {
        let shown = machine.client(&format!(
            "env -u DBUS_SESSION_BUS_ADDRESS HOME={0} chromium --headless=new --no-sandbox --disable-gpu --disable-quic \
             --no-first-run --disable-background-networking --disable-component-update --disable-sync \
             --disable-dev-shm-usage --user-data-dir={0}/{profile} --ignore-certificate-errors-spki-list={1} \
             --window-size=900,600 {what} http://localhost/ 2>{0}/log || {{ cat {0}/log >&2; exit 1; }}",
            folder.path().display(),
            pin.trim()
        ));
        String::from_utf8(shown).unwrap()
    };
    // By way of http, as people type it.
    let page = browse("one", "--dump-dom");
    let heading = page.split_once("<h1>").unwrap_or_else(|| panic!("{page}")).1.split_once("</h1>").unwrap().0;
    assert_dish(&format!("{heading}\n"));
    browse("two", &format!("--screenshot={}", picture.display()));
    let picture = fs::read(picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    // Two more octets are its size; a page without its style or letters is much smaller (4 KB).
    assert_eq!(&picture[16..24], [0, 0, 3, 132, 0, 0, 2, 88]);
    assert!(picture.len() > 8000, "{} octets: hardly a page with its style", picture.len());
    fs::write(support::repository().join("target/lunchd.png"), picture).unwrap();
}
