//! With any content, the file of a certificate and its key can be served, or is refused in one sentence that quotes nothing of it.
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::{memory, write};
use lunchd::fuzz;

/// This many consecutive octets of a key are not a word of ours.
const QUOTE: usize = 16;

/// One run: one file with both, as PEM.
pub fn run(data: &[u8]) {
    static FILE: OnceLock<File> = OnceLock::new();
    let file = FILE.get_or_init(memory);
    write(file, data);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Err(sentence) = fuzz::certificate(&path, &path) else { return };
    assert!(!sentence.is_empty() && !sentence.contains('\n'));
    let is_code = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
    for quote in data.windows(QUOTE).filter(|quote| quote.iter().all(is_code)) {
        let numbers = format!("{:?}", &quote[..QUOTE / 2]);
        let (quote, numbers) = (std::str::from_utf8(quote).expect("ASCII"), numbers.trim_matches(['[', ']']));
        assert!(!sentence.contains(quote) && !sentence.contains(numbers), "it quotes: {sentence}");
    }
}
