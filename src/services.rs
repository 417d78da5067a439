//! The table of the services, `services` in the repository: what a program, its units and the tests have to know of each.
//!
//! It is a part of the programs. What a small program needs of it, the compiler reads; at run time nobody parses it but
//! `small-services`.

use std::iter;

/// The table, as make reads it too.
const TABLE: &str = include_str!("../services");

/// A service, as its line has it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name of the program.
    pub program: &'static str,
    /// The name of its units, without what follows it: `@.service`, `-daemon.socket`.
    pub unit: &'static str,
    /// Of TCP, and of UDP.
    pub port: u16,
    /// The number of its RFC.
    pub rfc: u16,
    /// After how many seconds of silence a client is closed.
    pub idle: u16,
    /// How long a connection lasts.
    pub kind: Kind,
    /// Whether it serves UDP without being asked to.
    pub udp: bool,
    /// Whether the files for other super-servers serve it as they are.
    pub shipped: bool,
    /// What of the host's files its units show it, by name.
    pub files: Option<&'static str>,
    /// Its name in the RFC.
    pub title: &'static str,
    /// What it does, in some words.
    pub sentence: &'static str,
    /// What it is and does, for `--help`.
    about: Text,
}

/// How long a connection lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Until the reply is sent.
    Reply,
    /// Until the client closes.
    Stream,
}

impl Kind {
    /// As the table has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Reply { "reply" } else { "stream" }
    }
}

impl Row {
    /// What it is and does: `Echo (RFC 862): sends back what it receives`.
    #[must_use]
    pub const fn about(&'static self) -> &'static str {
        str_of(self.about.octets.split_at(self.about.length).0)
    }
}

/// A service by the name of its program.
///
/// # Panics
///
/// If there is no such service: then a program does not compile.
#[must_use]
pub const fn row(program: &str) -> Row {
    let mut left = TABLE.as_bytes();
    while let Some((row, rest)) = next(left) {
        if same(row.program, program) {
            return row;
        }
        left = rest;
    }
    panic!("there is no such service in the table")
}

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = Row> {
    let mut left = TABLE.as_bytes();
    iter::from_fn(move || {
        let (row, rest) = next(left)?;
        left = rest;
        Some(row)
    })
}

/// A mistake in the table does not compile.
const _: () = {
    let mut left = TABLE.as_bytes();
    while let Some((_, rest)) = next(left) {
        left = rest;
    }
};

/// The first row of what is left of the table, and what comes after it.
const fn next(mut left: &'static [u8]) -> Option<(Row, &'static [u8])> {
    while let [first, ..] = left {
        let (line, rest) = cut(left, b'\n');
        if *first != b'#' {
            return Some((parse(line), rest));
        }
        left = rest;
    }
    None
}

const fn parse(line: &'static [u8]) -> Row {
    let (program, rest) = field(line);
    let (unit, rest) = field(rest);
    let (port, rest) = field(rest);
    let (rfc, rest) = field(rest);
    let (idle, rest) = field(rest);
    let (kind, rest) = field(rest);
    let (udp, rest) = field(rest);
    let (shipped, rest) = field(rest);
    let (files, rest) = field(rest);
    let (title, rest) = field(rest);
    let (sentence, rest) = field(rest);
    assert!(rest.is_empty(), "a row has more fields than the table has columns");
    Row {
        program,
        unit,
        port: number(port),
        rfc: number(rfc),
        idle: number(idle),
        kind: if either(kind, "reply", "stream") { Kind::Reply } else { Kind::Stream },
        udp: either(udp, "yes", "asked"),
        shipped: either(shipped, "on", "off"),
        files: if same(files, "-") { None } else { Some(files) },
        title,
        sentence,
        about: Text::new().with(title).with(" (RFC ").with(rfc).with("): ").with(sentence),
    }
}

/// A field, and those after it.
const fn field(line: &'static [u8]) -> (&'static str, &'static [u8]) {
    let (field, rest) = cut(line, b'\t');
    assert!(!field.is_empty(), "a row has fewer fields than the table has columns");
    (str_of(field), rest)
}

/// What is before the first `end`, and what is after it.
const fn cut(octets: &'static [u8], end: u8) -> (&'static [u8], &'static [u8]) {
    let mut at = 0;
    while at < octets.len() && octets[at] != end {
        at += 1;
    }
    let (before, rest) = octets.split_at(at);
    if let [_, after @ ..] = rest { (before, after) } else { (before, rest) }
}

const fn str_of(octets: &'static [u8]) -> &'static str {
    if let Ok(text) = std::str::from_utf8(octets) { text } else { panic!("the table is not UTF-8") }
}

const fn number(field: &str) -> u16 {
    if let Ok(number) = u16::from_str_radix(field, 10) { number } else { panic!("a field of the table is no number") }
}

/// Whether a field is the first of the two words that it may be.
const fn either(field: &str, one: &str, other: &str) -> bool {
    assert!(same(field, one) || same(field, other), "a field of the table is none of the words that it may be");
    same(field, one)
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A text that the compiler puts together.
#[derive(Clone, Copy)]
struct Text {
    octets: [u8; 128],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Self { octets: [0; 128], length: 0 }
    }

    const fn with(mut self, more: &str) -> Self {
        let more = more.as_bytes();
        let mut at = 0;
        while at < more.len() {
            self.octets[self.length] = more[at];
            self.length += 1;
            at += 1;
        }
        self
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.octets[..self.length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_field_by_field() {
        const ROW: Row = row("chargen");
        assert_eq!((ROW.program, ROW.unit, ROW.port, ROW.rfc, ROW.idle), ("chargen", "chargen", 19, 864, 60));
        assert_eq!((ROW.kind, ROW.udp, ROW.shipped, ROW.files), (Kind::Stream, false, false, None));
        assert_eq!(ROW.about(), "Character Generator (RFC 864): sends lines of characters until the client closes");
        assert_eq!(row("qotd").files, Some("fortunes"));
    }

    #[test]
    fn no_two_services_share_a_name_a_port_or_an_rfc() {
        let rows: Vec<_> = all().collect();
        assert!(rows.len() >= 6);
        for (at, one) in rows.iter().enumerate() {
            for other in &rows[..at] {
                assert!(one.program != other.program && one.unit != other.unit, "{one:?} and {other:?}");
                assert!(one.port != other.port && one.rfc != other.rfc, "{one:?} and {other:?}");
            }
        }
    }
}
