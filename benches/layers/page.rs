//! docs/data/layers.csv, and the part of docs/costs.md that is made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use super::support::{Result, this_host};
use super::{Case, Row};

pub const PREPARED: &str = "the kernel's cache is filled";
pub const UNPREPARED: &str = "nothing for the cache";
pub const CACHED: &str = "the cache knows the call";
pub const PINNED: &str = "an argument is pinned";
pub const UNCACHED: &str = "nothing is cached";
pub const DOMAIN: &str = "a ruleset, and a domain of it";
pub const RULES: &str = "rules";
pub const LEVELS: &str = "directories up to the rule's";
pub const DOMAINS: &str = "domains, one in the other";
pub const ALL: &str = "all six";
pub const ALL_AS_ROOT: &str = "all six, as root";
pub const ONCE_MORE: &str = "nothing, once more";
pub const PROCESS: &str = "a static C program, posix_spawn(3) to exit";
pub const FORK_EXEC: &str = "the same by fork(2) and execve(2)";
pub const FORK: &str = "fork(2) to exit";

const PAGE: &str = "docs/costs.md";
const DATA: &str = "docs/data/layers.csv";
const ROUNDS: &str = "docs/data/layers-rounds.csv";
const BEGIN: &str = "<!-- make bench-layers writes from here -->\n";
const END: &str = "<!-- make bench-layers writes to here -->\n";

/// The tables, each with its first column and its text.
const TABLES: [(&str, &str, &str); 8] = [
    (
        "attach",
        "instructions",
        "To attach a filter, by its length: two instructions a rule, and each system call that there is passes nearly all of them. Where there is \
         nothing for the cache, there is one more in front, which loads an argument.",
    ),
    (
        "call",
        "place",
        "A call after it, by the place of its rule in a filter of 2,040 rules: what it takes more than without a filter.",
    ),
    ("length", "instructions", "The same by the length of the filter; the call's rule is the second."),
    ("stack", "filters", "The same by the number of filters, each of 65 instructions; the call's rule is the 16th."),
    (
        "domain",
        "rules",
        "To enter a Landlock domain, by its rules, each for a directory that is open already: to make the ruleset, to add its rules, and \
         to restrict the process.",
    ),
    (
        "open",
        "number",
        "open(2) and close(2) in a domain, by its rules, by how many directories up from the file the one with the rule is, and by \
         domains: what they take more than without Landlock.",
    ),
    (
        "layer",
        "layer",
        "The layers of a service that replies and ends, each alone. Its policy has one rule more here, for the clock.",
    ),
    ("process", "process", "Processes: what they take in all."),
];

fn holds_zero(row: &Row) -> bool {
    row.from <= 0.0 && row.to >= 0.0
}

/// Three or four significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.1.. => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// In the largest unit without leading zeros.
fn time(row: &Row) -> String {
    let (factor, unit) = if row.median.abs() < 1.0 { (1e3, "ns") } else { (1.0, "µs") };
    let [median, from, to] = [row.median, row.from, row.to].map(|it| figure(it * factor));
    // Adding something never saves time: an interval below zero is one of the few that miss.
    if row.is_difference && row.from <= 0.0 {
        format!("nothing that shows ({from} to {to} {unit})")
    } else {
        format!("{median} {unit} ({from} to {to})")
    }
}

fn share(row: &Row, process: f64) -> String {
    figure(row.median / process * 100.0)
}

fn cell(row: &Row, process: f64) -> String {
    if row.is_difference && holds_zero(row) {
        return "not told apart from nothing".to_owned();
    }
    let [median, from, to] = [row.median, row.from, row.to].map(figure);
    format!("{median} ({from} to {to}), {} %", share(row, process))
}

/// A table: several alternatives side by side, each in microseconds and as a share of a process.
fn table(rows: &[&Row], first: &str, process: f64) -> String {
    let mut series: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.at.is_some()) {
        if !series.contains(&&*row.name) {
            series.push(&row.name);
        }
    }
    let mut table = String::new();
    if series.is_empty() {
        let _ = write!(table, "| {first} | µs |\n|---|--:|\n");
        for row in rows {
            let _ = writeln!(table, "| {} | {} |", row.name, cell(row, process));
        }
        return table;
    }
    let heads = if series.len() == 1 { "µs".to_owned() } else { series.join(", µs | ") + ", µs" };
    let _ = write!(table, "| {first} | {heads} |\n|--:|{}\n", "--:|".repeat(series.len()));
    for at in rows.iter().filter_map(|row| row.at).collect::<BTreeSet<_>>() {
        let _ = write!(table, "| {at} |");
        for name in &series {
            let row = rows.iter().find(|row| row.name == *name && row.at == Some(at));
            let _ = write!(table, " {} |", row.map_or(String::new(), |row| cell(row, process)));
        }
        table.push('\n');
    }
    for row in rows.iter().filter(|row| row.at.is_none()) {
        let _ = write!(table, "\n*{}*: {}.\n", row.name, cell(row, process));
    }
    table
}

/// The unit costs in docs/data: name, milliseconds, from and to. Another run measured them, `make bench-units`.
pub fn units() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in fs::read_dir("docs/data")? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.strip_prefix("units-").and_then(|version| version.parse::<u32>().ok());
        let Some(version) = version.filter(|_| path.extension().is_some_and(|it| it == "csv")) else { continue };
        for line in fs::read_to_string(&path)?.lines() {
            let fields: Vec<_> = line.split(',').collect();
            let unit = match fields[0] {
                "Added" => "a unit with no directive",
                "Taken" => "`fortune@.service` as shipped",
                _ => continue,
            };
            let name = format!("{unit}, systemd {version}, a connection to its end");
            if rows.iter().any(|row: &Row| row.name == name) {
                continue;
            }
            let [_, _, median, from, to, ..] = fields[..] else {
                return Err(format!("{}: {line}", path.display()).into());
            };
            let [median, from, to] = [median, from, to].map(|it| it.parse::<f64>().map(|it| it * 1e3));
            let (median, from, to) = (median?, from?, to?);
            rows.push(Row { group: "process", name, at: None, is_difference: false, median, from, to });
        }
    }
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rows)
}

/// Whether this kernel can run filters without compiling them.
fn compiler() -> Result<String> {
    const SWITCH: &str = "/proc/sys/net/core/bpf_jit_enable";
    let value = fs::read_to_string(SWITCH)?;
    let value = value.trim();
    let refused = fs::write(SWITCH, "0").is_err();
    if !refused {
        fs::write(SWITCH, value)
            .map_err(|error| format!("{SWITCH} was {value}, and now is 0: write it back ({error})"))?;
    }
    let more = if refused {
        "the kernel refuses to switch that off, as `CONFIG_BPF_JIT_ALWAYS_ON` has it"
    } else {
        "the kernel would let root switch that off"
    };
    Ok(format!(
        "Filters are compiled (`net.core.bpf_jit_enable` is {value}), and {more}: filters that are interpreted are not measured."
    ))
}

fn machine(rounds: usize) -> Result<String> {
    let abi = hunker::Landlock::of_kernel()?.abi;
    Ok(format!("{}, Landlock version {abi}, {rounds} rounds", this_host()?))
}

/// The conclusions, each sentence from rows.
fn lessons(rows: &[Row], process: f64) -> Result<String> {
    let of = |group: &str, name: &str, at: Option<usize>| {
        let found = rows.iter().find(|row| (row.group, &*row.name, row.at) == (group, name, at));
        found.ok_or_else(|| format!("there is no row {group}, {name}, {at:?}"))
    };
    let took = |group: &str, name: &str, at: usize| of(group, name, Some(at)).map(time);
    let each = |what: &str, name: &str| of("each", &format!("one more {what}: {name}"), None).map(time);
    let to_256 = |name: &str| each("rule before a call, to the 256th", name);
    let on = |name: &str| each("rule before a call, from there on", name);
    let behind = |name: &str| each("instruction behind a call", name);
    let filter = |name: &str| each("filter", name);
    let open = |name: &str| each("for open(2)", name);
    let alone = |name: &str| of("layer", name, None);
    let part =
        |row: &Row| if holds_zero(row) { String::new() } else { format!(", {} % of a process", share(row, process)) };
    let (all, as_root) = (alone(ALL)?, alone(ALL_AS_ROOT)?);
    let capabilities = alone(&format!("{}, as root", hunker::Layer::Capabilities))?;
    let fork = of("process", FORK, None)?;
    let lines = [
        format!(
            "A call that the kernel's cache knows, since the filter allows it whatever its arguments, takes {} more than without a filter \
             as the 2nd rule of 2,040, and {} as the last. Each rule before it adds {} up to the 256th, and {} on average from there on.",
            took("call", CACHED, 2)?,
            took("call", CACHED, 2040)?,
            to_256(CACHED)?,
            on(CACHED)?
        ),
        format!(
            "A call with a pinned argument is not in the cache, so the filter runs each time. It takes {} more as the 2nd rule, {} as the \
             256th and {} as the last: {} for each rule before it up to the 256th, and {} on average from there on. Put the pinned rules of frequent \
             calls first.",
            took("call", PINNED, 2)?,
            took("call", PINNED, 256)?,
            took("call", PINNED, 2040)?,
            to_256(PINNED)?,
            on(PINNED)?
        ),
        format!(
            "A filter that loads an argument before all else leaves nothing to the cache. Then a call without pins pays for each rule before \
             it as well: {} up to the 256th, and {} on average from there on. Load the call's number first.",
            to_256(UNCACHED)?,
            on(UNCACHED)?
        ),
        format!(
            "What is behind the call's rule, the 2nd: each instruction adds {} to a call that the cache knows, and {} to one with a pin.",
            behind(CACHED)?,
            behind(PINNED)?
        ),
        format!(
            "To attach a filter takes {} with 7 instructions and {} with 4,085: {} an instruction. While it attaches, the kernel asks \
             the filter about every system call that there is, to fill the cache. Where there is nothing for the cache, an instruction \
             takes {}.",
            took("attach", PREPARED, 7)?,
            took("attach", PREPARED, 4085)?,
            each("instruction to attach", PREPARED)?,
            each("instruction to attach", UNPREPARED)?
        ),
        format!(
            "One more filter adds {} to a call that the caches of all know, and {} to one that all of them pin.",
            filter(CACHED)?,
            filter(PINNED)?
        ),
        format!(
            "To enter a Landlock domain takes {} without a rule, and each rule adds {}.",
            took("domain", DOMAIN, 0)?,
            each("rule to enter a domain", DOMAIN)?
        ),
        format!(
            "In a domain, open(2) pays {} for each directory between the file and the one that a rule names, {} for each further domain, \
             and {} for each further rule.",
            open(LEVELS)?,
            open(DOMAINS)?,
            open(RULES)?
        ),
        format!(
            "All six layers take {}{}. As root they take {}{}: the bounding set is given up one capability a call, and capabilities \
             alone take {}.",
            time(all),
            part(all),
            time(as_root),
            part(as_root),
            time(capabilities)
        ),
        format!(
            "A fork of the benchmark, without another program, takes {}{}. What a fork costs grows with the memory of the one who forks.",
            time(fork),
            part(fork)
        ),
    ];
    Ok(lines.map(|line| format!("- {line}\n")).concat())
}

/// What each case took in each round, in microseconds: with it, whoever doubts a row can compute it anew.
pub fn write_rounds(cases: &[Case]) -> Result<()> {
    let mut data = "group,what,number,us of each round\n".to_owned();
    for Case { group, name, at, took, .. } in cases {
        let at = at.map_or(String::new(), |at| at.to_string());
        let took: Vec<_> = took.iter().map(|it| figure(*it)).collect();
        let _ = writeln!(data, "{group},\"{name}\",{at},{}", took.join(" "));
    }
    Ok(fs::write(ROUNDS, data)?)
}

pub fn write(rows: &[Row], units: &[Row], process: f64, rounds: usize) -> Result<()> {
    let machine = machine(rounds)?;
    let mut data = format!("# {machine}\ngroup,what,number,kind,us,from,to,percent of a process,rounds\n");
    for row in rows {
        let _ = writeln!(
            data,
            "{},\"{}\",{},{},{:.7},{:.7},{:.7},{:.7},{rounds}",
            row.group,
            row.name,
            row.at.map_or(String::new(), |at| at.to_string()),
            if row.is_difference { "difference" } else { "in all" },
            row.median,
            row.from,
            row.to,
            row.median / process * 100.0
        );
    }
    print!("{data}");
    fs::create_dir_all("docs/data")?;
    fs::write(DATA, data)?;

    let mut text = format!("Measured on {machine}. {}\n\n{}", compiler()?, lessons(rows, process)?);
    for (group, first, what) in TABLES {
        let mut of: Vec<_> = rows.iter().filter(|row| row.group == group).collect();
        if group == "process" {
            of.extend(units);
        }
        let _ = write!(text, "\n{what}\n\n{}", table(&of, first, process));
    }
    text += if units.is_empty() {
        "\nWhat a unit takes is not here yet: `make bench-units` measures it, and this page takes it from there.\n"
    } else {
        "\nThe figures of units are those of the tables above, of another run: processor time of the whole machine.\n"
    };
    let of: Vec<_> = rows.iter().filter(|row| row.group == "without").collect();
    let _ = write!(text, "\nWhat others are compared with:\n\n{}", table(&of, "control", process));
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no place for the layers"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no end of the layers"))?;
    Ok(fs::write(PAGE, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?)
}
