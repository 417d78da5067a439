//! `small-services doctor`: finds what is wrong with the services on this host.
//!
//! It queries systemd, the kernel and the services themselves, and changes nothing. A person starts it, and it runs without a
//! lock-down.

mod answers;
mod checks;
mod credentials;
mod fortunes;
mod host;
mod listening;
mod ports;
mod processes;
mod service;
mod slots;
mod starting;
mod systemd;

use std::process::ExitCode;

pub(crate) use answers::Probe;
use hunker::Landlock;
use serde_json::json;

use crate::log::one_line;

/// The results of the checks.
#[derive(Debug, Default)]
struct Findings {
    /// The states of units and of the host, one line each.
    states: Vec<State>,
    /// The problems.
    problems: Vec<Problem>,
    /// The kernel's Landlock; its ABI is 0 if it has none.
    landlock: Option<Landlock>,
}

/// The state of a unit.
#[derive(Debug, PartialEq)]
struct State {
    unit: String,
    text: String,
}

/// A problem, and the next step.
#[derive(Debug, PartialEq)]
struct Problem {
    /// The unit; `None` for the host.
    unit: Option<String>,
    text: String,
    advice: String,
}

impl Findings {
    /// Adds a state, once: two sockets may start the same service.
    fn state(&mut self, unit: &str, text: impl Into<String>) {
        let state = State { unit: unit.to_owned(), text: text.into() };
        if !self.states.contains(&state) {
            self.states.push(state);
        }
    }

    /// Adds a problem, once.
    fn problem(&mut self, unit: Option<&str>, text: impl Into<String>, advice: impl Into<String>) {
        let problem = Problem { unit: unit.map(str::to_owned), text: text.into(), advice: advice.into() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The report for a terminal. Control characters are escaped, since any user can choose the name of a process.
    fn for_people(&self) -> String {
        let width = self.states.iter().map(|state| state.unit.len()).max().unwrap_or(0);
        let mut lines: Vec<_> =
            self.states.iter().map(|it| format!("{:width$}  {}", it.unit, one_line(&it.text))).collect();
        for Problem { unit, text, advice } in &self.problems {
            let about = unit.as_deref().unwrap_or("this host");
            lines.push(format!("\nproblem: {about}: {}\n     do: {}", one_line(text), one_line(advice)));
        }
        if self.problems.is_empty() {
            lines.push("\nAll is well.".to_owned());
        }
        lines.join("\n") + "\n"
    }

    /// The report as JSON.
    fn for_programs(&self) -> String {
        let states: Vec<_> = self.states.iter().map(|it| json!({ "unit": it.unit, "state": it.text })).collect();
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|it| json!({ "unit": it.unit, "problem": it.text, "advice": it.advice }))
            .collect();
        let landlock = self.landlock.map(|it| {
            let missing: Vec<_> = it.missing.iter().map(|right| right.name).collect();
            json!({ "abi": it.abi, "missing": missing })
        });
        let well = problems.is_empty();
        format!("{:#}\n", json!({ "well": well, "states": states, "problems": problems, "landlock": landlock }))
    }
}

/// Parses any output of systemctl or systemd-analyze, or a table of /proc/net, and prints what it found; for fuzzing.
pub(crate) fn summarize(text: &str) -> String {
    let mut findings = Findings::default();
    let unit = systemd::Unit::parse(text);
    for (address, kind) in unit.listens_on() {
        findings.state("a socket", format!("{address} {kind}"));
    }
    if let Some(program) = unit.program() {
        findings.state("a program", program.display().to_string());
    }
    if let Some(level) = systemd::exposure_in(text) {
        findings.state("an exposure", format!("{level:.1}"));
    }
    for inode in text.lines().filter_map(|line| ports::inode_of(line, 17, "tcp")) {
        findings.problem(None, inode, unit.wanted_by().join(" "));
    }
    findings.for_people()
}

/// Runs all checks and prints the results. The exit code is 0 if all is well, 1 if there is a problem.
pub(crate) fn run(json: bool) -> ExitCode {
    let findings = checks::examine();
    let text = if json { findings.for_programs() } else { findings.for_people() };
    let printed = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    ExitCode::from(u8::from(printed.is_err() || !findings.problems.is_empty()))
}
