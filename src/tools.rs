//! `small-services`: the tools for administrators. A person starts them, and they run without a lock-down.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::runtime::arguments;
use crate::{doctor, log, strfile, units};

/// Tools for the RFC small services
#[derive(Debug, Parser)]
#[command(version, name = "small-services")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The commands under the names that Makefiles of collections call.
#[derive(Debug, Parser)]
#[command(version, multicall = true)]
struct ByName {
    #[command(subcommand)]
    command: Fortunes,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the services on this host, and print the next step for each problem; exits with 0 if there is none
    Doctor {
        /// Print the states and the problems as one JSON object, for programs
        #[arg(long)]
        json: bool,
        /// Check only this service, over TCP and within 10 seconds, for health checks: qotd=127.0.0.1:17
        #[arg(long, value_name = "NAME=IP:PORT", conflicts_with = "json")]
        ask: Option<doctor::Probe>,
    },
    Units(units::Units),
    #[command(flatten)]
    Fortunes(Fortunes),
}

#[derive(Debug, Subcommand)]
enum Fortunes {
    /// Create the index of a cookie file, as strfile(1) does
    #[command(version, args_override_self = true)]
    Strfile(strfile::Strfile),
    /// Print a cookie file in the order of its index, as unstr(1) does
    #[command(version, args_override_self = true)]
    Unstr(strfile::Unstr),
}

/// Runs the program. The exit code is 0 if all is well, 1 if something is wrong, 2 for a mistake on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    let (name, fortunes) = if ["strfile", "unstr"].iter().any(|it| name == OsStr::new(it)) {
        let name = name.to_string_lossy().into_owned();
        match ByName::try_parse_from(&arguments) {
            Ok(ByName { command }) => (name, command),
            Err(error) => return usage(&name, &name, error),
        }
    } else {
        let name = "small-services".to_owned();
        match Arguments::try_parse_from(&arguments).map(|it| it.command) {
            Ok(Command::Doctor { ask: Some(probe), .. }) => return finish(&name, probe.run()),
            Ok(Command::Doctor { json, ask: None }) => return doctor::run(json),
            Ok(Command::Units(units)) => return finish(&name, units.run()),
            Ok(Command::Fortunes(fortunes)) => (name, fortunes),
            Err(error) => {
                let subcommand = arguments.get(1).and_then(|word| word.to_str());
                let subcommand = subcommand.filter(|word| Arguments::command().find_subcommand(word).is_some());
                let command = subcommand.map_or_else(|| name.clone(), |subcommand| format!("{name} {subcommand}"));
                return usage(&name, &command, error);
            }
        }
    };
    match fortunes {
        Fortunes::Strfile(strfile) => finish(&name, strfile.run()),
        Fortunes::Unstr(unstr) => finish(&name, unstr.run()),
    }
}

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reports an error, if there is one, and returns the exit code.
fn finish<E: Display>(name: &str, outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", log::one_line(&format!("{name}: {error}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints the requested help, or what is wrong with the command line; `command` is what to run with `--help`.
fn usage(name: &str, command: &str, error: clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // If this fails, nobody reads the output.
        let _ = error.print();
        return ExitCode::from(u8::from(error.kind() == DisplayHelpOnMissingArgumentOrSubcommand) * 2);
    }
    let sentence = arguments::Error::from(error).sentence();
    eprintln!("{}", log::one_line(&format!("{name}: {sentence}; see `{command} --help`")));
    ExitCode::from(2)
}
