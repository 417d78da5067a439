//! The words of pages, comments, help, messages and tests' names: the field's own, and none of those that had to be read twice.

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
    "build.rs",
    "fuzz/fuzz_targets",
    "fuzz/src",
    "tests",
    "benches",
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
    // One event has one wording on the log.
    (r"\bgoing on with\b|\bkeeping the previous\b", "continuing with"),
    (r"\b(was|were) read again\b", "reloaded"),
    (r"\btrying again every\b", "retrying every"),
    (
        r"\blive_for_all\b|\bGuarded\b|\btell_destinations\b|\bwake_up_for\b|\bManner\b",
        "the names of docs/architecture.md",
    ),
];

/// A file, and a phrase in it that is right.
const LEGITIMATE: &[(&str, &str)] = &[
    // fortune(6)'s own message.
    ("src/protocol/qotd.rs", "no place to put residual probability"),
    ("tests/collections.rs", "no place to put residual probability"),
    ("benches/support/machine.rs", "wall-clock"),
    // The head of a data file, and marks in templates.
    ("tests/walls/map.rs", "act,family"),
    ("tests/walls/page.rs", "@acts"),
    ("tests/walls/page.md", "@acts"),
    ("tests/kernels/page.md", "@acts"),
    // Names of units, after that of the suite.
    ("tests/walls/units.rs", "wall"),
];

/// The length of a string literal up to the quotation mark that ends it.
fn closing(literal: &str) -> usize {
    let mut is_escaped = false;
    let ends = |it: char| {
        let ends = it == '"' && !is_escaped;
        is_escaped = it == '\\' && !is_escaped;
        ends
    };
    literal.find(ends).unwrap()
}

/// The parts of a Rust source that people read: its comments, its string literals, and the names of its functions as sentences.
fn parts(source: &str) -> Vec<String> {
    let (mut comments, mut parts) = (String::new(), Vec::new());
    let character = Regex::new(r"^'(\\.[^']*|[^'\\])'").unwrap();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let hashes = rest.strip_prefix('r').map(|raw| raw.len() - raw.trim_start_matches('#').len());
        let length = if rest.starts_with("//") {
            let line = rest.lines().next().unwrap();
            comments += line.trim_start_matches(['/', '!']);
            comments.push('\n');
            line.len()
        } else if let Some(hashes) = hashes.filter(|hashes| rest[1 + hashes..].starts_with('"')) {
            let begin = hashes + 2;
            let length = rest[begin..].find(&format!("\"{}", "#".repeat(hashes))).unwrap();
            parts.push(rest[begin..begin + length].to_owned());
            begin + length + 1 + hashes
        } else if let Some(literal) = rest.strip_prefix('"') {
            let length = closing(literal);
            parts.push(literal[..length].replace("\\\n", " ").replace("\\n", " "));
            length + 2
        } else if first == '\'' {
            // A character, which may be a quotation mark, or else a lifetime.
            character.find(rest.get(..16).unwrap_or(rest)).map_or(1, |found| found.end())
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    // What a format fills in is code, and a single word is a name.
    let filled_in = Regex::new(r"\{[^}]*\}").unwrap();
    let mut parts: Vec<_> = parts.iter().map(|part| filled_in.replace_all(part, "").into_owned()).collect();
    let names = Regex::new(r"\bfn (\w+)").unwrap();
    parts.extend(names.captures_iter(source).map(|name| name[1].replace('_', " ")));
    parts.retain(|part| part.trim().contains(char::is_whitespace));
    parts.push(comments);
    parts
}

/// What is neither code nor an address, in one line.
fn prose(text: &str) -> String {
    let code = Regex::new(r"```[\s\S]*?```|`[^`]*`|\]\([^)]*\)").unwrap();
    code.replace_all(text, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether people read a file as prose: not data, pictures, licences and code of other languages, nor this file, which has the words.
fn is_read(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap();
    let is_prose = ["md", "rs", "conf", "service", "socket", "1", "5", "6", "7", "8"].contains(&extension);
    (is_prose && !["tests/LGPL-2.1", "tests/words.rs"].contains(&name)) || name.starts_with("man/templates/parts")
}

/// The prose of a file.
fn read(path: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let is_source = path.extension().is_some_and(|extension| extension == "rs");
    let parts = if is_source { parts(&text) } else { vec![text] };
    let phrases = LEGITIMATE.iter().filter(|(file, _)| *file == name);
    let allowed = |part: &String| phrases.clone().fold(prose(part), |part, (_, phrase)| part.replace(phrase, ""));
    parts.iter().map(allowed).collect()
}

#[test]
fn a_source_has_comments_literals_and_names() {
    let source = r##"
        /// Says `it`.
        fn says_it<'a>(mark: char) -> bool { // too
            mark == '"' || name("one word") && panic!("{it} is \"in\" \
                two lines") || r#"a "raw" text"# == "word"
        }"##;
    let parts: Vec<_> = parts(source).iter().map(|part| prose(part)).collect();
    let expected = ["one word", r#"is \"in\" two lines"#, r#"a "raw" text"#, "says it", "Says . too"];
    assert_eq!(parts, expected);
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
        if !is_read(name) {
            continue;
        }
        for text in read(&path, name) {
            for (no, yes) in &words {
                found.extend(no.find_iter(&text).map(|it| {
                    let from = text[..it.start()].char_indices().rev().nth(30).map_or(0, |(at, _)| at);
                    format!("{name}: {:?}, in {:?}: {yes}", it.as_str(), &text[from..it.end()])
                }));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
