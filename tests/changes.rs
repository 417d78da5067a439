//! Files that change while a daemon serves from them.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use small_services::numbers;
use support::{Daemon, Folder, Mode, Process, program, read_all, wait_until};

fn reply(daemon: &Daemon) -> String {
    String::from_utf8(read_all(&mut daemon.connect())).unwrap()
}

/// Replaces a file atomically: the new file is complete before it gets the name.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn make_index(path: &Path) {
    let mut command = Command::new(program("small-services"));
    let made = command.args(["strfile", "-s"]).arg(path).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Asks until this reply comes. Every other reply must be an earlier one.
fn becomes(daemon: &Daemon, expected: &str, before: &[&str]) {
    wait_until(|| {
        let reply = reply(daemon);
        assert!(reply == expected || before.contains(&reply.as_str()), "{reply:?}");
        reply == expected
    });
}

/// Stops a daemon and returns its log.
fn log(mut daemon: Daemon) -> String {
    daemon.process.signal("TERM");
    let (code, log) = daemon.process.log();
    assert_eq!(code, Some(0), "{log}");
    log
}

#[test]
fn a_file_that_is_replaced_is_read_again() {
    let folder = Folder::new("changes-replaced");
    let path = folder.file("cookies", "old\n");
    let daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    assert_eq!(reply(&daemon), "old\r\n");
    replace(&path, "new\n");
    becomes(&daemon, "new\r\n", &["old\r\n"]);
    // Again: the path counts, not the first file's inode.
    replace(&path, "newer\n");
    becomes(&daemon, "newer\r\n", &["new\r\n"]);
    assert_eq!(log(daemon).matches("reloaded the fortunes").count(), 2);
}

#[test]
fn a_file_that_is_written_in_place_is_read_again() {
    let folder = Folder::new("changes-in-place");
    let path = folder.file("cookies", "old\n");
    let daemon = Daemon::start("qotd", &["--shuffle", path.to_str().unwrap()]);
    assert_eq!(reply(&daemon), "old\r\n");
    folder.file("cookies", "new\n");
    becomes(&daemon, "new\r\n", &["old\r\n"]);
}

#[test]
fn sighup_rereads_the_files_at_once() {
    let folder = Folder::new("changes-signal");
    let path = folder.file("cookies", "old\n");
    let daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    assert_eq!(reply(&daemon), "old\r\n");
    daemon.process.signal("HUP");
    folder.file("cookies", "new\n");
    daemon.process.signal("HUP");
    becomes(&daemon, "new\r\n", &["old\r\n"]);
    assert!(log(daemon).contains("reloaded the fortunes"));
}

/// Waits until the last change in a folder is old enough to be certainly complete.
fn after_a_pause(folder: &Folder) {
    let paths =
        || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).chain([folder.path().to_owned()]);
    wait_until(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let old = i64::try_from(now).unwrap() - 2;
        paths().all(|path| fs::metadata(path).unwrap().ctime() < old)
    });
}

#[test]
fn the_first_client_after_a_pause_gets_the_new_fortunes() {
    // In parallel, since most of the time is waiting.
    thread::scope(|scope| {
        for (name, options, indexed) in [
            ("plain", &[][..], false),
            ("shuffled", &["--shuffle"], false),
            ("indexed", &[], true),
            ("of-a-directory", &[], false),
        ] {
            scope.spawn(move || the_first_client_has_what_is_new(name, options, indexed));
        }
    });
}

fn the_first_client_has_what_is_new(name: &str, options: &[&str], indexed: bool) {
    let folder = Folder::new(&format!("changes-pause-{name}"));
    let path = folder.file("cookies", "old\n");
    if indexed {
        make_index(&path);
    }
    let source = if name == "of-a-directory" { folder.path() } else { &path };
    let daemon = Daemon::start("qotd", &[options, &[source.to_str().unwrap()]].concat());
    assert_eq!(reply(&daemon), "old\r\n");
    let has = |expected: &str, what: &str| {
        after_a_pause(&folder);
        assert_eq!(reply(&daemon), expected, "{name}: {what}");
    };
    replace(&path, "new\n");
    has("new\r\n", "replaced");
    fs::write(&path, "in place\n").unwrap();
    has("in place\r\n", "written in place");
    make_index(&path);
    has("in place\r\n", "it has an index");
    replace(&path, "without\n");
    fs::remove_file(folder.path().join("cookies.dat")).unwrap();
    has("without\r\n", "its index is gone");
    fs::write(&path, "last\n").unwrap();
    make_index(&path);
    has("last\r\n", "it has an index again");
}

#[test]
fn a_file_whose_content_stays_the_same_is_read_whatever_else_changes() {
    let content: Vec<_> = ["a", "b"].map(|letter| format!("{letter}\n%\n").repeat(100_000)).into();
    for (name, indexed) in
        [("replaced", false), ("replaced-with-index", true), ("linked", false), ("changed-mode", false)]
    {
        let folder = Folder::new(&format!("changes-while-read-{name}"));
        let path = folder.file("cookies", &content[0]);
        let others: Vec<_> =
            ["first", "second"].into_iter().zip(&content).map(|(name, it)| folder.file(name, it)).collect();
        if indexed {
            make_index(&path);
        }
        let (link, over) = (folder.path().join("link"), AtomicBool::new(false));
        let failures = thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    match name {
                        "linked" => {
                            fs::hard_link(&path, &link).unwrap();
                            fs::remove_file(&link).unwrap();
                        }
                        "changed-mode" => {
                            fs::set_permissions(&path, fs::Permissions::from_mode([0o600, 0o644][round % 2])).unwrap();
                        }
                        _ => {
                            fs::hard_link(&others[round % 2], &link).unwrap();
                            fs::rename(&link, &path).unwrap();
                        }
                    }
                }
            });
            let run = || {
                let output = Command::new(program("qotd")).arg(&path).stdin(Stdio::null()).output().unwrap();
                let is_whole = matches!(output.stdout.as_slice(), b"a\n" | b"b\n");
                if output.status.success() && is_whole { None } else { Some(format!("{output:?}")) }
            };
            let failures: Vec<_> = (0..60).filter_map(|_| run()).collect();
            over.store(true, Ordering::Relaxed);
            failures
        });
        assert_eq!(failures, [""; 0], "{name}");
    }
}

#[test]
fn files_are_added_to_and_removed_from_a_directory() {
    let folder = Folder::new("changes-directory");
    folder.file("one", "one\n");
    let daemon = Daemon::start("qotd", &[folder.path().to_str().unwrap()]);
    assert_eq!(reply(&daemon), "one\r\n");
    folder.file("two", "two\n");
    becomes(&daemon, "two\r\n", &["one\r\n"]);
    fs::remove_file(folder.path().join("one")).unwrap();
    daemon.process.signal("HUP");
    wait_until(|| (0..20).all(|_| reply(&daemon) == "two\r\n"));
}

#[test]
fn an_old_index_is_never_used_with_a_new_file() {
    let folder = Folder::new("changes-index");
    let texts = |letter: char| (1..=50).map(|length| letter.to_string().repeat(length)).collect::<Vec<_>>();
    let (small, large) = (texts('a'), texts('B'));
    let replies = |texts: &[String]| texts.iter().map(|text| format!("{text}\r\n")).collect::<BTreeSet<_>>();
    let all: BTreeSet<_> = replies(&small).union(&replies(&large)).cloned().collect();
    let path = folder.file("cookies", small.join("\n%\n") + "\n");
    make_index(&path);
    let daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    let is_from = |texts: &[String]| {
        let reply = reply(&daemon);
        assert!(all.contains(&reply), "{reply:?} is part of a fortune, or of two");
        replies(texts).contains(&reply)
    };
    assert!(is_from(&small));
    // The old index remains for now: it is older than the file.
    replace(&path, &(large.join("\n%\n") + "\n"));
    wait_until(|| is_from(&large));
    assert!((0..100).all(|_| is_from(&large)));
    make_index(&path);
    assert!((0..100).all(|_| is_from(&large)));
    // In place, and shorter than the index says.
    folder.file("cookies", small[..5].join("\n%\n") + "\n");
    wait_until(|| (0..20).all(|_| is_from(&small)));
}

/// Five hundred fortunes with marked beginnings and ends, with an index if requested.
fn collection(folder: &Folder, letter: char, indexed: bool) -> (PathBuf, String) {
    let texts = (0..500).map(|number| format!("{letter}{number} {} {number}{letter}\n", "and so on ".repeat(20)));
    let content = texts.collect::<Vec<_>>().join("%\n");
    let path = folder.file("cookies", &content);
    if indexed {
        make_index(&path);
    }
    (path, content)
}

fn is_whole(reply: &str) -> bool {
    let (Some(first), Some(last)) = (reply.split(' ').next(), reply.trim_end().split(' ').next_back()) else {
        return false;
    };
    first.len() > 1 && last == format!("{}{}", &first[1..], &first[..1])
}

#[test]
fn a_file_that_is_being_written_is_never_sent_in_part() {
    for indexed in [false, true] {
        let folder = Folder::new(&format!("changes-writing-{indexed}"));
        let (path, _) = collection(&folder, 'a', indexed);
        let daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
        assert!(is_whole(&reply(&daemon)));
        let new = collection(&Folder::new(&format!("changes-new-{indexed}")), 'b', false).1;
        let mut file = fs::File::create(&path).unwrap();
        for piece in new.as_bytes().chunks(new.len() / 50) {
            file.write_all(piece).unwrap();
            for _ in 0..5 {
                let reply = reply(&daemon);
                assert!(is_whole(&reply), "indexed: {indexed}: {reply:?}");
            }
        }
        wait_until(|| {
            let reply = reply(&daemon);
            assert!(is_whole(&reply), "indexed: {indexed}: {reply:?}");
            reply.starts_with('b')
        });
    }
}

#[test]
fn there_is_a_reply_whatever_happens_to_an_indexed_file() {
    let folder = Folder::new("changes-indexed-broken");
    let (path, content) = collection(&folder, 'a', true);
    let daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    let index = fs::read(path.with_extension("dat")).unwrap();
    let answers = |what: &str| {
        for _ in 0..20 {
            let reply = reply(&daemon);
            assert!(is_whole(&reply), "{what}: {reply:?}");
        }
    };
    answers("as it was");
    fs::File::options().write(true).open(path.with_extension("dat")).unwrap().set_len(100).unwrap();
    answers("a shorter index");
    daemon.process.signal("HUP");
    answers("read again without it");
    fs::write(path.with_extension("dat"), &index).unwrap();
    daemon.process.signal("HUP");
    answers("read again with it");
    fs::write(&path, content.replace('a', "\0")).unwrap();
    answers("the text is gone");
    daemon.process.signal("HUP");
    answers("and read again");
    fs::write(&path, "").unwrap();
    answers("nothing");
    fs::remove_file(&path).unwrap();
    daemon.process.signal("HUP");
    answers("no file");
    collection(&folder, 'c', true);
    wait_until(|| reply(&daemon).starts_with('c'));
    let log = log(daemon);
    assert!(log.lines().count() < 20, "{log}");
}

#[test]
fn the_old_fortunes_remain_if_files_cannot_be_reread() {
    let folder = Folder::new("changes-broken");
    let path = folder.file("cookies", "old\n");
    let mut daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    assert_eq!(reply(&daemon), "old\r\n");
    fs::remove_file(&path).unwrap();
    daemon.process.signal("HUP");
    assert!(daemon.process.line().contains("No such file"));
    assert_eq!(reply(&daemon), "old\r\n");
    folder.file("cookies", "nul\0\n");
    daemon.process.signal("HUP");
    assert!(daemon.process.line().contains("NUL"));
    assert_eq!(reply(&daemon), "old\r\n");
    folder.file("cookies", "");
    daemon.process.signal("HUP");
    assert!(daemon.process.line().contains("no fortune to send"));
    assert_eq!(reply(&daemon), "old\r\n");
    folder.file("cookies", "new\n");
    becomes(&daemon, "new\r\n", &["old\r\n"]);
}

#[test]
fn files_elsewhere_cannot_be_read_after_the_lock_down() {
    let folder = Folder::new("changes-elsewhere");
    let elsewhere = Folder::new("changes-elsewhere-secret");
    let secret = elsewhere.file("secret", "secret\n");
    let path = folder.file("cookies", "public\n");
    let mut daemon = Daemon::start("qotd", &[path.to_str().unwrap()]);
    assert_eq!(reply(&daemon), "public\r\n");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(secret, &path).unwrap();
    daemon.process.signal("HUP");
    let line = daemon.process.line();
    assert!(line.contains("Permission denied"), "{line}");
    assert_eq!(reply(&daemon), "public\r\n");
}

/// After the numbers that every daemon uses: those with a meaning, and its port.
const NEXT: u64 = numbers::FIRST_FREE as u64 + 1;
const ENOUGH: u64 = 200;

/// Limits a daemon to descriptors below this number.
fn limit_descriptors(daemon: &Daemon, below: u64) {
    // The hard limit stays, so that the limit can be raised again.
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(below), maximum: hard };
    prlimit(Some(Pid::from_child(&daemon.process.0)), Resource::Nofile, limit).unwrap();
}

#[test]
fn without_descriptors_the_old_fortunes_remain_until_the_new_ones_can_be_read() {
    const FILES: u64 = 20;
    let folder = Folder::new("changes-descriptors");
    let add = |number: u64| make_index(&folder.file(&format!("file-{number}"), format!("{number}\n")));
    for number in 1..=FILES {
        add(number);
    }
    let mut daemon = Daemon::start("qotd", &[folder.path().to_str().unwrap()]);
    let replies = |daemon: &Daemon| (0..600).map(|_| reply(daemon)).collect::<BTreeSet<_>>();
    let all = |files: u64| (1..=files).map(|number| format!("{number}\r\n")).collect::<BTreeSet<_>>();
    assert_eq!(replies(&daemon), all(FILES));
    add(FILES + 1);
    // The files and their indexes are open. Of the additional files, all but the last can be opened.
    limit_descriptors(&daemon, NEXT + 4 * FILES);
    daemon.process.signal("HUP");
    let line = daemon.process.line();
    assert!(line.contains("Too many open files") && line.contains("continuing with the previous fortunes"), "{line}");
    assert_eq!(replies(&daemon), all(FILES));
    limit_descriptors(&daemon, ENOUGH);
    let new = format!("{}\r\n", FILES + 1);
    wait_until(|| reply(&daemon) == new);
    assert_eq!(replies(&daemon), all(FILES + 1));
    let log = log(daemon);
    assert_eq!(log.matches("reloaded the fortunes").count(), 1, "{log}");
    assert!(!log.contains("cannot read"), "it is said once: {log}");
}

#[test]
fn a_file_whose_index_cannot_be_opened_is_not_read_as_plain_text() {
    // The keeper holds two descriptors with which its processes lock themselves down.
    for (mode, next) in [(Mode::Keeper, NEXT + 2), (Mode::Shared, NEXT)] {
        is_not_taken_for_another(mode, next);
    }
}

fn is_not_taken_for_another(mode: Mode, next: u64) {
    let folder = Folder::new(&format!("changes-rotated-{mode:?}"));
    let path = folder.file("cookies", "bar\n");
    let rotate = || {
        let mut command = Command::new(program("small-services"));
        assert!(command.args(["strfile", "-sx"]).arg(&path).status().unwrap().success());
    };
    rotate();
    let mut daemon = Daemon::start_as(mode, "qotd", &["--shuffle", path.to_str().unwrap()]);
    // Only root may list them.
    let open = |daemon: &Daemon| fs::read_dir(format!("/proc/{}/fd", daemon.process.0.id())).map_or(0, Iterator::count);
    let without_clients = open(&daemon);
    assert_eq!(reply(&daemon), "one\r\n");
    replace(&path, "gjb\n");
    rotate();
    // The client's descriptor is free again.
    wait_until(|| open(&daemon) == without_clients);
    limit_descriptors(&daemon, next + 1);
    daemon.process.signal("HUP");
    let line = daemon.process.line();
    assert!(line.contains("cookies.dat: Too many open files"), "{line}");
    assert_eq!(reply(&daemon), "one\r\n");
    limit_descriptors(&daemon, ENOUGH);
    becomes(&daemon, "two\r\n", &["one\r\n"]);
}

/// What a daemon with these fortunes logs about the directories that stay readable.
fn warnings(folder: &Folder, sources: &str) -> Vec<String> {
    let mut command = Command::new(program("qotd"));
    command.current_dir(folder.path()).arg(sources).args(["--listen", "tcp://127.0.0.1:0"]);
    let mut daemon = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let mut lines = vec![daemon.line()];
    while !lines.last().is_some_and(|line| line.is_empty() || line.contains("serving on")) {
        lines.push(daemon.line());
    }
    daemon.signal("TERM");
    let (code, log) = daemon.log();
    assert_eq!(code, Some(0), "{log}");
    let log = lines.concat() + &log;
    log.lines().filter(|line| line.contains("stays readable")).map(str::to_owned).collect()
}

#[test]
fn a_directory_with_other_files_is_logged_with_what_stays_readable() {
    let folder = Folder::new("changes-more");
    let inside = |name: &str| folder.path().join("fortunes").join(name);
    fs::create_dir(folder.path().join("fortunes")).unwrap();
    fs::write(inside("cookies"), "one\n").unwrap();
    make_index(&inside("cookies"));
    std::os::unix::fs::symlink("cookies", inside("cookies.u8")).unwrap();
    assert_eq!(warnings(&folder, "fortunes"), [""; 0], "cookie files and their companions are no more than fortunes");
    assert_eq!(warnings(&folder, "fortunes/cookies"), [""; 0]);
    // A file beside the named one.
    fs::write(inside("others"), "two\n").unwrap();
    assert_eq!(warnings(&folder, "fortunes"), [""; 0]);
    let assert_named = |sources: &str, what: &str| {
        let warnings = warnings(&folder, sources);
        let [warning] = &warnings[..] else { panic!("{what}: {warnings:?}") };
        let directory = folder.path().join("fortunes").canonicalize().unwrap();
        let directory = format!("everything beneath {} stays readable", directory.display());
        assert!(
            warning.contains(&directory) && warning.contains(&format!("including {what}; move")),
            "{what}: {warning}"
        );
    };
    assert_named("fortunes/cookies", "others");
    fs::remove_file(inside("others")).unwrap();
    for (name, content) in [(".hidden", "two\n"), ("a-binary", "\0"), ("b.dat", "\0"), ("too-long", &*"x".repeat(1000))]
    {
        fs::write(inside(name), content).unwrap();
        assert_named("fortunes", name);
        fs::remove_file(inside(name)).unwrap();
    }
    fs::create_dir(inside("below")).unwrap();
    assert_named("fortunes", "below");
    fs::remove_dir(inside("below")).unwrap();
    // The target of a link has neighbours as well.
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    fs::write(folder.path().join("elsewhere/real"), "two\n").unwrap();
    fs::write(folder.path().join("elsewhere/secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../elsewhere/real", inside("link")).unwrap();
    let warnings = warnings(&folder, "fortunes");
    assert!(warnings.len() == 1 && warnings[0].contains("elsewhere stays readable"), "{warnings:?}");
}

#[test]
fn the_root_directory_is_never_left_readable() {
    let folder = Folder::new("changes-root");
    let root = folder.path().join("root");
    std::os::unix::fs::symlink("/", &root).unwrap();
    let cookies = Path::new("/").join(format!("small-services-changes-{}", std::process::id()));
    let _gone = rustix::process::geteuid().is_root().then(|| {
        fs::write(&cookies, "one\n").unwrap();
        Gone(cookies.clone())
    });
    let name = cookies.file_name().unwrap().to_str().unwrap();
    // A file in the directory, and the directory itself, whatever its name.
    let mut sources = vec![("/", "/"), ("/", root.to_str().unwrap())];
    if cookies.exists() {
        sources.extend([("/", name), ("/tmp", cookies.to_str().unwrap())]);
    }
    for (directory, source) in sources {
        // The test may not write into the root directory.
        let some = folder.file("cookies", "one\n");
        let mut command = Command::new(program("qotd"));
        command.current_dir(directory).arg(source).arg(some).args(["--listen", "tcp://127.0.0.1:0"]);
        let mut daemon = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        daemon.wait();
        let (code, log) = daemon.log();
        assert_eq!(code, Some(1), "{source}: {log}");
        let last = log.lines().last().unwrap();
        assert!(!log.contains("stays readable"), "{source}: one sentence is enough: {log}");
        assert!(last.contains("refuses to serve") && last.contains("every file of the host"), "{source}: {log}");
        assert!(last.contains("a separate directory"), "{source}: {log}");
    }
}

struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn rereading_does_not_take_more_memory_each_time() {
    for mode in [Mode::Keeper, Mode::Shared] {
        reading_again_takes_no_more_memory(mode);
    }
}

fn reading_again_takes_no_more_memory(mode: Mode) {
    let folder = Folder::new(&format!("changes-memory-{mode:?}"));
    let text = |letter: &str| format!("{}\n%\n", letter.repeat(400)).repeat(20_000);
    let path = folder.file("cookies", text("a"));
    let daemon = Daemon::start_as(mode, "qotd", &[path.to_str().unwrap()]);
    assert!(reply(&daemon).starts_with('a'));
    let mut after_ten = 0;
    for round in 0..40 {
        let letter = ["b", "c"][round % 2];
        replace(&path, &text(letter));
        daemon.process.signal("HUP");
        wait_until(|| reply(&daemon).starts_with(letter));
        if round == 9 {
            after_ten = support::resident(&daemon.process);
        }
    }
    let grown = support::resident(&daemon.process).saturating_sub(after_ten);
    assert!(grown < 4096, "{grown} KiB more than after ten times ({after_ten} KiB)");
}
