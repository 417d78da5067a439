//! docs/data/kernels.tsv, what every kernel says, and docs/kernels.md, a summary of it.

use std::fmt::Write as _;
use std::fs;

use super::support::attack::table;
use super::support::repository;

/// What every kernel says: a section, a row, and a cell for each kernel.
pub struct Data {
    pub titles: Vec<String>,
    pub rows: Vec<(String, String, Vec<String>)>,
}

const LIST: &str = "docs/data/kernels.tsv";

/// The tables of the page: a section, and the heading of its first column.
const TABLES: [(&str, &str); 4] = [("kernel", ""), ("served", "service"), ("acts", "attack"), ("siblings", "attack")];
/// The lists.
const LISTS: [&str; 4] = ["said", "layers", "calls", "reach"];
/// Of what is said, what the page shows.
const LOG: &str = "the log of keeper";

impl Data {
    pub fn read() -> Self {
        let text = fs::read_to_string(repository().join(LIST)).unwrap();
        let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
        let titles = lines.next().expect("a head").split_off(2);
        let rows = lines.map(|mut line| {
            let cells = line.split_off(2);
            assert_eq!(cells.len(), titles.len(), "{LIST}: {line:?}");
            let [section, row] = <[String; 2]>::try_from(line).unwrap();
            (section, row, cells)
        });
        let rows = rows.collect();
        Self { titles, rows }
    }

    pub fn write(&self) {
        let line = |first: [&str; 2], rest: &[String]| first.join("\t") + "\t" + &rest.join("\t") + "\n";
        let rows = self.rows.iter().map(|(section, row, cells)| line([section, row], cells));
        let text = [line(["section", "row"], &self.titles)].into_iter().chain(rows).collect::<String>();
        fs::write(repository().join(LIST), text).unwrap();
    }

    pub fn cell(&self, section: &str, row: &str, title: &str) -> Option<&str> {
        let at = self.titles.iter().position(|it| it == title)?;
        let found = self.rows.iter().find(|it| it.0 == section && it.1 == row)?;
        Some(found.2[at].as_str())
    }

    /// The rows of a section, those with the same cells in one.
    fn merged(&self, section: &str) -> Vec<(Vec<&str>, &[String])> {
        let mut merged: Vec<(Vec<&str>, &[String])> = Vec::new();
        for (_, row, cells) in self.rows.iter().filter(|it| it.0 == section && (section != "said" || it.1 == LOG)) {
            match merged.iter_mut().find(|(_, known)| *known == cells) {
                Some((rows, _)) if section != "kernel" => rows.push(row),
                _ => merged.push((vec![row], cells)),
            }
        }
        merged
    }

    fn table(&self, section: &str, head: &str) -> String {
        let merged = self.merged(section);
        let everything = section == "served" && merged.len() == 1;
        let line = |(rows, cells): &(Vec<&str>, &[String])| {
            let rows = if everything { "every service, in every way".to_owned() } else { rows.join("; ") };
            [&[rows], *cells].concat()
        };
        let titles = self.titles.iter().map(String::as_str);
        let head: Vec<_> = [head].into_iter().chain(titles).collect();
        table(&head, &merged.iter().map(line).collect::<Vec<_>>())
    }

    /// What is the same everywhere, once; what is not, with the kernels.
    fn list(&self, section: &str) -> String {
        let mut list = String::new();
        for (rows, cells) in self.merged(section) {
            let mut distinct: Vec<(&str, Vec<&str>)> = Vec::new();
            for (title, cell) in self.titles.iter().zip(cells) {
                match distinct.iter_mut().find(|(known, _)| known == cell) {
                    Some((_, titles)) => titles.push(title),
                    None => distinct.push((cell, vec![title])),
                }
            }
            let names: Vec<_> = if section == "said" { Vec::new() } else { vec![format!("`{}`", rows.join("`; `"))] };
            for (cell, titles) in &distinct {
                let kernels = (distinct.len() > 1).then(|| titles.join("; "));
                let names: Vec<_> = names.iter().cloned().chain(kernels).collect();
                writeln!(list, "- {}: {cell}", names.join(", on ")).unwrap();
            }
        }
        list
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = include_str!("page.md").to_owned();
        for (section, head) in TABLES {
            page = page.replace(&format!("@{section}@\n"), &self.table(section, head));
        }
        for section in LISTS {
            page = page.replace(&format!("@{section}@\n"), &self.list(section));
        }
        page
    }
}
