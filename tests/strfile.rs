//! `small-services strfile` and `unstr`, compared with those of Debian's fortune-mod on Debian's collections.

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Folder, program, repository};

fn tool(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program("small-services"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn debian(name: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(repository().join("target/peers/usr/bin").join(name));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn collections() -> Vec<PathBuf> {
    let folder = repository().join("target/peers/usr/share/games/fortunes");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths: Vec<_> = paths.filter(|path| path.extension().is_none()).collect();
    assert!(paths.len() > 40, "only {} collections", paths.len());
    paths
}

/// Makes an index with both programs, and compares them; `false` if Debian's strfile crashes, as on collections that begin with a
/// line without letters.
fn same(folder: &Folder, arguments: &[&str]) -> bool {
    let index = folder.path().join("cookies.dat");
    let theirs = debian("strfile", arguments, folder.path());
    let their_index = fs::read(&index);
    let _ = fs::remove_file(&index);
    let ours = tool(&[&["strfile"], arguments].concat(), folder.path());
    if theirs.status.code().is_none() {
        assert!(ours.status.success(), "{ours:?}");
        return false;
    }
    assert_eq!((ours.status, &ours.stderr), (theirs.status, &theirs.stderr), "{arguments:?}");
    assert_eq!(String::from_utf8(ours.stdout), String::from_utf8(theirs.stdout), "{arguments:?}");
    assert!(fs::read(&index).unwrap() == their_index.unwrap(), "{arguments:?}: another index");
    true
}

#[test]
fn indexes_are_debians_octet_for_octet() {
    let folder = Folder::new("strfile-indexes");
    let mut compared = 0;
    for path in collections() {
        folder.file("cookies", fs::read(&path).unwrap());
        for options in ["", "-s", "-x", "-o", "-oi", "-iox", "-so", "-c.", "-ca", "-oi -c.", "-ro"] {
            let arguments: Vec<_> = options.split_whitespace().chain(["cookies"]).collect();
            compared += u32::from(same(&folder, &arguments));
        }
    }
    assert!(compared > 450, "Debian's strfile crashed on all but {compared}");
}

#[test]
fn indexes_of_unusual_files_are_debians_too() {
    let folder = Folder::new("strfile-unusual");
    let long = format!("{}\nb\n%\n{}\na\n", "x".repeat(300), "y".repeat(700));
    let files = [
        "",
        "%\n",
        "%\n%\n",
        "a",
        "a\n%\n",
        "%\n%\nb\n%\n%\na\n%\n%\n",
        "a\n%%\n% \nb\n",
        "B\n%\na\n%\nA\n%\nb",
        &long,
    ];
    for file in files {
        folder.file("cookies", file);
        for options in [&[][..], &["-o"], &["-io"], &["-x"]] {
            assert!(same(&folder, &[options, &["cookies"]].concat()), "{file:?} {options:?}: Debian's crashed");
        }
        assert!(same(&folder, &["cookies", "cookies.dat"]));
    }
}

#[test]
fn comments_are_flagged_if_asked_and_no_part_of_a_text() {
    let folder = Folder::new("strfile-comments");
    let content = "%% of this file\none\n%\n%% all of it\n%\ntwo\n%% and more\n";
    folder.file("cookies", content);
    assert!(tool(&["strfile", "-s", "cookies"], folder.path()).status.success());
    let plain = fs::read(folder.path().join("cookies.dat")).unwrap();
    assert!(tool(&["strfile", "-sC", "cookies"], folder.path()).status.success());
    let mut index = fs::read(folder.path().join("cookies.dat")).unwrap();
    assert_eq!(std::mem::take(&mut index[19]), 8, "BSD's STR_COMMENTS");
    assert!(index == plain, "nothing else differs");
    let printed = Command::new(program("qotd")).args(["-m", ""]).arg(folder.path().join("cookies")).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), "one\n%\ntwo\n%\n");
    for _ in 0..20 {
        let chosen = Command::new(program("qotd")).arg(folder.path().join("cookies")).output().unwrap().stdout;
        assert!([&b"one\n"[..], b"two\n"].contains(&&chosen[..]), "{chosen:?}");
    }
    // They stay in the file.
    let file = tool(&["unstr", "-c%", "cookies"], folder.path());
    assert_eq!(String::from_utf8(file.stdout).unwrap(), format!("{content}%\n"));
}

#[test]
fn the_names_that_makefiles_use_work_too() {
    let folder = Folder::new("strfile-names");
    folder.file("cookies", "b\n%\na\n");
    let run = |name: &str, arguments: &[&str]| {
        let link = folder.path().join(name);
        symlink(program("small-services"), &link).unwrap();
        let output =
            Command::new(&link).args(arguments).current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
        fs::remove_file(link).unwrap();
        output
    };
    let made = run("strfile", &["-o", "cookies", "cookies.dat"]);
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    assert!(String::from_utf8(made.stdout).unwrap().starts_with("\"cookies.dat\" created\nThere were 2 strings\n"));
    assert_eq!(run("unstr", &["cookies"]).stdout, b"a\n%\nb\n%\n");
    // As with getopt(3), the last one applies.
    let twice = run("strfile", &["-s", "-c@", "-s", "-c", "%", "-oo", "cookies"]);
    assert!(twice.status.success() && twice.stdout.is_empty() && twice.stderr.is_empty(), "{twice:?}");
    assert_eq!(run("unstr", &["-c@", "-c.", "cookies"]).stdout, b"a\n.\nb\n.\n");
    for name in ["strfile", "unstr"] {
        let said = String::from_utf8(run(name, &["nothing"]).stderr).unwrap();
        assert!(said.starts_with(&format!("{name}: cannot read nothing")) && said.lines().count() == 1, "{said}");
        let wrong = run(name, &[]);
        assert_eq!(wrong.status.code(), Some(2));
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert!(
            said.starts_with(&format!("{name}: ")) && said.ends_with(&format!("; see `{name} --help`\n")),
            "{said}"
        );
        let version = run(name, &["--version"]).stdout;
        assert_eq!(String::from_utf8(version).unwrap(), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_random_order_is_a_permutation_with_its_flag() {
    let folder = Folder::new("strfile-random");
    folder.file("cookies", fs::read(repository().join("target/peers/usr/share/games/fortunes/cookie")).unwrap());
    let read = || {
        let index = fs::read(folder.path().join("cookies.dat")).unwrap();
        let mut numbers: Vec<_> =
            index.chunks(4).map(|octets| u32::from_be_bytes(octets.try_into().unwrap())).collect();
        let offsets = numbers.split_off(6);
        (numbers, offsets)
    };
    assert!(tool(&["strfile", "-s", "cookies"], folder.path()).status.success());
    let (plain_header, plain) = read();
    assert!(tool(&["strfile", "-rs", "cookies"], folder.path()).status.success());
    let (header, mut offsets) = read();
    assert_eq!((header[4], &header[..4]), (1, &plain_header[..4]));
    assert_eq!(offsets.last(), plain.last());
    assert_ne!(offsets, plain);
    offsets.sort_unstable();
    assert_eq!(offsets, plain);
    // An index of Debian's, which lists the end of the file as a text, can be read.
    assert!(debian("strfile", &["-rs", "cookies"], folder.path()).status.success());
    let printed = tool(&["unstr", "cookies"], folder.path());
    assert!(printed.status.success(), "{printed:?}");
    let sorted = |text: &[u8]| {
        let mut texts: Vec<_> = String::from_utf8_lossy(text).split("\n%\n").map(str::to_owned).collect();
        texts.sort();
        texts.retain(|text| !matches!(text.trim(), "" | "%"));
        texts
    };
    let cookies = fs::read(folder.path().join("cookies")).unwrap();
    assert!(sorted(&printed.stdout) == sorted(&[&cookies[..], b"%\n"].concat()), "texts are missing");
}

/// Debian 12's unstr takes every index for a corrupted one: it expects `fread` to count octets, but it counts items. It prints all
/// texts only with -c. With an `fread` that counts octets it prints every text, and then looks for more.
#[test]
fn unstr_prints_what_debians_would() {
    let folder = Folder::new("strfile-unstr");
    let source = folder.file(
        "fread.c",
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n\
         size_t fread(void *to, size_t size, size_t n, FILE *from) {\n\
         size_t (*real)(void *, size_t, size_t, FILE *) = dlsym(RTLD_NEXT, \"fread\");\n\
         return size * real(to, size, n, from); }\n",
    );
    let library = folder.path().join("fread.so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(compiled.success());
    for path in collections() {
        folder.file("cookies", fs::read(&path).unwrap());
        assert!(tool(&["strfile", "-os", "cookies"], folder.path()).status.success());
        for delimiter in ["-c%", "-cX"] {
            let ours = tool(&["unstr", delimiter, "cookies.dat"], folder.path());
            assert!(ours.status.success() && ours.stderr.is_empty(), "{ours:?}");
            let mut theirs = Command::new(repository().join("target/peers/usr/bin/unstr"));
            theirs.args([delimiter, "cookies.dat"]).current_dir(folder.path()).env("LD_PRELOAD", &library);
            let theirs = theirs.output().unwrap();
            assert!(!ours.stdout.is_empty() && ours.stdout == theirs.stdout, "{}", path.display());
        }
        let ours = tool(&["unstr", "cookies", "out"], folder.path());
        assert!(ours.status.success() && ours.stdout.is_empty(), "{ours:?}");
        let printed = tool(&["unstr", "cookies"], folder.path()).stdout;
        assert!(fs::read(folder.path().join("out")).unwrap() == printed);
        fs::remove_file(folder.path().join("out")).unwrap();
    }
}

/// Asserts that an error is one sentence with `words` and this exit code, and that it leaves no file behind.
fn assert_mistake(folder: &Folder, arguments: &[&str], code: i32, words: &str) {
    let list = || {
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let output = tool(arguments, folder.path());
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {log}");
    assert!(log.contains(words), "{arguments:?}: no {words:?} in {log:?}");
    assert!(code == 2 || log.lines().count() == 1, "{log:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(list(), before, "{arguments:?} left something behind");
}

#[test]
fn errors_are_one_sentence_and_leave_no_file_behind() {
    let folder = Folder::new("strfile-mistakes");
    folder.file("cookies", "one\n%\ntwo\n");
    folder.file("binary", "one\0\n%\ntwo\n");
    folder.file("cut", "one\n");
    folder.file("cut.dat", "\0\0\0\x02");
    folder.file("plain", "one\n%\ntwo\n");
    assert!(tool(&["strfile", "-s", "plain"], folder.path()).status.success());
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (arguments, code, words) in [
        (&["strfile"][..], 2, "SOURCE"),
        (&["strfile", "-Z", "cookies"], 2, "-Z"),
        (&["strfile", "-c", "xy", "cookies"], 2, "one ASCII character"),
        (&["strfile", "-c", "é", "cookies"], 2, "one ASCII character"),
        (&["strfile", "nothing"], 1, "nothing: No such file"),
        (&["strfile", "binary"], 1, "NUL"),
        (&["strfile", "fifo"], 1, "regular file"),
        (&["strfile", "."], 1, "regular file"),
        (&["strfile", "cookies", "fifo"], 1, "regular file"),
        (&["strfile", "cookies", "cookies"], 1, "the cookie file itself"),
        (&["strfile", "cookies", "nowhere/cookies.dat"], 1, "nowhere/cookies.dat"),
        (&["unstr"], 2, "SOURCE"),
        (&["unstr", "cookies"], 1, "cookies.dat: No such file"),
        (&["unstr", "nothing"], 1, "nothing: No such file"),
        (&["unstr", "cut"], 1, "cut short"),
        (&["unstr", "plain"], 1, "nothing to do"),
        (&["unstr", "-cX", "plain.dat", "./plain"], 1, "the cookie file itself"),
    ] {
        assert_mistake(&folder, arguments, code, words);
    }
}

#[test]
fn a_large_file_shows_its_progress_on_a_terminal_only() {
    let folder = Folder::new("strfile-progress");
    let texts: Vec<_> = (0..1100).map(|number| format!("{number} {}\n%\n", "x".repeat(62_000))).collect();
    folder.file("cookies", texts.concat());
    let command = format!("{} strfile -o cookies", program("small-services").display());
    let terminal = Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .current_dir(folder.path())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(terminal.stdout).unwrap();
    assert!(terminal.status.success(), "{shown}");
    for words in ["MiB of 65.", "% in order", "There were 1100 strings"] {
        assert!(shown.contains(words), "no {words:?} in {shown:?}");
    }
    let pipe = tool(&["strfile", "-o", "cookies"], folder.path());
    assert!(pipe.status.success() && pipe.stderr.is_empty());
    assert!(!String::from_utf8(pipe.stdout).unwrap().contains("order"));
}

#[test]
fn an_index_replaces_the_old_one_but_no_link() {
    let folder = Folder::new("strfile-output");
    folder.file("cookies", "one\n%\ntwo\n");
    let target = folder.file("target", "old");
    fs::set_permissions(&target, Permissions::from_mode(0o6751)).unwrap();
    let reader = File::open(&target).unwrap();
    assert!(tool(&["strfile", "-s", "cookies", "target"], folder.path()).status.success());
    assert_eq!(reader.metadata().unwrap().len(), 3, "who reads the old one goes on");
    let index = fs::read(&target).unwrap();
    assert_eq!(index.len(), 24 + 3 * 4);
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o751, "what it said of readers and writers holds");
    for leads_to in ["target", "nothing", "/dev/null", "cookies"] {
        let link = folder.path().join("link");
        symlink(leads_to, &link).unwrap();
        assert_mistake(&folder, &["strfile", "cookies", "link"], 1, "link is a symbolic link");
        assert_mistake(&folder, &["unstr", "-c.", "cookies", "link"], 1, "link is a symbolic link");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(leads_to));
        fs::remove_file(link).unwrap();
    }
    assert_eq!(fs::read(&target).unwrap(), index);
}

/// In another user's directory, the name alternates between a link to `precious`, a file that everyone may write to, and so on
/// until the test ends.
fn swap(directory: &Path, precious: &Path, over: &AtomicBool) {
    let (new, out) = (directory.join("new"), directory.join("out"));
    while !over.load(Ordering::Relaxed) {
        symlink(precious, &new).unwrap();
        fs::rename(&new, &out).unwrap();
        let file = File::create(&new).unwrap();
        fchown(&file, NOBODY, NOBODY).unwrap();
        file.set_permissions(Permissions::from_mode(0o666)).unwrap();
        fs::rename(&new, &out).unwrap();
    }
}

const NOBODY: Option<u32> = Some(65534);

#[test]
fn as_root_in_a_directory_of_another_user_it_replaces_no_file_of_roots_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can become another user
    }
    let folder = Folder::new("strfile-links");
    let precious = folder.file("precious", "root's own");
    fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(&precious).unwrap();
    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("cookies"), "one\n%\ntwo\n").unwrap();
    chown(&theirs, NOBODY, NOBODY).unwrap();
    assert!(tool(&["strfile", "-s", "cookies"], &theirs).status.success());
    for arguments in [&["strfile", "-s", "cookies", "out"][..], &["unstr", "-c.", "cookies", "out"]] {
        let over = AtomicBool::new(false);
        let codes: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| swap(&theirs, &precious, &over));
            let codes = (0..300).map(|_| tool(arguments, &theirs).status.code()).collect();
            over.store(true, Ordering::Relaxed);
            codes
        });
        let after = fs::metadata(&precious).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "root's own", "{arguments:?}");
        assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "{arguments:?}");
        assert!([0, 1].iter().all(|&code| codes.contains(&Some(code))), "it saw only the link, or only the file");
        // The permissions of that user's file do not apply to a file of root.
        fs::remove_file(theirs.join("out")).unwrap();
        let open = File::create(theirs.join("out")).unwrap();
        fchown(&open, NOBODY, NOBODY).unwrap();
        open.set_permissions(Permissions::from_mode(0o666)).unwrap();
        assert!(tool(arguments, &theirs).status.success());
        let made = fs::metadata(theirs.join("out")).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o002), (0, 0), "{arguments:?}: anybody may write to it");
    }
}
