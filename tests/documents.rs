//! The documents: what they name is there.

#[path = "documents/policies.rs"]
mod policies;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use small_services::services::{self, Row};
use support::repository;

#[test]
fn every_test_that_a_document_names_is_there() {
    let mut named = 0;
    for document in ["docs/threat-model.md", "docs/testing.md"] {
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
    says("README.md", head, "\nEnable one socket of a pair", &list(table, ""));
    says("docs/installing.md", "systemctl try-restart ", "-daemon.service", &support::units());
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
        ": one file per RFC",
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
        // Those that look for it.
        if !["tests/documents.rs", "tests/pages/commands"].contains(&name)
            && fs::read(&file).unwrap().windows(6).any(|word| word == b"systat")
        {
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
    let list = page.split("## Modules").nth(1).unwrap().split("\n\nArrows").next().unwrap();
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
