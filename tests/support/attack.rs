//! What the attacks share: how long they are, and the tables that they write.

use std::env;
use std::fmt::Write as _;
use std::fs;

use super::repository;

/// Whether this is `make attack`: the long versions, which also write the tables in docs/.
pub fn full() -> bool {
    env::var("ATTACK").is_ok_and(|it| it == "full")
}

/// A number for `make test`, and a larger one for `make attack`.
pub fn bounded<T>(short: T, long: T) -> T {
    if full() { long } else { short }
}

/// Writes a page of docs/, in `make attack` only.
pub fn write_page(name: &str, page: &str) {
    if full() {
        fs::write(repository().join("docs").join(name), page).unwrap();
    }
}

/// A table in Markdown.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        writeln!(table, "| {} |", row.join(" | ")).unwrap();
    }
    table
}
