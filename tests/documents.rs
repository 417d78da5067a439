//! The documents: what they name is there.

mod support;

use std::fs;
use std::process::Command;

use small_services::fortune::DIRECTORIES;
use support::repository;

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
fn the_directories_of_distributions_are_shown_to_the_unit_and_named_in_the_pages() {
    let unit = fs::read_to_string(repository().join("units/fortune@.service")).unwrap();
    let shown: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("BindReadOnlyPaths=-")).collect();
    assert_eq!(shown, DIRECTORIES);
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for directory in DIRECTORIES {
        assert!(readme.contains(&format!("`{directory}`")), "README.md: {directory}");
    }
}

#[test]
fn nc_is_called_as_each_of_them_understands_it() {
    let mut called = 0;
    for document in ["README.md", "docs/operating.md", "src/activation/listen.rs"] {
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
            .args(["tree", "--quiet", "--locked", "--offline", "--features", "services,web", "--prefix", "none"])
            .args(["--edges", "normal,no-proc-macro", "--format", "{p}", "--target", target])
            .current_dir(repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
            if name != env!("CARGO_PKG_NAME") {
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
