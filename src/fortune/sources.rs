//! Where fortunes come from, and how much of the choice falls on each: fortune(6)'s `[N%] FILE|DIR`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Cookie files or directories of them, with their share of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The share in percent; without one, it has part of what the others leave.
    pub percent: Option<u8>,
    /// The file or directory; more than one where `all` stands for several directories.
    pub paths: Vec<PathBuf>,
}

impl Source {
    /// A file or directory without a percentage.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { percent: None, paths: vec![path] }
    }
}

/// What is wrong with the shares.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// An operand without a name.
    #[error("an operand is empty; name a file or directory")]
    Empty,
    /// A percentage at the end.
    #[error("{0}% stands before no file or directory; name one after it")]
    NoFile(u8),
    /// Two percentages in a row.
    #[error("{0} follows a percentage already; name a file or directory after each")]
    Two(String),
    /// One above 100.
    #[error("{0} is no percentage; use a number from 0 to 100 before a file or directory")]
    NoPercentage(String),
    /// A percentage with a fraction.
    #[error("{0} is no whole number; use one from 0 to 100 before a file or directory")]
    NotWhole(String),
    /// More than there is.
    #[error("the percentages add up to {0}; lower them to 100 together")]
    TooMuch(u32),
    /// Less than there is, and nothing to take the rest.
    #[error("the percentages add up to {0} only; raise them, or name a file or directory without one")]
    TooLittle(u32),
    /// An order other than by chance.
    #[error("percentages are for a choice by chance; leave them out with --daily and --shuffle")]
    NotByChance,
    /// Nothing is left for a source without a percentage.
    #[error("the percentages leave nothing for {}; lower them, or give it one", .0.display())]
    NothingLeft(PathBuf),
}

/// A cookie file, as one of the leaves of all sources.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    /// The index of its source.
    pub(super) source: usize,
    /// Among the files of a group, the choice is by their numbers of fortunes.
    pub(super) group: Group,
    /// The directory of the source in which it was found.
    pub(super) directory: Option<PathBuf>,
    pub(super) path: PathBuf,
    /// How many eligible fortunes it holds.
    pub(super) fortunes: usize,
}

/// What a file has its share together with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Group {
    /// All files without a percentage.
    #[default]
    Rest,
    /// The other files of a source that has a percentage, by its index.
    Source(usize),
    /// Nothing, where all files have the same share.
    Alone(usize),
}

impl Leaf {
    /// As fortune(6) calls it: a file of a directory by its name, another by its path.
    pub(super) fn name(&self) -> &Path {
        let name = self.directory.as_ref().and_then(|_| self.path.file_name());
        name.map_or(&self.path, Path::new)
    }
}

/// Reads the operands: `FILE`, `N% FILE` or `N%FILE`.
///
/// # Errors
///
/// [`Error`], where the percentages cannot hold.
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

/// A percentage in front, and what follows it.
fn split(operand: &[u8]) -> Result<(Option<u8>, &[u8]), Error> {
    let digits = operand.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if digits > 0 && operand.get(digits) == Some(&b'.') {
        // A file's name may begin so too; but then no percent sign follows.
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

/// The probability of each leaf. Sources without a percentage share what is left by their number of fortunes, and so do the
/// files of a directory; or, with `equal`, each source and each file like the others. A share that nothing can take goes to the
/// others, each according to its own: so all of them are 1 together, or 0.
#[allow(clippy::cast_precision_loss)] // of numbers of fortunes, far below 2^52
pub(super) fn probabilities(sources: &[Source], leaves: &[Leaf], equal: bool) -> Vec<f64> {
    let weight = |fortunes: usize| if equal { f64::from(u8::from(fortunes > 0)) } else { fortunes as f64 };
    let weights: Vec<f64> = leaves.iter().map(|leaf| weight(leaf.fortunes)).collect();
    let mut inside = vec![0.0; sources.len()];
    for (leaf, weight) in leaves.iter().zip(&weights) {
        inside[leaf.source] += weight;
    }
    let share_weight = |index: usize| if equal { f64::from(u8::from(inside[index] > 0.0)) } else { inside[index] };
    let given: u32 = sources.iter().filter_map(|source| source.percent).map(u32::from).sum();
    let left = f64::from(100 - given.min(100)) / 100.0;
    let rest: f64 = (0..sources.len()).filter(|&index| sources[index].percent.is_none()).map(share_weight).sum();
    let probability = |(leaf, weight): (&Leaf, &f64)| {
        let share = match sources[leaf.source].percent {
            Some(percent) => f64::from(percent) / 100.0,
            None => left * share_weight(leaf.source) / rest,
        };
        if *weight > 0.0 { share * weight / inside[leaf.source] } else { 0.0 }
    };
    let mut probabilities: Vec<f64> = leaves.iter().zip(&weights).map(probability).collect();
    let all: f64 = probabilities.iter().sum();
    if all > 0.0 {
        for probability in &mut probabilities {
            *probability /= all;
        }
    }
    probabilities
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

    #[test]
    fn probabilities_are_those_of_fortune_6() {
        let shares = |operands: &[&str], leaves: &[(usize, usize)], equal| {
            let operands: Vec<_> = operands.iter().map(OsString::from).collect();
            let sources = parse(&operands).expect("shares that hold");
            let leaves: Vec<_> =
                leaves.iter().map(|&(source, fortunes)| Leaf { source, fortunes, ..Leaf::default() }).collect();
            let percent = |probability: f64| format!("{:.2}", probability * 100.0);
            probabilities(&sources, &leaves, equal).into_iter().map(percent).collect::<Vec<_>>()
        };
        assert_eq!(shares(&["a", "b"], &[(0, 3), (1, 6)], false), ["33.33", "66.67"]);
        assert_eq!(shares(&["a", "b"], &[(0, 3), (1, 6)], true), ["50.00", "50.00"]);
        assert_eq!(shares(&["30%", "a", "b", "c"], &[(0, 3), (1, 6), (2, 1)], false), ["30.00", "60.00", "10.00"]);
        // A directory of three files, and one file of 20 %.
        let leaves = [(0, 6), (0, 1), (0, 3), (1, 1)];
        assert_eq!(shares(&["dir", "20%", "c"], &leaves, false), ["48.00", "8.00", "24.00", "20.00"]);
        assert_eq!(shares(&["dir", "20%", "c"], &leaves, true), ["26.67", "26.67", "26.67", "20.00"]);
        // Files without a fortune take no part.
        assert_eq!(shares(&["a", "b", "c"], &[(0, 0), (1, 1), (2, 3)], true), ["0.00", "50.00", "50.00"]);
        // Nor do those with a percentage, and what was left for none.
        assert_eq!(shares(&["60%", "a", "40%", "b"], &[(0, 0), (1, 9)], false), ["0.00", "100.00"]);
        assert_eq!(shares(&["50%a", "20%b", "c"], &[(0, 0), (1, 9), (2, 1)], false), ["0.00", "40.00", "60.00"]);
        assert_eq!(shares(&["50%a", "20%b", "c"], &[(0, 1), (1, 1), (2, 0)], false), ["71.43", "28.57", "0.00"]);
        assert_eq!(shares(&["0%a", "b"], &[(0, 1), (1, 0)], false), ["0.00", "0.00"]);
    }
}
