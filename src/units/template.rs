//! Fills in templates.
//!
//! A line `@name@` is replaced by lines: a value, the part of that name, or nothing. Within a line, `@name@` is replaced by a
//! value. Names without a value stay: `make install` fills in its paths.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The value of a name.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text, used as it is.
    Text(Cow<'static, str>),
    /// The part with this name, which is filled in too.
    Part(String),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// The values, by name.
pub(super) type Values = BTreeMap<&'static str, Value>;

macro_rules! parts {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../units/templates/parts/", $name, ".conf")))),*]
    };
}

const PARTS: &[(&str, &str)] = parts!(
    "accept" "buffers-reply" "buffers-stream" "connection" "daemon" "daemon-socket" "datagrams-asked" "datagrams-yes"
    "documentation" "files-fortunes" "files-sessions" "files-zone" "hardening" "inetd-lines" "inetd-reasons" "inetd-tcpd"
    "keeper" "lifetime-reply" "lifetime-stream" "only-from-off" "root" "xinetd-off" "xinetd-on"
);

/// A part by its name.
pub(super) fn part(name: &str) -> Option<&'static str> {
    PARTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Fills a template in.
pub(super) fn fill(template: &str, values: &Values) -> String {
    let mut text = String::new();
    for line in template.lines() {
        let name = line.strip_prefix('@').and_then(|line| line.strip_suffix('@')).unwrap_or_default();
        match values.get(name) {
            Some(Value::Part(name)) => text.push_str(&fill(part(name).unwrap_or_default(), values)),
            Some(Value::Text(lines)) if lines.is_empty() => {}
            Some(Value::Text(lines)) => {
                text.push_str(lines);
                text.push('\n');
            }
            None => {
                if let Some(part) = part(name) {
                    text.push_str(&fill(part, values));
                } else {
                    fill_line(line, values, &mut text);
                    text.push('\n');
                }
            }
        }
    }
    text
}

fn fill_line(mut line: &str, values: &Values, text: &mut String) {
    while let Some((before, after)) = line.split_once('@') {
        text.push_str(before);
        let value = after.split_once('@').and_then(|(name, rest)| match values.get(name) {
            Some(Value::Text(value)) => Some((value, rest)),
            _ => None,
        });
        if let Some((value, rest)) = value {
            text.push_str(value);
            line = rest;
        } else {
            text.push('@');
            line = after;
        }
    }
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::services;

    /// A part that is not known would be left out without a word.
    #[test]
    fn every_part_is_known_and_every_part_of_the_table_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/templates/parts");
        let names = fs::read_dir(folder).expect("the parts").flatten();
        let there: BTreeSet<_> = names.map(|entry| entry.file_name().to_string_lossy().replace(".conf", "")).collect();
        let known: BTreeSet<_> = PARTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(known, there);
        for files in services::all().filter_map(|row| row.files) {
            assert!(part(&format!("files-{files}")).is_some(), "files-{files}");
        }
    }

    #[test]
    fn names_are_filled_in_and_what_they_stand_for_is_not_looked_at_again() {
        let values = Values::from([
            ("port", "79".into()),
            ("title", "a @port@".into()),
            ("datagrams", Value::Part("datagrams-yes".to_owned())),
            ("nothing", "".into()),
        ]);
        let filled =
            fill("x@basic-io @title@ @port@@port@ user@port@.service\n@datagrams@\n@nothing@\n@other@\nend", &values);
        assert_eq!(filled, "x@basic-io a @port@ 7979 user79.service\nListenDatagram=79\n@other@\nend\n");
    }
}
