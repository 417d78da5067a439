//! The reader's languages and character set, from the environment: locale(7).

use std::env;

use rustix::stdio::stdout;
use rustix::termios::{InputModes, tcgetattr};

/// The first of these variables that is set and not empty.
fn first_of(variables: &[&str]) -> String {
    let set = variables.iter().filter_map(env::var_os).find(|value| !value.is_empty());
    set.unwrap_or_default().to_string_lossy().into_owned()
}

/// The possible names of a directory of fortunes in a language of the reader, in order of preference. The order of the
/// variables is fortune-mod's; gettext(3) reads LANGUAGE first.
pub(super) fn languages() -> Vec<String> {
    languages_of(&first_of(&["LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"]))
}

/// For each locale in a colon-separated list: `de_DE.UTF-8`, `de_DE` and `de`; none for the locale C.
pub(crate) fn languages_of(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for locale in list.split(':') {
        let territory = locale.split(['.', '@']).next().unwrap_or_default();
        let language = territory.split('_').next().unwrap_or_default();
        if matches!(language, "C" | "POSIX") {
            continue;
        }
        for name in [locale, territory, language] {
            if is_name(name) && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Whether it is a plain name: a name from the environment must not lead to another directory.
fn is_name(name: &str) -> bool {
    let allowed = |octet: &u8| octet.is_ascii_alphanumeric() || b"_.@-".contains(octet);
    name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.as_bytes().iter().all(allowed)
}

/// Whether UTF-8 can be printed. An unset locale, C and POSIX name no character set; this is usual under cron, in containers
/// and in `pam_motd`. Then UTF-8 is printed, except to a terminal without UTF-8.
pub(super) fn is_utf_8() -> bool {
    let locale = first_of(&["LC_ALL", "LC_CTYPE", "LANG"]).to_ascii_lowercase();
    match locale.as_str() {
        "" | "c" | "posix" => !prints_to_a_legacy_terminal(),
        _ => [".utf-8", ".utf8"].iter().any(|it| locale.contains(it)),
    }
}

/// Why only ASCII can be printed, and the next step; `None` if UTF-8 can be printed.
pub(super) fn why_ascii() -> Option<String> {
    if is_utf_8() {
        return None;
    }
    let locale = first_of(&["LC_ALL", "LC_CTYPE", "LANG"]);
    let why = match locale.as_str() {
        "" | "C" | "POSIX" => "the terminal is not set to UTF-8 (`stty iutf8`)".to_owned(),
        _ => format!("the character set of the locale {locale} is not UTF-8"),
    };
    Some(format!("{why}; set LC_ALL=C.UTF-8, or use -u"))
}

/// Whether standard output is a terminal that is not set to UTF-8 (`stty iutf8`). Some octets of UTF-8 are control characters
/// on a terminal with an 8-bit character set.
fn prints_to_a_legacy_terminal() -> bool {
    tcgetattr(stdout()).is_ok_and(|terminal| !terminal.input_modes.contains(InputModes::IUTF8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_directories_from_the_most_particular_to_the_most_common() {
        assert_eq!(languages_of("de_DE.UTF-8"), ["de_DE.UTF-8", "de_DE", "de"]);
        assert_eq!(languages_of("sr_RS@latin"), ["sr_RS@latin", "sr_RS", "sr"]);
        assert_eq!(languages_of("es:fr_BE:es"), ["es", "fr_BE", "fr"]);
        assert_eq!(languages_of("en_US:en:C:de"), ["en_US", "en", "de"]);
        for none in ["", "C", "C.UTF-8", "POSIX", ":", "x", "../..", "/etc", ".hidden", "a/b", "1de"] {
            assert_eq!(languages_of(none), [""; 0], "{none}");
        }
    }
}
