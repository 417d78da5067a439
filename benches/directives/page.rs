//! The tables of docs/costs.md, from docs/data.

use std::fmt::Write as _;
use std::fs;

use super::support::Result;

const PAGE: &str = "docs/costs.md";
const BEGIN: &str = "<!-- make bench-units writes from here -->\n";
const END: &str = "<!-- make bench-units writes to here -->\n";
/// No difference that the interval supports.
const NOTHING: &str = "–";

/// A line of docs/data/units-VERSION.csv.
#[derive(Clone)]
struct Row {
    name: String,
    way: String,
    /// The median and its interval, in milliseconds; `None` where this systemd cannot start the unit.
    cost: Option<[f64; 3]>,
    /// System calls, mounts, reads of mountinfo, filters, their instructions, BPF programs.
    counts: [i64; 6],
}

/// What was measured with one version of systemd.
struct Version {
    number: u32,
    measured_on: String,
    rows: Vec<Row>,
}

/// The tables of directives: the way of the rows, and a sentence.
const TABLES: [(&str, &str); 3] = [
    ("taken", "**Taken from the shipped unit**: what each directive costs in that unit."),
    ("added", "**Added to a unit without directives**: what each directive costs by itself."),
    ("tried", "**Added to the shipped unit**: directives that it omits."),
];

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(',').collect();
        let [name, way, cost @ ..] = &fields[..] else { return None };
        let number = |index: usize| cost.get(index)?.parse().ok();
        let count = |index: usize| cost.get(index).and_then(|it| it.parse().ok()).unwrap_or(0);
        let (name, way) = ((*name).to_owned(), (*way).to_owned());
        let cost = (|| Some([number(0)?, number(1)?, number(2)?]))();
        Some(Self { name, way, cost, counts: [3, 4, 5, 6, 7, 8].map(count) })
    }

    fn label(&self) -> String {
        // A directive with a value holds an equals sign; others are names, of which a group may have several.
        let names: Vec<_> = if self.name.contains('=') { vec![&*self.name] } else { self.name.split(' ').collect() };
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    fn cost(&self) -> String {
        let number = |[median, from, to]: [f64; 3]| format!("{median:.2} ({from:.2} to {to:.2})");
        self.cost.map_or_else(|| "does not start".to_owned(), number)
    }

    /// What the directives cost beside another unit: nothing, unless its interval is apart from zero.
    fn cost_beside(&self, base: &Self) -> String {
        let sign = if self.way == "taken" { -1 } else { 1 };
        // One interval of twenty misses: what spares nothing saves nothing.
        let spares = self.counts.iter().zip(base.counts).any(|(count, base)| sign * (count - base) < 0);
        match self.cost {
            Some([_, from, to]) if from <= 0.0 && (to >= 0.0 || !spares) => NOTHING.to_owned(),
            Some([median, from, to]) if to < 0.0 => format!("saves {:.2} ({:.2} to {:.2})", -median, -to, -from),
            _ => self.cost(),
        }
    }
}

impl Version {
    fn read(number: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("docs/data/units-{number}.csv"))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let rows = lines.skip(1).filter_map(Row::parse).collect();
        let measured_on = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
        Ok(Self { number, measured_on, rows })
    }

    fn find(&self, name: &str, way: &str) -> Result<&Row> {
        let row = self.rows.iter().find(|row| row.name == name && row.way == way);
        row.ok_or_else(|| format!("docs/data has no '{name}' of systemd {}", self.number).into())
    }

    /// The line of what others are compared with.
    fn summary(&self) -> Result<String> {
        let (bare, plain) = (self.find("Added", "added")?, self.find("plain", "added")?);
        let (whole, ratio) = (self.find("Taken", "taken")?, self.find("whole / plain", "ratio")?);
        let [ratio, from, to] = ratio.cost.ok_or("no ratio")?;
        let units = [bare, plain, whole].map(Row::cost).join(" | ");
        let more = whole.counts.iter().zip(plain.counts).map(|(whole, plain)| format!("{:+}", whole - plain));
        let more = more.collect::<Vec<_>>().join(" | ");
        Ok(format!("| {} | {units} | {ratio:.3} ({from:.3} to {to:.3}) | {more} |\n", self.number))
    }

    /// What a directive costs, if this version was measured with it.
    fn cost(&self, name: &str, way: &str) -> Result<Option<String>> {
        let base =
            self.find(if way == "added" { "Added" } else { "Taken" }, if way == "added" { way } else { "taken" })?;
        let row = self.rows.iter().find(|row| row.name == name && row.way == way);
        Ok(row.map(|row| row.cost_beside(base)))
    }
}

/// The directives that cost or save something under any version, the dearest first, and the names of the others.
fn table(versions: &[Version], way: &str, sentence: &str) -> Result<String> {
    let mut names: Vec<&Row> = Vec::new();
    for row in versions.iter().flat_map(|version| &version.rows).filter(|row| row.way == way) {
        let other = ["Added", "Taken", "plain", "nothing"].contains(&&*row.name);
        if !other && names.iter().all(|known| known.name != row.name) {
            names.push(row);
        }
    }
    let median = |row: &Row| {
        let of_this = versions.iter().flat_map(|it| &it.rows).filter(|it| it.way == way && it.name == row.name);
        of_this.filter_map(|it| it.cost).map(|cost| cost[0]).fold(f64::MIN, f64::max)
    };
    names.sort_by(|one, other| median(other).total_cmp(&median(one)));
    let heads: Vec<_> = versions.iter().map(|it| format!("systemd {}", it.number)).collect();
    let (heads, line) = (heads.join(" | "), "--:|".repeat(versions.len()));
    let mut text = format!("\n{sentence}\n\n| directives | {heads} |\n|---|{line}\n");
    let mut others = Vec::new();
    for row in names {
        let costs = versions.iter().map(|version| version.cost(&row.name, way)).collect::<Result<Vec<_>>>()?;
        if costs.iter().flatten().all(|cost| cost == NOTHING) {
            others.push(row.label());
        } else {
            let costs = costs.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(" | ");
            let _ = writeln!(text, "| {} | {costs} |", row.label());
        }
    }
    Ok(format!("{text}\nNo difference under any version: {}.\n", others.join(", ")))
}

/// Writes the tables of the page.
pub fn write() -> Result<()> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("docs/data")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("units-").and_then(|rest| rest.strip_suffix(".csv"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let versions = numbers.into_iter().map(Version::read).collect::<Result<Vec<_>>>()?;
    let mut text = String::from(
        "\n| systemd | no directive | plain | shipped | shipped / plain | calls | mounts | reads of mountinfo | filters | \
         filter instructions | BPF programs |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for version in &versions {
        text += &version.summary()?;
    }
    text += "\n";
    for version in &versions {
        let _ = writeln!(text, "- Measured on {}.", version.measured_on);
    }
    text += "\n## Costs by directive\n";
    for (way, sentence) in TABLES {
        text += &table(&versions, way, sentence)?;
    }
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no mark for the tables"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no end of the tables"))?;
    Ok(fs::write(PAGE, format!("{before}{BEGIN}{text}\n{END}{after}"))?)
}
