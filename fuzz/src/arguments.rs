//! Every command line is options and sources, or an error with a message; never a panic.
use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use clap::{Command, CommandFactory, FromArgMatches, Parser};
use small_services::engine::Limits;
use small_services::fortune::parse_sources;
use small_services::protocol::Qotd;
use small_services::runtime::activation::Address;
use small_services::runtime::sandbox::Mode;
use small_services::service::Service;

/// The options of `qotd`.
#[derive(Debug, Parser)]
#[command(version, disable_help_flag = true)] // always the same long text
struct Arguments {
    #[command(flatten)]
    options: <Qotd as Service>::Options,
    #[arg(long, value_enum, default_value_t = Mode::Strict)]
    sandbox: Mode,
    #[arg(long)]
    idle_timeout: Option<u16>,
    #[arg(long)]
    listen: Vec<Address>,
    #[command(flatten)]
    limits: Limits,
}

thread_local! {
    /// Building it takes longer than a run.
    static COMMAND: RefCell<Command> = RefCell::new(Arguments::command());
}

/// One run.
pub fn run(data: &[u8]) {
    let arguments: Vec<_> = data.split(|&octet| octet == 0).map(|it| OsString::from_vec(it.to_vec())).collect();
    let command_line = [OsString::from("qotd")].into_iter().chain(arguments.iter().cloned());
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(command_line));
    match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(parsed) => assert!(!format!("{parsed:?}").is_empty()),
        Err(error) => assert!(!error.render().to_string().is_empty()),
    }
    match parse_sources(&arguments) {
        Ok(sources) => {
            let given: u32 = sources.iter().filter_map(|source| source.percent).map(u32::from).sum();
            assert!(
                given <= 100 && (sources.is_empty() || given == 100 || sources.iter().any(|it| it.percent.is_none()))
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
