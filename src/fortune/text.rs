//! The text of a fortune as RFC 865 can send it.

/// The longest reply, in octets with every line end as CR LF: RFC 865 says fewer than 512.
pub const LONGEST_REPLY: usize = 511;

const TAB_STOP: usize = 8;

/// Turns the octets of a cookie file into a text that may be sent, with LF line ends; `None` where that cannot be done
/// without changing what it says.
///
/// Sendable is UTF-8 that has something to read in it, no control characters (so that none ever reaches a terminal) nor
/// characters that reorder text, and no more than [`LONGEST_REPLY`] octets. Tabs become the spaces that they stand for,
/// and CR LF becomes LF.
#[must_use]
pub fn sendable(raw: &[u8]) -> Option<String> {
    let raw = std::str::from_utf8(raw).ok()?;
    let mut text = String::with_capacity(raw.len());
    let mut lines = 0;
    for line in raw.lines() {
        let mut column = 0;
        for character in line.chars() {
            if character == '\t' {
                let width = TAB_STOP - column % TAB_STOP;
                text.extend(std::iter::repeat_n(' ', width));
                column += width;
            } else if character.is_control() || reorders(character) {
                return None;
            } else {
                text.push(character);
                column += 1;
            }
        }
        text.push('\n');
        lines += 1;
    }
    let on_the_wire = text.len() + lines;
    (on_the_wire <= LONGEST_REPLY && !text.trim().is_empty()).then_some(text)
}

/// Whether a character changes the direction or the lines of the text around it (Unicode's bidirectional controls and
/// line separators).
fn reorders(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_as_it_is() {
        assert_eq!(sendable("Grüße,\n\n  Welt — ok\n".as_bytes()).as_deref(), Some("Grüße,\n\n  Welt — ok\n"));
        assert_eq!(sendable(b"no line end").as_deref(), Some("no line end\n"));
        assert_eq!(sendable(b"cr\r\nlf\r\n").as_deref(), Some("cr\nlf\n"));
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
        for bad in
            ["red \x1b[31m", "bell \x07", "del \x7f", "lone \r cr", "c1 \u{9b}31m", "bidi \u{202e}txt", "\u{2028}"]
        {
            assert_eq!(sendable(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(sendable(b"latin-1 \xe9\n"), None);
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
