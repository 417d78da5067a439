//! Cookie files of fortune(6): texts that are separated by lines with a single `%`.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;

/// The size of a read in bytes: it fits the processor's cache.
const BLOCK: usize = if cfg!(fuzzing) { 16 } else { 128 << 10 };
/// The mark that some editors put at the start of a UTF-8 file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The format of a cookie file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The character that stands alone on the lines between the texts.
    pub delimiter: u8,
    /// Whether lines that begin with two delimiters are comments.
    pub comments: bool,
}

impl Default for Format {
    /// The format of a file without an index.
    fn default() -> Self {
        Self { delimiter: b'%', comments: false }
    }
}

impl Format {
    /// A text without its comments.
    pub(crate) fn without_comments(self, text: &[u8]) -> Vec<u8> {
        let lines = text.split_inclusive(|&octet| octet == b'\n');
        lines.filter(|line| !line.starts_with(&[self.delimiter; 2])).collect::<Vec<_>>().concat()
    }
}

/// Reads the texts of a cookie file one after the other, in bounded memory.
#[derive(Debug)]
pub struct Cookies<R> {
    reader: R,
    format: Format,
    longest: usize,
    /// The unread data is from `start` to `end`.
    buffer: Vec<u8>,
    /// The offset in the file of the start of the buffer.
    base: u64,
    /// The offset in the file of the last text.
    offset: u64,
    start: usize,
    end: usize,
    /// The text at `start` was searched for delimiters up to here.
    searched: usize,
    /// Whether the data ends at `end`.
    ended: bool,
    /// Whether a NUL octet follows.
    nul: bool,
    at_start: bool,
    without_comments: Vec<u8>,
}

/// The kind of a line.
enum Line {
    /// A delimiter line, with its length in octets.
    Delimiter(usize),
    /// Any other line, or the end of the file.
    Other,
    /// Not known until more is read.
    Unknown,
}

impl<R: Read> Cookies<R> {
    /// Reads texts from the start of `reader`. Texts longer than `longest` octets are cut to `longest + 1` octets.
    pub fn new(reader: R, longest: usize, format: Format) -> Self {
        Self {
            reader,
            format,
            longest,
            buffer: vec![0; BLOCK],
            base: 0,
            offset: 0,
            start: 0,
            end: 0,
            searched: 0,
            ended: false,
            nul: false,
            at_start: true,
            without_comments: Vec::new(),
        }
    }

    /// The next text, with its line ends as in the file; `None` at the end of the file.
    ///
    /// Texts without lines (two delimiter lines in a row) are skipped. A text that has only comments is empty.
    ///
    /// # Errors
    ///
    /// The reader's; `InvalidData` if the file contains NUL octets.
    pub fn read_next(&mut self) -> io::Result<Option<&[u8]>> {
        // A byte order mark belongs to the file, not to its first text.
        while self.at_start {
            if self.end < BYTE_ORDER_MARK.len() && !self.ended {
                self.fill()?;
                continue;
            }
            self.at_start = false;
            if self.unread(0).starts_with(BYTE_ORDER_MARK) {
                self.start = BYTE_ORDER_MARK.len();
            }
        }
        loop {
            match self.line(self.start) {
                Line::Delimiter(length) => self.start += length,
                Line::Unknown => self.fill()?,
                Line::Other => break,
            }
        }
        self.offset = self.base.saturating_add(self.start as u64);
        let (end, next) = self.find_end()?;
        let start = std::mem::replace(&mut self.start, next);
        let text = self.buffer.get(start..end.min(start.saturating_add(self.kept()))).unwrap_or_default();
        if text.is_empty() {
            return Ok(None);
        }
        if self.format.comments {
            self.without_comments = self.format.without_comments(text);
            return Ok(Some(&self.without_comments));
        }
        Ok(Some(text))
    }

    /// The offset in the file of the last text, after a byte order mark.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The end of the text that begins at `start`, and the start of what follows its delimiter line.
    fn find_end(&mut self) -> io::Result<(usize, usize)> {
        self.searched = self.start;
        loop {
            let Some(place) = memchr(self.format.delimiter, self.unread(self.searched)) else {
                if self.nul {
                    return Err(io::Error::new(ErrorKind::InvalidData, "it contains NUL octets, so it is not a text"));
                } else if self.ended {
                    return Ok((self.end, self.end));
                }
                self.searched = self.end;
                self.fill()?;
                continue;
            };
            self.searched += place;
            let line = self.searched;
            // No delimiter line is at the start of the text.
            if line == self.start || self.buffer.get(line - 1) != Some(&b'\n') {
                self.searched += 1;
                continue;
            }
            match self.line(line) {
                Line::Delimiter(length) => return Ok((line, line + length)),
                Line::Unknown => self.fill()?,
                Line::Other => self.searched += 1,
            }
        }
    }

    fn unread(&self, from: usize) -> &[u8] {
        self.buffer.get(from..self.end).unwrap_or_default()
    }

    /// The kind of the line at `start`.
    fn line(&self, start: usize) -> Line {
        let is_delimiter = |octet: u8| octet == self.format.delimiter;
        match *self.unread(start) {
            [first, b'\n', ..] if is_delimiter(first) => Line::Delimiter(2),
            [first, b'\r', b'\n', ..] if is_delimiter(first) => Line::Delimiter(3),
            [first] if is_delimiter(first) && self.ended && !self.nul => Line::Delimiter(1),
            [] => {
                if self.ended {
                    Line::Other
                } else {
                    Line::Unknown
                }
            }
            [first] | [first, b'\r'] if is_delimiter(first) && !self.ended => Line::Unknown,
            _ => Line::Other,
        }
    }

    /// The maximum number of octets of a text that are returned.
    fn kept(&self) -> usize {
        self.longest.saturating_add(1)
    }

    /// Reads more, or reaches the end. If the buffer is full, unread data moves to its start.
    fn fill(&mut self) -> io::Result<()> {
        if self.end == self.buffer.len() {
            self.free_space();
        }
        let read = loop {
            match self.reader.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        self.ended = read == 0;
        let fresh = self.buffer.get(self.end..).and_then(|rest| rest.get(..read)).unwrap_or_default();
        let nul = memchr(0, fresh);
        self.end += nul.unwrap_or(read);
        if nul.is_some() {
            (self.nul, self.ended) = (true, true);
        }
        Ok(())
    }

    fn free_space(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched = self.searched.saturating_sub(self.start);
            self.base = self.base.saturating_add(self.start as u64);
            self.start = 0;
        }
        if self.end < self.buffer.len() {
            return;
        }
        let kept = self.kept();
        if self.searched > kept + 1 {
            // The text is too long to be returned: only the octet before `searched` and what follows are needed.
            let dropped = self.searched - 1 - kept;
            self.buffer.copy_within(self.searched - 1..self.end, kept);
            self.end -= dropped;
            self.base = self.base.saturating_add(dropped as u64);
            self.searched = kept + 1;
        } else {
            let max = kept.saturating_add(BLOCK);
            self.buffer.resize(self.buffer.len().saturating_mul(2).min(max), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives N octets at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            let (piece, rest) = self.0.split_at(length);
            buffer[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    fn read(file: &[u8], piece: usize, format: Format) -> io::Result<Vec<String>> {
        let mut cookies = Cookies::new(Pieces(file, piece), 511, format);
        let mut found = Vec::new();
        while let Some(text) = cookies.read_next()? {
            found.push(String::from_utf8_lossy(text).into_owned());
        }
        assert!(cookies.buffer.len() <= 512 + BLOCK, "the memory is not fixed");
        Ok(found)
    }

    fn all(file: &[u8]) -> Vec<String> {
        let whole = read(file, usize::MAX, Format::default()).expect("a text file");
        for piece in [1, 2, 3, 5, 4096] {
            assert_eq!(read(file, piece, Format::default()).expect("a text file"), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn every_text_is_found_where_it_was_said_to_begin() {
        let long = "x".repeat(3 * BLOCK);
        let file = format!("\u{feff}one\n%\n{long}\n%\r\n%\ntwo\n%\n{}{long}", "three\n%\n".repeat(BLOCK / 8));
        let mut cookies = Cookies::new(Pieces(file.as_bytes(), 4096), 10, Format::default());
        let mut texts = 0;
        while let Some(text) = cookies.read_next().expect("a text file").map(<[u8]>::to_vec) {
            let place = usize::try_from(cookies.offset()).expect("small");
            assert!(file.as_bytes()[place..].starts_with(&text), "text {texts} at {place}");
            assert!(texts == 0 || file.as_bytes()[place - 2..].starts_with(b"%\n"), "text {texts} at {place}");
            texts += 1;
        }
        assert_eq!(texts, 4 + BLOCK / 8);
    }

    #[test]
    fn texts_lie_between_lines_of_one_percent_sign() {
        assert_eq!(all(b"one\n%\ntwo\nlines\n%\nthree\n"), ["one\n", "two\nlines\n", "three\n"]);
    }

    #[test]
    fn separators_at_the_edges_and_in_a_row_make_no_empty_texts() {
        assert_eq!(all(b"%\n%\none\n%\n%\n%\ntwo\n%\n%\n"), ["one\n", "two\n"]);
        assert_eq!(all(b"\n%\n\n"), ["\n", "\n"]);
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(all(b"%"), [""; 0]);
    }

    #[test]
    fn a_percent_sign_inside_a_line_separates_nothing() {
        assert_eq!(all(b"100 %\n%%\n %\n% \nend"), ["100 %\n%%\n %\n% \nend"]);
        assert_eq!(all(b"one\n%\r"), ["one\n%\r"]);
        assert_eq!(all(b"%\rx"), ["%\rx"]);
    }

    #[test]
    fn the_last_line_may_lack_its_end_and_lines_may_end_in_cr_lf() {
        assert_eq!(all(b"one\r\n%\r\ntwo\r\n%\r\nthree"), ["one\r\n", "two\r\n", "three"]);
        assert_eq!(all(b"one\n%"), ["one\n"]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(all(b"\xef\xbb\xbfone\n%\ntwo\n"), ["one\n", "two\n"]);
        assert_eq!(all(b"\xef\xbb\xbf%\none\n"), ["one\n"]);
        assert_eq!(all(b"\xef\xbb\xbf"), [""; 0]);
        assert_eq!(all("\u{feff}\u{feff}one".as_bytes()), ["\u{feff}one"]);
    }

    #[test]
    fn a_text_longer_than_any_reply_hides_neither_its_neighbours_nor_a_percent_sign_of_its_own() {
        for length in (510..515).chain(BLOCK - 10..BLOCK + 10).chain([3 * BLOCK]) {
            let mut file = b"before\n%\n".to_vec();
            file.extend(vec![b'x'; length]);
            file.extend(b"%\nstill the long one\n%\nafter\n");
            let found = read(&file, usize::MAX, Format::default()).expect("a text file");
            assert_eq!((found.len(), found[0].as_str(), found[2].as_str()), (3, "before\n", "after\n"), "{length}");
            assert!(found[1].len() == 512 && "x".repeat(512).starts_with(found[1].trim_end_matches(['%', '\n'])));
        }
    }

    #[test]
    fn a_limit_near_the_size_of_a_block_is_one_like_any_other() {
        for longest in BLOCK - 4..BLOCK + 4 {
            let long = "x".repeat(3 * BLOCK);
            let file = format!("{long}\n%\n{}\n%\n{long}", &long[..longest - 1]);
            let mut cookies = Cookies::new(file.as_bytes(), longest, Format::default());
            for length in [longest + 1, longest, longest + 1] {
                let found = cookies.read_next().expect("a text file").map(<[u8]>::len);
                assert_eq!(found, Some(length), "{longest}");
            }
            assert!(cookies.read_next().expect("a text file").is_none());
        }
    }

    #[test]
    fn no_border_between_two_reads_hides_a_separator() {
        for length in BLOCK - 10..BLOCK + 10 {
            for separator in ["%\n", "%\r\n", "%\n%\r\n%\n"] {
                let lines = "y\n".repeat(length / 2) + &"\n".repeat(length % 2);
                let file = format!("{separator}one\n{separator}{lines}{separator}two");
                let found = read(file.as_bytes(), usize::MAX, Format::default()).expect("a text file");
                assert_eq!(found, ["one\n", &lines[..512], "two"], "{length} {separator:?}");
            }
        }
    }

    #[test]
    fn the_delimiter_can_be_another_and_lines_of_two_comments() {
        let read = |comments| {
            let format = Format { delimiter: b'#', comments };
            read(b"## c\none\n%\n#\n## d\ntwo\n###\n#\n##\n", 2, format).expect("a text file")
        };
        assert_eq!(read(false), ["## c\none\n%\n", "## d\ntwo\n###\n", "##\n"]);
        assert_eq!(read(true), ["one\n%\n", "two\n", ""]);
    }

    #[test]
    fn a_nul_octet_is_refused_after_the_texts_before_it() {
        for (file, before) in [
            (&b"one\0\n%\n"[..], 0),
            (b"one\n\0", 0),
            (b"one\n%\0", 0),
            (b"one\n%\n\0", 1),
            (b"\0", 0),
            (b"one\n%\ntwo\n%\r\nx\n%\0", 2),
        ] {
            let mut cookies = Cookies::new(file, 511, Format::default());
            for _ in 0..before {
                assert!(cookies.read_next().expect("a text before the NUL").is_some(), "{file:?}");
            }
            for _ in 0..2 {
                assert_eq!(cookies.read_next().expect_err("NUL").kind(), ErrorKind::InvalidData, "{file:?}");
            }
        }
        let long = [vec![b'x'; 2 * BLOCK], vec![0], vec![b'x'; BLOCK]].concat();
        assert!(Cookies::new(&long[..], 511, Format::default()).read_next().is_err());
    }
}
