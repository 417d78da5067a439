//! The pages: README is short, links lead somewhere, here and as installed, and commands are run.

mod support;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use regex_lite::Regex;
use small_services::fortune::DIRECTORIES;
use support::page::{LISTED, commands, listed};
use support::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages that people read in the repository.
fn pages() -> Vec<(String, String)> {
    let others = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "crates/hunker/README.md",
        "crates/lunchd/README.md",
        "docs/data/README.md",
    ];
    let docs = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let docs = docs.map(|path| path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
    let paths = others.map(str::to_owned).into_iter().chain(docs);
    paths.map(|path| (path.clone(), read(&path))).collect()
}

#[test]
fn readme_is_short() {
    let readme = read("README.md");
    assert!(readme.lines().count() < 200, "{} lines: move something into docs/", readme.lines().count());
    assert!(readme.split_whitespace().count() <= 1600, "{} words", readme.split_whitespace().count());
}

#[test]
fn the_index_lists_every_page_once() {
    let index = read("docs/README.md");
    for (page, _) in pages().iter().filter(|(page, _)| page.starts_with("docs/") && page != "docs/README.md") {
        let name = page.strip_prefix("docs/").unwrap();
        assert_eq!(index.matches(&format!("]({name})")).count(), 1, "docs/README.md: {page}");
    }
}

/// The number in a cell of docs/benchmarks.md, such as `0.70` of `| a byte | echo, BSD inetd | 0.70 GiB/s |`.
fn measured(row: &str) -> String {
    let page = read("docs/benchmarks.md");
    let (_, rest) =
        page.split_once(&format!("\n| {row} | ")).unwrap_or_else(|| panic!("docs/benchmarks.md: no {row:?}"));
    rest.split(' ').next().unwrap().to_owned()
}

/// Asserts that a page says something, or has it say so: what the pattern finds are the older figures.
fn says(page: &str, pattern: &str, said: &str) {
    let text = read(page);
    let pattern = Regex::new(pattern).unwrap();
    let there = pattern.find(&text).unwrap_or_else(|| panic!("{page}: nothing like {said:?}"));
    if std::env::var_os("UPDATE").is_some() && there.as_str() != said {
        fs::write(repository().join(page), text.replacen(there.as_str(), said, 1)).unwrap();
    } else {
        assert_eq!(there.as_str(), said, "{page}: UPDATE=yes tests/run pages");
    }
}

#[test]
fn the_picture_and_the_figures_of_the_pages_are_those_of_the_benchmarks() {
    let drawn = Command::new(repository().join("docs/draw")).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(repository().join("docs/three-ways.svg"), &drawn).unwrap();
    }
    assert_eq!(drawn, read("docs/three-ways.svg"), "draw it anew: make pictures");
    let rates = drawn.lines().filter(|line| line.contains("class=\"rate\""));
    let rates: Vec<_> = rates.map(|line| line.split(['<', '>']).nth(2).unwrap()).collect();
    let [unit, forked, shared] = rates[..] else { panic!("{rates:?}") };
    says(
        "README.md",
        r"Three ways to serve: [\d,]+, [\d,]+ and [\d,]+ connections per second",
        &format!("Three ways to serve: {unit}, {forked} and {shared} connections per second"),
    );
    says(
        "README.md",
        r"[\d,]+ connections per second; [\d,]+ with a unit per connection, [\d,]+ with `--shared`",
        &format!("{forked} connections per second; {unit} with a unit per connection, {shared} with `--shared`"),
    );
    says(
        "docs/operating.md",
        r"\(`benches/run keeper`\) \| [\d,]+ \| [\d,]+ \| [\d,]+ \|",
        &format!("(`benches/run keeper`) | {unit} | {forked} | {shared} |"),
    );
    let [inetd, xinetd, ours] =
        ["BSD inetd", "xinetd", "a process for it"].map(|it| measured(&format!("a byte | echo, {it}")));
    says("README.md", r"echo passes [\d.]+ GiB/s, here [\d.]+", &format!("echo passes {inetd} GiB/s, here {ours}"));
    says("README.md", r"echo passes [\d.]+ GiB/s \|", &format!("echo passes {xinetd} GiB/s |"));
    let ratios = fs::read_dir(repository().join("docs/data")).unwrap().filter_map(|entry| {
        let data = fs::read_to_string(entry.unwrap().path()).unwrap();
        let (_, row) = data.split_once("\nwhole / plain,ratio,")?;
        Some(row.split(',').next().unwrap().parse::<f64>().unwrap())
    });
    let (least, most) = ratios.fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(it), most.max(it)));
    says(
        "README.md",
        r"[\d.]+ to [\d.]+ times the processor time",
        &format!("{least:.2} to {most:.2} times the processor time"),
    );
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// The links of a page to other files, and to its own headings.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.contains("://") && !link.contains(char::is_whitespace))
}

#[test]
fn every_link_and_path_of_a_page_leads_somewhere() {
    let mut followed = 0;
    for (page, text) in pages() {
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let directory = repository().join(&page).parent().unwrap().to_owned();
            let path = if path.is_empty() { repository().join(&page) } else { directory.join(path) };
            assert!(path.exists(), "{page}: {link}");
            if !heading.is_empty() {
                let there = fs::read_to_string(&path).unwrap();
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor(line) == heading), "{page}: {link}");
            }
            followed += 1;
        }
        // And every path that a page names, but for those that are made.
        for path in text.split('`').filter_map(|code| code.split("::").next()) {
            let rooms = ["benches", "crates", "data", "docs", "examples", "fuzz", "src", "tests", "units"];
            let is_ours = path.split_once('/').is_some_and(|(room, _)| rooms.contains(&room));
            if is_ours && !path.contains(char::is_whitespace) && !["fuzz/artifacts", "src/main.rs"].contains(&path) {
                assert!(repository().join(path).exists(), "{page}: {path}");
                followed += 1;
            }
        }
    }
    assert!(followed >= 200, "{followed} links and paths");
}

/// A path without `..`, such as `docs/../README.md` has.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{}", path.display()),
            part => plain.push(part),
        }
        plain
    })
}

/// What `make install` puts into its docdir, by its path there and here.
fn installed() -> Vec<PathBuf> {
    let mut make = Command::new("make");
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").current_dir(repository());
    let output = make.args(["--silent", "--eval", "printed: ; @echo $(DOCS)", "printed"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(PathBuf::from).collect()
}

#[test]
fn every_link_leads_somewhere_as_installed() {
    let installed = installed();
    let mut followed = 0;
    for page in installed.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        for link in links(&text) {
            let path = link.split('#').next().unwrap();
            let path = if path.is_empty() { page.clone() } else { plain(&page.parent().unwrap().join(path)) };
            assert!(installed.contains(&path), "{} links to {link}, which is not installed", page.display());
            followed += 1;
        }
    }
    assert!(followed >= 150, "{followed} links");
}

#[test]
fn units_and_manual_pages_lead_to_what_is_installed() {
    let installed = installed();
    let manuals: Vec<String> = fs::read_dir(repository().join("man"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name != "templates")
        .collect();
    let mut followed = 0;
    for entry in fs::read_dir(repository().join("units")).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(text) = fs::read_to_string(&entry) else { continue };
        for link in text.lines().filter_map(|line| line.strip_prefix("Documentation=")).flat_map(str::split_whitespace)
        {
            if let Some((name, section)) = link.strip_prefix("man:").and_then(|link| link.split_once('(')) {
                let file = format!("{name}.{}", section.trim_end_matches(')'));
                assert!(manuals.contains(&file), "{}: {link}", entry.display());
            } else if let Some(path) = link.strip_prefix("file:@docdir@/") {
                assert!(installed.contains(&PathBuf::from(path)), "{}: {link}", entry.display());
            } else {
                assert!(link.starts_with("https://www.rfc-editor.org/rfc/rfc"), "{}: {link}", entry.display());
            }
            followed += 1;
        }
    }
    let file = Regex::new(r"(?:@docdir@/)?([\w./-]+\.md)\b").unwrap();
    let page = Regex::new(r"(?m)^\.BR ((?:small-services|lunchd)[\w-]*) \((\d)\)").unwrap();
    for manual in &manuals {
        let text = read(&format!("man/{manual}")).replace('\\', "");
        for found in file.captures_iter(&text) {
            assert!(installed.contains(&PathBuf::from(&found[1])), "man/{manual}: {}", &found[1]);
            followed += 1;
        }
        for found in page.captures_iter(&text) {
            assert!(manuals.contains(&format!("{}.{}", &found[1], &found[2])), "man/{manual}: {}", &found[0]);
            followed += 1;
        }
    }
    assert!(followed >= 100, "{followed} links");
}

/// The pages, or sections of pages, whose commands a test runs from the first to the last.
const RUN_WHOLE: [(&str, &str, &str); 5] = [
    ("docs/lab.md", "", "tests/lab.rs"),
    ("docs/your-own-service.md", "", "tests/your_own_service.rs"),
    ("docs/testing-networks.md", "", "tests/recipes.rs"),
    ("docs/many-hosts.md", "", "tests/hosts.rs"),
    ("docs/operating.md", "\n## Set up a service\n", "tests/systemd.rs"),
];

/// A page without the commands that a test runs as a whole.
fn not_run_whole(page: &str, content: &str) -> String {
    let Some((_, section, test)) = RUN_WHOLE.iter().find(|(whole, ..)| *whole == page) else {
        return content.to_owned();
    };
    let source = read(test);
    assert!(source.contains(page) && source.contains("blocks("), "{page} is not run");
    if section.is_empty() {
        return String::new();
    }
    let (before, rest) = content.split_once(section).unwrap_or_else(|| panic!("{page}: no section {section:?}"));
    let (_, after) = rest.split_once("\n## ").unwrap_or_default();
    format!("{before}\n{after}")
}

/// A target of make, or a script of `tests`: it is a test itself, or the Makefile has it. Whether it is there, another test asks.
fn is_ours(command: &str) -> bool {
    let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
    words.next().is_some_and(|word| word == "make" || word.starts_with("tests/"))
}

#[test]
fn every_command_of_a_page_is_run_somewhere() {
    let list = listed();
    let mut used = vec![false; list.len()];
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for command in commands(&not_run_whole(&page, &text)).into_iter().filter(|command| !is_ours(command)) {
            match list.iter().position(|row| row.command == command) {
                Some(at) => used[at] = true,
                None => missing.push(format!("{page}: {command}")),
            }
        }
    }
    assert!(missing.is_empty(), "no test runs these; {LISTED} lists those that one runs:\n{}", missing.join("\n"));
    for (row, used) in list.iter().zip(used) {
        assert!(used, "{LISTED} lists {:?}, which is in no page", row.command);
        if row.file == "-" {
            assert!(row.fragment.contains(' '), "{LISTED}: why does no test run {:?}?", row.command);
            continue;
        }
        let text = read(row.file);
        assert!(
            text.contains(row.fragment),
            "{LISTED}: {} does not run {:?}: no {:?}",
            row.file,
            row.command,
            row.fragment
        );
    }
}

#[test]
fn the_commands_for_contributors_are_there() {
    let (makefile, suites) = (read("Makefile"), read("tests/run"));
    let mut named = 0;
    for (page, text) in pages() {
        let blocks = text.split("```sh\n").skip(1).flat_map(|rest| rest.split("```").next().unwrap().lines());
        for command in blocks.chain(text.split('`').skip(1).step_by(2)) {
            let words: Vec<_> = command.split('#').next().unwrap().split_whitespace().collect();
            let [command, rest @ ..] = &words[words.iter().take_while(|word| word.contains('=')).count()..] else {
                continue;
            };
            match (*command, rest) {
                ("make", [target, ..]) if target.chars().all(char::is_lowercase) => {
                    assert!(makefile.contains(&format!("\n{target}:")), "{page}: make {target}");
                }
                ("tests/run", [suite]) if *suite != "FILE" => {
                    assert!(suites.contains(&format!("add {suite} ")), "{page}: tests/run {suite}");
                }
                (script, []) if script.starts_with("tests/") && !script.contains("::") => {
                    assert!(repository().join(script).exists(), "{page}: {script}");
                }
                _ => continue,
            }
            named += 1;
        }
    }
    assert!(named >= 30, "{named} commands");
}

#[test]
fn the_directories_of_distributions_are_named() {
    let page = read("docs/fortunes.md");
    for directory in DIRECTORIES {
        assert!(page.contains(&format!("`{directory}`")), "docs/fortunes.md: {directory}");
    }
}

#[test]
fn nc_is_called_as_each_of_them_understands_it() {
    let mut called = 0;
    let others = ["src/runtime/activation/listen.rs"].map(|path| (path.to_owned(), read(path)));
    // In these, nc is Debian's.
    let of_debian = ["docs/lab.md", "docs/testing-networks.md", "docs/many-hosts.md"];
    for (page, text) in pages().into_iter().chain(others).filter(|(page, _)| !of_debian.contains(&page.as_str())) {
        for option in ["nc -d", "nc -N"] {
            assert!(!text.contains(option), "{page}: only OpenBSD's knows `{option}`");
        }
        called += text.matches("</dev/null").count();
    }
    assert!(called >= 5, "{called}");
}
