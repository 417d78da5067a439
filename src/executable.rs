//! Checks whether the units can start a program.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

/// Why the units cannot start a program.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It does not exist.
    Missing(io::Error),
    /// It is a directory or a device.
    NotAFile,
    /// Not every user may execute it.
    Closed,
    /// It needs a loader and libraries.
    Dynamic,
    /// It needs an interpreter.
    Script,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(error) => write!(f, "cannot be found: {error}"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::Closed => f.write_str("is not executable by every user"),
            Self::Dynamic => f.write_str("is dynamically linked, and the unit hides all libraries"),
            Self::Script => f.write_str("is not an ELF program, and the unit allows no interpreter"),
        }
    }
}

/// What is wrong with a program, as far as this user can see: not every user may read it.
pub(crate) fn unfit(program: &Path) -> Option<Unfit> {
    match program.metadata() {
        Err(error) => Some(Unfit::Missing(error)),
        Ok(file) if !file.is_file() => Some(Unfit::NotAFile),
        Ok(file) if file.permissions().mode() & 0o001 == 0 => Some(Unfit::Closed),
        Ok(_) => match kind(program) {
            Ok(Kind::Static) | Err(_) => None,
            Ok(Kind::Dynamic) => Some(Unfit::Dynamic),
            Ok(Kind::Other) => Some(Unfit::Script),
        },
    }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Static,
    Dynamic,
    Other,
}

/// The kind of a program. A dynamically linked one names an interpreter (`PT_INTERP` in elf(5)).
fn kind(program: &Path) -> io::Result<Kind> {
    const INTERPRETER: u32 = 3;
    let file = File::open(program)?;
    let mut head = [0; 64];
    let size = file.read_at(&mut head, 0)?;
    if size < head.len() || !head.starts_with(b"\x7fELF") {
        return Ok(Kind::Other);
    }
    let number = |octets: &[u8]| octets.iter().rev().fold(0, |number, &octet| number << 8 | u64::from(octet));
    let (table, size, count) = (number(&head[32..40]), number(&head[54..56]), number(&head[56..58]));
    for entry in 0..count {
        let mut kind = [0; 4];
        file.read_exact_at(&mut kind, table.saturating_add(entry * size))?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Ok(Kind::Dynamic);
        }
    }
    Ok(Kind::Static)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        assert_eq!(kind(Path::new("/bin/sh")).ok(), Some(Kind::Dynamic));
        assert_eq!(kind(&std::env::current_exe().expect("this one")).ok(), Some(Kind::Static));
        assert_eq!(kind(Path::new("/dev/null")).ok(), Some(Kind::Other));
        assert!(matches!(unfit(Path::new("/no/such/program")), Some(Unfit::Missing(_))));
        assert!(matches!(unfit(Path::new("/etc/passwd")), Some(Unfit::Closed)));
        assert!(matches!(unfit(Path::new("/etc")), Some(Unfit::NotAFile)));
    }
}
