//! The scanner finds the same texts as the reference, however the octets are split, and stops at a NUL octet.
use std::io::{self, Read};

use super::{format, texts, without_comments};
use small_services::fortune::cookie::Cookies;
use small_services::fortune::text::Eligible;

/// A reader that returns at most this many octets at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = &self.0[..self.1.min(self.0.len())];
        let read = piece.read(buffer)?;
        self.0 = &self.0[read..];
        Ok(read)
    }
}

/// One run.
pub fn run(data: &[u8]) {
    let [bits, piece, longest, file @ ..] = data else { return };
    let format = format(*bits);
    let longest = usize::from(*longest);
    let mut expected = texts(file, format);
    let refused = expected.iter().position(|text| text.contains(&0));
    // A NUL octet on the line after a delimiter belongs to no text yet if nothing else is on the line.
    expected.truncate(refused.unwrap_or(expected.len()));
    let mut cookies = Cookies::new(Pieces(file, usize::from(*piece).max(1)), longest, format);
    for text in expected {
        let kept = &text[..text.len().min(longest + 1)];
        let found = cookies.read_next().expect("a text, and no NUL octet").expect("a text, not the end");
        assert_eq!(found, without_comments(kept, format));
        for eligible in [Eligible::RFC_865, Eligible { longest, ascii: true, ..Eligible::RFC_865 }] {
            let Some(sendable) = eligible.sendable(found) else { continue };
            let sent = sendable.text();
            assert!(sent.len() + sent.matches('\n').count() <= eligible.longest && sent.ends_with('\n'));
            assert!(sent.chars().all(|it| it == '\n' || !it.is_control()) && !sent.trim().is_empty());
            assert!(!eligible.ascii || sent.is_ascii());
            // What may be sent is sent unchanged.
            assert_eq!(eligible.sendable(sent.as_bytes()).expect("still").text(), sent);
        }
    }
    match refused {
        Some(_) => assert!(cookies.read_next().is_err(), "a NUL octet went by"),
        None => assert!(matches!(cookies.read_next(), Ok(None)), "a text too many"),
    }
}
