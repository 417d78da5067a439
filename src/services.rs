//! The table of the services, the file `services` in the repository: the facts that programs, units and tests share.
//!
//! Small programs read it at compile time. Only `small-services` parses it at run time.

use std::iter;

/// The table, which make also reads.
const TABLE: &str = include_str!("../services");

/// A service: one line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The name of the program.
    pub program: &'static str,
    /// The name of its units, without a suffix such as `@.service` or `-daemon.socket`.
    pub unit: &'static str,
    /// The port, for TCP and UDP.
    pub port: u16,
    /// The number of its RFC.
    pub rfc: u16,
    /// After how many seconds without activity a connection is closed.
    pub idle: u16,
    /// How long a connection lasts.
    pub kind: Kind,
    /// Whether it serves UDP by default.
    pub udp: bool,
    /// Whether the shipped files for other super-servers enable it.
    pub shipped: bool,
    /// The host's files that its units show it: NAME in units/templates/parts/files-NAME.conf.
    pub files: Option<&'static str>,
    /// Its name in the RFC.
    pub title: &'static str,
    /// What it does, in a few words.
    pub sentence: &'static str,
    /// Title, RFC and sentence, for `--help`.
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
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self == Self::Reply { "reply" } else { "stream" }
    }
}

impl Row {
    /// Title, RFC and sentence: `Echo (RFC 862): sends back what it receives`.
    #[must_use]
    pub const fn about(&'static self) -> &'static str {
        str_of(self.about.octets.split_at(self.about.length).0)
    }
}

/// The service with this program.
///
/// # Panics
///
/// If there is none. In a constant, this is a compile error.
#[must_use]
pub const fn row(program: &str) -> Row {
    let mut left = TABLE.as_bytes();
    while let Some((row, rest)) = next(left) {
        if same(row.program, program) {
            return row;
        }
        left = rest;
    }
    panic!("the table has no such service")
}

/// All services, in the order of the table.
pub fn all() -> impl Iterator<Item = Row> {
    let mut left = TABLE.as_bytes();
    iter::from_fn(move || {
        let (row, rest) = next(left)?;
        left = rest;
        Some(row)
    })
}

/// A mistake in the table is a compile error.
const _: () = {
    let mut left = TABLE.as_bytes();
    while let Some((_, rest)) = next(left) {
        left = rest;
    }
};

/// The first row of the rest of the table, and what follows it.
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

/// A field, and the fields after it.
const fn field(line: &'static [u8]) -> (&'static str, &'static [u8]) {
    let (field, rest) = cut(line, b'\t');
    assert!(!field.is_empty(), "a row has fewer fields than the table has columns");
    (str_of(field), rest)
}

/// The octets before the first `end`, and those after it.
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
    if let Ok(number) = u16::from_str_radix(field, 10) {
        number
    } else {
        panic!("a field of the table is not a number")
    }
}

/// Whether a field is the first of its two possible words.
const fn either(field: &str, one: &str, other: &str) -> bool {
    assert!(same(field, one) || same(field, other), "a field of the table is neither of its two possible words");
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

/// A text that is built at compile time.
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
