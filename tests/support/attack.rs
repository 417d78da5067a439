//! Shared by the attacks: their length, and the tables that they write.

use std::env;
use std::fmt::Write as _;
use std::fs;

use super::machine::Machine;
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

/// Writes a part of a page that several tests write. The parts are kept in target/. The page consists of the head and the existing
/// parts, ordered by name.
pub fn write_part(name: &str, head: &str, part: &str, text: &str) {
    if !full() {
        return;
    }
    let folder = repository().join("target/pages").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(part), text).unwrap();
    let mut parts: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    let texts = parts.iter().map(|path| fs::read_to_string(path).unwrap());
    write_page(name, &texts.fold(head.to_owned(), |page, text| page + "\n" + &text));
}

/// A table in Markdown.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        writeln!(table, "| {} |", row.join(" | ")).unwrap();
    }
    table
}

/// When and on what this is measured, as the first line of a file in docs/data says it.
pub fn this_machine(machine: &Machine) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unnamed processor", |(_, name)| name);
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let systemd = machine.shell("systemctl --version | sed -n 's/^systemd \\([0-9]*\\).*/\\1/p'");
    format!("{date}, Linux {}, {count} processors ({model}), systemd {}", release.trim(), systemd.trim())
}
