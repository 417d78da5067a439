//! The table of a cookie file's texts, as in strfile(1). The file is read once, and only the offsets are kept in memory.

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read, Write};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::alphabet::{self, Alphabet, Key};
use crate::fortune::layout;

/// The maximum length of a piece of a line, in octets. It is that of Debian's strfile, whose order of texts that begin with a
/// line without letters depends on it.
const PIECE: u64 = 255;
/// The number of octets between two progress reports.
const REPORT: u64 = 1 << 20;

/// The texts of a cookie file.
#[derive(Debug)]
pub(super) struct Table {
    /// The offset of each text, initially in the file's order.
    pub(super) texts: Vec<u64>,
    /// The sort keys, if the texts are to be ordered.
    keys: Vec<Key>,
    /// The offset of the end of the last text.
    end: u64,
    /// The length of the longest text in octets.
    pub(super) longest: u32,
    /// The length of the shortest text in octets.
    pub(super) shortest: u32,
}

impl Table {
    /// Reads a whole cookie file.
    ///
    /// # Errors
    ///
    /// The reader's; `InvalidData` if the file contains NUL octets.
    pub(super) fn read(
        mut reader: impl BufRead,
        delimiter: u8,
        mut alphabet: Option<Alphabet>,
        mut progress: impl FnMut(u64),
    ) -> io::Result<Self> {
        // The initial values of Debian's strfile, which it writes if there is no text.
        let mut table = Self { texts: Vec::new(), keys: Vec::new(), end: 0, longest: 0, shortest: u32::MAX };
        let (mut start, mut position, mut reported) = (0_u64, 0_u64, 0_u64);
        let mut piece = Vec::new();
        let mut at_line_start = true;
        loop {
            piece.clear();
            reader.by_ref().take(PIECE).read_until(b'\n', &mut piece)?;
            let before = position;
            position = position.saturating_add(piece.len() as u64);
            if position.saturating_sub(reported) >= REPORT || piece.is_empty() {
                reported = position;
                progress(position);
            }
            if piece.is_empty() || (at_line_start && separates(&piece, delimiter)) {
                if before > start {
                    table.add(start, before - start);
                    table.keys.extend(alphabet.as_mut().map(|alphabet| alphabet.end_text(start)));
                }
                start = position;
                at_line_start = true;
                if piece.is_empty() {
                    table.end = position;
                    return Ok(table);
                }
                if let Some(alphabet) = &mut alphabet {
                    alphabet.delimiter_line(&piece);
                }
                continue;
            }
            if piece.contains(&0) {
                return Err(io::Error::new(ErrorKind::InvalidData, "it contains NUL octets, so it is not a text"));
            }
            at_line_start = piece.ends_with(b"\n");
            if let Some(alphabet) = &mut alphabet {
                alphabet.piece(&piece);
            }
        }
    }

    fn add(&mut self, start: u64, length: u64) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.texts.push(start);
        self.longest = self.longest.max(length);
        self.shortest = self.shortest.min(length);
    }

    /// Sorts the texts by their keys. Calls `progress` regularly with the number of finished [`alphabet::steps`].
    ///
    /// # Errors
    ///
    /// The file's.
    pub(super) fn order(
        &mut self,
        file: &File,
        delimiter: u8,
        ignore_case: bool,
        progress: impl FnMut(u64),
    ) -> io::Result<()> {
        alphabet::sort(&mut self.keys, file, delimiter, ignore_case, progress)?;
        for (text, key) in self.texts.iter_mut().zip(&self.keys) {
            *text = key.start;
        }
        Ok(())
    }

    /// Shuffles the texts.
    pub(super) fn shuffle(&mut self, random: &mut SmallRng) {
        self.texts.shuffle(random);
    }

    /// Writes the index in Debian's layout, or in BSD's with 64-bit offsets if the cookie file is too long.
    ///
    /// # Errors
    ///
    /// The writer's; `InvalidData` for more texts than a header can count.
    pub(super) fn write(&self, mut writer: impl Write, flags: u32, delimiter: u8) -> io::Result<()> {
        let texts = u32::try_from(self.texts.len()).ok().filter(|&texts| texts < u32::MAX);
        let texts = texts.ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidData, "the cookie file has more texts than an index can count")
        })?;
        writer.write_all(&layout::header(texts, self.longest, self.shortest, flags, delimiter))?;
        let wide = u32::try_from(self.end).is_err();
        for offset in self.texts.iter().chain([&self.end]) {
            let octets = offset.to_be_bytes();
            writer.write_all(if wide { &octets } else { &octets[4..] })?;
        }
        Ok(())
    }
}

/// Whether a line is a delimiter line. Unlike Debian's strfile, this accepts lines that end with CR LF, and a last line without
/// an end: the readers of cookie files here do so too.
fn separates(line: &[u8], delimiter: u8) -> bool {
    let bare = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    bare == [delimiter]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(file: &[u8]) -> Table {
        Table::read(file, b'%', None, |_| ()).expect("a text file")
    }

    #[test]
    fn offsets_and_lengths_are_those_of_debians_strfile() {
        let plain = table(b"one\n%\nthree\n");
        assert_eq!((plain.texts, plain.end, plain.longest, plain.shortest), (vec![0, 6], 12, 6, 4));
        let empty = table(b"");
        assert_eq!((empty.texts, empty.end, empty.longest, empty.shortest), (vec![], 0, 0, u32::MAX));
        let edges = table(b"%\n%\none\n%\n%\ntwo\n%\n");
        assert_eq!((edges.texts, edges.end), (vec![4, 12], 18));
    }

    #[test]
    fn delimiters_are_those_of_fortune() {
        assert_eq!(table(b"one\r\n%\r\ntwo\r\n%").texts, [0, 8]);
        assert_eq!(table(b"one\n%\ntwo\n%\r").texts, [0, 6]);
        assert_eq!(table(b"one\n%\ntwo\n%\r").shortest, 4);
        let long = [&vec![b'x'; 255][..], b"%\nstill the long one\n"].concat();
        assert_eq!(table(&long).texts, [0]);
    }

    #[test]
    fn a_file_that_is_too_long_for_32_bits_gets_wide_offsets() {
        let end = 1 << 33;
        let table = Table { texts: vec![0, 1 << 32], keys: Vec::new(), end, longest: 9, shortest: 9 };
        let mut octets = Vec::new();
        table.write(&mut octets, 0, b'%').expect("memory");
        assert_eq!(octets.len(), 24 + 3 * 8);
        assert_eq!(octets[24 + 16..], end.to_be_bytes());
    }

    #[test]
    fn a_nul_octet_is_refused() {
        let error = Table::read(&b"one\0\n"[..], b'%', None, |_| ()).expect_err("NUL");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
