//! The words of the pages, the comments and the help: the field's own, and none of those that had to be read twice.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use support::repository;

/// Where the words are looked at: files, and directories with all that is below them.
const WORDED: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs",
    "man/templates",
    "units/templates",
    "crates",
    "src",
    "examples",
];

/// What is not said, as a pattern, and what is said instead. Some is right in another meaning: LEGITIMATE has these.
const WORDS: &[(&str, &str)] = &[
    (r"\blet(s|ting)? (\S+ ){0,4}go\b|\bis let go\b|\bare let go\b", "close the connection, evict"),
    (r"\bso (many|long)\b", "N, a maximum number; for SECONDS"),
    (r"\bcan(not)? be had\b|\bbe had\b", "is (un)available"),
    (r"\bwho(m)?ever\b", "anyone who"),
    (r"\b(a|all|every|its|of|no) places?\b", "slot, budget"),
    (r"\bma(k|d)(e|es|ing) room\b|\broom for (a|an|another|one)\b", "slot, evict"),
    (r"\b(tak|giv)(e|es|en|ing) (up )?(every|any|all) rights?\b|\bevery right is\b", "drops all privileges"),
    (r"\bprocess(es)? of (its|their|his) own\b", "its own process"),
    (r"\b(service|unit)s? for one connection\b", "per-connection service, a unit per connection"),
    (r"\blook(s|ed|ing)? after\b", "reap, check"),
    (r"\bwalls?\b", "layers, directives"),
    (r"\bacts?\b", "attacks, actions"),
    (r"\bby who\b|\bthat (is|are) there\b|\bsomebody else's\b", "name the subject"),
    (r"\b(many|connections|clients) at a time\b", "concurrent"),
    (
        r"\blive_for_all\b|\bGuarded\b|\btell_destinations\b|\bwake_up_for\b|\bManner\b",
        "the names of docs/architecture.md",
    ),
];

/// A file, and a phrase in it that is right.
const LEGITIMATE: &[(&str, &str)] = &[];

/// Of a source file, the comments; of a page, what is no code and no address.
fn prose(path: &str, text: &str) -> String {
    let comments: String;
    let text = if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
        comments = lines.map(|line| line.trim_start_matches(['/', '!'])).collect::<Vec<_>>().join("\n");
        &comments
    } else {
        text
    };
    let code = Regex::new(r"```[\s\S]*?```|`[^`]*`|\]\([^)]*\)").unwrap();
    let text = code.replace_all(text, " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    LEGITIMATE.iter().filter(|(file, _)| *file == path).fold(text, |text, (_, phrase)| text.replace(phrase, ""))
}

#[test]
fn the_words_are_those_of_the_field() {
    let words: Vec<_> = WORDS.iter().map(|(no, yes)| (Regex::new(&format!("(?i){no}")).unwrap(), yes)).collect();
    let mut waiting: Vec<PathBuf> = WORDED.iter().map(|path| repository().join(path)).collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(repository()).unwrap().to_str().unwrap();
        // The others are data, pictures and code of other languages.
        if !["md", "rs", "conf", "service", "socket", "1", "5", "6", "7", "8"]
            .contains(&name.rsplit('.').next().unwrap())
            && !name.starts_with("man/templates/parts")
        {
            continue;
        }
        let text = prose(name, &fs::read_to_string(&path).unwrap());
        for (no, yes) in &words {
            found.extend(no.find_iter(&text).map(|word| format!("{name}: {:?}: {yes}", word.as_str())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
