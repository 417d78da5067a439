//! The documents: what they name is there.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use hunker::Rule;
use small_services::fortune::DIRECTORIES;
use small_services::policy::Io;
use small_services::services::{self, Row};
use support::{audit, repository};

#[test]
fn every_test_that_a_document_names_is_there() {
    let mut named = 0;
    for document in ["docs/threat-model.md", "README.md"] {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        for (file, rest) in text.split('`').filter_map(|code| code.strip_prefix("tests/")?.split_once("::")) {
            let path = repository().join("tests").join(file);
            let tests = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{document} names {}", path.display()));
            // Written out, or made by a macro from its name.
            let there = tests.contains(&format!("fn {rest}(")) || tests.contains(&format!("    {rest} \""));
            assert!(there, "{document} names {rest} in {file}");
            named += 1;
        }
    }
    assert!(named >= 20, "only {named} tests are named");
}

#[test]
fn the_directories_of_distributions_are_named_in_the_pages() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for directory in DIRECTORIES {
        assert!(readme.contains(&format!("`{directory}`")), "README.md: {directory}");
    }
}

#[test]
fn nc_is_called_as_each_of_them_understands_it() {
    let mut called = 0;
    let pages = ["README.md", "docs/operating.md", "docs/troubleshooting.md"];
    for document in pages.into_iter().chain(["src/runtime/activation/listen.rs"]) {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        for option in ["nc -d", "nc -N"] {
            assert!(!text.contains(option), "{document}: only OpenBSD's knows `{option}`");
        }
        called += text.matches("</dev/null").count();
    }
    assert!(called >= 5, "{called}");
}

#[test]
fn the_notice_names_all_that_is_linked_with_its_licence() {
    let notice = fs::read_to_string(repository().join("NOTICE")).unwrap();
    let mut linked = 0;
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--quiet", "--locked", "--offline", "--workspace", "--prefix", "none"])
            .args(["--edges", "normal,no-proc-macro", "--format", "{p}", "--target", target])
            .current_dir(repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
            // Not ours, which are in folders.
            if !line.contains(" (/") {
                let entry = format!("{name} {}", version.trim_start_matches('v'));
                // In the list, and above a text.
                assert!(notice.contains(&format!("\n{entry}: ")), "{entry}");
                assert!(
                    notice.lines().any(|line| line.split(", ").any(|word| word == entry)),
                    "the licence of {entry}"
                );
                linked += 1;
            }
        }
    }
    assert!(linked >= 100, "only {linked} crates");
    for other in ["The GNU C Library: LGPL-2.1-or-later", "The Rust standard library: MIT or Apache-2.0"] {
        assert!(notice.contains(other), "{other}");
    }
    assert!(notice.contains("GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 2.1"));
}

/// The parameters of the calls in the policies, as in section 2 of the manual.
fn parameters(call: &str) -> &'static [&'static str] {
    match call {
        "accept4" => &["sockfd", "addr", "addrlen", "flags"],
        "clock_gettime" => &["clockid", "tp"],
        // As the kernel takes them, which the page of clone(2) calls the raw system call.
        "clone" => &["flags", "stack", "parent_tid", "child_tid", "tls"],
        "close_range" => &["first", "last", "flags"],
        "dup3" => &["oldfd", "newfd", "flags"],
        "epoll_ctl" => &["epfd", "op", "fd", "event"],
        "epoll_pwait" | "epoll_wait" => &["epfd", "events", "maxevents", "timeout", "sigmask"],
        "fcntl" => &["fd", "op"],
        "close" | "fstat" | "getdents64" | "pread64" | "read" | "write" => &["fd"],
        "kill" => &["pid", "sig"],
        "landlock_restrict_self" => &["ruleset_fd", "flags"],
        "prctl" => &["op", "arg2"],
        "prlimit64" => &["pid", "resource", "new_limit", "old_limit"],
        "seccomp" => &["operation", "flags", "args"],
        "wait4" => &["pid", "wstatus", "options", "rusage"],
        "openat" => &["dirfd", "path", "flags", "mode"],
        "ppoll" => &["fds", "nfds", "timeout", "sigmask"],
        "recvfrom" => &["sockfd", "buf", "size", "flags", "src_addr", "addrlen"],
        "recvmmsg" | "sendmmsg" => &["sockfd", "msgvec", "vlen", "flags"],
        "sendto" => &["sockfd", "buf", "size", "flags", "dest_addr", "addrlen"],
        "setsockopt" => &["sockfd", "level", "optname", "optval", "optlen"],
        "shutdown" => &["sockfd", "how"],
        _ => &[],
    }
}

/// A rule as a line of the page.
fn line(rule: &Rule) -> String {
    let names = parameters(rule.call().name());
    let number = |value: u32| match value {
        0xffff_ff9c => "AT_FDCWD".to_owned(),
        0..16 => value.to_string(),
        _ => format!("{value:#x}"),
    };
    let pins = rule.pins().iter().map(|pin| {
        let name = names[usize::from(pin.position())];
        match (pin.min(), pin.max()) {
            (min, max) if min == max => format!("{name} = {}", number(min)),
            (min, u32::MAX) => format!("{name} ≥ {}", number(min)),
            (min, max) => format!("{name} = {} to {}", number(min), number(max)),
        }
    });
    let pins = if rule.pins().is_empty() { "any".to_owned() } else { pins.collect::<Vec<_>>().join(", ") };
    format!("| `{}` | {pins} | {} |\n", rule.call().name(), rule.reason())
}

fn policies() -> String {
    let mut programs: Vec<(String, BTreeMap<&str, Vec<&str>>)> = Vec::new();
    for (service, peer) in audit::combinations() {
        let rules = audit::rules(service, peer).filter(|rule| rule.call().name() != "fcntl"); // of debug builds
        let table: String = rules.map(line).collect();
        let peer_name = match peer {
            Io::Connection => "one connection",
            Io::Filter => "a filter",
            Io::Listeners => "one process for all, over TCP",
            Io::Sockets => "one process for all, over TCP and UDP",
            Io::ListenersAndFiles => "one process for all, over TCP, with files",
            Io::SocketsAndFiles => "one process for all, over TCP and UDP, with files",
            Io::Keeper => "the keeper, which makes a process for each connection",
            Io::KeeperAndFiles => "the keeper, with files",
            Io::Datagrams => "a process for datagrams",
            Io::DatagramsAndFiles => "a process for datagrams, with files",
        };
        let known = programs.iter().position(|(known, _)| *known == table).unwrap_or_else(|| {
            programs.push((table, BTreeMap::new()));
            programs.len() - 1
        });
        programs[known].1.entry(peer_name).or_default().push(service);
    }
    programs.iter().fold(include_str!("policies.md").to_owned(), |page, (table, services)| {
        let services = services.iter().map(|(peer, services)| format!("{} ({peer})", services.join(", ")));
        let services = services.collect::<Vec<_>>().join("; ");
        format!("{page}\n## {services}\n\n| call | arguments | so that it can |\n|---|---|---|\n{table}")
    })
}

#[test]
fn the_page_of_policies_shows_the_rules_that_the_programs_have() {
    let path = repository().join("docs/policies.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, policies()).unwrap();
    }
    assert_eq!(
        policies(),
        fs::read_to_string(&path).unwrap(),
        "write docs/policies.md anew: UPDATE=yes tests/run documents"
    );
}

#[test]
fn the_units_are_what_the_table_and_the_templates_make() {
    let folder = repository().join("units");
    let rendered: BTreeMap<String, String> = small_services::units::files().into_iter().collect();
    if std::env::var_os("UPDATE").is_some() {
        for (name, text) in &rendered {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in &rendered {
        let there = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            *text == there,
            "units/{name} is not what they make: edit units/templates, and `make units` writes it anew"
        );
    }
    // And no others: not those of a service that is no longer in the table.
    for directory in ["", "super-servers", "super-servers/xinetd.d"] {
        for entry in fs::read_dir(folder.join(directory)).unwrap().map(|entry| entry.unwrap()) {
            let path = Path::new(directory).join(entry.file_name());
            let by_hand = ["system-smallservices.slice", "tmpfiles.conf", "super-servers/apparmor"];
            let by_hand = by_hand.map(Path::new).contains(&path.as_path());
            let known = by_hand || entry.path().is_dir() || rendered.contains_key(path.to_str().unwrap());
            assert!(known, "units/{} is of no service in the table: remove it", path.display());
        }
    }
}

/// Puts what the table says into a document, after `start` and before `end`, or asserts that it is there.
fn says(document: &str, start: &str, end: &str, said: &str) {
    let path = repository().join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(start).unwrap_or_else(|| panic!("{document}: no {start:?}"));
    let (there, after) = rest.split_once(end).unwrap_or_else(|| panic!("{document}: no {end:?} after {start:?}"));
    if std::env::var_os("UPDATE").is_some() && there != said {
        fs::write(&path, [before, start, said, end, after].concat()).unwrap();
    } else {
        assert_eq!(there, said, "{document} is not what the table of services says: UPDATE=yes tests/run documents");
    }
}

#[test]
fn the_documents_name_the_services_of_the_table() {
    let rows: Vec<Row> = services::all().collect();
    let list = |field: fn(&Row) -> String, between: &str| rows.iter().map(field).collect::<Vec<_>>().join(between);
    let table: fn(&Row) -> String = |row| {
        let only = if row.udp { "" } else { ", TCP only" };
        format!(
            "| {} | {} | {} | `{unit}.socket` | `{unit}-daemon.socket`{only} | {} |\n",
            row.title,
            row.rfc,
            row.port,
            row.sentence,
            unit = row.unit
        )
    };
    let head = "| what it does |\n|---|----:|-----:|---|---|---|\n";
    says("README.md", head, "\nStarting one of a pair", &list(table, ""));
    says("README.md", "systemctl try-restart ", "-daemon.service", &support::units());
    says("docs/operating.md", "tcp dport { ", " } ct", &list(|row| row.port.to_string(), ", "));
    says(
        "docs/troubleshooting.md",
        "systemctl list-sockets ",
        " 'lunchd*'",
        &list(|row| format!("'{}*'", row.unit), " "),
    );
    says(
        "docs/architecture.md",
        "src/protocol/          ",
        ": one file an RFC",
        &list(|row| row.program.to_owned(), ", "),
    );
}

#[test]
fn cargo_builds_a_program_for_each_service_of_the_table() {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    for Row { program, .. } in services::all() {
        let entry = format!("[[bin]]\nname = \"{program}\"\ntest = false\n");
        // qotd is what `cargo install` installs as well.
        let entry = if program == "qotd" { entry } else { entry + "required-features = [\"services\"]\n" };
        assert!(manifest.contains(&entry), "Cargo.toml has not:\n{entry}");
    }
}

/// The pages that people read in the repository.
fn pages() -> Vec<(String, String)> {
    let top =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "crates/hunker/README.md"].map(str::to_owned);
    let docs = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let docs = docs.map(|path| path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
    let read = |path: String| (path.clone(), fs::read_to_string(repository().join(path)).unwrap());
    top.into_iter().chain(docs).map(read).collect()
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn every_link_and_path_of_a_page_leads_somewhere() {
    let mut followed = 0;
    for (page, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.contains(char::is_whitespace)) {
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

#[test]
fn the_commands_for_contributors_are_there() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (makefile, suites) = (read("Makefile"), read("tests/run"));
    let mut named = 0;
    for page in ["CONTRIBUTING.md", "docs/testing.md", "README.md", "SECURITY.md"] {
        let text = read(page);
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

/// The example for those who add a service.
#[test]
fn the_files_that_name_systat_are_those_that_contributors_are_told_of() {
    let page = fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    let mut waiting = ["src", "tests", "units/templates"].map(|path| repository().join(path)).to_vec();
    let mut files = ["services", "Cargo.toml"].map(|path| repository().join(path)).to_vec();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
            let into = if entry.file_type().unwrap().is_dir() { &mut waiting } else { &mut files };
            into.push(entry.path());
        }
    }
    let mut named = 0;
    for file in files {
        let name = file.strip_prefix(repository()).unwrap().to_str().unwrap();
        // This one, which looks for it.
        if name != "tests/documents.rs" && fs::read(&file).unwrap().windows(6).any(|word| word == b"systat") {
            assert!(page.contains(&format!("`{name}`")), "CONTRIBUTING.md does not say that {name} names systat");
            named += 1;
        }
    }
    assert!(named >= 10, "{named} files");
}

/// A room's files, with what they use of other rooms.
fn rooms() -> BTreeMap<String, Vec<(String, String)>> {
    let source = repository().join("src");
    let mut waiting = vec![source.clone()];
    let mut rooms: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    while let Some(directory) = waiting.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let file = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
            let room = file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap_or_default();
            let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let used = rooms.entry(room).or_default();
            for rest in code.split("crate::").skip(1) {
                let list = rest.strip_prefix('{').and_then(|list| list.split('}').next()).unwrap_or(rest);
                let names = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
                for name in names {
                    let name = name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                    used.push((file.clone(), name.to_owned()));
                }
            }
        }
    }
    rooms
}

#[test]
fn the_rooms_use_each_other_as_the_arrows_of_the_page_say() {
    let page = fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let arrows = page.split("\n\n").find(|paragraph| paragraph.contains(" → ") && paragraph.contains("internals"));
    let arrows: Vec<Vec<_>> = arrows
        .expect("arrows")
        .split('→')
        .map(|rooms| rooms.split(',').map(|room| room.trim().to_owned()).collect())
        .collect();
    let height = |room: &str| arrows.iter().position(|rooms| rooms.iter().any(|known| known == room));
    let list = page.split("## The rooms").nth(1).unwrap().split("\n\nArrows").next().unwrap();
    for (room, used) in rooms() {
        let written = [format!("src/{room}.rs"), format!("src/{room}/")];
        assert!(written.iter().any(|path| list.contains(path)), "docs/architecture.md does not name src/{room}");
        // The crate's page is no room: it shows them all.
        if matches!(room.as_str(), "lib" | "bin") {
            continue;
        }
        let own = height(&room).unwrap_or_else(|| panic!("{room} has no place in docs/architecture.md"));
        for (file, other) in used.iter().filter(|(_, other)| *other != room) {
            let below = height(other).is_some_and(|height| height > own);
            assert!(below, "src/{file} uses {other}, against the arrows of docs/architecture.md");
        }
    }
    // And no others: each file that the page names is there.
    for path in list.split_whitespace().filter(|word| word.starts_with("src/") || word.starts_with("crates/")) {
        let path = path.trim_end_matches(',').replace("NAME", "qotd");
        assert!(repository().join(&path).exists(), "docs/architecture.md names {path}");
    }
}
