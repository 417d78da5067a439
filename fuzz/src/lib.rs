//! The fuzz targets, and their reference: cookie files read line by line, in the simplest way.

pub mod arguments;
pub mod certificate;
pub mod cookies;
pub mod doctor;
pub mod environment;
pub mod index;
pub mod proxy;
pub mod request;
pub mod strfile;
pub mod zone;

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use small_services::fortune::cookie::Format;

/// The texts of a cookie file, without their comments. What happens to a text with NUL octets is not decided here.
pub fn texts(file: &[u8], format: Format) -> Vec<Vec<u8>> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut texts = vec![];
    let mut text = vec![];
    for line in file.split_inclusive(|&octet| octet == b'\n') {
        let bare = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if bare == [format.delimiter] {
            texts.push(std::mem::take(&mut text));
        } else {
            text.extend(line);
        }
    }
    texts.push(text);
    texts.retain(|text| !text.is_empty());
    texts
}

/// A text without its comments.
pub fn without_comments(text: &[u8], format: Format) -> Vec<u8> {
    let comment = [format.delimiter, format.delimiter];
    let lines = text.split_inclusive(|&octet| octet == b'\n');
    lines.filter(|line| !format.comments || !line.starts_with(&comment)).flatten().copied().collect()
}

/// A file in memory, used by one target. Each run overwrites it.
pub fn memory() -> File {
    memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory").into()
}

/// Replaces the content of a file.
pub fn write(file: &File, octets: &[u8]) {
    file.set_len(0).expect("memory");
    file.write_all_at(octets, 0).expect("memory");
}

/// The separators of the texts, from the bits of an octet: mostly those of real files.
pub fn format(bits: u8) -> Format {
    let delimiter = [b'%', b'%', b'#', b'a'][usize::from(bits & 3)];
    Format { delimiter, comments: bits & 4 != 0 }
}
