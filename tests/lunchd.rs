//! lunchd's units under a real systemd, with a real curl and a real browser, each test on its own machine.

mod support;

use std::fs;
use std::process::Command;

use support::machine::Machine;
use support::web::{Authority, EC, assert_dish};

/// A machine where everything is installed and the sockets are enabled in this order, as docs/lunchd.md says.
fn machine(name: &str, authority: &Authority, sockets: &str) -> Machine {
    machine_of("bookworm", name, authority, sockets)
}

/// The same with another Debian release.
fn machine_of(release: &str, name: &str, authority: &Authority, sockets: &str) -> Machine {
    let machine = Machine::boot_release(name, release, &[]);
    machine.shell(&format!("make -C {} install", support::repository().display()));
    authority.certify("site", EC, 1);
    machine.shell("mkdir -m 700 /etc/lunchd");
    put(&machine, authority, "site.pem", "/etc/lunchd/certificate.pem");
    put(&machine, authority, "site.key", "/etc/lunchd/key.pem");
    put(&machine, authority, "ca.pem", CA);
    machine.shell(&format!("systemctl enable --now {sockets} 2>&1"));
    machine
}

/// Copies a file of an authority into the machine, which has its own /tmp.
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
    assert!(machine.shell("systemctl show -P StatusText lunchd").starts_with("connections: "));
    // One process with one thread, and its own user.
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
    assert_ne!(machine.shell(&format!("readlink /proc/{pid}/ns/net")), machine.shell("readlink /proc/1/ns/net"));
    // The sockets that were passed, and their names.
    let journal = machine.journal("-u lunchd.service");
    assert!(journal.contains("LISTEN_FDS=2\n") && journal.contains("LISTEN_FDNAMES=http"), "{journal}");
    assert_eq!(machine.journal("--priority=warning -u 'lunchd*'"), "");

    // The units themselves.
    assert_eq!(machine.shell(&format!("systemd-analyze verify --man=no {BOTH} lunchd.service 2>&1")), "");
    let report = machine.shell("systemd-analyze security --no-pager lunchd.service");
    let exposure = report.lines().find_map(|line| line.split_once("Overall exposure level for ")).unwrap().1;
    let level: f64 = exposure.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(level <= 0.8, "{report}");
    for (property, value) in
        [("DynamicUser", "yes"), ("AmbientCapabilities", ""), ("Type", "notify"), ("WatchdogUSec", "30s")]
    {
        assert_eq!(machine.shell(&format!("systemctl show -P {property} lunchd.service")).trim(), value);
    }

    // Either socket first, and alone.
    machine.shell(&format!("systemctl stop {BOTH}"));
    machine.wait_for("! systemctl is-active lunchd.service");
    machine.shell("systemctl start lunchd-https.socket lunchd-http.socket");
    assert_dish(&machine.shell(&format!("curl -sSL --cacert {ca} http://localhost/")));
    machine.shell(&format!("systemctl stop {BOTH} && systemctl start lunchd-http.socket"));
    assert_dish(&machine.shell("curl -sS http://localhost/"));
    machine.shell(&format!("systemctl stop {BOTH} && systemctl start lunchd-https.socket"));
    assert_dish(&machine.shell(&format!("curl -sS --cacert {ca} https://localhost/")));

    // Without a service manager: https on 8443 with a certificate, or http on 8080 for this host only.
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

    // And closed again.
    machine.shell(&format!("make -C {} uninstall", support::repository().display()));
    assert_eq!(
        machine.shell("ls /usr/local/lib/systemd/system /usr/local/libexec 2>/dev/null | grep lunchd || true"),
        ""
    );
}

#[test]
fn a_reload_loads_a_renewed_certificate_and_drops_no_connection() {
    renewed("bookworm");
}

#[test]
fn a_reload_loads_a_renewed_certificate_on_debian_13_too() {
    renewed("trixie");
}

/// A client that sends requests over one connection, and appends an octet to /run/kept for every answer.
const KEPT: &str = "\
import http.client, os, ssl
client = http.client.HTTPSConnection(\"localhost\", context=ssl._create_unverified_context())
client.connect()
client.auto_open = False
while not os.path.exists(\"/run/enough\"):
    client.request(\"GET\", \"/\")
    answer = client.getresponse()
    assert answer.status == 200 and answer.read()
    open(\"/run/kept\", \"a\").write(\"x\")
print(\"enough\")";

/// Renews the certificate under load as an administrator would: new files in /etc/lunchd, then a reload.
fn renewed(release: &str) {
    let (old, new) = (Authority::new(&format!("old-{release}")), Authority::new(&format!("new-{release}")));
    let machine = machine_of(release, &format!("renewed-{release}"), &old, BOTH);
    new.certify("site", EC, 1);
    let (old_ca, new_ca) = (CA, "/run/new-ca.pem");
    for (file, path) in [("ca.pem", new_ca), ("site.pem", "/run/new.pem"), ("site.key", "/run/new.key")] {
        put(&machine, &new, file, path);
    }
    machine.shell(&format!("cat {old_ca} {new_ca} > /run/both.pem"));
    let trusts = |ca: &str| format!("curl -sS --cacert {ca} https://localhost/");
    assert_dish(&machine.shell(&trusts(old_ca)));
    its_key_is_for_nobody_else(&machine);
    // Clients all the while: one curl after another, each with ten requests over one connection. /run/missed lists failures.
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
    // And one client that keeps its connection from before to after.
    machine.shell(&format!(
        "python3 -c '{KEPT}' </dev/null >/run/kept-over 2>&1 & until [ -s /run/kept ]; do sleep 0.1; done"
    ));
    let pid = machine.shell("systemctl show -P MainPID lunchd.service");
    machine.shell(
        "cd /etc/lunchd && cat /run/new.pem >certificate.pem && cat /run/new.key >key.pem && systemctl reload lunchd.service",
    );
    machine.wait_for(&trusts(new_ca));
    machine.shell(&format!("! {} 2>/dev/null", trusts(old_ca)));
    its_key_is_for_nobody_else(&machine);
    let kept = machine.shell("wc -c </run/kept").trim().to_owned();
    machine.wait_for(&format!("[ $(wc -c </run/kept) -gt $(({kept} + 2)) ]"));
    busy();
    assert_eq!(machine.shell("systemctl show -P MainPID lunchd.service"), pid);
    machine.shell("touch /run/enough");
    machine.wait_for("[ -e /run/over-http1.1 ] && [ -e /run/over-http2 ] && grep -qx enough /run/kept-over");
    assert_eq!(machine.shell("cat /run/missed"), "");
    // Also through links, as in certbot's directories. An unusable certificate is logged, and clients keep the previous one.
    machine.shell(
        "cd /etc/lunchd && mkdir /run/live && mv certificate.pem key.pem /run/live && ln -s /run/live/*.pem . && \
         systemctl reload lunchd.service && echo nonsense >/run/live/key.pem && systemctl reload lunchd.service",
    );
    let journal = |words: &str| {
        machine.wait_for(&format!("journalctl --sync && journalctl -q -u lunchd.service | grep -q '{words}'"));
    };
    journal("continuing with the previous certificate");
    assert_dish(&machine.shell(&trusts(new_ca)));
    // A missing certificate fails the reload, with a message.
    machine.shell("rm /run/live/key.pem && ! systemctl reload lunchd.service 2>/dev/null");
    journal("cannot stat ./etc/lunchd/key.pem");
    assert_dish(&machine.shell(&trusts(new_ca)));
    assert_eq!(machine.shell("systemctl show -P MainPID lunchd.service"), pid);
    // Nothing of it is left when the service has stopped.
    machine.shell(&format!("systemctl stop {BOTH} && ! ls /run/lunchd 2>/dev/null"));
}

/// Only lunchd can read the copy of the key, no other service and no user. lunchd's user cannot change it.
fn its_key_is_for_nobody_else(machine: &Machine) {
    let refused = |user: &str, act: &str| {
        machine.shell(&format!(
            "! setpriv --reuid={user} --regid={user} --clear-groups {act} 2>/run/refused && \
             grep -qE 'Permission denied|Read-only file system' /run/refused",
        ));
    };
    let pid = machine.shell("systemctl show -P MainPID lunchd.service");
    let pid = pid.trim();
    let own = machine.shell(&format!("awk '/^Uid:/ {{print $2}}' /proc/{pid}/status"));
    let own = own.trim();
    for path in ["/run/lunchd/key.pem", "/etc/lunchd/key.pem"] {
        refused("65534", &format!("cat {path}"));
    }
    refused(own, "cat /etc/lunchd/key.pem");
    refused(own, "tee /run/lunchd/key.pem </dev/null");
    refused(own, "rm -f /run/lunchd/key.pem");
    // Another service with its own user.
    machine.shell(
        "! systemd-run --quiet --wait --pipe -p DynamicUser=yes cat /run/lunchd/key.pem 2>/run/refused && \
         grep -q 'Permission denied' /run/refused",
    );
    // In the service's own view it is read-only.
    machine.shell(&format!("grep -q ' /run/lunchd ro,' /proc/{pid}/mountinfo"));
}

#[test]
fn http_alone_is_served_without_a_certificate_and_https_says_what_it_lacks() {
    let machine = Machine::boot("plain");
    machine.shell(&format!("make -C {} install", support::repository().display()));
    machine.shell("systemctl enable --now lunchd-http.socket 2>&1");
    assert_dish(&machine.shell("curl -sS http://localhost/"));
    machine.shell("systemctl reload lunchd.service");
    assert_dish(&machine.shell("curl -sS http://localhost/"));
    let journal = machine.journal("-u lunchd.service");
    assert!(journal.contains("serving http only, without a certificate"), "{journal}");
    assert_eq!(machine.journal("--priority=warning -u lunchd.service"), "");
    for (there, words) in [
        ("true", "cannot read /run/lunchd/certificate.pem"),
        ("mkdir /etc/lunchd", "cannot stat '/etc/lunchd/key.pem'"),
    ] {
        machine.shell(&format!("systemctl stop lunchd-http.socket lunchd-https.socket && {there}"));
        machine.shell(&format!("systemctl start {BOTH} && ! curl -sS --max-time 2 http://localhost/ 2>/dev/null"));
        machine.wait_for(&format!("journalctl --sync && journalctl -q -u lunchd.service | grep -qF \"{words}\""));
    }
}

#[test]
fn a_browser_shows_a_dish() {
    let authority = Authority::new("browser");
    let machine = machine("browser", &authority, BOTH);
    let folder = support::Folder::new("browser");
    let picture = folder.path().join("lunchd.png");
    // The browser trusts exactly this certificate. Any other problem with it stays an error.
    let pin = machine.shell(
        "openssl x509 -in /etc/lunchd/certificate.pem -pubkey -noout | openssl pkey -pubin -outform der | \
         openssl dgst -sha256 -binary | base64",
    );
    let pinned = format!("--ignore-certificate-errors-spki-list={} --window-size=900,600", pin.trim());
    let browse =
        |profile: &str, what: &str| browse(&machine, &folder, profile, &format!("{pinned} {what} http://localhost/"));
    // By way of http, as people type it.
    let page = browse("one", "--dump-dom");
    assert_dish(&heading(&page));
    browse("two", &format!("--screenshot={}", picture.display()));
    let picture = fs::read(picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n"));
    // Two octets of the file are its size. A page without style or letters is much smaller (4 KB).
    assert_eq!(&picture[16..24], [0, 0, 3, 132, 0, 0, 2, 88]);
    assert!(picture.len() > 8000, "{} octets: hardly a page with its style", picture.len());
    fs::write(support::repository().join("target/lunchd.png"), picture).unwrap();
}

#[test]
fn a_browser_that_trusts_the_certificate_of_the_documentation_opens_the_page() {
    let authority = Authority::new("readme");
    let machine = machine("readme", &authority, BOTH);
    // As it stands there: one command over several lines.
    let documentation = fs::read_to_string(support::repository().join("docs/lunchd.md")).unwrap();
    let (before, after) = documentation.split_once("openssl req -x509").expect("the page makes a certificate");
    assert!(before.ends_with("sudo "));
    let end = after.lines().position(|line| !line.ends_with('\\')).unwrap();
    let command: Vec<_> = after.lines().take(end + 1).collect();
    machine.shell(&format!("openssl req -x509{} 2>/dev/null", command.join("\n").split('#').next().unwrap()));
    let folder = support::Folder::new("readme");
    folder.file("certificate.pem", machine.shell("cat /etc/lunchd/certificate.pem"));
    // Chromium on Linux trusts the authorities in the user's NSS database.
    let store = folder.path().join(".pki/nssdb");
    fs::create_dir_all(&store).unwrap();
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-n", "lunchd", "-t", "C,,", "-i", "certificate.pem"]] {
        let mut certutil = Command::new("certutil");
        certutil.args(["-d", &format!("sql:{}", store.display())]).args(arguments).current_dir(folder.path());
        assert!(certutil.status().unwrap().success(), "{arguments:?}");
    }
    let page = browse(&machine, &folder, "one", "--dump-dom http://localhost/");
    assert_dish(&heading(&page));
}

/// Runs a browser on a page in the machine's network. The folder is its home.
fn browse(machine: &Machine, folder: &support::Folder, profile: &str, what: &str) -> String {
    let shown = machine.client(&format!(
        "env -u DBUS_SESSION_BUS_ADDRESS HOME={0} chromium --headless=new --no-sandbox --disable-gpu --disable-quic \
         --no-first-run --disable-background-networking --disable-component-update --disable-sync \
         --disable-dev-shm-usage --user-data-dir={0}/{profile} {what} 2>{0}/log || {{ cat {0}/log >&2; exit 1; }}",
        folder.path().display(),
    ));
    String::from_utf8(shown).unwrap()
}

/// The text of a page, as one line.
fn heading(page: &str) -> String {
    let heading = page.split_once("<h1>").unwrap_or_else(|| panic!("{page}")).1.split_once("</h1>").unwrap().0;
    format!("{heading}\n")
}
