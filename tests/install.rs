//! What `make install` creates and `make uninstall` removes, below a DESTDIR. tests/systemd.rs uses a live root.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Folder, Process, helper, repository};

const LIBEXEC: &str = "usr/local/libexec/small-services";
/// Links to their targets.
const NAMES: [&str; 6] = ["strfile", "unstr", "qotd.8", "fortune.6", "strfile.1", "unstr.1"];

/// The directories, by make's variables.
const DIRECTORIES: [&str; 13] = [
    "bindir",
    "libexecdir",
    "rootdir",
    "docdir",
    "datadir",
    "gamesdir",
    "unitdir",
    "tmpfilesdir",
    "presetdir",
    "mandir",
    "bashcompletiondir",
    "zshcompletiondir",
    "fishcompletiondir",
];

/// Runs make, and returns the result.
fn try_make(umask: &str, arguments: &[&str], destination: &Path) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask} && exec make \"$@\""), "sh", "--no-print-directory", "-C"]);
    let destination = format!("DESTDIR={}", destination.display());
    // Without the environment of a make that may run this test.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").arg(repository()).arg(destination).args(arguments);
    command.output().unwrap()
}

fn make(umask: &str, arguments: &[&str], destination: &Path) -> String {
    let output = try_make(umask, arguments, destination);
    let text = |octets| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Everything below a folder by its path, with its mode. Links have none.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<u32>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = (!metadata.is_symlink()).then(|| metadata.permissions().mode() & 0o7777);
            found.insert(path.strip_prefix(folder).unwrap().to_owned(), mode);
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn root_needs_no_rust_to_install() {
    let folder = Folder::new("install-without-rust");
    // All tools in PATH: those that every host with `make` has.
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for tool in ["sh", "mkdir", "install", "rm", "sed", "chmod", "ln", "find", "rmdir", "readlink", "stat"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        symlink(found.trim_end(), tools.join(tool)).unwrap();
    }
    let destination = folder.path().join("root");
    let path = format!("PATH={}", tools.display());
    let assignments = [path.as_str(), "export PATH"];
    for target in ["install", "uninstall"] {
        let output = try_make("022", &["--eval", assignments[1], assignments[0], target], &destination);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{target}: {said}");
        assert_eq!(destination.join(LIBEXEC).join("lunchd").exists(), target == "install");
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let mut trees = ["022", "000", "077"].map(|umask| {
        let folder = Folder::new(&format!("install-{umask}"));
        make(umask, &["install", "FORTUNE=yes"], folder.path());
        let link = fs::read_link(folder.path().join("usr/local/games/fortune")).unwrap();
        assert_eq!(link, Path::new("/usr/local/bin/qotd"));
        // Again, over the result of an install with a careless umask.
        fs::set_permissions(folder.path().join(LIBEXEC), Permissions::from_mode(0o777)).unwrap();
        let first = tree(folder.path());
        make(umask, &["install", "FORTUNE=yes"], folder.path());
        let second = tree(folder.path());
        assert!(first.keys().eq(second.keys()));
        (folder, second)
    });
    for (folder, tree) in &mut trees {
        for file in [
            "lib/systemd/system/fortune.socket",
            "lib/tmpfiles.d/small-services.conf",
            "libexec/small-services/lunchd",
            "share/man/man8/small-services-echo.8",
            "share/man/man6/fortune.6",
            "share/bash-completion/completions/qotd",
            "share/zsh/site-functions/_qotd",
            "share/fish/vendor_completions.d/qotd.fish",
        ] {
            assert!(tree.contains_key(&Path::new("usr/local").join(file)), "{file}");
        }
        for (path, mode) in tree.iter() {
            let file = path.file_name().unwrap().to_str().unwrap();
            let expected = if folder.path().join(path).is_dir() {
                Some(0o755)
            } else if path.starts_with("usr/local/games") || NAMES.contains(&file) {
                None
            } else if path.starts_with(LIBEXEC) || path == Path::new("usr/local/bin/qotd") {
                // The services' programs: they are not readable, so that processes of the same user cannot be inspected.
                Some(0o711)
            } else if path == Path::new("usr/local/bin/small-services") || file == "tcpserver" {
                Some(0o755)
            } else {
                Some(0o644)
            };
            assert_eq!(*mode, expected, "{}", path.display());
        }
    }
    let [(_, usual), (_, open), (_, closed)] = &trees;
    assert!(usual == open && usual == closed);
}

#[test]
fn the_names_of_fortune_mod_are_installed_only_on_request() {
    let folder = Folder::new("install-names");
    for (asked, there) in [("FORTUNE=", false), ("FORTUNE=yes", true)] {
        make("022", &["install", asked], folder.path());
        let tree = tree(folder.path());
        for name in [
            "games/fortune",
            "bin/strfile",
            "bin/unstr",
            "share/man/man6/fortune.6",
            "share/man/man6/small-services-fortune.6",
            "share/man/man1/strfile.1",
            "share/man/man1/unstr.1",
        ] {
            assert_eq!(tree.contains_key(&Path::new("usr/local").join(name)), there, "{asked} {name}");
        }
        assert!(tree.contains_key(Path::new("usr/local/share/man/man8/qotd.8")));
    }
}

#[test]
fn directories_that_others_use_keep_their_modes() {
    let folder = Folder::new("install-shared");
    let shared = folder.path().join("usr/local/bin");
    fs::create_dir_all(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
    make("022", &["install"], folder.path());
    assert_eq!(tree(folder.path())[Path::new("usr/local/bin")], Some(0o2775));
}

#[test]
fn uninstall_removes_what_install_made_and_nothing_else() {
    let folder = Folder::new("uninstall");
    make("022", &["install", "FORTUNE=yes"], folder.path());
    make("022", &["uninstall"], folder.path());
    let left: Vec<_> = tree(folder.path()).into_keys().filter(|path| !folder.path().join(path).is_dir()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    let named: Vec<_> =
        tree(folder.path()).into_keys().filter(|path| path.to_str().unwrap().contains("small")).collect();
    assert_eq!(named, Vec::<PathBuf>::new());
    // Everything is gone already: that is not an error.
    make("022", &["uninstall"], folder.path());

    // What others have put there: files, empty files, links, directories.
    make("022", &["install"], folder.path());
    let theirs = [
        format!("{LIBEXEC}/their-program"),
        format!("{LIBEXEC}/their-empty-file"),
        format!("{LIBEXEC}/their-link"),
        format!("{LIBEXEC}/their-directory"),
        "usr/local/bin/their-program".to_owned(),
        "usr/local/bin/strfile".to_owned(),
        "usr/local/games/fortune".to_owned(),
        "usr/local/lib/systemd/system/fortune.socket.d/their.conf".to_owned(),
        "usr/local/share/doc/small-services/their-notes".to_owned(),
        "usr/local/share/man/man1/strfile.1".to_owned(),
        "usr/local/share/man/man6/fortune.6".to_owned(),
        "usr/local/share/small-services/xinetd.d/their-service".to_owned(),
    ];
    for path in &theirs {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let name = path.to_str().unwrap();
        if name.ends_with("-link") || name.ends_with("/fortune") || name.ends_with("/strfile") {
            symlink("/usr/games/fortune", &path).unwrap();
        } else if name.ends_with("-directory") {
            fs::create_dir(&path).unwrap();
        } else {
            fs::write(&path, if name.ends_with("-empty-file") { "" } else { "theirs\n" }).unwrap();
        }
    }
    let printed = make("022", &["uninstall"], folder.path());
    let mut expected: Vec<_> = theirs.iter().map(PathBuf::from).collect();
    expected.sort();
    let left: Vec<_> = tree(folder.path())
        .into_keys()
        .filter(|path| {
            let path = folder.path().join(path);
            path.is_symlink() || !path.is_dir() || path.ends_with("their-directory")
        })
        .collect();
    assert_eq!(left, expected);
    for directory in [LIBEXEC, "usr/local/share/doc/small-services"] {
        assert!(printed.contains(&format!("/{directory} stays")), "{printed}");
    }
}

/// The drop-ins below a DESTDIR, by their names without the unit's.
fn drop_ins(folder: &Path) -> Vec<String> {
    let units = folder.join("usr/local/lib/systemd/system");
    let paths = tree(&units).into_keys().filter(|path| path.parent() != Some(Path::new("")));
    paths.map(|path| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn drop_ins_are_installed_for_the_systemds_that_know_them_and_for_no_other() {
    let folder = Folder::new("install-systemd");
    let known = |arguments: &[&str]| {
        make("022", &[&["install"], arguments].concat(), folder.path());
        drop_ins(folder.path())
    };
    let steps = support::steps();
    let (oldest, newest) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
    // In a DESTDIR, which is for a package: for any version, unless one is given.
    assert_eq!(known(&[]), Vec::<String>::new());
    let all = known(&[&format!("systemd={newest}")]);
    for step in &steps {
        assert!(all.iter().any(|path| path.ends_with(&format!(".d/10-systemd-{step}.conf"))), "{all:?}");
    }
    assert!(all.contains(&format!("fortune@.service.d/10-systemd-{oldest}.conf")), "{all:?}");
    assert_eq!(known(&["systemd=999"]), all);
    // For an older systemd, then for any: drop-ins that it does not know are removed, those of others are not.
    let some = known(&[&format!("systemd={oldest}")]);
    assert!(!some.is_empty() && some.iter().all(|path| path.ends_with(&format!("-{oldest}.conf"))), "{some:?}");
    let own = folder.path().join("usr/local/lib/systemd/system/fortune@.service.d/own.conf");
    fs::write(&own, "[Service]\n").unwrap();
    assert_eq!(known(&[&format!("systemd={}", oldest - 1)]), ["fortune@.service.d/own.conf"]);
    fs::remove_file(&own).unwrap();
    assert_eq!(known(&["systemd=none"]), Vec::<String>::new());
    known(&["systemd=999"]);
    make("022", &["uninstall"], folder.path());
    assert!(
        tree(folder.path())
            .keys()
            .all(|path| folder.path().join(path).is_dir() && !path.ends_with("fortune@.service.d"))
    );
    for strange in ["", "v257", "257-1", "25 7"] {
        let output = try_make("022", &["install", &format!("systemd={strange}")], folder.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("or none"), "{strange}: {said}");
    }
}

#[test]
fn a_path_that_a_unit_or_a_shell_would_read_differently_is_refused() {
    let folder = Folder::new("install-refused");
    let refused = |arguments: &[&str], words: &[&str]| {
        for target in ["install", "uninstall"] {
            let output = try_make("022", &[&[target], arguments].concat(), folder.path());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{target} {arguments:?}");
            assert_eq!(said.lines().count(), 1, "{said}");
            for word in words {
                assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
            }
            assert_eq!(tree(folder.path()), BTreeMap::new(), "{target} {arguments:?}");
        }
    };
    for strange in
        ["&", "|", "%", "\\", "\"", "'", "$$", ";", "<", ">", "(", ")", "*", "?", "[", "`", ":", "=", "#", "ü", "&|"]
    {
        let shown = strange.replace("$$", "$");
        refused(&[&format!("PREFIX=/opt/a{strange}b")], &["PREFIX contains", &shown, "choose a path"]);
    }
    for blank in [" ", "\t", "\n"] {
        refused(&[&format!("PREFIX=/opt/a{blank}b")], &["PREFIX contains a blank", "choose a path"]);
        refused(&[&format!("PREFIX=/opt/a{blank}")], &["PREFIX contains a blank"]);
    }
    for name in DIRECTORIES {
        refused(&[&format!("{name}=/opt/a&b")], &[&format!("{name} contains '&'")]);
        for path in ["", "opt", "/", "//", "/opt/../x", "/opt/.", "~/x"] {
            refused(&[&format!("{name}={path}")], &[&format!("{name} is '{path}'"), "below /"]);
        }
    }
    // The last value on the command line applies.
    for destination in ["/tmp/a b", "-x", "~/x"] {
        refused(&[&format!("DESTDIR={destination}")], &["DESTDIR"]);
    }
}

#[test]
fn installing_below_a_path_of_all_allowed_characters_works() {
    let folder = Folder::new("install-allowed");
    let prefix = "/opt/aA9+b,c-d.e@f_g~h";
    make("022", &["install", &format!("PREFIX={prefix}")], folder.path());
    let unit = folder.path().join("etc/systemd/system/fortune@.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains(&format!("\nExecStart={prefix}/libexec/small-services/qotd\n")), "{unit}");
    assert!(unit.contains("\nRootDirectory=/run/small-services\n"), "{unit}");
    make("022", &["uninstall", &format!("PREFIX={prefix}")], folder.path());
    let tree = tree(folder.path());
    assert!(tree.keys().all(|path| folder.path().join(path).is_dir()), "{:?}", tree.keys());
}

/// What a neighbour of the same user can access of a program at each moment until its filter is attached: the number of moments,
/// and whether it accessed anything.
fn neighbour_of(program: &Path, arguments: &[&str], folder: &Folder) -> Vec<(String, bool)> {
    let report = folder.path().join("report");
    let (client, server) = support::connection();
    client.shutdown(Shutdown::Write).unwrap();
    let mut command = Command::new(helper("neighbour"));
    command.arg(program).args(arguments).env("REPORT", &report).stderr(Stdio::null());
    if arguments.is_empty() {
        command.stdin(server.try_clone().unwrap()).stdout(server);
    } else {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    assert!(Process::start(&mut command).wait().success(), "{}", program.display());
    let moments = fs::read_to_string(report).unwrap();
    moments
        .lines()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(moment, outcome)| (moment.to_owned(), outcome == "taken"))
        .collect()
}

#[test]
fn a_neighbour_gets_nothing_of_an_installed_program_at_any_moment() {
    if !rustix::process::geteuid().is_root() {
        return; // the program's user differs from that of the test that stops it at each moment
    }
    let folder = Folder::new("neighbour");
    make("022", &["install"], folder.path());
    let readable = folder.path().join("readable");
    fs::create_dir(&readable).unwrap();
    // With Yama, only descendants may be traced: then a neighbour gets nothing in any case.
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope != "0\n");
    let prctl = format!("after {}", libc::SYS_prctl);
    let mut programs: Vec<_> = support::programs().map(|name| (name, &[][..])).collect();
    programs.push(("echo", &["--listen", "tcp://127.0.0.1:0"]));
    programs.push(("lunchd", &["--listen", "http://127.0.0.1:0"]));
    for (name, arguments) in programs {
        let installed = folder.path().join(LIBEXEC).join(name);
        let moments = neighbour_of(&installed, arguments, &folder);
        assert!(moments.len() > 20, "{name}: {moments:?}");
        for (moment, taken) in &moments {
            assert!(!taken, "{name} {arguments:?}: a neighbour gets its connection at {moment}");
        }
        // A copy that everyone may read shows that the mode keeps the neighbour out at first, and that the program's own first call
        // keeps it out from then on.
        let copy = readable.join(name);
        fs::copy(&installed, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
        let moments = neighbour_of(&copy, arguments, &folder);
        let closed = moments.iter().position(|(moment, _)| *moment == prctl).expect("it makes itself undumpable");
        for (index, (moment, taken)) in moments.iter().enumerate() {
            assert_eq!(*taken, index < closed && !yama, "{name} {arguments:?} at {moment}: {moments:?}");
        }
        let own = format!("before {}", libc::SYS_rt_sigaction);
        assert!(moments.iter().position(|(moment, _)| *moment == own).is_some_and(|first| closed < first), "{name}");
    }
}
