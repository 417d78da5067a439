//! `small-services`: what looks after the services and their fortunes. It is started by a person, and runs under no lock-down.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::runtime::arguments;
use crate::{doctor, log, strfile, units};

/// What looks after the RFC small services.
#[derive(Debug, Parser)]
#[command(version, name = "small-services")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The same under the names that collections' Makefiles call.
#[derive(Debug, Parser)]
#[command(version, multicall = true)]
struct ByName {
    #[command(subcommand)]
    command: Fortunes,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with the services on this host; exit code 0 only when all is well
    Doctor {
        /// For programs: one JSON object with the states and the problems
        #[arg(long)]
        json: bool,
        /// Ask this service alone whether it answers, as a container's health check does: qotd=127.0.0.1:17
        #[arg(long, value_name = "NAME=IP:PORT", conflicts_with = "json")]
        ask: Option<doctor::Asked>,
    },
    Units(units::Units),
    #[command(flatten)]
    Fortunes(Fortunes),
}

#[derive(Debug, Subcommand)]
enum Fortunes {
    /// Make an index of a cookie file, as strfile(1) does
    #[command(version, args_override_self = true)]
    Strfile(strfile::Strfile),
    /// Print a cookie file in the order of its index, as unstr(1) does
    #[command(version, args_override_self = true)]
    Unstr(strfile::Unstr),
}

/// The whole program. The exit code is 0 if all is well, 1 if something is wrong, 2 for a mistake on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    let (name, fortunes) = if ["strfile", "unstr"].iter().any(|it| name == OsStr::new(it)) {
        let name = name.to_string_lossy().into_owned();
        match ByName::try_parse_from(&arguments) {
            Ok(ByName { command }) => (name, command),
            Err(error) => return refused(&name, error),
        }
    } else {
        let name = "small-services".to_owned();
        match Arguments::try_parse_from(&arguments).map(|it| it.command) {
            Ok(Command::Doctor { ask: Some(asked), .. }) => return ended(&name, asked.answers()),
            Ok(Command::Doctor { json, ask: None }) => return doctor::run(json),
            Ok(Command::Units(units)) => return ended(&name, units.run()),
            Ok(Command::Fortunes(fortunes)) => (name, fortunes),
            Err(error) => return refused(&name, error),
        }
    };
    match fortunes {
        Fortunes::Strfile(strfile) => ended(&name, strfile.run()),
        Fortunes::Unstr(unstr) => ended(&name, unstr.run()),
    }
}

/// The command line, for what describes it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Says what went wrong, if anything did.
fn ended<E: Display>(name: &str, outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", log::one_line(&format!("{name}: {error}")));
            ExitCode::FAILURE
        }
    }
}

/// Prints the help that was asked for, or what is wrong with the command line.
fn refused(name: &str, error: clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // Where nobody takes it there is nobody to tell.
        let _ = error.print();
        return ExitCode::from(u8::from(error.kind() == DisplayHelpOnMissingArgumentOrSubcommand) * 2);
    }
    let sentence = arguments::Error::from(error).sentence();
    eprintln!("{}", log::one_line(&format!("{name}: {sentence}; see `{name} --help`")));
    ExitCode::from(2)
}
