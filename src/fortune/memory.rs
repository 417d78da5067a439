//! Fortunes in memory: a single one, those from files, and the built-in ones.

use std::path::{Path, PathBuf};

/// The name of the built-in collection.
pub(super) const BUILT_IN_NAME: &str = "built-in";

/// The built-in fortunes, one after the other, as `build.rs` joined them.
static BUILT_IN: &str = include_str!(concat!(env!("OUT_DIR"), "/collection.txt"));
/// The offset of the end of each, in bytes.
static ENDS: &[u32] = include!(concat!(env!("OUT_DIR"), "/ends.rs"));

/// A chosen fortune, and the name of its file as in fortune(6).
pub struct Chosen<'a> {
    /// The text, with LF line ends.
    pub text: &'a str,
    /// The file: its name within a directory, otherwise its path.
    pub file: &'a Path,
}

/// An owned fortune with the name of its file.
#[derive(Default)]
pub(super) struct Fortune {
    pub(super) text: String,
    pub(super) file: PathBuf,
}

impl Fortune {
    pub(super) fn chosen(&self) -> Chosen<'_> {
        Chosen { text: &self.text, file: &self.file }
    }
}

/// Concatenated texts, and the offset of the end of each, in bytes.
#[derive(Default)]
pub(super) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    pub(super) fn longest(&self) -> usize {
        (0..self.len()).map(|index| self.get(index).len()).max().unwrap_or(0)
    }
}

/// The number of built-in fortunes.
pub(super) fn built_in_len() -> usize {
    ENDS.len()
}

/// A built-in fortune.
pub(super) fn built_in(index: usize) -> &'static str {
    let start = if index == 0 { 0 } else { ENDS[index - 1] };
    &BUILT_IN[start as usize..ENDS[index] as usize]
}

/// All built-in fortunes.
pub(super) fn all_built_in() -> impl Iterator<Item = &'static str> {
    (0..built_in_len()).map(built_in)
}

#[cfg(test)]
mod tests {
    use super::super::text::Eligible;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_built_in_collection_is_large_distinct_and_sendable() {
        let all: Vec<_> = all_built_in().collect();
        assert!(all.len() >= 300, "only {} fortunes", all.len());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "a fortune stands in data/ twice");
        for fortune in all {
            let sendable = Eligible::RFC_865.sendable(fortune.as_bytes()).expect("build.rs saw to that");
            assert!(sendable.text() == fortune && fortune.is_ascii());
        }
    }
}
