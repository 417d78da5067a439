//! Scans the heads of HTTP/1 requests for their version, and for whether the client is in the middle of a head.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::slots::Slot;

/// A stream of HTTP/1. hyper supports HTTP/1.0 and 1.1 and refuses any other version with 400. So a higher minor version is rewritten
/// to 1.1, as which it must be read (RFC 9110, section 2.5). Another major version is rewritten as well, and the request marked.
pub(super) struct Heads<S> {
    stream: S,
    slot: Rc<Slot>,
    scanner: Scanner,
    stuck: bool,
    versions: Rc<Versions>,
}

/// The requests of a connection, and the first one with an unsupported version.
#[derive(Default)]
pub(super) struct Versions {
    /// The number of that request, counted from 1. It is the last that is answered.
    refused: Cell<Option<u64>>,
    answered: Cell<u64>,
}

impl Versions {
    /// Counts a request, and returns whether its version is supported.
    pub(super) fn serves_next(&self) -> bool {
        self.answered.set(self.answered.get() + 1);
        self.refused.get() != Some(self.answered.get())
    }
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S, slot: Rc<Slot>) -> Self {
        Self { stream, slot, scanner: Scanner::default(), stuck: false, versions: Rc::default() }
    }

    pub(super) fn versions(&self) -> Rc<Versions> {
        self.versions.clone()
    }

    /// Whether the client has begun a request without finishing it, and has taken all earlier answers.
    pub(super) fn waits_for_a_head(&self) -> bool {
        self.scanner.is_in_a_head() && !self.stuck
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.scanner.scan(&mut buffer.filled_mut()[before..]);
        self.versions.refused.set(self.scanner.refused);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        let was_stuck = std::mem::replace(&mut self.stuck, written.is_pending());
        // Else the request itself marked the client as active just before.
        if was_stuck && !self.stuck {
            self.slot.mark();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Scans requests as they arrive. It also reads a body as a head: no request after a body is answered.
#[derive(Default)]
struct Scanner {
    /// The number of requests that have begun.
    requests: u64,
    /// After the request's first line.
    in_fields: bool,
    /// The current line is not empty.
    in_a_line: bool,
    /// The last octets of a request's first line.
    last: u64,
    /// The number of the first request with another major version.
    refused: Option<u64>,
}

impl Scanner {
    fn is_in_a_head(&self) -> bool {
        self.in_fields || self.in_a_line
    }

    /// Scans the next octets.
    fn scan(&mut self, octets: &mut [u8]) {
        const MAJOR: u64 = u64::from_be_bytes(*b"\0\0 HTTP/");
        const MINOR: u64 = u64::from_be_bytes(*b" HTTP/1.");
        let mut at = 0;
        while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
            if self.in_fields {
                let end = memchr(b'\n', rest);
                let line = &rest[..end.unwrap_or(rest.len())];
                self.in_a_line |= line.iter().any(|&octet| octet != b'\r');
                if end.is_some() {
                    (self.in_fields, self.in_a_line, self.last) = (self.in_a_line, false, 0);
                }
                at += line.len() + 1;
                continue;
            }
            let octet = &mut rest[0];
            match octet {
                b'\n' => (self.in_fields, self.in_a_line) = (self.in_a_line, false),
                b'\r' => {}
                _ => {
                    self.requests += u64::from(!self.in_a_line);
                    self.in_a_line = true;
                }
            }
            let is_refused = self.refused == Some(self.requests);
            if self.last == MINOR && octet.is_ascii_digit() && (*octet != b'0' || is_refused) {
                *octet = b'1';
            } else if self.last << 16 == MAJOR << 16 && octet.is_ascii_digit() && *octet != b'1' {
                *octet = b'1';
                self.refused = self.refused.or(Some(self.requests));
            }
            self.last = self.last << 8 | u64::from(*octet);
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans octets in pieces of `size`. Returns them as rewritten, the refused request, and whether the scanner is in a head.
    fn scanned(octets: &str, size: usize) -> (String, Option<u64>, bool) {
        let (mut scanner, mut octets) = (Scanner::default(), octets.as_bytes().to_vec());
        octets.chunks_mut(size).for_each(|piece| scanner.scan(piece));
        (String::from_utf8(octets).expect("ASCII"), scanner.refused, scanner.is_in_a_head())
    }

    #[test]
    fn versions_are_found_however_the_octets_are_split() {
        let field = "Via: GET / HTTP/1.2\r\nX: GET / HTTP/2.0\r\n\r\n";
        for (line, expected, refused) in [
            ("GET / HTTP/1.1", "GET / HTTP/1.1", None),
            ("GET / HTTP/1.0", "GET / HTTP/1.0", None),
            ("GET / HTTP/1.2", "GET / HTTP/1.1", None),
            ("GET /HTTP/1.2 HTTP/1.9", "GET /HTTP/1.2 HTTP/1.1", None),
            ("GET / HTTP/2.0", "GET / HTTP/1.1", Some(3)),
            ("GET / HTTP/0.9", "GET / HTTP/1.1", Some(3)),
            ("GET / http/2.0", "GET / http/2.0", None),
        ] {
            for before in ["A / HTTP/1.1\r\n\r\n\r\nB / HTTP/1.1\r\nX: y\r\n\r\n", "A / HTTP/1.1\n\nB / HTTP/1.1\n\n"] {
                let octets = format!("{before}{line}\r\n{field}");
                for size in [1, 2, 3, 7, 1000] {
                    assert_eq!(
                        scanned(&octets, size),
                        (format!("{before}{expected}\r\n{field}"), refused, false),
                        "{octets:?} in pieces of {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_head_begins_with_its_first_octet_and_ends_with_its_last() {
        for (octets, expected) in [
            ("", false),
            ("\r\n", false),
            ("G", true),
            ("\r\nGET / HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\r\nX: y\r\n\r", true),
            ("GET / HTTP/1.1\r\nX: y\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nX: y\r\n\r\nG", true),
        ] {
            for size in [1, 1000] {
                assert_eq!(scanned(octets, size).2, expected, "{octets:?}");
            }
        }
    }
}
