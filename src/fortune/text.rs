//! Turns texts of cookie files into fortunes that can be sent.

use std::borrow::Cow;

/// The maximum length of a reply according to RFC 865, in octets with CR LF line ends: fewer than 512.
pub const LONGEST_REPLY: usize = 511;

/// The maximum length of a text without another limit, in octets.
pub const LONGEST_TEXT: usize = 1024 * 1024;

const TAB_STOP: usize = 8;
const BACKSPACE: char = '\u{8}';
const ESCAPE: char = '\u{1b}';

/// The conditions for eligible texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eligible {
    /// The maximum length of a reply, in octets with CR LF line ends; at most [`LONGEST_TEXT`].
    pub longest: usize,
    /// Whether a text must be printable ASCII.
    pub ascii: bool,
    /// The length, for fortune(6)'s `-s` and `-l`.
    pub length: Length,
}

/// The required length of a text, in characters of its file: a tab and a line end are one character each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Any length.
    Any,
    /// At most this length.
    Short(usize),
    /// More than this length.
    Long(usize),
}

impl Length {
    fn allows(self, raw: &[u8]) -> bool {
        let characters = || String::from_utf8_lossy(raw).chars().count();
        match self {
            Self::Any => true,
            Self::Short(max) => characters() <= max,
            Self::Long(min) => characters() > min,
        }
    }
}

impl Eligible {
    /// The conditions of RFC 865, except for the character set.
    pub const RFC_865: Self = Self { longest: LONGEST_REPLY, ascii: false, length: Length::Any };

    /// The maximum length of an eligible text in its file, in octets. An overstruck octet takes three.
    #[must_use]
    pub fn longest_raw(self) -> usize {
        4 * self.longest
    }

    /// Turns the octets of a cookie file into a text that may be sent, with LF line ends; `None` if it is not eligible.
    ///
    /// A text must be UTF-8 with visible characters, and not too long. It may contain neither control characters, which must
    /// not reach a terminal, nor characters that reorder text. Tabs become spaces, CR LF becomes LF, overstruck characters
    /// (underlined or bold on a printer: `_`, backspace, `x`) become plain ones, and colours are removed.
    ///
    /// A text that needs no change, as nearly all, is not copied.
    #[must_use]
    pub fn sendable(self, raw: &[u8]) -> Option<Sendable<'_>> {
        // A longer text may have been cut by the reader.
        if raw.len() > self.longest_raw() {
            return None;
        }
        let text = if raw.ends_with(b"\n") && is_plain(raw) {
            Cow::Borrowed(raw)
        } else {
            printed(std::str::from_utf8(raw).ok()?, self.longest)?
        };
        // Every octet may be a line end, which takes two.
        let fits =
            2 * text.len() <= self.longest || text.len() + memchr::memchr_iter(b'\n', &text).count() <= self.longest;
        let in_character_set = !self.ascii || text.is_ascii();
        (fits && in_character_set && has_visible_text(&text) && self.length.allows(raw)).then_some(Sendable(text))
    }
}

/// A text that may be sent. Only the text that is chosen is converted to a [`str`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable<'a>(Cow<'a, [u8]>);

impl Sendable<'_> {
    /// The text, with LF line ends.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

/// Whether all octets are printable ASCII or LF.
fn is_plain(raw: &[u8]) -> bool {
    // Without an early exit, the compiler vectorizes the loop. The last chunk overlaps the others, which is faster than a loop
    // over the remaining octets.
    const AT_ONCE: usize = 32;
    let plain = |octets: &[u8]| {
        octets.iter().fold(true, |plain, octet| plain & ((*octet == b'\n') | (b' '..=b'~').contains(octet)))
    };
    match raw.last_chunk::<AT_ONCE>() {
        Some(last) => raw.chunks_exact(AT_ONCE).fold(plain(last), |all, octets| all & plain(octets)),
        None => plain(raw),
    }
}

/// A text as it looks when printed; `None` if it contains what must not be sent.
fn printed(raw: &str, longest: usize) -> Option<Cow<'_, [u8]>> {
    let as_it_stands = |character: char| character == '\n' || !(character.is_control() || reorders(character));
    if raw.ends_with('\n') && raw.chars().all(as_it_stands) {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    let mut text = String::with_capacity(raw.len());
    for line in raw.lines() {
        if is_plain(line.as_bytes()) {
            text.push_str(line);
        } else {
            append_line(line, longest, &mut text)?;
        }
        text.push('\n');
    }
    Some(Cow::Owned(text.into_bytes()))
}

fn has_visible_text(text: &[u8]) -> bool {
    let is_seen = |character: char| !character.is_whitespace() && !is_mark(character);
    text.iter().any(u8::is_ascii_graphic) || String::from_utf8_lossy(text).chars().any(is_seen)
}

/// Applies rot13, which is its own inverse: `STR_ROTATED` in strfile(1).
pub fn rotate(octets: &mut [u8]) {
    for octet in octets {
        let first = match octet {
            b'a'..=b'z' => b'a',
            b'A'..=b'Z' => b'A',
            _ => continue,
        };
        *octet = first + (*octet - first + 13) % 26;
    }
}

/// Appends a line as it looks when printed; `None` if it contains what must not be sent, or is longer than `longest`.
fn append_line(line: &str, longest: usize, text: &mut String) -> Option<()> {
    let mut places: Vec<char> = Vec::with_capacity(line.len());
    let mut column = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE => characters = after_colour(characters.as_str())?.chars(),
            '\t' => {
                column += TAB_STOP - column % TAB_STOP;
                if column > longest {
                    return None;
                }
                places.resize(places.len().max(column), ' ');
            }
            BACKSPACE => column = column.checked_sub(1)?,
            _ if character.is_control() || reorders(character) => return None,
            _ => {
                match places.get_mut(column) {
                    // Of two characters in one place, keep the one that is not an underscore.
                    Some(place) if !matches!(character, '_' | ' ') => *place = character,
                    Some(_) => {}
                    None => places.push(character),
                }
                column += 1;
            }
        }
    }
    text.extend(places);
    Some(())
}

/// The text after the rest of a colour sequence (SGR in ECMA-48: ESC [ numbers m); `None` for any other sequence.
fn after_colour(rest: &str) -> Option<&str> {
    let numbers = rest.strip_prefix('[')?;
    numbers.trim_start_matches(|it: char| it.is_ascii_digit() || matches!(it, ';' | ':')).strip_prefix('m')
}

/// Whether a character can make a text look like another one: Unicode's line separators and its bidirectional embeddings,
/// overrides and isolates, which change the order of letters.
fn reorders(character: char) -> bool {
    matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character is one of Unicode's bidirectional marks. They are invisible, position punctuation, and do not move
/// letters.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sendable(raw: &[u8]) -> Option<String> {
        Eligible::RFC_865.sendable(raw).map(|it| it.text().into_owned())
    }

    #[test]
    fn text_is_kept_as_it_is() {
        assert_eq!(sendable("Grüße,\n\n  Welt — ok\n".as_bytes()).as_deref(), Some("Grüße,\n\n  Welt — ok\n"));
        assert_eq!(sendable(b"no line end").as_deref(), Some("no line end\n"));
        assert_eq!(sendable(b"cr\r\nlf\r\n").as_deref(), Some("cr\nlf\n"));
    }

    #[test]
    fn what_is_not_looked_at_octet_by_octet_is_looked_at_all_the_same() {
        for length in 1..100 {
            let text = format!("{}\n", "x".repeat(length));
            assert_eq!(sendable(text.as_bytes()), Some(text.clone()));
            for place in 0..length {
                for bad in [0x07, 0x1f, 0x7f, 0x80, 0xff] {
                    let mut text = text.clone().into_bytes();
                    text[place] = bad;
                    assert_eq!(sendable(&text), None, "{bad:#x} at {place} of {length}");
                }
                let tab = format!("{}\t\n", &text[..place]);
                assert!(sendable(tab.as_bytes()).is_none_or(|it| !it.contains('\t')));
            }
        }
    }

    #[test]
    fn a_text_that_may_have_been_cut_is_not_sendable() {
        // Overstruck repeatedly, so that only one character would remain.
        let mut text = "_\u{8}".repeat(2 * LONGEST_REPLY);
        text.push_str("x\nand the rest");
        assert_eq!(sendable(text.as_bytes()), None);
        assert_eq!(sendable(&text.as_bytes()[..=Eligible::RFC_865.longest_raw()]), None);
    }

    #[test]
    fn tabs_become_the_spaces_they_stand_for() {
        assert_eq!(
            sendable(b"\tx\n1234567\ty\n12345678\tz\n").as_deref(),
            Some("        x\n1234567 y\n12345678        z\n")
        );
    }

    #[test]
    fn what_could_steer_a_terminal_is_not_sendable() {
        for bad in ["bell \x07", "del \x7f", "lone \r cr", "c1 \u{9b}31m", "\u{2028}"] {
            assert_eq!(sendable(bad.as_bytes()), None, "{bad:?}");
        }
        // Other sequences: the cursor, the screen, the title, a link, what the terminal sends, and what is no whole sequence.
        for bad in [
            "[2J",
            "[10A",
            "[?25l",
            "[?1m",
            "[>4m",
            "[1 m",
            "[31",
            "[31;",
            "[",
            "",
            "]0;title\x07",
            "]8;;x\x1b\\",
            "c",
            "m",
        ] {
            for text in
                [format!("text \x1b{bad}"), format!("\x1b{bad} text\n"), format!("\x1b[31m\x1b{bad}\x1b[m text")]
            {
                assert_eq!(sendable(text.as_bytes()), None, "{text:?}");
            }
        }
        assert_eq!(sendable(b"latin-1 \xe9\n"), None);
    }

    #[test]
    fn colours_are_left_out() {
        assert_eq!(sendable(b"\x1b[1;31mred\x1b[0m and \x1b[mplain\n").as_deref(), Some("red and plain\n"));
        assert_eq!(sendable(b"\x1b[38;5;9mdeep\x1b[38:2::1:2:3m\n\x1b[m").as_deref(), Some("deep\n\n"));
        // They have no width.
        assert_eq!(sendable(b"1234\x1b[32m567\ty\n").as_deref(), Some("1234567 y\n"));
        assert_eq!(sendable(b"_\x1b[4m\x08x\n").as_deref(), Some("x\n"));
        assert_eq!(sendable(b"\x1b[31m\n"), None, "nothing to read");
        let ascii = Eligible { ascii: true, ..Eligible::RFC_865 };
        assert!(ascii.sendable(b"\x1b[31mred\n").is_some());
    }

    #[test]
    fn bidirectional_marks_stay_and_what_hides_the_order_is_not_sendable() {
        for mark in ['\u{200e}', '\u{200f}', '\u{61c}'] {
            let text = format!("\u{5e9}\u{5dc}\u{5d5}\u{5dd}!{mark} (1){mark}\n");
            assert_eq!(sendable(text.as_bytes()), Some(text.clone()));
            assert_eq!(sendable(format!(" {mark}\n").as_bytes()), None, "nothing to read");
        }
        for other in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(sendable(format!("text {other}txet\n").as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn what_was_struck_over_is_read_once() {
        assert_eq!(sendable(b"_\x08b_\x08o_\x08l_\x08d and b\x08bo\x08ol\x08ld\n").as_deref(), Some("bold and bold\n"));
        assert_eq!(sendable(b"x\x08_ tail\n").as_deref(), Some("x tail\n"));
        assert_eq!(sendable("u_\u{8}ü\n".as_bytes()).as_deref(), Some("uü\n"));
        assert_eq!(sendable(b"a ____\x08\x08\x08\x08long\ttab\x08 word\n").as_deref(), Some("a long  tabword\n"));
        assert_eq!(sendable(b"tail\x08\x08\n").as_deref(), Some("tail\n"));
        for bad in [&b"\x08x"[..], b"line\n\x08x", b"x\x08\x1b[A", b"x\x08\x08y"] {
            assert_eq!(sendable(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_limit_and_the_character_set_can_be_others() {
        let any = Eligible { longest: LONGEST_TEXT, ..Eligible::RFC_865 };
        assert!(any.sendable("x".repeat(100_000).as_bytes()).is_some());
        let short = Eligible { longest: 10, ascii: true, length: Length::Any };
        assert!(short.sendable(b"12345678\n").is_some() && short.sendable(b"123456789\n").is_none());
        assert!(short.sendable("ü".as_bytes()).is_none());
    }

    #[test]
    fn nothing_to_read_is_not_sendable() {
        assert_eq!(sendable(b""), None);
        assert_eq!(sendable(b" \n\t\n"), None);
    }

    #[test]
    fn the_limit_counts_line_ends_as_two_octets() {
        let longest = "x".repeat(LONGEST_REPLY - 2);
        assert!(sendable(longest.as_bytes()).is_some());
        assert!(sendable(format!("{longest}x").as_bytes()).is_none());
        let lines = "a\n".repeat(170);
        assert!(sendable(lines.as_bytes()).is_some(), "170 lines of 3 octets are 510");
        assert!(sendable(format!("{lines}\n").as_bytes()).is_none(), "and one more line end is 512");
    }
}
