//! The order of `strfile -o`, exactly that of Debian's strfile: by the first letter or digit of the first line, then by what
//! follows the first letter or digit of the whole text.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::mem;

use crate::fortune::index::read_up_to;

/// The number of bytes of a text that a key holds, so that most comparisons need not read the file.
const KEPT: usize = 14;

/// The number of keys that are merged between two progress reports.
const REPORT: usize = 1 << 16;

/// The sort key of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Where the text begins.
    pub(super) start: u64,
    first: u8,
    known: u8,
    beginning: [u8; KEPT],
}

/// Collects the keys of texts that are read in pieces.
#[derive(Debug)]
pub(super) struct Alphabet {
    ignore_case: bool,
    /// The last pieces, each written over the start of the one before. If the first line has neither letter nor digit, Debian's
    /// strfile reads on into the rest of longer previous lines; its order depends on this.
    line: [u8; 256],
    first: Option<u8>,
    beginning: Vec<u8>,
    /// The previous octet, and whether the text has ended as far as its order is concerned.
    last: u8,
    ended: bool,
    delimiter: u8,
}

impl Alphabet {
    /// Begins to collect keys.
    pub(super) fn new(delimiter: u8, ignore_case: bool) -> Self {
        let beginning = Vec::with_capacity(KEPT);
        Self { ignore_case, line: [0; 256], first: None, beginning, last: 0, ended: false, delimiter }
    }

    fn remember(&mut self, piece: &[u8]) {
        if let Some(end) = self.line.get_mut(piece.len()) {
            *end = 0;
            self.line[..piece.len()].copy_from_slice(piece);
        }
    }

    /// Takes a delimiter line.
    pub(super) fn delimiter_line(&mut self, line: &[u8]) {
        self.remember(line);
    }

    /// Takes a piece of a text.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        self.remember(piece);
        if self.first.is_none() {
            let first = self.line.iter().copied().find(u8::is_ascii_alphanumeric).unwrap_or_default();
            self.first = Some(folded(first, self.ignore_case));
        }
        for &octet in piece {
            if self.beginning.len() == KEPT || self.ended {
                break;
            }
            let last = mem::replace(&mut self.last, octet);
            let found = !self.beginning.is_empty() || octet.is_ascii_alphanumeric();
            if found && octet == self.delimiter && last == b'\n' {
                self.ended = true; // as `Octets` sees it
            } else if found {
                self.beginning.push(folded(octet, self.ignore_case));
            }
        }
    }

    /// Ends the text that begins at `start`, and returns its key.
    pub(super) fn end_text(&mut self, start: u64) -> Key {
        let mut beginning = [0; KEPT];
        for (to, from) in beginning.iter_mut().zip(&self.beginning) {
            *to = *from;
        }
        let known = u8::try_from(self.beginning.len()).unwrap_or_default();
        self.beginning.clear();
        (self.last, self.ended) = (0, false);
        Key { start, first: self.first.take().unwrap_or_default(), known, beginning }
    }
}

/// The number of steps that [`sort`] takes for this number of keys.
pub(super) fn steps(keys: usize) -> u64 {
    keys as u64 * u64::from(usize::BITS - keys.saturating_sub(1).leading_zeros())
}

fn folded(octet: u8, ignore_case: bool) -> u8 {
    if ignore_case { octet.to_ascii_lowercase() } else { octet }
}

/// Sorts the keys of a file's texts. The sort is stable.
///
/// Calls `progress` regularly with the number of finished [`steps`].
///
/// The standard library's sort may panic if the order is inconsistent, as it is when the file changes meanwhile.
///
/// # Errors
///
/// The file's own.
pub(super) fn sort(
    keys: &mut Vec<Key>,
    file: &File,
    delimiter: u8,
    ignore_case: bool,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let (mut width, mut done) = (1_usize, 0_u64);
    while width < keys.len() {
        let mut sorted = Vec::with_capacity(keys.len());
        progress(done);
        for pair in keys.chunks(width.saturating_mul(2)) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, rest_left @ ..], [b, rest_right @ ..]) = (left, right) {
                if compare(a, b, file, delimiter, ignore_case)?.is_gt() {
                    sorted.push(*b);
                    right = rest_right;
                } else {
                    sorted.push(*a);
                    left = rest_left;
                }
                if sorted.len() % REPORT == 0 {
                    progress(done + sorted.len() as u64);
                }
            }
            sorted.extend(left);
            sorted.extend(right);
        }
        *keys = sorted;
        done += keys.len() as u64;
        width = width.saturating_mul(2);
    }
    Ok(())
}

fn compare(a: &Key, b: &Key, file: &File, delimiter: u8, ignore_case: bool) -> io::Result<Ordering> {
    let known = usize::from(a.known.min(b.known));
    let ordering = a.first.cmp(&b.first).then_with(|| a.beginning[..known].cmp(&b.beginning[..known]));
    if ordering.is_ne() {
        return Ok(ordering);
    }
    let mut a = Octets::new(file, a.start, delimiter, ignore_case);
    let mut b = Octets::new(file, b.start, delimiter, ignore_case);
    a.skip_to_alphanumeric()?;
    b.skip_to_alphanumeric()?;
    loop {
        match (a.next()?, b.next()?) {
            (Next::Octet(a), Next::Octet(b)) if a == b => {}
            (a, b) => return Ok(a.cmp(&b)),
        }
    }
}

/// The next octet of a text. The end of the file sorts before the end of a text, like C's EOF before 0.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    EndOfFile,
    EndOfText,
    Octet(u8),
}

/// The octets of a text, one by one.
struct Octets<'a> {
    file: &'a File,
    position: u64,
    window: [u8; 512],
    filled: usize,
    used: usize,
    delimiter: u8,
    ignore_case: bool,
    after_line_end: bool,
}

impl<'a> Octets<'a> {
    fn new(file: &'a File, position: u64, delimiter: u8, ignore_case: bool) -> Self {
        Self { file, position, window: [0; 512], filled: 0, used: 0, delimiter, ignore_case, after_line_end: false }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.used == self.filled {
            self.filled = read_up_to(self.file, &mut self.window, self.position)?;
            self.position = self.position.saturating_add(self.filled as u64);
            self.used = 0;
        }
        Ok(self.window[..self.filled].get(self.used).copied())
    }

    fn advance(&mut self, over: u8) {
        self.used += 1;
        self.after_line_end = over == b'\n';
    }

    /// Skips everything before the next letter or digit, even into the next text.
    fn skip_to_alphanumeric(&mut self) -> io::Result<()> {
        while let Some(octet) = self.peek()?.filter(|octet| !octet.is_ascii_alphanumeric()) {
            self.advance(octet);
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Next> {
        let Some(octet) = self.peek()? else { return Ok(Next::EndOfFile) };
        // Any line that begins with the delimiter ends a text here.
        if octet == self.delimiter && self.after_line_end {
            return Ok(Next::EndOfText);
        }
        self.advance(octet);
        Ok(Next::Octet(folded(octet, self.ignore_case)))
    }
}
