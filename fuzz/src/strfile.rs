//! The index that strfile makes of any cookie file, and a scan of the whole file, find the same texts as the reference.
use std::fs::File;
use std::io::Seek;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::{format, memory, texts, write};
use small_services::fortune::index::{Found, Index, Version};
use small_services::fuzz;

/// The text at each offset of an index.
fn found(cookies: &File, index: &Index, longest: usize) -> Vec<Vec<u8>> {
    let mut text = vec![];
    let mut found = vec![];
    for number in 0..index.len() {
        assert_eq!(index.text(cookies, number, longest, &mut text).expect("a text's place"), Found::Text);
        found.push(text.clone());
    }
    found
}

/// The cookie file and its index.
static FILES: OnceLock<[File; 2]> = OnceLock::new();

/// One run.
pub fn run(data: &[u8]) {
    let [bits, file @ ..] = data else { return };
    let format = format(bits & 3);
    // If only a byte order mark is before the first delimiter line, Debian's strfile counts it as a text, and so does ours. A
    // reader by the index finds none and reads the file instead.
    if file.strip_prefix(b"\xef\xbb\xbf").is_some_and(|rest| rest.is_empty() || rest.starts_with(&[format.delimiter])) {
        return;
    }
    let [cookies, index] = FILES.get_or_init(|| [memory(), memory()]);
    write(cookies, file);
    let path = PathBuf::from(format!("/proc/self/fd/{}", index.as_raw_fd()));
    let mut expected = texts(file, format);
    for ordered in [false, true] {
        (&*cookies).rewind().expect("memory");
        let Ok(octets) = fuzz::strfile(cookies, format.delimiter, ordered, bits & 8 != 0) else {
            assert!(file.contains(&0), "refused without a NUL octet");
            return;
        };
        assert!(!file.contains(&0), "a NUL octet went by");
        write(index, &octets);
        let version = Version::of(cookies).expect("it is open");
        let index = Index::open(&path, &version).expect("an index made of this very file");
        let mut by_index = found(cookies, &index, file.len());
        let scanned = fuzz::scanned(cookies, index).expect("text");
        // In the file's order, whatever that of the index.
        assert_eq!(found(cookies, &scanned, file.len()), texts(file, format));
        if ordered {
            by_index.sort();
            expected.sort();
        }
        assert_eq!(by_index, expected);
    }
}
