//! docs/data/layers.csv, and the part of docs/costs.md that is made from it.

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

/// The tables, each with a sentence. The plot and docs/data have the others.
const TABLES: [(&str, &str); 2] = [
    (
        "layer",
        "Each layer alone, of a service that replies and exits. Its policy has one more rule here, for the clock.",
    ),
    ("process", "Whole processes:"),
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
        format!("nothing measurable ({from} to {to} {unit})")
    } else {
        format!("{median} {unit} ({from} to {to})")
    }
}

fn share(row: &Row, process: f64) -> String {
    figure(row.median / process * 100.0)
}

fn cell(row: &Row, process: f64) -> String {
    if row.is_difference && holds_zero(row) {
        return "–".to_owned();
    }
    let [median, from, to] = [row.median, row.from, row.to].map(figure);
    format!("{median} ({from} to {to}), {} %", share(row, process))
}

fn table(rows: &[&Row], first: &str, process: f64) -> String {
    let lines = rows.iter().map(|row| format!("| {} | {} |\n", row.name, cell(row, process)));
    format!("| {first} | µs |\n|---|--:|\n{}", lines.collect::<String>())
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
        "the kernel refuses to switch that off (`CONFIG_BPF_JIT_ALWAYS_ON`)"
    } else {
        "root could switch that off"
    };
    Ok(format!(
        "Filters are compiled (`net.core.bpf_jit_enable` is {value}), and {more}. Interpreted filters are not measured."
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
            "The kernel caches calls that the filter allows with any arguments. Such a call takes {} longer than without a filter as \
             the 2nd rule of 2,040, and {} longer as the last. Each rule before it adds {} up to the 256th, and {} on average beyond.",
            took("call", CACHED, 2)?,
            took("call", CACHED, 2040)?,
            to_256(CACHED)?,
            on(CACHED)?
        ),
        format!(
            "For a call with a pinned argument, the filter runs each time. The call takes {} longer as the 2nd rule, {} as the 256th \
             and {} as the last. Each rule before it adds {} up to the 256th, and {} on average beyond. So put the pinned rules of \
             frequent calls first.",
            took("call", PINNED, 2)?,
            took("call", PINNED, 256)?,
            took("call", PINNED, 2040)?,
            to_256(PINNED)?,
            on(PINNED)?
        ),
        format!(
            "If a filter loads an argument first, the kernel caches no call. Then each rule before any call adds {} up to the 256th, \
             and {} on average beyond. So load the call's number first.",
            to_256(UNCACHED)?,
            on(UNCACHED)?
        ),
        format!(
            "Each instruction after the call's own rule, here the 2nd, adds {} to a cached call, and {} to a pinned one.",
            behind(CACHED)?,
            behind(PINNED)?
        ),
        format!(
            "Attaching a filter takes {} with 7 instructions and {} with 4,085: {} per instruction, because the kernel runs the filter \
             for every system call to fill its cache. If no call can be cached, an instruction takes {}.",
            took("attach", PREPARED, 7)?,
            took("attach", PREPARED, 4085)?,
            each("instruction to attach", PREPARED)?,
            each("instruction to attach", UNPREPARED)?
        ),
        format!(
            "Each further filter adds {} to a call that all filters allow with any arguments, and {} to a call that all of them pin.",
            filter(CACHED)?,
            filter(PINNED)?
        ),
        format!(
            "Entering a Landlock domain takes {} without a rule, and each rule adds {}.",
            took("domain", DOMAIN, 0)?,
            each("rule to enter a domain", DOMAIN)?
        ),
        format!(
            "In a domain, open(2) takes {} longer for each directory between the file and the one that a rule names, {} for each further \
             domain, and {} for each further rule.",
            open(LEVELS)?,
            open(DOMAINS)?,
            open(RULES)?
        ),
        format!(
            "All six layers take {}{}. As root they take {}{}. Dropping capabilities alone takes {}, because each capability of the \
             bounding set needs a call.",
            time(all),
            part(all),
            time(as_root),
            part(as_root),
            time(capabilities)
        ),
        format!(
            "A fork of the benchmark, without executing a program, takes {}{}. A process with more memory takes longer.",
            time(fork),
            part(fork)
        ),
    ];
    Ok(lines.map(|line| format!("- {line}\n")).concat())
}

/// What each case took in each round, in microseconds, so that readers can compute the rows themselves.
pub fn write_rounds(cases: &[Case]) -> Result<()> {
    let mut data = "group,what,number,us of each round\n".to_owned();
    for Case { group, name, at, took, .. } in cases {
        let at = at.map_or(String::new(), |at| at.to_string());
        let took: Vec<_> = took.iter().map(|it| figure(*it)).collect();
        let _ = writeln!(data, "{group},\"{name}\",{at},{}", took.join(" "));
    }
    Ok(fs::write(ROUNDS, data)?)
}

pub fn write(rows: &[Row], process: f64, rounds: usize) -> Result<()> {
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
    write_page(rows, process, &format!("Measured on {machine}. {}", compiler()?))
}

/// The page from what docs/data has, without measuring; of the page, what it says of that run stays.
pub fn write_again() -> Result<()> {
    let mut rows = Vec::new();
    for line in fs::read_to_string(DATA)?.lines().skip(2) {
        let wrong = || format!("{DATA}: {line}");
        let (group, rest) = line.split_once(",\"").ok_or_else(wrong)?;
        let (name, rest) = rest.split_once("\",").ok_or_else(wrong)?;
        let [at, kind, median, from, to, ..] = rest.split(',').collect::<Vec<_>>()[..] else {
            return Err(wrong().into());
        };
        rows.push(Row {
            group: group.to_owned().leak(),
            name: name.to_owned(),
            at: at.parse().ok(),
            is_difference: kind == "difference",
            median: median.parse()?,
            from: from.parse()?,
            to: to.parse()?,
        });
    }
    let process = rows.iter().find(|row| row.name == PROCESS).ok_or("no process")?.median;
    let page = fs::read_to_string(PAGE)?;
    let measured = page.split(BEGIN).nth(1).and_then(|rest| rest.trim_start().split("\n\n").next());
    write_page(&rows, process, measured.ok_or_else(|| format!("{PAGE} has no mark for the layers"))?)
}

fn write_page(rows: &[Row], process: f64, measured: &str) -> Result<()> {
    let mut text = format!("{measured}\n\n{}", lessons(rows, process)?);
    let units = units()?;
    for (group, what) in TABLES {
        let mut of: Vec<_> = rows.iter().filter(|row| row.group == group && row.name != ONCE_MORE).collect();
        if group == "process" {
            of.extend(&units);
        }
        let _ = write!(text, "\n{what}\n\n{}", table(&of, group, process));
    }
    text += "\nThe rows of units come from the tables above: a different run, with the processor time of the whole machine.\n";
    let page = fs::read_to_string(PAGE)?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} has no mark for the layers"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} has no end of the layers"))?;
    Ok(fs::write(PAGE, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?)
}
