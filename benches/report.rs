//! The one table: what the benchmarks of this run have measured, each with its peer and its goal. With the feature `plots` it is
//! also written to docs/benchmarks.md, with its plots.

#[cfg(feature = "plots")]
mod plots;
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use support::{Result, given};

/// A row of a benchmark's results, as `support::Rows` writes it.
struct Row {
    topic: String,
    name: String,
    unit: String,
    median: f64,
    peer: String,
    ratio: Option<f64>,
    /// From the 10th to the 90th percentile of the rounds: of the ratio, or of the values if there is no peer.
    spread: (f64, f64),
    goal: Option<(char, f64)>,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let [topic, name, unit, median, peer, ratio, low, high, comparison, goal] = fields.as_slice() else {
            return None;
        };
        Some(Self {
            topic: (*topic).to_owned(),
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            median: median.parse().ok()?,
            peer: (*peer).to_owned(),
            ratio: ratio.parse().ok().filter(|ratio: &f64| ratio.is_finite()),
            spread: (low.parse().ok()?, high.parse().ok()?),
            goal: comparison.chars().next().zip(goal.parse().ok()),
        })
    }

    fn is_met(&self) -> Option<bool> {
        let ((comparison, goal), ratio) = (self.goal?, self.ratio?);
        Some(if comparison == '>' { ratio >= goal } else { ratio <= goal })
    }
}

fn read() -> Result<Vec<Row>> {
    let folder = given("RESULTS")?;
    let mut rows = Vec::new();
    for benchmark in ["process", "lockdown", "size", "units", "keeper", "daemon", "reuseport", "bytes", "web"] {
        let path = Path::new(&folder).join(format!("{benchmark}.tsv"));
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for line in text.lines() {
            rows.push(Row::parse(line).ok_or_else(|| format!("{}: not a row: {line}", path.display()))?);
        }
    }
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| what | measured | median | beside | ratio | 10th to 90th percentile | goal | met |\n\
         |------|----------|-------:|--------|------:|------------------------:|-----:|-----|\n",
    );
    for row in rows {
        let (low, high) = row.spread;
        let ratio = row.ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        let goal =
            row.goal.map_or(String::new(), |(sign, goal)| format!("{} {goal:.3}", if sign == '>' { '≥' } else { '≤' }));
        let met = row.is_met().map_or("", |met| if met { "yes" } else { "**no**" });
        let _ = writeln!(
            table,
            "| {} | {} | {:.2} {} | {} | {ratio} | {low:.2} to {high:.2} | {goal} | {met} |",
            row.topic, row.name, row.median, row.unit, row.peer
        );
    }
    table
}

fn main() -> Result<()> {
    let rows = read()?;
    let table = table(&rows);
    println!("\n{table}");
    #[cfg(feature = "plots")]
    plots::write(&rows, &table)?;
    Ok(())
}
