//! Packages and images made from what `make` has built: their content, the reports of their checkers, and their behaviour on a
//! host. `make packages-test` runs everything, `make test` what needs no machine.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use support::machine::Machine;
use support::{Folder, repository, wait_until};

/// Packages of one kind, removed with the test's process or by the next one.
struct Packages {
    folder: PathBuf,
    /// The output of building them, including that of their checker.
    printed: String,
}

fn make(kind: &str) -> Packages {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").join(kind).join(std::process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(folder.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let script = repository().join("packaging").join(kind);
    let output = Command::new(script).arg(&folder).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{kind}: {printed}");
    Packages { folder, printed }
}

static DEB: LazyLock<Packages> = LazyLock::new(|| make("deb"));
static RPM: LazyLock<Packages> = LazyLock::new(|| make("rpm"));
static IMAGE: LazyLock<Packages> = LazyLock::new(|| make("image"));

/// Runs a shell command, and returns its output.
fn shell(command: &str) -> String {
    let output = Command::new("bash").args(["-o", "pipefail", "-ec", command]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All files below a folder, with their modes.
fn modes(root: &Path) -> BTreeSet<(String, String)> {
    let list = shell(&format!("cd {} && find . -not -type d -printf '%P\\t%m\\n'", root.display()));
    list.lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(path, mode)| (path.to_owned(), mode.to_owned()))
        .collect()
}

/// Asserts that the packages install what `make install` installs, with the same modes, and besides only `more`, and that the pages
/// link to each other.
fn assert_is_what_make_installs(root: &Path, more: &[&str]) {
    let staged = Folder::new(&format!("packages-staged-{}", root.file_name().unwrap().display()));
    let quiet = "env -u MAKEFLAGS -u MAKELEVEL make --silent";
    shell(&format!("{quiet} -C {} install PREFIX=/usr DESTDIR={}", repository().display(), staged.path().display()));
    let plain = |list: BTreeSet<(String, String)>| {
        // Manual pages are compressed only in packages.
        list.into_iter().map(|(path, mode)| (path.trim_end_matches(".gz").to_owned(), mode)).collect::<BTreeSet<_>>()
    };
    let (installed, staged) = (plain(modes(root)), plain(modes(staged.path())));
    let missing: Vec<_> = staged.difference(&installed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let others: Vec<_> =
        installed.difference(&staged).filter(|(path, _)| !more.iter().any(|it| path.starts_with(it))).collect();
    assert!(others.is_empty(), "{others:?}");
    let mut links = 0;
    for (path, _) in installed.iter().filter(|(path, _)| Path::new(path).extension() == Some("md".as_ref())) {
        let page = fs::read_to_string(root.join(path)).unwrap();
        for link in page.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                let leads = root.join(path).parent().unwrap().join(link);
                assert!(leads.exists(), "{path} leads to {link}, which is not installed");
                links += 1;
            }
        }
    }
    assert!(links > 30, "only {links} links");
}

#[test]
fn the_debian_packages_are_what_make_installs_and_lintian_is_silent() {
    let folder = Folder::new("packages-deb");
    let complaints: Vec<_> = DEB.printed.lines().filter(|line| line.contains(": ") && !line.contains(".deb")).collect();
    assert!(complaints.is_empty(), "{}", DEB.printed);
    let (debs, root) = (DEB.folder.display(), folder.path().join("deb"));
    shell(&format!("for deb in {debs}/*.deb; do dpkg-deb --extract $deb {}; done", root.display()));
    assert_is_what_make_installs(&root, &["usr/share/lintian/overrides/", "usr/share/doc/"]);
    // The changelogs of upstream and Debian, and the licences, for each.
    for package in ["small-services", "small-services-lunchd"] {
        for file in ["changelog.gz", "changelog.Debian.gz", "copyright"] {
            let file = root.join("usr/share/doc").join(package).join(file);
            assert!(file.exists(), "{}", file.display());
        }
    }
    // Both name the C library inside, and neither requires one.
    let fields = shell(&format!("for deb in {debs}/*.deb; do dpkg-deb --field $deb Built-Using Depends Version; done"));
    assert_eq!(fields.matches("Built-Using: glibc (= ").count(), 2, "{fields}");
    assert!(!fields.contains("libc6"), "{fields}");
    assert_eq!(fields.matches(concat!("Version: ", env!("CARGO_PKG_VERSION"), "-")).count(), 2, "{fields}");
}

#[test]
fn the_rpm_packages_are_what_make_installs_and_rpmlint_is_silent() {
    let folder = Folder::new("packages-rpm");
    let summary = RPM.printed.lines().rfind(|line| line.contains("checked;")).unwrap_or_default();
    assert!(summary.contains(" 0 errors, 0 warnings"), "{}", RPM.printed);
    let (rpms, root) = (RPM.folder.display(), folder.path().join("rpm"));
    fs::create_dir(&root).unwrap();
    // Files, owners and modes, as rpm installs them. The scripts need a running Fedora.
    let rpm = format!("rpm --root {} --dbpath /var/lib/rpm", root.display());
    if rustix::process::geteuid().is_root() {
        shell(&format!("{rpm} --install --nodeps --noscripts {rpms}/*.rpm && {rpm} --verify --nodeps --all"));
    } else {
        shell(&format!("cd {} && for rpm in {rpms}/*.rpm; do rpm2cpio $rpm | cpio --quiet -idm; done", root.display()));
    }
    assert_is_what_make_installs(&root, &["var/lib/rpm/"]);
    if rustix::process::geteuid().is_root() {
        shell(&format!("{rpm} --erase --nodeps --noscripts small-services small-services-lunchd"));
        let left = shell(&format!("find {} -name '*small*' -o -name '*lunchd*'", root.display()));
        assert_eq!(left, "");
    }
    // systemd's preset enables all sockets, and the package's preset disables them.
    let sockets = |web: bool| {
        let units = fs::read_dir(repository().join("units")).unwrap().map(|unit| unit.unwrap().file_name());
        let sockets = units.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".socket"));
        sockets.filter(|name| name.starts_with("lunchd") == web).collect::<BTreeSet<_>>()
    };
    let scripts = shell(&format!("for rpm in {rpms}/*.rpm; do rpm --query --scripts --package $rpm; done"));
    for verb in ["install-system-units", "remove-system-units"] {
        let lists = scripts.lines().filter_map(|line| line.split_once(verb)?.1.split_once(" ||").map(|(list, _)| list));
        let named = |list: &str| {
            list.split_whitespace().filter(|name| name.ends_with(".socket")).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let lists: Vec<_> = lists.map(named).collect();
        assert!(lists.contains(&sockets(false)) && lists.contains(&sockets(true)), "{verb}: {scripts}");
    }
    let spec = fs::read_to_string(repository().join("packaging/small-services.spec")).unwrap();
    assert!(spec.contains(concat!("\nVersion:        ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn the_crates_are_packaged_without_warnings_and_are_complete() {
    let folder = Folder::new("packages-crates");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["package", "--workspace", "--locked", "--offline", "--no-verify", "--allow-dirty", "--target-dir"]);
    let output = cargo.arg(folder.path()).current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning"), "{said}");
    for (name, needed) in [
        ("small-services", &["NOTICE", "LICENSE-MIT", "services", "data/", "units/templates/"][..]),
        ("hunker", &["LICENSE-MIT", "README.md"]),
        ("small-services-lunchd", &["LICENSE-MIT", "README.md", "data/lunch"]),
    ] {
        let file = folder.path().join(format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        let list = shell(&format!("tar --list --gzip --file {}", file.display()));
        for it in needed {
            assert!(list.lines().any(|line| line.split_once('/').unwrap().1.starts_with(it)), "{name}: {it}");
        }
        assert!(fs::metadata(&file).unwrap().len() < 1 << 20, "{name} is larger than 1 MiB");
    }
}

#[test]
fn all_files_that_name_the_version_name_the_same() {
    let script = repository().join("packaging/release");
    let output = Command::new(script).env("CHECK", "yes").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Between two versions the changelog has new entries, and there may be uncommitted changes.
    let wrong: Vec<_> =
        said.lines().filter(|line| !line.contains(": CHANGELOG.md ") && !line.contains("not committed")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A container of runc, removed with the value.
struct Container<'a>(&'a Folder, String);

impl Container<'_> {
    fn runc(&self, arguments: &[&str], more: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.0.path().join("state")).args(arguments).arg(&self.1).args(more);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.runc(&["delete", "--force"], &[]).status();
    }
}

#[test]
fn the_image_serves_read_only_without_privileges_and_reports_its_health() {
    if !rustix::process::geteuid().is_root() {
        return; // runc of this host needs it
    }
    let folder = Folder::new("packages-image");
    let (bundle, version) = (folder.path().join("bundle"), env!("CARGO_PKG_VERSION"));
    shell(&format!("umoci unpack --image {}/image:{version} {}", IMAGE.folder.display(), bundle.display()));
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let process = &mut config["process"];
    assert_eq!(process["args"], serde_json::json!(["/qotd", "--listen", "0.0.0.0:1717"]));
    assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&65534.into(), &65534.into()));
    process["terminal"] = false.into();
    process["capabilities"] = serde_json::json!({});
    process["noNewPrivileges"] = true.into();
    config["root"]["readonly"] = true.into();
    fs::write(&file, config.to_string()).unwrap();

    let container = Container(&folder, format!("small-services-image-{}", std::process::id()));
    let (log, pid) = (folder.path().join("log"), folder.path().join("pid"));
    let run = ["run", "--bundle", bundle.to_str().unwrap(), "--pid-file", pid.to_str().unwrap()];
    let mut run = container.runc(&run, &[]);
    let mut started = run.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    wait_until(|| said().matches("serving on").count() == 2 && fs::read_to_string(&pid).is_ok_and(|it| !it.is_empty()));

    let network = format!("nsenter -n -t {}", fs::read_to_string(&pid).unwrap());
    support::assert_fortune(shell(&format!("{network} nc 127.0.0.1 1717 </dev/null")).as_bytes());
    // The health check, from inside: it accepts the answer of its own service, and none from a missing service.
    let ask = |asked: &str| container.runc(&["exec"], &["/small-services", "doctor", "--ask", asked]).output().unwrap();
    let output = ask("qotd=127.0.0.1:1717");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = ask("echo=127.0.0.1:7");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("echo at 127.0.0.1:7 gives no answer"), "{error}");

    assert!(container.runc(&["kill"], &["TERM"]).status().unwrap().success());
    assert_eq!(started.wait().unwrap().code(), Some(0), "{}", said());

    // All the programs are in it, and nothing else that is executable.
    let programs: BTreeSet<_> = support::programs()
        .chain(["lunchd", "small-services"])
        .map(|name| (name.to_owned(), "755".to_owned()))
        .collect();
    let there = modes(&bundle.join("rootfs"));
    let executable: BTreeSet<_> = there.iter().filter(|(_, mode)| mode != "644").cloned().collect();
    assert_eq!(executable, programs);
    let licences: Vec<_> =
        there.difference(&programs).map(|(path, _)| path.as_str()).filter(|it| !it.contains('/')).collect();
    assert_eq!(licences, ["LICENSE-APACHE", "LICENSE-MIT", "NOTICE"]);
}

/// The state of a host, without what changes by itself and the package manager's records.
const FILES: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log -o -path /var/cache \
    -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path '/var/lib/systemd/*' -o -path '/run/systemd/*' -o -path /run/log \
    -o -path '/run/udev*' -o -path '/var/tmp/*' -o -path '/run/credentials*' \\) -prune -o -print | sort";

/// The life of the packages on one Debian, from installation by two commands to removal.
fn live_on(release: &str) {
    let machine = Machine::boot_release(&format!("packages-{release}"), release, &[]);
    let debs = DEB.folder.display();
    machine.shell("systemctl start systemd-tmpfiles-setup.service; true");
    let before = machine.shell(&format!("{FILES}; find /run/systemd -name '*small*'"));

    // The two commands.
    machine.shell(&format!("apt-get install --yes --quiet {debs}/small-services*.deb"));
    let enabled =
        "systemctl is-enabled $(cd /usr/lib/systemd/system && ls *.socket | grep -E '^(fortune|echo|time|lunchd)')";
    let states = machine.shell(&format!("{enabled} || true"));
    assert!(states.lines().count() >= 8 && states.lines().all(|line| line == "disabled"), "{states}");
    assert_eq!(machine.shell("ss -Hltun"), "", "a port was opened by itself");
    machine.shell("systemctl enable --now fortune.socket 2>&1");
    support::assert_fortune(&machine.client("nc localhost 17 </dev/null"));

    // The other ways to serve, and the doctor's report.
    machine.shell("systemctl enable --now echo-daemon.socket discard.socket lunchd-http.socket 2>&1");
    let page = String::from_utf8(machine.client("curl --silent http://localhost/")).unwrap();
    support::web::assert_dish(&page);
    let said = machine.shell("small-services doctor || true");
    assert!(said.contains("All is well."), "{said}");
    assert_eq!(machine.shell("systemd-analyze verify --man=no fortune.socket lunchd.service 2>&1"), "");

    // An upgrade keeps connections. What starts afterwards is new.
    let newer = "mkdir /tmp/newer && for deb in DEBS/*.deb; do dpkg-deb --raw-extract $deb /tmp/deb && \
        sed -i 's/VERSION-1/&.1/' /tmp/deb/DEBIAN/control && \
        dpkg-deb --root-owner-group --build /tmp/deb /tmp/newer/${deb##*/} >/dev/null && rm -r /tmp/deb || exit 1; done"
        .replace("DEBS", &debs.to_string())
        .replace("VERSION", env!("CARGO_PKG_VERSION"));
    machine.shell(&newer);
    machine.shell(
        "exec 3<>/dev/tcp/127.0.0.1/7 4<>/dev/tcp/127.0.0.1/9
        echo one >&3; read -r answer <&3; test \"$answer\" = one
        keeper=$(systemctl show -P MainPID echo-daemon.service)
        apt-get install --yes --quiet /tmp/newer/*.deb
        dpkg-query --show --showformat='${Version}\\n' small-services | grep '\\.1$'
        test \"$keeper\" = \"$(systemctl show -P MainPID echo-daemon.service)\"
        echo two >&3; read -r answer <&3; test \"$answer\" = two
        systemctl is-active 'discard@*.service'
        systemctl is-enabled fortune.socket",
    );
    support::assert_fortune(&machine.client("nc localhost 17 </dev/null"));
    let said = machine.shell("small-services doctor || true");
    assert!(said.contains("echo-daemon"), "the doctor names what goes on with a program that was replaced: {said}");

    // Removed with open connections: nothing runs, and what was enabled is remembered.
    machine.shell(
        "exec 3<>/dev/tcp/127.0.0.1/7 4<>/dev/tcp/127.0.0.1/9
        echo one >&3; read -r answer <&3
        apt-get remove --yes --quiet small-services small-services-lunchd",
    );
    assert_eq!(machine.shell("ss -Hltun"), "", "a port stays open");
    // What was enabled stays enabled: not-found.
    let units = "systemctl list-units --all --no-legend --plain '*@*.service' '*-daemon.service' '*.socket' 'lunchd*' | \
        grep -v ' not-found '";
    let names: Vec<_> = small_services::services::all().map(|row| row.unit).chain(["lunchd"]).collect();
    let left = machine.shell(units);
    let left: Vec<_> = left.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect();
    assert!(left.is_empty(), "{left:?}");
    machine.shell("test ! -e /run/small-services");
    machine.shell(&format!("apt-get install --yes --quiet {debs}/small-services_*.deb"));
    assert_eq!(machine.shell("systemctl is-enabled fortune.socket"), "enabled\n");

    // Purged: nothing is left.
    machine.shell("apt-get purge --yes --quiet small-services small-services-lunchd && rm -r /tmp/newer");
    let after = machine.shell(&format!("{FILES}; find /run/systemd -name '*small*'"));
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
    let left: Vec<_> = after.difference(&before).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
#[ignore = "boots a machine: make packages-test"]
fn they_install_upgrade_and_remove_on_debian_12() {
    live_on("bookworm");
}

#[test]
#[ignore = "boots a machine: make packages-test"]
fn they_install_upgrade_and_remove_on_debian_13() {
    live_on("trixie");
}
