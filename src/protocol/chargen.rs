//! Character Generator, [RFC 864](https://www.rfc-editor.org/rfc/rfc864).

use std::convert::Infallible;

use crate::service::{Behavior, LineEnd, Pattern, Run, Service, StreamOptions};
use crate::services::{self, Row};

/// Sends lines of characters until the client closes, and drops what the client sends. Answers a datagram with a random number
/// of characters.
#[derive(Debug)]
pub enum Chargen {}

const ROW: Row = services::row("chargen");

impl Service for Chargen {
    type Options = StreamOptions<MAX_RATE>;
    type Error = Infallible;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;
    // Attackers with forged addresses abuse it as an amplifier, and no client is known to need it.
    const UDP_BY_DEFAULT: bool = ROW.udp;

    fn max_rate(options: &Self::Options) -> u32 {
        options.max_rate()
    }

    fn prepare(_: &Self::Options, run: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Repeat(Pattern { period: lines(run.line_end()), longest_datagram: LONGEST_DATAGRAM }))
    }
}

/// In octets per second: 885 lines. The 1,000 connections of a daemon take half of a gigabit line at this rate.
const MAX_RATE: u32 = 64 * 1024;
const LINE: usize = 72;
/// A datagram holds "a random number (between 0 and 512) of characters".
const LONGEST_DATAGRAM: usize = 512;

/// One period of the pattern of RFC 864: lines of 72 of the 95 printing characters, including the space. Each line starts one
/// character after the start of the line before.
fn lines(line_end: LineEnd) -> Vec<u8> {
    let mut octets = Vec::new();
    for first in b' '..=b'~' {
        let line = (b' '..=b'~').cycle().skip(usize::from(first - b' ')).take(LINE);
        octets.extend(line);
        octets.extend_from_slice(line_end.octets());
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_rfc() {
        let octets = lines(LineEnd::CrLf);
        let text = String::from_utf8(octets).expect("ASCII");
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 95);
        assert_eq!(lines[0], r##" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg"##);
        assert_eq!(lines[1], r##"!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh"##);
        assert_eq!(lines[94], r##"~ !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdef"##);
        assert!(lines.iter().all(|line| line.len() == LINE));
    }
}
