//! The tables of docs/costs.md, from docs/data.

use std::fmt::Write as _;
use std::fs;

use super::support::Result;

const PAGE: &str = "docs/costs.md";
const BEGIN: &str = "<!-- make bench-units writes from here -->\n";
const END: &str = "<!-- make bench-units writes to here -->\n";
const COUNTED: &str = "calls | mounts | reads of mountinfo | filters | their instructions | BPF programs";
/// What a bootstrap cannot tell from zero.
const NOTHING: &str = "not told apart from nothing";

/// A line of docs/data/units-VERSION.csv.
#[derive(Clone, Copy)]
struct Row<'a> {
    name: &'a str,
    way: &'a str,
    /// The median and its interval, in milliseconds; `None` if this systemd cannot start the unit.
    cost: Option<[f64; 3]>,
    /// As in `COUNTED`.
    counts: [i64; 6],
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.split(',').collect();
        let [name, way, cost @ ..] = &fields[..] else { return None };
        let number = |index: usize| cost.get(index)?.parse().ok();
        let count = |index: usize| cost.get(index).and_then(|it| it.parse().ok()).unwrap_or(0);
        let cost = (|| Some([number(0)?, number(1)?, number(2)?]))();
        Some(Self { name, way, cost, counts: [3, 4, 5, 6, 7, 8].map(count) })
    }

    fn is_nothing(&self) -> bool {
        self.cost.is_some_and(|[_, from, to]| from <= 0.0 && to >= 0.0)
    }

    /// `spares`: whether something is done less often.
    fn cost(&self, spares: bool) -> String {
        match self.cost {
            None => "does not start".to_owned(),
            // One interval in twenty misses: a group that spares nothing saves nothing.
            Some([.., to]) if self.is_nothing() || to < 0.0 && !spares => NOTHING.to_owned(),
            Some([median, from, to]) if to < 0.0 => format!("saves {:.2} ({:.2} to {:.2})", -median, -to, -from),
            Some([median, from, to]) => format!("{median:.2} ({from:.2} to {to:.2})"),
        }
    }

    fn label(&self) -> String {
        if self.name == "nothing" {
            return "*nothing, once more*".to_owned();
        }
        // A directive with a value contains an equals sign. Others are names, of which a group may have several.
        let names: Vec<_> = if self.name.contains('=') { vec![self.name] } else { self.name.split(' ').collect() };
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    /// A row of a table. The counts are those beyond another row's, or what this one lacks of them.
    fn show(&self, label: &str, beside: Option<&Row>, sign: i64) -> String {
        let mut counts = self.counts;
        if let Some(other) = beside {
            counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count = sign * (*count - other));
        }
        let mut line = format!("| {label} | {} |", self.cost(counts.iter().any(|count| *count < 0)));
        for count in counts {
            let shown =
                if self.cost.is_none() || beside.is_some() && count == 0 { String::new() } else { count.to_string() };
            let _ = write!(line, " {shown} |");
        }
        line + "\n"
    }
}

fn head(first: &str, ms: &str) -> String {
    format!("| {first} | {ms}, ms | {COUNTED} |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
}

/// The most expensive first, then those that cannot be told from zero.
fn sorted<'a>(rows: &[Row<'a>], way: &str) -> Vec<Row<'a>> {
    let all = rows.iter().filter(|row| row.way == way && !["Added", "Taken", "plain"].contains(&row.name));
    let mut all: Vec<_> = all.copied().collect();
    let key = |row: &Row| row.cost.filter(|_| !row.is_nothing()).map_or(f64::MIN, |[median, ..]| median);
    all.sort_by(|one, other| key(other).total_cmp(&key(one)));
    all
}

fn section(version: u32) -> Result<(String, String)> {
    let text = fs::read_to_string(format!("docs/data/units-{version}.csv"))?;
    let rows: Vec<Row> = text.lines().filter(|line| !line.starts_with('#')).skip(1).filter_map(Row::parse).collect();
    let measured_on = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    let find = |name: &str, way: &str| {
        let row = rows.iter().find(|row| row.name == name && row.way == way);
        row.ok_or_else(|| format!("docs/data has no '{name}' of systemd {version}"))
    };
    let (bare, whole, plain) = (find("Added", "added")?, find("Taken", "taken")?, find("plain", "added")?);
    let mut text = format!("\n## systemd {version}\n\nMeasured on {measured_on}. What a start takes in all:\n\n");
    text += &head("unit", "median");
    text += &bare.show("no directive", None, 1);
    text += &plain.show("plain: `DynamicUser`, `ProtectHome`, `PrivateUsers`", None, 1);
    text += &whole.show("as shipped", None, 1);
    text += "\nTaken from the shipped unit, the most costly first: what each costs there.\n\n";
    text += &head("directives", "cost");
    for row in sorted(&rows, "taken") {
        text += &row.show(&row.label(), Some(whole), -1);
    }
    text += "\nAdded to a unit with no directive.\n\n";
    text += &head("directives", "cost");
    for row in sorted(&rows, "added") {
        text += &row.show(&row.label(), Some(bare), 1);
    }
    text += "\nAdded to the shipped unit, which does without them.\n\n";
    text += &head("directives", "cost");
    for row in sorted(&rows, "tried") {
        text += &row.show(&row.label(), Some(whole), 1);
    }
    let ratio = find("whole / plain", "ratio")?.cost.ok_or("no ratio")?;
    let more = |index: usize| whole.counts[index] - plain.counts[index];
    let summary = format!(
        "| {version} | {:.3} ({:.3} to {:.3}) | {} |\n",
        ratio[0],
        ratio[1],
        ratio[2],
        (0..6).map(|index| format!("{:+}", more(index))).collect::<Vec<_>>().join(" | ")
    );
    Ok((summary, text))
}

/// Writes the tables of the page.
pub fn write() -> Result<()> {
    let mut versions = Vec::new();
    for entry in fs::read_dir("docs/data")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let version = name.strip_prefix("units-").and_then(|rest| rest.strip_suffix(".csv"));
        versions.extend(version.and_then(|version| version.parse::<u32>().ok()));
    }
    versions.sort_unstable();
    let mut summary = String::from(
        "\n| systemd | the shipped unit, times the plain one | more calls | mounts | reads of mountinfo | filters | their instructions | BPF programs |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut sections = String::new();
    for version in versions {
        let (line, section) = section(version)?;
        summary += &line;
        sections += &section;
    }
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no place for the tables"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no end of the tables"))?;
    Ok(fs::write(PAGE, format!("{before}{BEGIN}{summary}{sections}\n{END}{after}"))?)
}
