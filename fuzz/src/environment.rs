//! With any value of a variable: it is understood or refused with a message, leads only to permitted places, and is one line on the
//! log.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use small_services::fuzz;

/// One run: the value of every variable, and an operand after it.
pub fn run(data: &[u8]) {
    let mut parts = data.split(|&octet| octet == 0);
    let value = OsStr::from_bytes(parts.next().unwrap_or_default());
    let operands: Vec<_> = parts.map(|it| OsStr::from_bytes(it).to_owned()).collect();
    let text = value.to_string_lossy();

    // NOTIFY_SOCKET
    if let Ok(address) = fuzz::notify_socket(value) {
        assert_eq!(address.as_pathname().is_some(), !value.is_empty() && !value.as_bytes().starts_with(b"@"));
    }
    // TZ
    if let Err(sentence) = fuzz::zone(&text) {
        assert!(sentence.contains("TZ="));
    }
    // LC_ALL
    for language in fuzz::languages(&text) {
        let mut components = Path::new(&language).components();
        assert!(matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none(), "{language}");
    }
    // FORTUNE_PATH
    for source in fuzz::collections(value, &operands).unwrap_or_default() {
        for path in source.paths {
            assert!(is_operand(&path, &operands) || is_in(&path, value), "{}", path.display());
        }
    }
    // LISTEN_FDNAMES, and everything that a message quotes.
    let message = fuzz::message(&text);
    assert!(!message.chars().any(char::is_control) && message.len() < 1100);
}

/// Whether a path is the one in an operand, with or without a percentage.
fn is_operand(path: &Path, operands: &[OsString]) -> bool {
    operands.iter().any(|operand| operand.as_bytes().ends_with(path.as_os_str().as_bytes()))
}

/// Whether it is in one of the directories; with an empty `FORTUNE_PATH`, in those of the distributions.
fn is_in(path: &Path, directories: &OsStr) -> bool {
    let mut each = std::env::split_paths(directories).filter(|it| !it.as_os_str().is_empty());
    directories.is_empty() || each.any(|directory| path.starts_with(directory))
}
