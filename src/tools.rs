//! `small-services`: what looks after the services and their fortunes. It is started by a person, and runs under no lock-down.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{doctor, strfile};

/// What looks after the RFC small services.
#[derive(Debug, Parser)]
#[command(version, name = "small-services")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with the services on this host; exit code 0 only when all is well
    Doctor {
        /// For programs: one JSON object with the states and the problems
        #[arg(long)]
        json: bool,
    },
    /// Make an index of a cookie file, as strfile(1) does
    Strfile(strfile::Strfile),
    /// Print a cookie file in the order of its index, as unstr(1) does
    Unstr(strfile::Unstr),
}

/// The whole program. The exit code is 0 if all is well, 1 if something is wrong, 2 for a mistake on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Doctor { json } => return doctor::run(json),
        Command::Strfile(strfile) => strfile.run(),
        Command::Unstr(unstr) => unstr.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("small-services: {error}");
            ExitCode::FAILURE
        }
    }
}
