//! Collections as users have them: copied with outdated indexes, without short fortunes, with leftovers of editors, and with the
//! names and messages of fortune-mod.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use support::{Daemon, Folder, program, read_all, tool};

/// `qotd` under one of its names, run in a folder.
fn started(name: &str, arguments: &[&str], folder: &Folder) -> Command {
    let mut command = Command::new(program("qotd"));
    command.arg0(name).args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    command.env("LC_ALL", "C.UTF-8").env_remove("FORTUNE_PATH");
    command
}

fn run(name: &str, arguments: &[&str], folder: &Folder) -> Output {
    started(name, arguments, folder).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Its output, if it prints nothing else.
fn printed(name: &str, arguments: &[&str], folder: &Folder) -> String {
    let output = run(name, arguments, folder);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{name} {arguments:?}");
    text(&output.stdout)
}

/// Its error message, if it prints nothing else.
fn refused(name: &str, arguments: &[&str], folder: &Folder) -> String {
    let output = run(name, arguments, folder);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{name} {arguments:?}");
    let log = text(&output.stderr);
    assert!(log.lines().count() == 1 && log.ends_with('\n'), "{log:?}");
    log.trim_end().to_owned()
}

fn strfile(arguments: &[&str], path: &Path) {
    let mut command = Command::new(program("small-services"));
    let made = command.arg("strfile").args(arguments).arg("-s").arg(path).stdin(Stdio::null()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A cookie file with its index.
fn indexed(folder: &Folder, name: &str, content: &str, options: &[&str]) -> PathBuf {
    fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
    let path = folder.file(name, content);
    strfile(options, &path);
    path
}

/// Makes a file newer than its index, as copying both may do.
fn age_index(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
}

#[test]
fn the_flags_and_the_delimiter_of_an_outdated_index_apply() {
    let folder = Folder::new("collections-stale");
    let path = indexed(&folder, "rude", "Ehqr bar.\n@\nEhqr gjb,\n%\nnaq zber.\n", &["-x", "-c", "@"]);
    let both = ["Rude one.\n", "Rude two,\n%\nand more.\n"];
    let check = |what: &str| {
        for name in ["fortune", "qotd"] {
            let chosen: BTreeSet<_> =
                (0..40).map(|seed| printed(name, &["--seed", &seed.to_string(), "./rude"], &folder)).collect();
            assert_eq!(chosen, both.map(str::to_owned).into(), "{what}");
            let all = text(&run(name, &["-m", "", "./rude"], &folder).stdout);
            assert_eq!(all, both.map(|text| format!("{text}%\n")).concat(), "{what}");
        }
        for order in [&[][..], &["--shuffle"]] {
            let path = path.to_str().unwrap();
            let daemon = Daemon::start("qotd", &[order, &[path]].concat());
            let replies: BTreeSet<_> = (0..40).map(|_| text(&read_all(&mut daemon.connect()))).collect();
            assert_eq!(replies, both.map(|text| text.replace('\n', "\r\n")).into(), "{what} {order:?}");
        }
    };
    check("an index that holds");
    age_index(&path);
    check("an old index");
    // The index of another file: first with one text too many, then with an offset at another place.
    let index = fs::read(folder.path().join("rude.dat")).unwrap();
    folder.file("rude", "Ehqr bar.\n@\nEhqr gjb,\n%\nnaq zber.\n@\n\u{7}\n");
    fs::write(folder.path().join("rude.dat"), &index).unwrap();
    check("an index of a shorter file");
    fs::write(folder.path().join("rude.dat"), &index[..index.len() - 1]).unwrap();
    check("a part of an index");
    folder.file("rude", "Ehqr gjb,\n%\nnaq zber.\n@\nEhqr bar.\n");
    fs::write(folder.path().join("rude.dat"), &index).unwrap();
    let chosen: BTreeSet<_> =
        (0..40).map(|seed| printed("fortune", &["--seed", &seed.to_string(), "./rude"], &folder)).collect();
    assert_eq!(chosen, both.map(str::to_owned).into());
}

#[test]
fn an_index_that_lists_missing_texts_is_not_fatal() {
    let folder = Folder::new("collections-no-texts");
    let path = indexed(&folder, "none", "one\n%\ntwo\n", &[]);
    let index = fs::read(folder.path().join("none.dat")).unwrap();
    fs::write(&path, "%\n%\n%\n%\n%\n").unwrap();
    fs::write(folder.path().join("none.dat"), &index).unwrap();
    indexed(&folder, "some", "three\n", &[]);
    for _ in 0..20 {
        assert_eq!(printed("qotd", &["none", "some"], &folder), "three\n");
        assert_eq!(printed("qotd", &["90%", "none", "some"], &folder), "three\n");
    }
    assert!(refused("qotd", &["none"], &folder).contains("no fortune to send in none: no text at all"));
    let [none, some] = [&path, &folder.path().join("some")].map(|path| path.to_str().unwrap().to_owned());
    let daemon = Daemon::start("qotd", &["90%", &none, &some]);
    assert!((0..20).all(|_| read_all(&mut daemon.connect()) == b"three\r\n"));
}

/// The names of the forty files that are read as a whole, as strace shows it. With an index, single places of a file are read.
fn read_as_a_whole(folder: &Folder, arguments: &[&str]) -> (BTreeSet<String>, Output) {
    let mut command = tool("strace");
    command.args(["-y", "-e", "trace=read", "-o", "trace"]).arg(program("qotd")).args(arguments);
    let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let trace = fs::read_to_string(folder.path().join("trace")).unwrap();
    let name = |line: &str| line.split_once("/forty/")?.1.split_once('>').map(|(name, _)| name.to_owned());
    (trace.lines().filter_map(name).collect(), output)
}

#[test]
fn one_outdated_index_among_forty_neither_reads_the_other_files_nor_warns() {
    let folder = Folder::new("collections-forty");
    for number in 0..40 {
        let texts: Vec<_> = (0..5).map(|text| format!("{number}-{text}\n")).collect();
        indexed(&folder, &format!("forty/{number}"), &texts.join("%\n"), &[]);
    }
    let (read, output) = read_as_a_whole(&folder, &["forty"]);
    assert_eq!((read, text(&output.stderr)), (BTreeSet::new(), String::new()));
    // One index is outdated, one has offsets where no text begins, and one is missing.
    age_index(&folder.path().join("forty/17"));
    let mut wrong = fs::read(folder.path().join("forty/18.dat")).unwrap();
    (0..5).for_each(|text| wrong[24 + 4 * text + 3] += 1);
    fs::write(folder.path().join("forty/18.dat"), wrong).unwrap();
    fs::remove_file(folder.path().join("forty/19.dat")).unwrap();
    let mut of_the_three = BTreeSet::new();
    for seed in 0..300 {
        let (read, output) = read_as_a_whole(&folder, &["--seed", &seed.to_string(), "forty"]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        assert!(read.is_subset(&["17", "18", "19"].map(str::to_owned).into()), "{read:?}");
        assert!(read.contains("17") && read.contains("19"), "{read:?}");
        let chosen = text(&output.stdout);
        let (number, _) = chosen.split_once('-').expect("a fortune");
        if ["17", "18", "19"].contains(&number) {
            of_the_three.insert(chosen);
        }
    }
    assert!(of_the_three.len() > 8 && of_the_three.iter().any(|it| it.starts_with("18")), "{of_the_three:?}");
    // A daemon logs it once.
    let folder_path = folder.path().join("forty");
    let mut daemon = Daemon::start("qotd", &[folder_path.to_str().unwrap()]);
    let replies: BTreeSet<_> = (0..4000).map(|_| text(&read_all(&mut daemon.connect()))).collect();
    assert_eq!(replies.len(), 200);
    daemon.process.signal("TERM");
    let (_, log) = daemon.process.log();
    assert!(log.matches("18 does not match").count() == 1, "{log}");
}

#[test]
fn a_share_that_nothing_can_take_goes_to_the_others() {
    let folder = Folder::new("collections-shares");
    for options in [None, Some(&[][..]), Some(&["-o"])] {
        let file = |name: &str, content: &str| match options {
            None => folder.file(name, content),
            Some(options) => indexed(&folder, name, content, options),
        };
        file("long", "a text that is long\n%\nand another one\n");
        file("short", "x\n");
        file("empty", "");
        file("bell", "\u{7}\n");
        for name in ["fortune", "qotd"] {
            for operands in [
                &["-s", "-n", "5", "60%", "./long", "40%", "./short"][..],
                &["-s", "-n", "5", "99%", "./long", "./short"],
                &["-s", "-n", "5", "-e", "./long", "./short"],
                &["-s", "-n", "5", "0%", "./long", "./short"],
                &["50%", "./empty", "50%", "./short"],
                &["90%", "./bell", "./short"],
                &["1%", "./short", "./bell"],
                &["1%", "./short", "./empty"],
            ] {
                for _ in 0..10 {
                    assert_eq!(printed(name, operands, &folder), "x\n", "{operands:?}");
                }
                let listed = run(name, &[&["-f"], operands].concat(), &folder);
                let listed = text(if name == "fortune" { &listed.stderr } else { &listed.stdout });
                assert!(listed.contains("100.00% ./short") && listed.matches(" 0.00% ").count() == 1, "{listed}");
            }
        }
        let folder = folder.path();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let daemon = Daemon::start("qotd", &["-s", "-n", "5", "60%", &at("long"), "40%", &at("short")]);
        assert!((0..50).all(|_| read_all(&mut daemon.connect()) == b"x\r\n"));
    }
}

#[test]
fn if_no_fortune_is_left_the_files_and_the_reasons_are_named() {
    let folder = Folder::new("collections-nothing");
    for index in [false, true] {
        folder.file("long", format!("{}\n%\n{}\n%\nnaïve\n%\n", "x".repeat(600), "y".repeat(300)));
        folder.file("odd", b"\x07\n%\n \n%\n\xe9t\xe9\n%\nred \x1b]0;title\x07\n".as_slice());
        if index {
            strfile(&[], &folder.path().join("long"));
            strfile(&[], &folder.path().join("odd"));
        }
        let said = refused("qotd", &["-s", "-n", "5", "70%", "long", "30%", "odd"], &folder);
        for words in ["no fortune to send in long, odd", "2 longer than 5 characters (-s)", "2 with control characters"]
        {
            assert!(said.contains(words), "no {words:?} in {said:?}");
        }
        for words in ["1 longer than 511 octets as sent (--max-length)", "1 not in UTF-8", "1 blank"] {
            assert!(said.contains(words), "no {words:?} in {said:?}");
        }
        let said = refused("qotd", &["-l", "-n", "700", "--max-length", "0", "long"], &folder);
        assert!(said.contains("3 not longer than 700 characters (-l)"), "{said}");
        assert!(refused("qotd", &["0%", "long", "odd"], &folder).contains("2 in files with a share of 0%"));
        folder.file("russian", "раз\n%\nдва\n%\nтри\n");
        let mut command = started("fortune", &["./russian"], &folder);
        let output = command.env("LC_ALL", "ru_RU.KOI8-R").output().unwrap();
        let said = text(&output.stderr);
        let why =
            "No fortunes found in ./russian: 3 not in ASCII; the character set of the locale ru_RU.KOI8-R is not UTF-8";
        assert!(said.starts_with(why), "{said}");
        assert!(said.contains("LC_ALL=C.UTF-8"), "{said}");
    }
    assert!(refused("qotd", &["--max-length", "3"], &folder).contains("built-in collection: 459 longer than 3 octets"));
}

#[test]
fn a_seed_gives_the_same_choices_as_the_help_says() {
    let folder = Folder::new("collections-seed");
    let texts: Vec<_> = (0..200).map(|number| format!("{number}\n")).collect();
    let plain = folder.file("plain", texts.join("%\n"));
    let with_index = indexed(&folder, "indexed", &texts.join("%\n"), &[]);
    for path in [&plain, &with_index].map(|path| path.to_str().unwrap()) {
        let chosen = |seed: u32| printed("qotd", &["--seed", &seed.to_string(), path], &folder);
        let once: Vec<_> = (0..5).map(chosen).collect();
        assert_eq!(once, (0..5).map(chosen).collect::<Vec<_>>());
        assert!(once.iter().collect::<BTreeSet<_>>().len() > 3, "{once:?}");
        let served = || {
            let daemon = Daemon::start("qotd", &["--seed", "17", path]);
            (0..5).map(|_| read_all(&mut daemon.connect())).collect::<Vec<_>>()
        };
        assert_eq!(served(), served());
    }
    let help = printed("qotd", &["--help"], &folder).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("the same version, options, files, indexes and way to serve"), "{help}");
}

#[test]
fn offensive_collections_have_the_names_of_fortune_mod() {
    let folder = Folder::new("collections-offensive");
    indexed(&folder, "path/art", "decent art\n", &[]);
    indexed(&folder, "path/off/art", "ehqr neg\n", &["-x"]);
    indexed(&folder, "path/off/more", "zber\n", &["-x"]);
    indexed(&folder, "path/jokes-o", "by its own name\n", &[]);
    indexed(&folder, "path/off/jokes", "bgure\n", &["-x"]);
    folder.file("here-o", "in the directory\n");
    let all = |operands: &[&str]| {
        let output = run("fortune", &[&["--fortune-path", "path", "-m", ""], operands].concat(), &folder);
        text(&output.stdout).split_terminator("%\n").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(all(&["art"]), ["decent art\n"]);
    assert_eq!(all(&["art-o"]), ["rude art\n"]);
    assert_eq!(all(&["all-o"]), ["rude art\n", "other\n", "more\n"]);
    assert_eq!(all(&["50%", "all-o", "art"]).len(), 4);
    assert_eq!(all(&["jokes-o"]), ["by its own name\n"]);
    assert_eq!(all(&["here-o"]), ["in the directory\n"]);
    let said = refused("fortune", &["--fortune-path", "path", "none-o"], &folder);
    assert_eq!(said, "No fortunes found: none-o: No such file or directory");
    let said = refused("fortune", &["--fortune-path", "path/off", "all-o"], &folder);
    assert!(said.starts_with("No fortunes found in path/off;"), "{said}");
}

#[test]
fn a_fortune_path_may_name_files() {
    let folder = Folder::new("collections-path");
    indexed(&folder, "one/first", "first\n", &[]);
    let file = folder.file("of my own", "my own\n");
    let path = format!("{}:{}:/no/such/file", folder.path().join("one").display(), file.display());
    let fortune = |path: &str, operands: &[&str]| {
        let mut command = started("fortune", &[&["-m", ""], operands].concat(), &folder);
        text(&command.env("FORTUNE_PATH", path).current_dir("/").output().unwrap().stdout)
    };
    assert_eq!(fortune(&path, &[]), "first\n%\nmy own\n%\n");
    assert_eq!(fortune(&path, &["-a"]), "first\n%\nmy own\n%\n");
    assert_eq!(fortune(&path, &["of my own"]), "my own\n%\n");
    assert_eq!(fortune(file.to_str().unwrap(), &[]), "my own\n%\n");
    assert_eq!(fortune(file.to_str().unwrap(), &["-o"]), "");
}

#[test]
fn messages_are_those_that_the_tests_of_fortune_mod_expect() {
    let folder = Folder::new("collections-messages");
    folder.file("songs", "la\n");
    for (operands, start) in [
        (&["notexist"][..], "No fortunes found: notexist: No such file"),
        (&["1.5%", "songs"], "percentages must be integers"),
        (&["50.%songs"], "percentages must be integers"),
        (&["99999999%", "songs"], "percentages must be <= 100"),
        (&["101%", "songs"], "percentages must be <= 100"),
        (&["50%", "50%", "songs"], "percentages must precede files"),
        (&["50%"], "percentages must precede files"),
        (&["70%", "songs"], "fortune: no place to put residual probability"),
    ] {
        let said = refused("fortune", operands, &folder);
        assert!(said.starts_with(start), "{operands:?}: {said}");
        let overflow = format!("Overflow percentage detected at argument \"{}\"!", operands[0]);
        assert_eq!(said.contains(&overflow), start.contains("100"), "{said}");
    }
    let none = folder.path().join("none");
    let said = refused("fortune", &["--fortune-path", none.to_str().unwrap()], &folder);
    assert!(said.starts_with(&format!("No fortunes found in {};", none.display())), "{said}");
    // A file name may begin with digits.
    folder.file("1.5 songs", "la la\n");
    assert_eq!(printed("fortune", &["1.5 songs"], &folder), "la la\n");
    for option in ["-v", "-V", "--version"] {
        for name in ["fortune", "qotd"] {
            assert_eq!(printed(name, &[option], &folder), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

#[test]
fn fortune_needs_no_standard_input() {
    let folder = Folder::new("collections-input");
    folder.file("cookies", "all the same\n");
    // As from a unit, whose output is a socket to the journal, or from a job.
    for (name, expected) in [("fortune", "all the same\n"), ("qotd", "")] {
        for closed in [false, true] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let script = if closed { "exec \"$0\" \"$@\" <&-" } else { "exec \"$0\" \"$@\" </dev/null" };
            symlink(program("qotd"), folder.path().join(name)).unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(folder.path().join(name)).arg("./cookies").current_dir(folder.path());
            command.env("LC_ALL", "C.UTF-8").stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            drop(command);
            let mut said = String::new();
            ours.read_to_string(&mut said).unwrap();
            assert_eq!(said, expected, "{name} {closed}: {output:?}");
            assert_eq!(output.status.success(), name == "fortune", "{output:?}");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}

#[test]
fn leftovers_of_editors_and_packages_are_not_cookie_files() {
    let folder = Folder::new("collections-leftovers");
    fs::create_dir(folder.path().join("dir")).unwrap();
    let left = [
        "art~",
        "art.bak",
        "art.orig",
        "art.swp",
        "art.dpkg-old",
        "art.dpkg-dist",
        "art.dpkg-new",
        "art.ucf-dist",
        "art.rpmsave",
        "art.rpmnew",
        "art.pacnew",
        "#art#",
        "README",
        "README.md",
        "readme.txt",
        "Readme-first",
        ".art.swp",
    ];
    for index in [false, true] {
        for name in ["art", "readmes", "bak", "tmp"].iter().chain(&left) {
            let path = folder.file(&format!("dir/{name}"), format!("{name}\n"));
            if index {
                strfile(&[], &path);
            }
        }
        for name in if index { &["fortune", "qotd"][..] } else { &["qotd"] } {
            let all = text(&run(name, &["-m", "", "./dir"], &folder).stdout);
            assert_eq!(all, "art\n%\nbak\n%\nreadmes\n%\ntmp\n%\n", "{index}");
        }
        // A file that is named explicitly is read.
        assert_eq!(printed("qotd", &["dir/README"], &folder), "README\n");
    }
}

#[test]
fn a_directory_without_an_index_says_why_nothing_is_found_and_how_to_make_one() {
    let folder = Folder::new("collections-unindexed");
    fs::create_dir(folder.path().join("dir")).unwrap();
    folder.file("dir/one", "one\n");
    folder.file("dir/two", "two\n");
    folder.file("dir/README", "no cookie file\n");
    let said = refused("fortune", &["./dir"], &folder);
    assert_eq!(
        said,
        "No fortunes found in ./dir: 2 files without an index; create one for each, as with `strfile ./dir/one`"
    );
    assert_eq!(said, refused("fortune", &["-f", "./dir"], &folder));
    let said = refused("fortune", &["--fortune-path", "dir"], &folder);
    assert!(said.starts_with("No fortunes found in dir: 2 files without an index"), "{said}");
    strfile(&[], &folder.path().join("dir/one"));
    assert_eq!(printed("fortune", &["./dir"], &folder), "one\n");
    assert!(
        refused("fortune", &["-l", "./dir"], &folder).contains("1 not longer than 160 characters (-l), 1 file without")
    );
}

#[test]
fn the_listed_shares_count_only_eligible_fortunes() {
    let folder = Folder::new("collections-listed");
    for index in [false, true] {
        for (name, content) in [("a", "\u{7}\n%\n\u{7}\n"), ("b", "one\n%\ntwo\n%\n\u{7}\n"), ("c", "three\n%\nfour\n")]
        {
            let path = folder.file(name, content);
            if index {
                strfile(&[], &path);
            }
        }
        let listed = |operands: &[&str]| -> BTreeMap<String, String> {
            let list = printed("qotd", &[&["-f"], operands].concat(), &folder);
            let line =
                |line: &str| line.trim().split_once("% ").map(|(share, name)| (name.to_owned(), share.to_owned()));
            list.lines().map(|it| line(it).unwrap()).collect()
        };
        let shares = |a: &str, b: &str, c: &str| {
            [("a", a), ("b", b), ("c", c)].map(|(name, share)| (name.to_owned(), share.to_owned())).into()
        };
        assert_eq!(listed(&["a", "b", "c"]), shares("0.00", "50.00", "50.00"));
        assert_eq!(listed(&["-e", "a", "b", "c"]), shares("0.00", "50.00", "50.00"));
        assert_eq!(listed(&["50%a", "25%b", "c"]), shares("0.00", "50.00", "50.00"));
        assert_eq!(listed(&["-s", "-n", "5", "a", "b", "c"]), shares("0.00", "66.67", "33.33"));
    }
}

#[test]
fn a_file_name_cannot_control_the_terminal() {
    let folder = Folder::new("collections-names");
    let name = "a\x1b[31m\u{9b}1m\nb\u{7f}";
    let shown = r"a\u{1b}[31m\u{9b}1m\nb\u{7f}";
    folder.file(name, "one\n");
    for program in ["fortune", "qotd"] {
        let both = |option: &str, operand: &str| {
            let arguments = if option == "-m" { vec![option, "", operand] } else { vec![option, operand] };
            let output = run(program, &arguments, &folder);
            text(&output.stdout) + &text(&output.stderr)
        };
        for operand in [name, &format!("./{name}")] {
            let expected = operand.replace(name, shown);
            assert_eq!(both("-c", operand), format!("({expected})\n%\none\n"));
            assert_eq!(both("-f", operand), format!("100.00% {expected}\n"));
            assert!(both("-m", operand).contains(&format!("({expected})\n%\n")));
        }
    }
    fs::create_dir(folder.path().join("d\x1bir")).unwrap();
    folder.file("d\x1bir/in\rside", "one\n");
    assert_eq!(text(&run("qotd", &["-f", "d\x1bir"], &folder).stdout), "100.00% d\\u{1b}ir\n    100.00% in\\rside\n");
    for arguments in [&["strfile", name][..], &["strfile", "-Z", name], &["unstr", name], &["strfile", "no\x1bthing"]] {
        let output =
            Command::new(program("small-services")).args(arguments).current_dir(folder.path()).output().unwrap();
        let said = output.stdout.iter().chain(&output.stderr).filter(|it| it.is_ascii_control() && **it != b'\n');
        assert_eq!(said.count(), 0, "{output:?}");
    }
    assert!(folder.path().join(std::ffi::OsStr::from_bytes(name.as_bytes())).exists());
}
