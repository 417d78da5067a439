//! fortune(6)'s options, compared with Debian's fortune-mod on Debian's collections.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Folder, Process, program, repository};

fn collections() -> PathBuf {
    repository().join("target/peers/usr/share/games/fortunes")
}

fn run(command: &mut Command, arguments: &[&str]) -> Output {
    let command = command.args(arguments).env("LC_ALL", "C.UTF-8").env_remove("FORTUNE_PATH").stdin(Stdio::null());
    command.output().unwrap()
}

/// Debian's program, which finds its collections only by full paths, since they are not installed.
fn theirs(arguments: &[&str]) -> Output {
    run(&mut Command::new(repository().join("target/peers/usr/games/fortune")), arguments)
}

/// `qotd`, started under that name.
fn ours(arguments: &[&str]) -> Output {
    run(Command::new(program("qotd")).arg0("fortune"), arguments)
}

fn qotd(arguments: &[&str]) -> Output {
    run(&mut Command::new(program("qotd")), arguments)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A file or directory in a folder, as an argument.
fn within(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// A cookie file with its index.
fn indexed(folder: &Path, name: &str, cookies: &str, options: &[&str]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, cookies).unwrap();
    let made =
        run(Command::new(program("small-services")).arg("strfile").args(options), &["-s", path.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    path
}

#[test]
fn the_same_files_are_listed_with_the_same_percentages() {
    let directory = collections();
    let (all, art, cookie) = (directory.to_str().unwrap(), &within(&directory, "art"), &within(&directory, "cookie"));
    for arguments in [
        &[all][..],
        &[art],
        &[art, cookie],
        &["-e", art, cookie],
        &["30%", art, cookie],
        &["30%", art, "70%", cookie],
        &["0%", art, cookie],
        &[&format!("30%{art}"), cookie],
        &["-e", "30%", art, cookie],
        &["-o", all],
        &["-a", all],
    ] {
        let arguments = [&["-f"], arguments].concat();
        let shares = |output: &Output| -> BTreeMap<String, f64> {
            let parts = |line: &str| {
                let (share, name) = line.split_once("% ").expect("a share first");
                (name.to_owned(), share.trim().parse().expect("a number"))
            };
            text(&output.stderr).lines().map(parts).collect()
        };
        let (theirs, ours) = (theirs(&arguments), ours(&arguments));
        assert!(theirs.status.success() && ours.status.success(), "{arguments:?}: {theirs:?} {ours:?}");
        let (expected, actual) = (shares(&theirs), shares(&ours));
        assert!(expected.keys().eq(actual.keys()), "{arguments:?}: {actual:?} beside {expected:?}");
        // fortune-mod also counts the few texts with control characters.
        let near = |name: &String| (actual[name] - expected[name]).abs() < 0.1;
        assert!(expected.keys().all(near), "{arguments:?}: {actual:?} beside {expected:?}");
        assert!(ours.stdout.is_empty());
        let listed = qotd(&[&["--max-length", "0"], &arguments[..]].concat());
        assert_eq!(text(&listed.stdout), text(&ours.stderr), "under its own name, the list is what was asked for");
    }
}

/// The fortunes of each file in the output of `-m`, and the exit code. Both streams are read as one.
fn matches(fortune: &Path, arguments: &[&str]) -> (Option<i32>, BTreeMap<String, BTreeSet<String>>) {
    let mut files = BTreeMap::new();
    let output = run(Command::new("sh").args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(fortune), arguments);
    let mut name = String::new();
    for part in text(&output.stdout).split("\n%\n").filter(|part| !part.is_empty()) {
        if part.starts_with('(') && part.ends_with(')') && !part.contains('\n') {
            part.clone_into(&mut name);
            files.entry(name.clone()).or_insert_with(BTreeSet::new);
        } else if !part.chars().any(|it| it.is_control() && !matches!(it, '\t' | '\n' | '\u{8}')) {
            // fortune-mod prints control characters; ours never does. Normalized: tabs and line ends are white space, and an
            // overstruck letter stays as one letter.
            let plain: String = part.chars().filter(|it| !"\u{8}_'\"^`,~".contains(*it)).collect();
            files.get_mut(&name).expect("a name first").insert(plain.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    (output.status.code(), files)
}

#[test]
fn the_same_fortunes_match() {
    let folder = Folder::new("fortune-matches");
    let fortune = folder.path().join("fortune");
    std::os::unix::fs::symlink(program("qotd"), &fortune).unwrap();
    let theirs = repository().join("target/peers/usr/games/fortune");
    let directory = collections();
    let mut found = 0;
    for (pattern, options) in [
        ("zebra", &[][..]),
        ("ZEBRA", &["-i"]),
        ("no such words anywhere", &[]),
        (r"^The [a-m][a-z]* \(of\|in\) ", &[]),
        ("th.*of$", &[]),
        (r"unix\.", &["-i"]),
        ("ee*k", &[]),
        ("colou?rs*", &[]),
        ("free+dom", &[]),
        (r"e\{2\}", &[]),
        ("naïve", &[]),
        ("computer", &["-l", "-n", "1000"]),
        ("time", &["-s", "-n", "55"]),
    ] {
        // fortune-mod counts octets, ours characters, and a text of exactly the limit is neither short nor long for fortune-mod.
        // With these files the answer does not depend on it.
        for file in ["art", "computers", "definitions", "science", "wisdom"] {
            let path = within(&directory, file);
            let arguments = [options, &["-m", pattern, &path]].concat();
            let (code, expected) = matches(&theirs, &arguments);
            let (our_code, actual) = matches(&fortune, &arguments);
            let of = |files: &BTreeMap<_, BTreeSet<String>>| files.values().flatten().cloned().collect::<BTreeSet<_>>();
            let differing: Vec<_> = of(&expected).symmetric_difference(&of(&actual)).cloned().collect();
            assert!(differing.is_empty() && expected.keys().eq(actual.keys()), "{arguments:?}: {differing:#?}");
            assert_eq!(our_code, code, "{arguments:?}");
            found += expected.values().map(BTreeSet::len).sum::<usize>();
        }
    }
    assert!(found > 200, "only {found} matches to compare");
}

#[test]
fn the_file_of_a_fortune_is_shown_by_the_same_name() {
    let folder = Folder::new("fortune-file");
    let file = indexed(folder.path(), "dir/one", "the only one\n", &[]);
    for arguments in [["-c", file.to_str().unwrap()], ["-c", &within(folder.path(), "dir")]] {
        let (theirs, ours) = (theirs(&arguments), ours(&arguments));
        assert_eq!(text(&ours.stdout), text(&theirs.stdout));
        assert_eq!(ours.status, theirs.status);
    }
    // Each fortune is from the file that is named.
    let directory = collections();
    for seed in 0..20 {
        let chosen = text(&qotd(&["--seed", &seed.to_string(), "-c", directory.to_str().unwrap()]).stdout);
        let (name, fortune) = chosen.split_once("\n%\n").expect("a name first");
        let file = fs::read(directory.join(name.trim_matches(['(', ')']))).unwrap();
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fortune = words(fortune);
        assert!(words(&text(&file).replace(['\u{8}', '_'], "")).contains(&fortune.replace('_', "")), "{chosen}");
    }
    assert!(text(&qotd(&["-c"]).stdout).starts_with("(built-in)\n%\n"));
}

#[test]
fn one_fortune_takes_few_descriptors_however_many_files_there_are() {
    // As many as the per-connection unit allows.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 16 && exec \"$@\"", "sh"]).arg(program("qotd"));
    let output = run(&mut command, &[collections().to_str().unwrap()]);
    assert!(output.status.success() && !output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_cannot_be_read_in_a_directory_is_left_out() {
    let folder = Folder::new("fortune-left-out");
    folder.file("good", "good\n");
    folder.file("nul", "\0\n");
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    let output = qotd(&[folder.path().to_str().unwrap()]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "good\n".to_owned()));
    let log = text(&output.stderr);
    assert!(log.lines().count() == 2 && log.contains("/nul") && log.contains("/dangling"), "{log}");
}

#[test]
fn an_index_that_lists_too_few_texts_is_detected() {
    let folder = Folder::new("fortune-too-few");
    let file = folder.file("cookies", "one\r\n%\r\ntwo\r\n%\r\nthree\r\n");
    // Debian's strfile sees one text here.
    let made =
        run(&mut Command::new(repository().join("target/peers/usr/bin/strfile")), &["-s", file.to_str().unwrap()]);
    assert!(made.status.success());
    let chosen: BTreeSet<_> =
        (0..50).map(|seed| text(&qotd(&["--seed", &seed.to_string(), file.to_str().unwrap()]).stdout)).collect();
    assert_eq!(chosen, ["one\n", "two\n", "three\n"].map(str::to_owned).into());
}

#[test]
fn errors_have_the_same_words_and_exit_codes() {
    let directory = collections();
    let (art, cookie) = (&within(&directory, "art"), &within(&directory, "cookie"));
    for arguments in [
        &["-m", "["][..],
        &["50%", art, "60%", cookie],
        &["50%"],
        &["50%", art],
        &["100%", art, cookie],
        &["101%", art],
        &["nope"],
    ] {
        let (theirs, ours) = (theirs(arguments), ours(arguments));
        let (words, expected) = (text(&ours.stderr), text(&theirs.stderr));
        assert!(words.starts_with(expected.trim_end()), "{arguments:?}: {words:?} beside {expected:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}");
        assert!(ours.stdout.is_empty() && theirs.stdout.is_empty());
    }
    for arguments in [&["-z"][..], &["-n"], &["-m"]] {
        assert_eq!(ours(arguments).status.code(), theirs(arguments).status.code(), "{arguments:?}");
    }
    // Under its own name it names the next step, and its exit codes are those of grep(1).
    assert_eq!(qotd(&["-m", "no such words anywhere"]).status.code(), Some(1));
    assert_eq!(qotd(&["-m", "the"]).status.code(), Some(0));
    let bad = qotd(&["-m", "["]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("grep(1)"), "{bad:?}");
}

#[test]
fn a_short_fortune_is_no_longer_than_the_limit_and_a_long_one_is() {
    let folder = Folder::new("fortune-length");
    let file = folder.file("cookies", format!("{}\n%\n{}\n%\nünique\n", "x".repeat(159), "x".repeat(160)));
    let printed = |options: &[&str]| {
        let output = qotd(&[options, &["-m", "", file.to_str().unwrap()]].concat());
        text(&output.stdout).split("\n%\n").map(|it| it.chars().count()).filter(|&it| it > 0).collect::<Vec<_>>()
    };
    assert_eq!(printed(&[]), [159, 160, 6]);
    assert_eq!(printed(&["-s"]), [159, 6], "the line end counts");
    assert_eq!(printed(&["-l"]), [160]);
    assert_eq!(printed(&["-s", "-n", "7"]), [6]);
    assert_eq!(printed(&["-l", "-n", "7"]), [159, 160]);
    assert_eq!(printed(&["-l", "-s", "-n", "7"]), [6], "the last one holds");
    // It ends if no fortune is short enough; fortune(6) would not.
    let output = ours(&["-s", "-n", "1", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = format!("No fortunes found in {}: 3 longer than 1 characters (-s)\n", file.display());
    assert_eq!(text(&output.stderr), said);
}

#[test]
fn the_hosts_collections_are_found() {
    let folder = Folder::new("fortune-path");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    indexed(&first, "common", "common one\n%\ncommon two\n", &[]);
    indexed(&first, "off/rude", "ehqr\n", &["-x"]);
    indexed(&first, "de/deutsch", "auf deutsch\n", &[]);
    indexed(&second, "common", "of the second\n", &[]);
    indexed(&second, "other", "other\n", &[]);
    fs::write(second.join("without an index"), "not indexed\n").unwrap();
    let path = format!("{}:{}:/no/such/directory", first.display(), second.display());
    let found = |command: &mut Command, arguments: &[&str]| {
        let output = run(command, &[arguments, &["-m", ""]].concat());
        text(&output.stdout).split_terminator("\n%\n").map(str::to_owned).collect::<Vec<_>>()
    };
    let fortune = |arguments: &[&str]| {
        found(Command::new(program("qotd")).arg0("fortune"), &[&["--fortune-path", &path], arguments].concat())
    };
    assert_eq!(fortune(&[]), ["common one", "common two", "of the second", "other"]);
    assert_eq!(fortune(&["all"]), fortune(&[]));
    assert_eq!(fortune(&["-o"]), ["rude"], "in plain text");
    assert_eq!(fortune(&["-a"]), ["common one", "common two", "rude", "of the second", "other"]);
    assert_eq!(fortune(&["common"]), ["common one", "common two"], "the first directory comes first");
    assert_eq!(fortune(&["other", "off"]), ["other", "rude"]);
    let listed = ours(&["-f", "--fortune-path", &path, "40%", "all", "other"]);
    assert!(
        text(&listed.stderr).contains("60.00% ") && text(&listed.stderr).contains("    20.00% common"),
        "{listed:?}"
    );

    // Under its own name it needs no index, and uses its own fortunes by default.
    let service = |arguments: &[&str]| found(&mut Command::new(program("qotd")), arguments);
    assert!(service(&["--fortune-path", &path]).contains(&"not indexed".to_owned()));
    assert!(service(&["--fortune-path", &path, "all"]).contains(&"not indexed".to_owned()));
    assert!(service(&[]).len() > 300);

    let variable = |name: &str, value: &str| {
        let mut command = Command::new(program("qotd"));
        command.arg0("fortune").args(["-m", ""]).env("FORTUNE_PATH", &path).env("LC_ALL", "C.UTF-8").env(name, value);
        text(&command.stdin(Stdio::null()).output().unwrap().stdout)
    };
    assert!(variable("FORTUNE_PATH", second.to_str().unwrap()).starts_with("of the second"));
    assert!(variable("LC_ALL", "de_AT.UTF-8").starts_with("auf deutsch\n%\nof the second"));
    assert!(variable("LC_ALL", "../..").contains("common two"));
    assert_eq!(variable("FORTUNE_PATH", "/no/such/directory"), "");
}

#[test]
fn rotated_fortunes_are_printed_as_debians_prints_them() {
    let folder = Folder::new("fortune-rotated");
    let file = indexed(folder.path(), "rude", "Bssrafvir, ohg abg ernyyl.\n", &["-x"]);
    let path = [file.to_str().unwrap()];
    assert_eq!(text(&ours(&path).stdout), "Offensive, but not really.\n");
    assert_eq!(ours(&path).stdout, theirs(&path).stdout);
}

/// The output of `fortune` with only these locale variables, with ` | ` between texts.
fn in_locale(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = Command::new(program("qotd"));
    command.arg0("fortune").args(arguments).args(["-m", ""]).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if matches!(name.to_str(), Some(name) if name.starts_with("LC_") || name.starts_with("LANG")) {
            command.env_remove(name);
        }
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    text(&output.stdout).trim_end_matches("\n%\n").replace("\n%\n", " | ")
}

#[test]
fn without_a_locale_and_in_the_locale_c_utf_8_is_printed_and_in_another_character_set_ascii_only() {
    let folder = Folder::new("fortune-locale");
    let file = folder.file("cookies", "plain\n%\nünicode\n");
    let printed = |name: &str, locale: &str, options: &[&str]| {
        in_locale(&[(name, locale)], &[options, &[file.to_str().unwrap()]].concat())
    };
    for all in ["de_DE.UTF-8", "de_DE.utf8", "C.UTF-8", "C", "POSIX", ""] {
        for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
            assert_eq!(printed(name, all, &[]), "plain | ünicode", "{name}={all}");
        }
    }
    for ascii in ["de_DE.ISO-8859-15@euro", "ru_RU.KOI8-R", "de_DE"] {
        for name in ["LC_ALL", "LC_CTYPE", "LANG"] {
            assert_eq!(printed(name, ascii, &[]), "plain", "{name}={ascii}");
        }
        assert_eq!(printed("LC_MESSAGES", ascii, &[]), "plain | ünicode", "it is for languages");
        assert_eq!(printed("LANGUAGE", ascii, &[]), "plain | ünicode", "it is for languages");
        assert_eq!(printed("LC_ALL", ascii, &["-u"]), "plain | ünicode");
        assert_eq!(printed("LC_ALL", ascii, &["--charset", "utf-8"]), "plain | ünicode");
    }
    assert_eq!(printed("LC_ALL", "C.UTF-8", &["--charset", "ascii"]), "plain");
}

#[test]
fn without_a_locale_the_terminal_s_iutf8_flag_decides() {
    let folder = Folder::new("fortune-terminal");
    let file = folder.file("cookies", "plain\n%\nünicode\n");
    for (reads, locale, expected) in
        [("iutf8", "C", true), ("-iutf8", "C", false), ("-iutf8", "", false), ("-iutf8", "C.UTF-8", true)]
    {
        let script = format!(
            "stty {reads} && LC_ALL={locale} && export LC_ALL && unset LANG LC_CTYPE && exec -a fortune {} -m '' {}",
            program("qotd").display(),
            file.display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &script, "/dev/null"]).env("SHELL", "/bin/bash").stdin(Stdio::null());
        let shown = text(&command.output().unwrap().stdout);
        assert!(shown.contains("plain\r\n") && shown.contains("ünicode") == expected, "{reads} {locale}: {shown:?}");
    }
}

#[test]
fn collections_are_looked_for_in_the_languages_of_the_reader_first() {
    let folder = Folder::new("fortune-languages");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    indexed(&first, "common", "common\n", &[]);
    indexed(&first, "de/common", "gemeinsam\n", &[]);
    indexed(&first, "de/zitate", "ein Zitat\n", &[]);
    indexed(&first, "pt_BR/common", "comum\n", &[]);
    indexed(&first, "off/rude", "ehqr\n", &["-x"]);
    indexed(&first, "off/de/rude", "tebo\n", &["-x"]);
    fs::create_dir(first.join("eo")).unwrap();
    indexed(&first, "off/es/off/rude", "onfgb\n", &["-x"]);
    indexed(&second, "fr/proverbes", "un proverbe\n", &[]);
    let path = format!("{}:{}", first.display(), second.display());
    // The same directory by another path is listed once.
    std::os::unix::fs::symlink("first", folder.path().join("link")).unwrap();
    let path = format!("{}:{path}", folder.path().join("link").display());
    let fortune = |variables: &[(&str, &str)], arguments: &[&str]| {
        in_locale(variables, &[&["--fortune-path", &path], arguments].concat())
    };
    // The variable that applies.
    let german = ("LANG", "de_DE.UTF-8");
    assert_eq!(fortune(&[german], &[]), "gemeinsam | ein Zitat");
    assert_eq!(fortune(&[german, ("LANGUAGE", "pt_BR:de")], &[]), "comum");
    assert_eq!(fortune(&[german, ("LANGUAGE", "eo:pt:de")], &[]), "gemeinsam | ein Zitat");
    assert_eq!(fortune(&[german, ("LANGUAGE", "pt_BR"), ("LC_MESSAGES", "C")], &[]), "common");
    assert_eq!(fortune(&[("LC_ALL", "pt_BR.UTF-8"), ("LC_MESSAGES", "de")], &[]), "comum");
    assert_eq!(fortune(&[("LC_ALL", ""), ("LC_MESSAGES", "de_AT")], &[]), "gemeinsam | ein Zitat");
    assert_eq!(fortune(&[("LC_CTYPE", "de_DE.UTF-8")], &[]), "common", "it is for characters");
    // By name.
    assert_eq!(fortune(&[german], &["zitate"]), "ein Zitat");
    assert_eq!(fortune(&[german], &["common"]), "gemeinsam");
    assert_eq!(fortune(&[], &["common"]), "common");
    assert_eq!(fortune(&[], &["zitate"]), "", "it is of another language");
    assert_eq!(fortune(&[], &["de/zitate"]), "ein Zitat");
    assert_eq!(fortune(&[german, ("LANGUAGE", "fr:de")], &["proverbes", "zitate"]), "un proverbe | ein Zitat");
    assert_eq!(fortune(&[("LANG", "../second/fr")], &["proverbes"]), "");
    // The offensive ones.
    assert_eq!(fortune(&[], &["-o"]), "rude");
    assert_eq!(fortune(&[("LANG", "eo")], &[]), "common", "there is nothing in it");
    assert_eq!(fortune(&[german], &["-o"]), "grob");
    assert_eq!(fortune(&[german], &["-a"]), "gemeinsam | ein Zitat | grob");
    assert_eq!(fortune(&[german], &["off/rude"]), "rude");
    assert_eq!(fortune(&[("LANG", "es_ES.UTF-8")], &["-o"]), "rude", "there are only directories in it");
    // Under its own name as well.
    let service =
        run(Command::new(program("qotd")).env("LANG", "C"), &["--fortune-path", &path, "--charset", "ascii", "common"]);
    assert_eq!(text(&service.stdout), "common\n");
}

#[test]
fn it_waits_long_enough_to_read_the_fortune() {
    let mut process =
        Process::start(Command::new(program("qotd")).arg("-w").stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut fortune = [0; 10];
    process.0.stdout.as_mut().unwrap().read_exact(&mut fortune).unwrap();
    assert!(process.0.try_wait().unwrap().is_none(), "it has ended already");
    assert!(process.wait().success());
}

#[test]
fn a_client_gets_no_listing() {
    for option in [&["-f"][..], &["-m", "the"], &["-c"], &["-w"]] {
        for name in ["qotd", "fortune"] {
            let (mut client, server) = support::connection();
            let mut command = Command::new(program("qotd"));
            command.arg0(name).args(option).stdin(server.try_clone().unwrap()).stdout(server).stderr(Stdio::piped());
            let (code, log) = Process::start(&mut command).log();
            drop(command);
            assert_eq!(code, Some(1), "{log}");
            assert!(log.contains("do not apply to a service"), "{log}");
            assert_eq!(support::read_all(&mut client), b"");
        }
    }
}

#[test]
fn under_the_name_fortune_a_client_gets_any_length_and_plain_line_ends() {
    let folder = Folder::new("fortune-client");
    let long = "a line of a long fortune\n".repeat(100);
    let file = indexed(folder.path(), "cookies", &long, &[]);
    let (mut client, server) = support::connection();
    let mut command = Command::new(program("qotd"));
    command.arg0("/usr/games/fortune").arg(&file).stdin(server.try_clone().unwrap()).stdout(server);
    let mut process = Process::start(&mut command);
    drop(command);
    assert_eq!(text(&support::read_all(&mut client)), long);
    drop(client);
    assert!(process.wait().success());
}

#[test]
fn make_install_adds_the_names_if_asked() {
    let folder = Folder::new("fortune-install");
    let make = |arguments: &[&str]| {
        let destination = format!("DESTDIR={}", folder.path().display());
        let output = Command::new("make").arg("-s").args(arguments).arg(destination).current_dir(repository()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let links = [("games/fortune", "qotd"), ("bin/strfile", "small-services"), ("bin/unstr", "small-services")].map(
        |(name, leads_to)| (folder.path().join("usr/local").join(name), Path::new("/usr/local/bin").join(leads_to)),
    );
    make(&["install"]);
    assert!(links.iter().all(|(link, _)| !link.is_symlink() && !link.exists()));
    make(&["install", "FORTUNE=yes"]);
    for (link, leads_to) in &links {
        assert_eq!(fs::read_link(link).unwrap(), *leads_to);
    }
    make(&["uninstall"]);
    for (link, _) in &links {
        assert!(!link.is_symlink());
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(link, "of another package").unwrap();
    }
    make(&["uninstall"]);
    assert!(links.iter().all(|(link, _)| link.exists()));
}
