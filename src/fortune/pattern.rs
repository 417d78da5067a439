//! fortune(6)'s `-m PATTERN`: translates a basic regular expression, as in grep(1), for the regex crates.

use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

use super::dialect::Dialect;

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("bad pattern: {pattern}: {reason}; use a basic regular expression, as in grep(1)")]
pub struct Error {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    reason: String,
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    ignore_case: bool,
}

impl Pattern {
    /// Whether the text has a match.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        if self.ignore_case { self.regex.is_match(&lower(text)) } else { self.regex.is_match(text) }
    }
}

/// Converts to lower case, which `regex_lite` supports only for ASCII.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Compiles a basic regular expression ([POSIX 9.3](https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap09.html),
/// with GNU's `\|`, `\+`, `\?`, `\w` and the like). As in grep(1), `.` does not match a line end, and `^` and `$` match at the
/// ends of lines. For fortune(6), `+` and `?` are operators without a backslash, and there are no intervals: Debian's uses
/// `re_comp`.
///
/// # Errors
///
/// [`Error`] for invalid expressions and for back-references.
pub fn compile(pattern: &str, ignore_case: bool, dialect: Dialect) -> Result<Pattern, Error> {
    let error = |reason: String| Error { pattern: pattern.to_owned(), reason };
    let folded = if ignore_case { fold(pattern) } else { pattern.to_owned() };
    let translated = translate(&folded, dialect).map_err(|reason| error(reason.to_owned()))?;
    let compiled = RegexBuilder::new(&translated).multi_line(true).build();
    compiled.map(|regex| Pattern { regex, ignore_case }).map_err(|source| {
        // The last line is the reason; the lines above show the translation.
        let reason = source.to_string();
        error(reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })
}

/// The pattern that matches the lower-case form of a text if this pattern matches it regardless of case.
fn fold(pattern: &str) -> String {
    let mut folded = String::new();
    for (index, part) in pattern.split('\\').enumerate() {
        // The letters with a meaning after a backslash.
        let kept = usize::from(index > 0 && part.starts_with(['W', 'S', 'B']));
        folded.extend((index > 0).then_some('\\'));
        folded.push_str(&part[..kept]);
        folded.push_str(&lower(&part[kept..]));
    }
    folded.replace("[:upper:]", "[:alpha:]").replace("[:lower:]", "[:alpha:]")
}

fn translate(pattern: &str, dialect: Dialect) -> Result<String, &'static str> {
    let fortune = dialect == Dialect::Fortune;
    let mut translated = String::new();
    let mut characters = pattern.chars().peekable();
    // Whether an expression begins here, so that `*` is literal and `^` an anchor.
    let mut begins = true;
    while let Some(character) = characters.next() {
        let began = begins;
        begins = false;
        match character {
            '\\' => match characters.next().ok_or("it ends with a backslash")? {
                '(' => {
                    translated.push_str("(?:");
                    begins = true;
                }
                '|' => {
                    translated.push('|');
                    begins = true;
                }
                ')' => translated.push(')'),
                '{' if !fortune && characters.peek() == Some(&',') => translated.push_str("{0"),
                operator @ ('{' | '}' | '+' | '?') if !fortune => translated.push(operator),
                '<' => translated.push_str(r"\b{start}"),
                '>' => translated.push_str(r"\b{end}"),
                '1'..='9' => return Err("back-references are not supported"),
                class @ ('w' | 'W' | 's' | 'S' | 'b' | 'B') => translated.extend(['\\', class]),
                literal => push_literal(literal, &mut translated),
            },
            '*' if !began => translated.push('*'),
            operator @ ('+' | '?') if fortune && !began => translated.push(operator),
            '^' if began => {
                translated.push('^');
                begins = true;
            }
            '$' if ends(&characters) => translated.push('$'),
            '.' => translated.push('.'),
            '[' => bracket(&mut characters, &mut translated)?,
            literal => push_literal(literal, &mut translated),
        }
    }
    Ok(translated)
}

/// Whether an expression ends here, so that `$` is an anchor.
fn ends(rest: &Peekable<Chars>) -> bool {
    let rest: String = rest.clone().take(2).collect();
    matches!(rest.as_str(), "" | r"\)" | r"\|")
}

fn push_literal(character: char, translated: &mut String) {
    translated.push_str(&regex_lite::escape(character.encode_utf8(&mut [0; 4])));
}

/// A bracket expression: `[^]a-z[:digit:]]`.
fn bracket(characters: &mut Peekable<Chars>, translated: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "its [ has no ]";
    translated.push('[');
    if characters.next_if_eq(&'^').is_some() {
        translated.push_str(r"^\n");
    }
    // A range can begin at a character, but not at the end of another range.
    let (mut first, mut range_begins, mut range_ends) = (true, false, false);
    loop {
        let character = characters.next().ok_or(OPEN)?;
        let class = character == '[' && characters.peek() == Some(&':');
        match character {
            ']' if !first => break,
            '[' if class => {
                let name: String = characters.by_ref().skip(1).take_while(char::is_ascii_alphabetic).collect();
                if !CLASSES.contains(&name.as_str()) || characters.next() != Some(']') {
                    return Err("it has an unknown character class");
                }
                translated.extend(["[:", &name, ":]"]);
            }
            '[' if matches!(characters.peek(), Some('.' | '=')) => return Err("it has a collating element"),
            '-' if range_begins && characters.peek() != Some(&']') => {
                translated.push('-');
                (range_begins, range_ends) = (false, true);
                continue;
            }
            other if other.is_ascii_punctuation() => translated.extend(['\\', other]),
            other => translated.push(other),
        }
        range_begins = !range_ends && !class;
        (first, range_ends) = (false, false);
    }
    translated.push(']');
    Ok(())
}

const CLASSES: &[&str] =
    &["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_grep_takes_them_for() {
        for (pattern, matching, other) in [
            ("a+b", "a+b", "aab"),
            (r"a\+b", "aab", "a+b"),
            ("*a", "*a", "a"),
            (r"\(*a\)", "*a", "a"),
            (r"^\(ab\)*c", "ababc", "xc"),
            ("a^b$c", "a^b$c", "ab"),
            (r"x\|^y$", "y", "zy"),
            (r"ab\{2\}c", "abbc", "abc"),
            (r"^ab\{,1\}c", "ac", "abbc"),
            ("a{2}", "a{2}", "aa"),
            (r"[]\x]", "\\", "y"),
            ("[^]a]", "b", "]"),
            ("[[:digit:]-]", "-", "a"),
            ("[a-c]", "b", "-"),
            ("[&&~~[]", "[", "a"),
            ("[+--]", ",", "/"),
            (r"\<end\>", "the end.", "ending"),
            (r"1\.5", "1.5", "125"),
            (r"(x|y)?", "(x|y)?", "x"),
            ("a.b", "a-b", "a\nb"),
            ("one$", "one\ntwo", "oneness"),
            ("^two", "one\ntwo", "one two"),
        ] {
            let regex = compile(pattern, false, Dialect::Service).unwrap_or_else(|error| panic!("{error}"));
            assert!(regex.is_match(matching), "{pattern} should match {matching:?}: {regex:?}");
            assert!(!regex.is_match(other), "{pattern} should not match {other:?}: {regex:?}");
        }
        for (pattern, matching) in [
            ("GRÜSSE", "grüsse"),
            ("grüsse", "GRÜSSE"),
            ("[X-Z][[:upper:]]", "ya"),
            (r"^a\W\(B\)$", "A b"),
            (r"\BD", "nd"),
        ] {
            assert!(compile(pattern, true, Dialect::Service).is_ok_and(|it| it.is_match(matching)), "{pattern}");
        }
        assert!(!compile("a[^b]c", false, Dialect::Service).expect("a pattern").is_match("a\nc"));
    }

    #[test]
    fn fortune_6_has_its_own_operators() {
        for (pattern, matching, other) in
            [("colou?r", "color", "colou?r"), ("the+$", "thee", "th"), (r"e\{2\}", "e{2}", "ee"), (r"a\+", "a+", "aa")]
        {
            let pattern = compile(pattern, false, Dialect::Fortune).expect("a pattern");
            assert!(pattern.is_match(matching) && !pattern.is_match(other), "{pattern:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for pattern in ["[", "[a", r"\(", r"a\", r"\(a\)\1", "[[.a.]]", "[[:nope:]]", r"a\{2"] {
            let error = compile(pattern, false, Dialect::Service).expect_err(pattern).to_string();
            assert!(error.starts_with(&format!("bad pattern: {pattern}: ")), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
