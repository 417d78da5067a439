//! Tests of valid indexes, and of all kinds of invalid ones.

use super::*;
use crate::fortune::cookie::Format;
use crate::fortune::index_file::{IndexFile, path_beside};
use crate::fortune::layout;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{env, fs, process};

const COOKIES: &[u8] = b"one\n%\ntwo\nlines\n%\nthree\n";
const OFFSETS: [u32; 4] = [0, 6, 18, 24];

/// A cookie file and its index, gone with the value.
struct Pair(PathBuf);

impl Pair {
    fn new(name: &str, cookies: &[u8], index: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("small-services-index-{name}-{}", process::id()));
        fs::write(&path, cookies).expect("a folder for temporary files");
        fs::write(path_beside(&path), index).expect("a folder for temporary files");
        Self(path)
    }

    fn beside(&self) -> IndexFile {
        IndexFile::beside(&self.0, &crate::file::look(&self.0).expect("it is there"))
    }

    fn open(&self) -> Result<Option<Index>, IndexError> {
        match self.beside() {
            IndexFile::Missing => Ok(None),
            IndexFile::Valid(index) => Ok(Some(index)),
            IndexFile::HeaderOnly(_, error) | IndexFile::Unusable(error) => Err(error),
        }
    }

    /// What a look at the whole file finds.
    fn scanned(&self) -> Vec<String> {
        let cookie = File::open(&self.0).expect("it is there");
        let length = cookie.metadata().expect("it is there").len();
        let index = self.beside().scan(&cookie, length).expect("a text file");
        let mut text = Vec::new();
        let texts = (0..index.len()).map(|number| {
            let found = index.text(&cookie, number, 100, &mut text).expect("a text");
            (found == Found::Text).then(|| String::from_utf8(text.clone()).expect("UTF-8"))
        });
        texts.map(|text| text.expect("short")).collect()
    }

    fn text(&self, number: u32, limit: usize) -> io::Result<Option<String>> {
        let index = self.open().expect("an index").expect("it is there");
        let cookie = File::open(&self.0).expect("it is there");
        let mut text = vec![b'x'];
        let found = index.text(&cookie, number, limit, &mut text)?;
        Ok((found == Found::Text).then(|| String::from_utf8(text).expect("UTF-8")))
    }

    fn texts(&self) -> Vec<String> {
        let count = self.open().expect("an index").expect("it is there").len();
        (0..count).map(|number| self.text(number, 100).expect("a text").expect("short")).collect()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(path_beside(&self.0));
        let _ = fs::remove_dir(path_beside(&self.0));
    }
}

fn index(flags: u32, delimiter: u8, offsets: &[u32]) -> Vec<u8> {
    let texts = u32::try_from(offsets.len() - 1).expect("few");
    let mut octets = layout::header(texts, 10, 4, flags, delimiter);
    octets.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
    octets
}

#[test]
fn texts_are_found_in_any_order() {
    assert_eq!(Pair::new("plain", COOKIES, &index(0, b'%', &OFFSETS)).texts(), ["one\n", "two\nlines\n", "three\n"]);
    let ordered = Pair::new("ordered", COOKIES, &index(ORDERED | ROTATED, b'%', &[18, 6, 0, 24]));
    assert_eq!(ordered.texts(), ["three\n", "two\nlines\n", "one\n"]);
    let opened = ordered.open().expect("an index").expect("it is there");
    assert!(opened.is_rotated() && opened.is_reordered() && opened.delimiter() == b'%');
    // As Debian's `strfile -r` shuffles: the end with the texts.
    let random = Pair::new("random", COOKIES, &index(RANDOM, b'%', &[18, 24, 0, 6]));
    assert_eq!(random.texts(), ["three\n", "two\nlines\n", "one\n"]);
}

#[test]
fn line_ends_comments_delimiters_and_a_byte_order_mark_are_as_in_a_scan() {
    let carriage = Pair::new("crlf", b"one\r\n%\r\ntwo\r\n%\r\n", &index(0, b'%', &[0, 8, 16]));
    assert_eq!(carriage.texts(), ["one\r\n", "two\r\n"]);
    assert_eq!(carriage.scanned(), carriage.texts());
    let comments = Pair::new("comments", b"## c\none\n#\n## d\ntwo\n##\n", &index(COMMENTS, b'#', &[0, 11, 23]));
    assert_eq!(comments.texts(), ["one\n", "two\n"]);
    let mark = Pair::new("mark", b"\xef\xbb\xbfone\n%\ntwo", &index(0, b'%', &[0, 9, 12]));
    assert_eq!(mark.texts(), ["one\n", "two"]);
    assert_eq!(mark.scanned(), mark.texts());
    let delimiter = Pair::new("mark", b"\xef\xbb\xbf%\none\n%\ntwo", &index(0, b'%', &[0, 11, 14]));
    assert_eq!(delimiter.texts(), ["one\n", "two"]);
    assert_eq!(delimiter.scanned(), delimiter.texts());
    let only = Pair::new("mark", b"\xef\xbb\xbf%\n%\n%\n%\n%", &index(0, b'%', &[0, 12]));
    assert_eq!(only.text(0, 100).expect_err("no text").kind(), ErrorKind::InvalidData);
    let cut = Pair::new("cr", b"one\r\n%\r\ntwo\r\n%\r", &index(0, b'%', &[0, 8, 15]));
    assert_eq!(cut.texts(), ["one\r\n", "two\r\n%\r"]);
    // BSD's strfile counts delimiters at the start into the first text, and leaves out those at the end.
    let edges = Pair::new("edges", b"%\n%\none\n%\ntwo\n%\n%\n", &index(0, b'%', &[0, 10, 16]));
    assert_eq!(edges.texts(), ["one\n", "two\n"]);
    assert_eq!(edges.scanned(), edges.texts());
}

#[test]
fn a_text_longer_than_the_limit_is_not_cut() {
    let pair = Pair::new("limit", COOKIES, &index(0, b'%', &OFFSETS));
    assert_eq!(pair.text(1, 10).expect("a text").as_deref(), Some("two\nlines\n"));
    assert_eq!(pair.text(1, 9).expect("a text"), None);
    assert_eq!(pair.text(2, 5).expect("a text"), None);
    // Longer than a window, and a delimiter across its border.
    for length in WINDOW - 5..WINDOW + 5 {
        let mut long = vec![b'x'; length - 1];
        long.extend(b"\n%\nnext\n");
        let end = u32::try_from(long.len()).expect("short");
        let mut octets = layout::header(2, u32::try_from(length).expect("short"), 5, 0, b'%');
        octets.extend([0, end - 5, end].iter().flat_map(|offset| offset.to_be_bytes()));
        let pair = Pair::new("window", &long, &octets);
        for limit in [length, 2 * length] {
            assert_eq!(pair.text(0, limit).expect("a text").map(|text| text.len()), Some(length));
        }
        assert_eq!(pair.text(0, length - 1).expect("a text"), None);
    }
}

#[test]
fn there_may_be_no_index() {
    let pair = Pair::new("none", COOKIES, b"");
    fs::remove_file(path_beside(&pair.0)).expect("it is there");
    assert!(pair.open().expect("no mistake").is_none());
}

#[test]
fn an_index_that_is_none_is_refused() {
    let whole = index(0, b'%', &OFFSETS);
    for length in 0..whole.len() {
        let error = Pair::new("cut", COOKIES, &whole[..length]).open().expect_err("cut");
        assert!(matches!(error, IndexError::Cut(_)), "{length}: {error}");
    }
    let mut version = whole.clone();
    version[3] = 3;
    let error = Pair::new("version", COOKIES, &version).open().expect_err("version 3");
    assert!(matches!(error, IndexError::Version { version: 3, .. }), "{error}");
    let mut count = whole.clone();
    count[4..8].fill(0xff);
    assert!(Pair::new("count", COOKIES, &count).open().is_err());
    let mut flags = whole.clone();
    flags[16] = 0x80;
    assert!(matches!(Pair::new("flags", COOKIES, &flags).open(), Err(IndexError::Misfit(_))));
    let mut delimiter = whole.clone();
    delimiter[20] = b'\n';
    assert!(matches!(Pair::new("delimiter", COOKIES, &delimiter).open(), Err(IndexError::Misfit(_))));
    let more = [whole, vec![0]].concat();
    assert!(Pair::new("more", COOKIES, &more).open().is_err());
    let directory = Pair::new("directory", COOKIES, b"");
    fs::remove_file(path_beside(&directory.0)).expect("it is there");
    fs::create_dir(path_beside(&directory.0)).expect("a name that is free");
    assert!(matches!(directory.open(), Err(IndexError::NotRegular(_))));
}

#[test]
fn an_index_of_another_file_is_refused() {
    for cookies in [&b""[..], b"x", &COOKIES[..COOKIES.len() - 1], &[COOKIES, b"%\nmore\n"].concat()] {
        let error = Pair::new("other", cookies, &index(0, b'%', &OFFSETS)).open().expect_err("another file");
        assert!(matches!(error, IndexError::Misfit(_)), "{error}");
    }
}

#[test]
fn an_index_that_is_older_than_its_file_is_refused() {
    let pair = Pair::new("stale", COOKIES, &index(0, b'%', &OFFSETS));
    let file = File::options().write(true).open(&pair.0).expect("it is there");
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).expect("one's own file");
    let error = pair.open().expect_err("older");
    assert!(matches!(error, IndexError::Stale(_)), "{error}");
}

#[test]
fn what_a_header_says_of_the_whole_file_is_believed_and_no_offset_of_an_old_index() {
    let cookies = b"\xef\xbb\xbfbar\n@\n@@ p\n%\ngjb\n@\n@\nguerr";
    let pair = Pair::new("header", cookies, &index(ROTATED | COMMENTS | RANDOM, b'@', &[0, 1, 2, 3]));
    let file = File::options().write(true).open(&pair.0).expect("it is there");
    file.set_modified(SystemTime::now() + Duration::from_secs(1)).expect("one's own file");
    let beside = pair.beside();
    assert!(matches!(&beside, IndexFile::HeaderOnly(_, IndexError::Stale(_))) && beside.is_rotated());
    assert_eq!(pair.scanned(), ["bar\n", "%\ngjb\n", "guerr"]);
    // Neither the index of another file nor a part of one can be used; an invalid header gives nothing.
    let other = Pair::new("header", cookies, &index(ROTATED, b'@', &[0, 1]));
    assert!(matches!(other.beside(), IndexFile::HeaderOnly(_, IndexError::Misfit(_))) && other.beside().is_rotated());
    let cut = Pair::new("header", cookies, &index(ROTATED, b'@', &[0, 1])[..27]);
    assert!(matches!(cut.beside(), IndexFile::HeaderOnly(_, IndexError::Cut(_))) && cut.beside().is_rotated());
    let bad = Pair::new("header", cookies, &index(0x80, b'@', &[0, 1]));
    assert!(matches!(bad.beside(), IndexFile::Unusable(IndexError::Misfit(_))));
    assert_eq!(bad.beside().format(), Format::default());
}

#[test]
fn an_offset_where_no_text_begins_is_found_out() {
    for lie in (1..6).chain(7..18).chain(19..30).chain([u32::MAX]) {
        let pair = Pair::new("lie", COOKIES, &index(0, b'%', &[0, lie, 18, 24]));
        let error = pair.text(1, 100).expect_err("no text");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{lie}");
    }
    let pair = Pair::new("number", COOKIES, &index(0, b'%', &OFFSETS));
    assert_eq!(pair.text(3, 100).expect_err("no such text").kind(), ErrorKind::InvalidInput);
    let only_delimiters = Pair::new("delimiters", &b"%\n".repeat(5000), &index(0, b'%', &[0, 10_000]));
    assert_eq!(only_delimiters.text(0, 100).expect_err("no text").kind(), ErrorKind::InvalidData);
    for delimiters in 0..100 {
        let cookies = ["%\n".repeat(delimiters), "x".repeat(100), "\n%\n".to_owned()].concat();
        let end = u32::try_from(cookies.len()).expect("short");
        let text = Pair::new("many", cookies.as_bytes(), &index(0, b'%', &[0, end])).text(0, 101);
        assert!(text.map_or(delimiters > 32, |text| text.is_some_and(|text| text.len() == 101)), "{delimiters}");
    }
}

#[test]
fn a_text_with_nul_octets_is_refused() {
    let pair = Pair::new("nul", b"one\n%\nt\0o\n", &index(0, b'%', &[0, 6, 10]));
    assert!(pair.text(0, 100).is_ok());
    assert_eq!(pair.text(1, 100).expect_err("NUL").kind(), ErrorKind::InvalidData);
}
