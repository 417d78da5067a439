//! Counts why texts cannot be sent, for the error message.

use std::fmt;
use std::path::Path;

use super::locale;
use super::text::{Eligible, LONGEST_TEXT, Length};

/// How many texts were excluded, by reason.
#[derive(Debug)]
pub struct Reasons {
    /// What makes a text eligible.
    eligible: Eligible,
    too_long: usize,
    other_length: usize,
    not_ascii: usize,
    not_utf_8: usize,
    controls: usize,
    blank: usize,
    /// Eligible texts in files with a share of 0 %.
    without_share: usize,
    /// Files in directories without an index, if an index is required, and the first of them.
    without_index: usize,
    example: String,
}

impl Reasons {
    pub(super) fn new(eligible: Eligible) -> Self {
        Self {
            eligible,
            too_long: 0,
            other_length: 0,
            not_ascii: 0,
            not_utf_8: 0,
            controls: 0,
            blank: 0,
            without_share: 0,
            without_index: 0,
            example: String::new(),
        }
    }

    /// The next step if texts were excluded because of the locale's character set.
    #[must_use]
    pub fn locale(&self) -> Option<String> {
        if self.not_ascii == 0 { None } else { locale::why_ascii() }
    }

    /// Counts a file without the required index.
    pub(super) fn count_without_index(&mut self, file: &Path) {
        if self.without_index == 0 {
            self.example = file.display().to_string();
        }
        self.without_index += 1;
    }

    /// Counts a text. The limits are tested one by one to find the reason.
    pub(super) fn count(&mut self, raw: &[u8]) {
        let eligible = self.eligible;
        let any = Eligible { longest: LONGEST_TEXT, ascii: false, length: Length::Any };
        let allowed = |limit: Eligible| limit.sendable(raw).is_some();
        let counter = if raw.len() > any.longest_raw() {
            &mut self.too_long
        } else if !allowed(any) {
            match std::str::from_utf8(raw) {
                Err(_) => &mut self.not_utf_8,
                Ok(text) if text.trim().is_empty() => &mut self.blank,
                Ok(_) if raw.len() > LONGEST_TEXT => &mut self.too_long,
                Ok(_) => &mut self.controls,
            }
        } else if !allowed(Eligible { ascii: eligible.ascii, ..any }) {
            &mut self.not_ascii
        } else if !allowed(Eligible { longest: eligible.longest, ..any }) {
            &mut self.too_long
        } else if !allowed(Eligible { length: eligible.length, ..any }) {
            &mut self.other_length
        } else {
            &mut self.without_share
        };
        *counter += 1;
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = format!("longer than {} octets as sent (--max-length)", self.eligible.longest);
        let length = match self.eligible.length {
            Length::Short(max) => format!("longer than {max} characters (-s)"),
            Length::Long(min) => format!("not longer than {min} characters (-l)"),
            Length::Any => String::new(),
        };
        let mut counted = [
            (self.too_long, longest.as_str()),
            (self.other_length, &length),
            (self.controls, "with control characters"),
            (self.not_ascii, "not in ASCII"),
            (self.not_utf_8, "not in UTF-8"),
            (self.blank, "blank"),
            (self.without_share, "in files with a share of 0%"),
        ];
        counted.sort_by_key(|(count, _)| usize::MAX - count);
        let mut parts: Vec<_> =
            counted.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
        if self.without_index > 0 {
            let (count, example) = (self.without_index, &self.example);
            parts.push(match count {
                1 => format!("1 file without an index; create it with `strfile {example}`"),
                _ => format!("{count} files without an index; create one for each, as with `strfile {example}`"),
            });
        }
        f.write_str(&if parts.is_empty() { "no text at all".to_owned() } else { parts.join(", ") })
    }
}
