//! Cookie files, as fortune(6) reads them: texts separated by lines that hold a single `%`.

use std::io::{self, BufRead, ErrorKind, Read};
use std::mem;

/// A line may be longer than memory: it is read in pieces of so many octets.
const PIECE: usize = 4096;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The texts of a cookie file, one after the other, in fixed memory whatever the file holds.
#[derive(Debug)]
pub struct Cookies<R> {
    reader: R,
    at_start: bool,
    longest: usize,
}

impl<R: BufRead> Cookies<R> {
    /// Reads cookies from the start of `reader`. Of a text that is longer than `longest` octets, only the
    /// beginning is kept, which is too long as well.
    pub fn new(reader: R, longest: usize) -> Self {
        Self { reader, at_start: true, longest }
    }

    /// Reads the next text into `text`, with its line ends as they are in the file; `false` at the end of the file.
    ///
    /// Texts of no lines at all (two separators in a row) are passed over.
    ///
    /// # Errors
    ///
    /// The reader's own, and `InvalidData` where a NUL octet shows that the file holds no text.
    pub fn read_next(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        text.clear();
        let mut piece = Vec::new();
        let mut at_line_start = true;
        loop {
            piece.clear();
            self.reader.by_ref().take(PIECE as u64).read_until(b'\n', &mut piece)?;
            // A byte order mark belongs to the file, not to its first text.
            if mem::take(&mut self.at_start) && piece.starts_with(BYTE_ORDER_MARK) {
                piece.drain(..BYTE_ORDER_MARK.len());
            }
            let separator = at_line_start && matches!(piece.as_slice(), b"%" | b"%\n" | b"%\r\n");
            if piece.is_empty() || separator {
                if !text.is_empty() || piece.is_empty() {
                    return Ok(!text.is_empty());
                }
                continue;
            }
            if piece.contains(&0) {
                return Err(io::Error::new(ErrorKind::InvalidData, "it has NUL octets, so it holds no text"));
            }
            at_line_start = piece.ends_with(b"\n");
            if text.len() <= self.longest {
                text.extend_from_slice(&piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(file: &[u8]) -> Vec<String> {
        let (mut cookies, mut text, mut found) = (Cookies::new(file, 511), Vec::new(), Vec::new());
        while cookies.read_next(&mut text).expect("a text file") {
            found.push(String::from_utf8_lossy(&text).into_owned());
        }
        found
    }

    #[test]
    fn texts_lie_between_lines_of_one_percent_sign() {
        assert_eq!(all(b"one\n%\ntwo\nlines\n%\nthree\n"), ["one\n", "two\nlines\n", "three\n"]);
    }

    #[test]
    fn separators_at_the_edges_and_in_a_row_make_no_empty_texts() {
        assert_eq!(all(b"%\n%\none\n%\n%\n%\ntwo\n%\n%\n"), ["one\n", "two\n"]);
        assert_eq!(all(b""), [""; 0]);
        assert_eq!(all(b"%"), [""; 0]);
    }

    #[test]
    fn a_percent_sign_inside_a_line_separates_nothing() {
        assert_eq!(all(b"100 %\n%%\n %\n% \nend"), ["100 %\n%%\n %\n% \nend"]);
    }

    #[test]
    fn the_last_line_may_lack_its_end_and_lines_may_end_in_cr_lf() {
        assert_eq!(all(b"one\r\n%\r\ntwo\r\n%\r\nthree"), ["one\r\n", "two\r\n", "three"]);
        assert_eq!(all(b"one\n%"), ["one\n"]);
        assert_eq!(all(b"\xef\xbb\xbfone\n%\ntwo\n"), ["one\n", "two\n"]);
    }

    #[test]
    fn a_text_longer_than_any_reply_hides_neither_its_neighbours_nor_a_percent_sign_of_its_own() {
        let mut file = b"before\n%\n".to_vec();
        file.extend(vec![b'x'; PIECE]);
        file.extend(b"%\nstill the long one\n%\nafter\n");
        let found = all(&file);
        assert_eq!((found.len(), found[0].as_str(), found[2].as_str()), (3, "before\n", "after\n"));
        assert!(found[1].len() > 512);
    }

    #[test]
    fn a_nul_octet_is_refused() {
        let mut text = Vec::new();
        let error = Cookies::new(&b"one\0\n%\n"[..], 511).read_next(&mut text).expect_err("NUL");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
