//! The fortune collection, built-in or in cookie files, and the choice of a fortune from it.
//!
//! A fortune passes through four files: [`Fortunes::open`] selects the collection, `draw.rs` draws a cookie file and one of its
//! texts, `index.rs` reads that text, and `text.rs` decides whether it may be sent. [`Fortunes::choose`] returns it.
//!
//! This file only lists the others. Each uses only those on lower lines:
//!
//! ```text
//! fortunes                                                      the collection, and the choice
//! followed                                                      files that are reloaded when they change
//! draw, query                                                   one random fortune; the output of -f and -m
//! read                                                          cookie files: all texts, or one
//! shares                                                        the probability of each file
//! options, files, watch                                         the options; their files; changes of these
//! error, index_file                                             errors; the index beside a cookie file
//! index, search, reasons, pattern                               strfile(1)'s indexes; where to find collections
//! cookie, layout, text, sources, order, locale, memory, dialect
//! ```

pub mod cookie;
mod dialect;
mod draw;
mod error;
mod files;
mod followed;
mod fortunes;
pub mod index;
pub(crate) mod index_file;
pub(crate) mod layout;
pub(crate) mod locale;
mod memory;
mod options;
mod order;
mod pattern;
mod query;
mod read;
mod reasons;
pub(crate) mod search;
mod shares;
mod sources;
pub mod text;
mod watch;

pub use dialect::Dialect;
pub use error::Error;
pub use fortunes::Fortunes;
pub(crate) use index::READ_BY_INDEX;
pub use index_file::IndexFile;
pub use memory::Chosen;
pub use options::Options;
pub use order::{Key, Order};
pub use pattern::{Error as PatternError, Pattern, compile as compile_pattern};
pub use query::{list, matching, printable};
pub use reasons::Reasons;
pub use search::DIRECTORIES;
pub use sources::{Error as SourcesError, Source, Sources, parse as parse_sources};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The list above, line by line.
    fn lines() -> Vec<Vec<&'static str>> {
        let list = include_str!("mod.rs").split("```").nth(1).expect("the list").lines().skip(1);
        let names = |line: &'static str| {
            let (names, _) = line.trim_start_matches("//!").split_once("  ").unwrap_or((line, ""));
            names.trim_start_matches("//!").split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
        };
        list.map(names).filter(|names: &Vec<_>| !names.is_empty()).collect()
    }

    #[test]
    fn each_module_uses_only_those_on_lower_lines() {
        let lines = lines();
        let mut listed = 0;
        for (above, names) in lines.iter().enumerate() {
            let lower = || lines[above + 1..].iter().flatten();
            for name in names {
                listed += 1;
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/fortune/{name}.rs"));
                let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
                let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                for used in code.split("\nuse super::").skip(1) {
                    let used = used.split(';').next().unwrap_or_default();
                    // `a::{B, c}` uses `a`, and `{a::B, c}` uses `a` and `c`.
                    let modules = match used.strip_prefix('{') {
                        Some(list) => list.trim_end_matches('}').split(',').map(str::trim).collect(),
                        None => vec![used],
                    };
                    for module in modules {
                        let module = module.split("::").next().unwrap_or_default();
                        assert!(lower().any(|it| *it == module), "{name} uses {module}, which is on no lower line");
                    }
                }
            }
        }
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fortune")).expect("the folder");
        let is_module = |path: &Path| path.extension().is_some_and(|it| it == "rs");
        let modules = files.filter(|file| is_module(&file.as_ref().expect("a file").path())).count();
        assert_eq!(listed, modules - 1, "the list names each module but this one");
    }
}
