//! The manual pages, from the templates in `man/templates`, the table of the services and the programs' own command lines; and the
//! shells' completions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use small_services::policy::Io;
use small_services::runtime::sandbox::Mode;
use small_services::services::{self, Row};
use small_services::{protocol, runtime, tools};

use crate::support::{audit, repository};

type MakeCommand = fn() -> Command;

/// The command lines of the services, by their programs.
const COMMANDS: &[(&str, MakeCommand)] = &[
    ("qotd", runtime::command::<protocol::Qotd>),
    ("echo", runtime::command::<protocol::Echo>),
    ("daytime", runtime::command::<protocol::Daytime>),
    ("discard", runtime::command::<protocol::Discard>),
    ("chargen", runtime::command::<protocol::Chargen>),
    ("time", runtime::command::<protocol::Time>),
    ("systat", runtime::command::<protocol::Systat>),
];

/// The command line of a page, by the page's name without its section.
fn command(page: &str) -> Option<Command> {
    if page == "lunchd" {
        return Some(lunchd::command());
    }
    let name = page.strip_prefix("small-services")?.trim_start_matches('-');
    if name == "fortune" {
        return Some(runtime::command::<protocol::Fortune>());
    }
    let mut tools = tools::command();
    tools.build();
    if name.is_empty() {
        return Some(tools);
    }
    let service = COMMANDS.iter().find(|(program, _)| *program == name).map(|(_, command)| command());
    service.or_else(|| tools.find_subcommand(name).cloned())
}

/// The pages by their file names. Each service has one, from the common template and its own part.
pub fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(repository().join("man/templates")).unwrap().map(|entry| entry.unwrap()) {
        let file = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            continue;
        }
        let template = fs::read_to_string(entry.path()).unwrap();
        if file != "service.8" {
            let page = file.rsplit_once('.').unwrap().0;
            pages.insert(file.clone(), fill(&template, page, &[]));
            continue;
        }
        for row in services::all() {
            let page = format!("small-services-{}", row.program);
            pages.insert(format!("{page}.8"), fill(&template, &page, &values(&row)));
        }
    }
    pages
}

fn values(row: &Row) -> Vec<(&'static str, String)> {
    // The part that is specific to this service: lines, or none.
    let part = |name: &str| {
        let path = repository().join("man/templates/parts").join(name);
        fs::read_to_string(path).unwrap_or_default()
    };
    vec![
        ("more@\n", part(row.program)),
        ("environment@\n", part(&format!("{}.environment", row.program))),
        ("PROGRAM@", row.program.to_uppercase()),
        ("program@", row.program.to_owned()),
        ("title@", row.title.to_owned()),
        ("sentence@", row.sentence.to_owned()),
        ("rfc@", row.rfc.to_string()),
        ("port@", row.port.to_string()),
        ("unit@", row.unit.to_owned()),
        ("transports@", if row.udp { "TCP and UDP" } else { "TCP, and UDP on request" }.to_owned()),
    ]
}

/// A page from its template. `make install` fills in what remains between two `@`.
fn fill(template: &str, page: &str, values: &[(&str, String)]) -> String {
    // From the template alone: the other lines between `@` are already roff.
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}"), value);
    }
    if let Some(command) = command(page) {
        text = text.replace("@usage@", &usage(command.clone())).replace("@options@", options(command).trim_end());
    }
    for (place, made) in [
        ("@services@", services_list as fn() -> String),
        ("@policies@", policies),
        ("@modes@", modes),
        ("@subcommands@", subcommands),
        ("@example@", example),
    ] {
        if text.contains(place) {
            text = text.replace(place, made().trim_end());
        }
    }
    format!(".\\\" Made by `make manuals` from man/templates, `services` and the options.\n{}", wrapped(&text))
}

/// With lines of up to 80 characters, as mandoc requires, except where line ends are kept.
fn wrapped(text: &str) -> String {
    let (mut lines, mut kept) = (Vec::new(), false);
    for line in text.lines() {
        kept = line == ".nf" || (kept && line != ".fi");
        let mut left = line;
        while left.len() > 80 && !kept && !line.starts_with('.') {
            let Some((one, rest)) =
                left.char_indices().take(78).filter(|(_, it)| *it == ' ').last().map(|(at, _)| left.split_at(at))
            else {
                break;
            };
            lines.push(one);
            left = rest.trim_start();
        }
        lines.push(left);
    }
    lines.join("\n") + "\n"
}

/// The synopsis.
fn usage(mut command: Command) -> String {
    let usage = command.render_usage().to_string();
    let line = usage.trim_start_matches("Usage: ");
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    format!("\\fB{}\\fR{}", escaped(&name), escaped(line.strip_prefix(&name).unwrap_or(line)))
}

/// The sections of the options.
fn options(command: Command) -> String {
    let command = command.mut_args(|arg| {
        let of_daemons = arg.get_help_heading().is_some();
        if of_daemons { arg.help_heading("Options of daemons") } else { arg }
    });
    let mut rendered = Vec::new();
    Man::new(command).render_options_section(&mut rendered).unwrap();
    tidied(rendered)
}

/// The subcommands of `small-services`.
fn subcommands() -> String {
    let mut rendered = Vec::new();
    Man::new(tools::command().disable_help_subcommand(true)).render_subcommands_section(&mut rendered).unwrap();
    tidied(rendered)
}

/// As mandoc prefers it.
fn tidied(rendered: Vec<u8>) -> String {
    let mut text = String::new();
    for line in String::from_utf8(rendered).unwrap().lines() {
        match line {
            // The preamble of the roff library, for its quotation marks.
            _ if line.starts_with(".ie ") || line.starts_with(".el ") => {}
            "" => text += ".sp\n",
            _ if line.starts_with('.') => writeln!(text, "{line}").unwrap(),
            // A word between `backticks` is bold.
            _ => {
                let line = line.replace("\\*(Aq", "\\(aq").replace(" [default: ]", "");
                for (at, part) in line.split('`').enumerate() {
                    text += if at == 0 { "" } else { ["\\fR", "\\fB"][at % 2] };
                    text += part;
                }
                text.push('\n');
            }
        }
    }
    // One empty line is enough.
    text.replace(".br\n.sp\n.br\n", ".sp\n").replace(".RS 14\n", ".RS\n")
}

/// A text in roff.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The services, as rows of a list.
fn services_list() -> String {
    services::all().fold(String::new(), |mut text, row| {
        let Row { program, title, rfc, port, unit, sentence, .. } = row;
        writeln!(text, ".TP\n.BR small\\-services\\-{program} (8)\n{title} (RFC {rfc}) on port {port}: {sentence}.")
            .unwrap();
        writeln!(text, "Sockets:\n.B {unit}.socket\nand\n.BR {unit}\\-daemon.socket .").unwrap();
        text
    })
}

/// The values of `--sandbox`.
fn modes() -> String {
    let values = Mode::value_variants().iter().filter_map(Mode::to_possible_value);
    values.fold(String::new(), |mut text, value| {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(text, ".TP\n.B {}\n{}.", escaped(value.get_name()), escaped(&help)).unwrap();
        text
    })
}

/// The example service of the crate's page.
fn example() -> String {
    let page = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let code = page.split("//! ```\n").nth(1).unwrap();
    let lines = code.lines().map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default());
    lines.filter(|line| !line.starts_with("# ")).fold(String::new(), |text, line| text + &escaped(line) + "\n")
}

/// The system calls of one connection.
fn policies() -> String {
    services::all().fold(String::new(), |mut text, row| {
        let mut calls: Vec<_> = audit::rules(row.program, Io::Connection).map(|rule| rule.call().name()).collect();
        calls.retain(|call| *call != "fcntl"); // of debug builds
        calls.sort_unstable();
        calls.dedup();
        writeln!(text, ".TP\n.B {}\n{}", row.program, calls.join(", ")).unwrap();
        text
    })
}

/// The completions by their paths: for the programs in the PATH.
pub fn completions() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (name, make) in
        [("qotd", runtime::command::<protocol::Qotd> as MakeCommand), ("small-services", tools::command)]
    {
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut script = Vec::new();
            generate(shell, &mut make(), name, &mut script);
            files.insert(path, String::from_utf8(script).unwrap());
        }
    }
    files
}
