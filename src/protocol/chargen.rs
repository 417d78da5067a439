//! Character Generator, [RFC 864](https://www.rfc-editor.org/rfc/rfc864).

use crate::Error;
use crate::policy::Rules;
use crate::serve;
use crate::service::{LineEnd, NoOptions, Replies, Service, Work};
use crate::services::{self, Row};

/// Sends lines of characters until the client closes; what the client sends is thrown away. A datagram is answered with
/// a random number of characters.
#[derive(Debug)]
pub enum Chargen {}

const ROW: Row = services::row("chargen");

impl Service for Chargen {
    type Options = NoOptions;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    // Whoever forges addresses likes it best: what it sends is all padding, and no client is known to need it.
    const UDP_UNASKED: bool = ROW.udp;
    const RULES: Rules = serve::CHARACTERS;

    fn prepare(_: &NoOptions, _: Replies) -> Result<Work, Error> {
        Ok(Work::Characters)
    }
}

const LINE: usize = 72;
/// The printing characters, space included.
const CHARACTERS: usize = 95;
/// A datagram holds at most so many characters.
pub const LONGEST_DATAGRAM: usize = 512;

/// After how many octets the pattern starts over.
#[must_use]
pub fn period(line_end: LineEnd) -> usize {
    CHARACTERS * (LINE + line_end.octets().len())
}

/// The pattern of RFC 864, over and over for at least `length` octets and up to the end of a period: lines of 72 of the 95
/// printing characters, each line starting with the character after the one that the line before started with.
#[must_use]
pub fn pattern(line_end: LineEnd, length: usize) -> Vec<u8> {
    let mut octets = Vec::with_capacity(length + period(line_end));
    while octets.len() < length {
        for first in 0..CHARACTERS {
            let line = (b' '..=b'~').cycle().skip(first).take(LINE);
            octets.extend(line);
            octets.extend_from_slice(line_end.octets());
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_rfc() {
        let octets = pattern(LineEnd::CrLf, 1);
        let text = String::from_utf8(octets).expect("ASCII");
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 95);
        assert_eq!(lines[0], r##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##);
        assert_eq!(lines[1], r##"!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"##);
        assert_eq!(lines[94], r##"~ !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdef"##);
        assert!(lines.iter().all(|line| line.len() == LINE));
    }

    #[test]
    fn it_goes_on_where_it_started_over() {
        let period = period(LineEnd::Lf);
        let octets = pattern(LineEnd::Lf, 3 * period);
        assert_eq!(octets.len(), 3 * period);
        assert_eq!(octets[..period], octets[period..2 * period]);
    }
}
