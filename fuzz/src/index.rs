//! With any index: a text that is found by it is one of the cookie file's texts, and complete.
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::{memory, texts, without_comments, write};
use small_services::fortune::index::{Found, Index, Version};

/// An index with a valid header and arbitrary offsets.
fn index(shape: u8, flags: u8, offsets: &[u8], length: usize) -> Vec<u8> {
    let mut offsets: Vec<u32> = offsets.iter().map(|&offset| offset.into()).collect();
    // Most indexes end where the file does. Others are refused at once.
    if shape & 0x80 == 0 {
        offsets.push(u32::try_from(length).unwrap_or_default());
    }
    let texts = u32::try_from(offsets.len().saturating_sub(1)).unwrap_or_default();
    let delimiter = [b'%', b'%', b'#', b'a'][usize::from(flags >> 6)];
    let header =
        [1 + u32::from(shape & 1), texts, u32::from(shape >> 4), 1.min(u32::from(shape >> 4)), u32::from(flags & 0xf)];
    let mut octets = vec![];
    let write = |octets: &mut Vec<u8>, how: u8, number: u32| match how {
        0 => octets.extend(number.to_be_bytes()),
        1 => octets.extend(u64::from(number).to_be_bytes()),
        2 => octets.extend(number.to_le_bytes()),
        3 => octets.extend(u64::from(number).to_le_bytes()),
        _ => octets.extend([number.to_be_bytes(), [0; 4]].concat()),
    };
    // The layouts in use: how the header's numbers are written, and how the offsets.
    let (head, table) = [(0, 0), (0, 1), (4, 4), (1, 1), (2, 2), (2, 3), (3, 3), (0, 0)][usize::from(shape >> 1 & 7)];
    for number in header {
        write(&mut octets, head, number);
    }
    octets.push(delimiter);
    octets.resize(octets.len() + if matches!(head, 0 | 2) { 3 } else { 7 }, 0);
    for offset in offsets {
        write(&mut octets, table, offset);
    }
    octets
}

/// The cookie file and its index.
static FILES: OnceLock<[File; 2]> = OnceLock::new();

/// One run.
pub fn run(data: &[u8]) {
    let [made, flags, limit, split, rest @ ..] = data else { return };
    let (entries, cookies) = rest.split_at(rest.len().min(usize::from(*split)));
    // Any octets, or something like an index.
    let octets = if *made == 0xff { entries.to_vec() } else { index(*made, *flags, entries, cookies.len()) };
    let [cookie_file, index_file] = FILES.get_or_init(|| [memory(), memory()]);
    write(cookie_file, cookies);
    write(index_file, &octets);
    let path = PathBuf::from(format!("/proc/self/fd/{}", index_file.as_raw_fd()));
    let Ok(index) = Index::open(&path, &Version::of(cookie_file).expect("it is open")) else { return };
    let format = index.format();
    let whole = texts(cookies, format);
    let limit = usize::from(*limit);
    let mut text = vec![];
    // One more than it has, which is an error.
    for number in 0..=index.len() {
        match index.text(cookie_file, number, limit, &mut text) {
            Ok(Found::Text) => assert!(
                whole.iter().any(|it| it.len() <= limit && !it.contains(&0) && without_comments(it, format) == text),
                "{} is no text of the file",
                text.escape_ascii()
            ),
            Ok(Found::TooLong) => assert!(whole.iter().any(|it| it.len() > limit)),
            Err(_) => {}
        }
        assert!(number < index.len() || text.is_empty());
    }
}
