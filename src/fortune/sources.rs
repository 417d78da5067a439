//! The sources of fortunes and their shares: fortune(6)'s `[N%] FILE|DIR`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Cookie files or directories of them, with their share of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The share in percent; `None` for a part of what the others leave.
    pub percent: Option<u8>,
    /// The file or directory; several where `all` stands for several directories.
    pub paths: Vec<PathBuf>,
}

impl Source {
    /// A file or directory without a percentage.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { percent: None, paths: vec![path] }
    }
}

/// All sources, and how the choice is shared among them.
#[derive(Debug)]
pub struct Sources {
    /// The files and directories.
    pub list: Vec<Source>,
    /// Whether every file has the same share, whatever its number of fortunes.
    pub equal: bool,
    /// Whether files in directories are ignored unless they have an index, as in fortune(6).
    pub indexed_only: bool,
}

impl Sources {
    /// All files and directories.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.list.iter().flat_map(|source| &source.paths)
    }

    /// Their names, for a message.
    pub(super) fn names(&self) -> String {
        self.paths().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// Mistakes in the operands.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// An empty operand.
    #[error("an operand is empty; name a file or directory")]
    Empty,
    /// A percentage at the end.
    #[error("no file or directory follows {0}%; name one")]
    NoFile(u8),
    /// Two percentages in a row.
    #[error("{0} follows another percentage; name a file or directory after each")]
    Two(String),
    /// One above 100.
    #[error("{0} is not a percentage; use a number from 0 to 100 before a file or directory")]
    NoPercentage(String),
    /// A percentage with a fraction.
    #[error("{0} is not a whole number; use one from 0 to 100 before a file or directory")]
    NotWhole(String),
    /// More than 100 percent.
    #[error("the percentages add up to {0}; lower them to a total of 100")]
    TooMuch(u32),
    /// Less than 100 percent, without a source for the rest.
    #[error("the percentages add up to only {0}; raise them to 100, or name a file or directory without one")]
    TooLittle(u32),
    /// An order that is not random.
    #[error("percentages require a random choice; remove them, or remove --daily or --shuffle")]
    NotByChance,
    /// Nothing is left for a source without a percentage.
    #[error("the percentages leave nothing for {}; lower them, or give it one", .0.display())]
    NothingLeft(PathBuf),
}

/// Reads the operands: `FILE`, `N% FILE` or `N%FILE`.
///
/// # Errors
///
/// [`Error`], if the percentages are wrong.
pub fn parse(operands: &[OsString]) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    let mut percent = None;
    for operand in operands {
        let (share, rest) = split(operand.as_bytes())?;
        if share.is_some() && percent.is_some() {
            return Err(Error::Two(operand.to_string_lossy().into_owned()));
        }
        percent = share.or(percent);
        if rest.is_empty() && share.is_none() {
            return Err(Error::Empty);
        }
        if !rest.is_empty() {
            let path = OsString::from_vec(rest.to_vec()).into();
            sources.push(Source { percent: percent.take(), ..Source::new(path) });
        }
    }
    match percent {
        Some(left_over) => Err(Error::NoFile(left_over)),
        None => check(&sources).map(|()| sources),
    }
}

/// Splits an operand into a percentage and what follows it.
fn split(operand: &[u8]) -> Result<(Option<u8>, &[u8]), Error> {
    let digits = operand.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if digits > 0 && operand.get(digits) == Some(&b'.') {
        // A file's name may also begin like this, but without a percent sign.
        let fraction = operand[digits + 1..].iter().take_while(|octet| octet.is_ascii_digit()).count();
        let end = digits + 1 + fraction;
        if operand.get(end) == Some(&b'%') {
            return Err(Error::NotWhole(String::from_utf8_lossy(&operand[..=end]).into_owned()));
        }
    }
    if digits == 0 || operand.get(digits) != Some(&b'%') {
        return Ok((None, operand));
    }
    let number = String::from_utf8_lossy(&operand[..digits]);
    match number.parse() {
        Ok(percent @ 0..=100) => Ok((Some(percent), &operand[digits + 1..])),
        _ => Err(Error::NoPercentage(format!("{number}%"))),
    }
}

fn check(sources: &[Source]) -> Result<(), Error> {
    let given: u32 = sources.iter().filter_map(|source| source.percent).map(u32::from).sum();
    let rest = sources.iter().find(|source| source.percent.is_none());
    match rest {
        _ if given > 100 => Err(Error::TooMuch(given)),
        None if given < 100 && !sources.is_empty() => Err(Error::TooLittle(given)),
        Some(rest) if given == 100 => Err(Error::NothingLeft(rest.paths.first().cloned().unwrap_or_default())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(operands: &[&str]) -> Result<Vec<(Option<u8>, String)>, Error> {
        let operands: Vec<_> = operands.iter().map(OsString::from).collect();
        Ok(parse(&operands)?.into_iter().map(|it| (it.percent, it.paths[0].to_string_lossy().into_owned())).collect())
    }

    #[test]
    fn percentages_stand_before_files() {
        let source = |percent, path: &str| (percent, path.to_owned());
        assert_eq!(parsed(&["a", "b"]), Ok(vec![source(None, "a"), source(None, "b")]));
        assert_eq!(parsed(&["30%", "a", "70%b"]), Ok(vec![source(Some(30), "a"), source(Some(70), "b")]));
        assert_eq!(parsed(&["0%", "a", "b"]), Ok(vec![source(Some(0), "a"), source(None, "b")]));
        assert_eq!(parsed(&["%a", "9", "1.5"]), Ok(vec![source(None, "%a"), source(None, "9"), source(None, "1.5")]));
        assert_eq!(parsed(&[]), Ok(vec![]));
    }

    #[test]
    fn percentages_that_cannot_hold_are_named() {
        assert_eq!(parsed(&["a", "50%"]), Err(Error::NoFile(50)));
        assert_eq!(parsed(&["50%", "50%", "a"]), Err(Error::Two("50%".to_owned())));
        assert_eq!(parsed(&["101%", "a"]), Err(Error::NoPercentage("101%".to_owned())));
        assert_eq!(
            parsed(&["99999999999999999999%", "a"]),
            Err(Error::NoPercentage("99999999999999999999%".to_owned()))
        );
        assert_eq!(parsed(&["12.5%", "a"]), Err(Error::NotWhole("12.5%".to_owned())));
        assert_eq!(parsed(&["12.%a"]), Err(Error::NotWhole("12.%".to_owned())));
        assert_eq!(parsed(&["60%", "a", "60%", "b"]), Err(Error::TooMuch(120)));
        assert_eq!(parsed(&["20%", "a", "30%", "b"]), Err(Error::TooLittle(50)));
        assert_eq!(parsed(&["100%", "a", "b"]), Err(Error::NothingLeft("b".into())));
    }
}
