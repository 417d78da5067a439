//! `small-services units`: units for any program, from the templates of the project's own.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use support::machine::Machine;
use support::{Folder, program};

/// A static program that every host has. (The repository may be in a home directory, which the units hide.)
const STATIC: &str = "/sbin/ldconfig";

fn units(arguments: &[&str]) -> Output {
    Command::new(program("small-services")).arg("units").args(arguments).output().unwrap()
}

/// Asserts that only one sentence with these words is printed.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = units(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
    }
}

#[test]
fn an_error_is_one_sentence_with_the_next_step() {
    let finger = ["--name", "finger", "--port", "79"];
    let program = |path: &str, words: &[&str]| {
        let path = path.to_owned();
        refused(&[&["--program", &path], &finger[..]].concat(), words);
    };
    program("finger", &["'finger' is not an absolute path"]);
    program("/usr/local/../finger", &["not an absolute path"]);
    program("/usr/local/./finger", &["not an absolute path"]);
    program("/", &["not an absolute path"]);
    program("/usr/local/fin ger", &["'/usr/local/fin ger' contains a character", "choose a path of letters"]);
    program("/usr/local/fin%ger", &["contains a character"]);
    program("/usr/no/such/program", &["/usr/no/such/program cannot be found", "--force"]);
    program("/home/me/finger", &["the units hide /home", "move it elsewhere"]);
    program("/etc/passwd", &["/etc/passwd is not executable", "chmod"]);
    program("/bin/sh", &["/bin/sh is dynamically linked", "statically"]);
    program("/usr/bin/ldd", &["/usr/bin/ldd is not an ELF program"]);

    let mistake = |options: &[&str], words: &[&str]| refused(&[&["--program", STATIC], options].concat(), words);
    for name in ["", "a b", "a/b", "a@b", "-a", ".a", "a%b", "a\\x2db", "ü", &"a".repeat(101)] {
        // `--name=`, so that a value with a leading `-` is a name.
        mistake(&[&format!("--name={name}"), "--port", "79"], &["is not a valid name for units", "letters, digits"]);
    }
    mistake(&["--name", "echo", "--port", "7"], &["echo.socket is a unit of small-services"]);
    mistake(&["--name", "lunchd-http", "--port", "79"], &["lunchd-http.socket is a unit of small-services"]);
    mistake(&["--name", "finger", "--port", "17"], &["port 17 belongs to fortune.socket"]);
    mistake(&["--name", "finger", "--port", "0"], &["'--port <PORT>'"]);
    mistake(&[&finger[..], &["--udp", "--mode", "connection"]].concat(), &["--udp requires the daemon"]);
    mistake(&[&finger[..], &["--show", "plans"]].concat(), &["'plans' is not an absolute path"]);
    mistake(&[&finger[..], &["--show", "/no/such/plans"]].concat(), &["cannot find /no/such/plans"]);
    mistake(&[&finger[..], &["--description", "two\nlines"]].concat(), &["control character"]);
    mistake(&[&finger[..], &["--", "an\x1bargument"]].concat(), &["control character"]);
    mistake(&[&finger[..], &["--directory", "/no/such/folder"]].concat(), &["cannot write /no/such/folder/finger"]);
}

#[test]
fn units_are_printed_or_written_and_replace_nothing_unasked() {
    let folder = Folder::new("units-written");
    let path = folder.path().to_str().unwrap().to_owned();
    let own = |options: &[&str]| {
        let output = units(&[&["--program", STATIC, "--name", "finger", "--port", "79"], options].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = own(&[]);
    let written = own(&["--directory", &path]);
    let names = ["finger.socket", "finger@.service", "finger-daemon.socket", "finger-daemon.service"];
    for name in names {
        let file = folder.path().join(name);
        assert!(written.contains(file.to_str().unwrap()), "{written}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(printed.contains(&format!("# /etc/systemd/system/{name}\n{text}")), "{printed}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
        // No placeholder of a template is left.
        assert!(!text.lines().any(|line| line.starts_with('@')), "{text}");
        for path in ["@libexecdir@", "@rootdir@", "@docdir@", "@closed@"] {
            assert!(!text.contains(path), "{text}");
        }
    }
    assert!(written.contains("systemctl enable --now finger.socket"), "{written}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), names.len());
    // Repeating it is not an error. If other files are in the way, none is written.
    own(&["--directory", &path]);
    let before = fs::read_to_string(folder.path().join("finger.socket")).unwrap();
    let other = ["--program", STATIC, "--name", "finger", "--port", "1079", "--directory", &path];
    refused(&other, &["finger.socket already exists", "--force"]);
    fs::remove_file(folder.path().join("finger.socket")).unwrap();
    refused(&other, &["already exists", "--force"]);
    assert!(!folder.path().join("finger.socket").exists());
    own(&["--directory", &path, "--force"]);
    assert_eq!(fs::read_to_string(folder.path().join("finger.socket")).unwrap(), before);
    // The port of another unit.
    let thief = ["--program", STATIC, "--name", "thief", "--port", "79", "--directory", &path];
    refused(&thief, &["already listens on port 79", "finger"]);
    // For a package, whose program does not exist yet.
    let output =
        units(&["--program", "/usr/libexec/later", "--name", "later", "--port", "4000", "--force", "--mode", "daemon"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("\nExecStart=/usr/libexec/later\n"), "{text}");
    assert!(!text.contains("/later.socket\n# Made"), "{text}");
    // The command in the head of a unit generates it again.
    let head = before.lines().next().and_then(|line| line.split_once("`: ")).unwrap().1;
    assert_eq!(own(&[]), {
        let words: Vec<_> = head.split(' ').collect();
        String::from_utf8(units(&words).stdout).unwrap()
    });
}

#[test]
fn any_program_is_served_from_its_units() {
    // Nothing of small-services is installed: the units are complete.
    let machine = Machine::boot("units");
    let (tool, echo, qotd) = (program("small-services"), program("echo"), program("qotd"));
    machine.shell(&format!(
        "mkdir -p /usr/local/libexec /srv/quotes && install -m 711 {} /usr/local/libexec/talk && \
         install -m 711 {} /usr/local/libexec/finger && echo 'At the end of the file.' > '/srv/quotes/100% \"$own\"'",
        echo.display(),
        qotd.display()
    ));
    let units = |options: &str| {
        machine.shell(&format!(
            "{} units --directory /etc/systemd/system {options} && systemctl daemon-reload",
            tool.display()
        ))
    };
    units("--program /usr/local/libexec/talk --name talk --port 2007 --udp --kind stream");
    units(
        "--program /usr/local/libexec/finger --name finger --port 79 --show /srv/quotes --description 'Finger, 100%' \
         -- --idle-timeout 5 '/srv/quotes/100% \"$own\"'",
    );
    for name in ["talk", "finger"] {
        for unit in [format!("{name}.socket {name}@1.service"), format!("{name}-daemon.socket {name}-daemon.service")] {
            assert_eq!(machine.shell(&format!("systemd-analyze verify {unit} 2>&1")), "");
        }
        for service in [format!("{name}@1.service"), format!("{name}-daemon.service")] {
            let report = machine.shell(&format!("systemd-analyze security --no-pager {service}"));
            assert!(report.contains("Overall exposure level") && report.contains(": 0."), "{report}");
        }
    }
    assert_eq!(machine.shell("systemctl show -P Description finger@1.service"), "Finger, 100% for 1\n");
    for kind in ["", "-daemon"] {
        machine.shell(&format!("systemctl enable --now talk{kind}.socket finger{kind}.socket 2>&1"));
        for ip in ["127.0.0.1", "::1"] {
            assert_eq!(machine.client(&format!("echo hello | nc -N {ip} 2007")), b"hello\n");
            assert_eq!(machine.client(&format!("nc -d {ip} 79")), b"At the end of the file.\r\n");
        }
        machine.shell("systemctl --failed --no-legend | { ! grep .; }");
    }
    assert_eq!(machine.client("echo hello | nc -u -w 1 127.0.0.1 2007"), b"hello\n");
    // The doctor checks them as well.
    machine.shell("systemctl disable talk.socket finger.socket 2>&1");
    let doctor = format!("{} doctor", tool.display());
    let said = machine.shell(&doctor);
    for word in ["finger-daemon.socket", "talk@.service", "did not check the answer", "All is well"] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    machine.shell("mv /usr/local/libexec/finger /usr/local/libexec/gone && systemctl stop finger-daemon.service");
    let said = machine.shell(&format!("! {doctor}"));
    assert!(said.contains("its program /usr/local/libexec/finger cannot be found"), "{said}");
    // A name that another unit has, wherever it is.
    let refused = machine.shell(&format!(
        "! {} units --program /usr/local/libexec/talk --name dbus --port 99 --directory /etc/systemd/system 2>&1",
        tool.display()
    ));
    assert!(refused.contains("the unit dbus.socket already exists in /usr/lib/systemd/system"), "{refused}");
    machine.shell("! test -e /etc/systemd/system/dbus.socket");
}
