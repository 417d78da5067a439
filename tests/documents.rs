//! The documents: what they name is there.

mod support;

use std::fs;

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
