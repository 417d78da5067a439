//! The command line: the options of all services, and those of a single one.

use std::env;

use clap::Parser;
use clap::error::ErrorKind;
use rustix::fs::fstat;
use rustix::stdio::stdout;

use crate::engine::Limits;
use crate::log;
use crate::runtime::activation::Address;
use crate::runtime::sandbox::Mode;
use crate::service::Service;

/// A service's command line.
#[derive(Debug, Parser)]
#[command(version, about = S::ABOUT, name = S::NAME, after_help = AFTER_HELP, args_override_self = true)]
pub(crate) struct Arguments<S: Service> {
    #[command(flatten)]
    pub(crate) options: S::Options,

    /// What to do if the kernel lacks a layer of the sandbox
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Strict)]
    pub(crate) sandbox: Mode,

    /// The time without activity after which a connection is closed.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..), help = idle_help(S::IDLE_TIMEOUT))]
    #[arg(long_help = format!("{}\n\nWith inetd's `wait`, the program exits after SECONDS without a client [default: {STAY}].", idle_help(S::IDLE_TIMEOUT)))]
    pub(crate) idle_timeout: Option<u16>,

    /// The addresses to serve on.
    #[arg(long, value_name = "ADDRESS", help = if S::UDP_BY_DEFAULT { LISTEN } else { LISTEN_TCP }, long_help = None)]
    pub(crate) listen: Vec<Address>,

    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// After how many seconds without traffic a program ends that inetd restarts for the next client.
pub(crate) const STAY: u16 = 60;

const LISTEN: &str =
    "Address to serve: IP:PORT (TCP and UDP), tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated";
const LISTEN_TCP: &str =
    "Address to serve: IP:PORT (TCP only), tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated";

const AFTER_HELP: &str = "\
The program detects from its descriptors how it was started. With a connection on descriptors 0 and 1
(systemd with Accept=yes, inetd with nowait, tcpserver), it serves that connection. With sockets that a
super-server passed (systemd with Accept=no, inetd with wait) or that --listen opened, it serves all
clients: each in its own process, or all in one process with --shared. Otherwise it is a filter from
standard input to standard output.";

fn idle_help(default: u16) -> String {
    format!("Close a connection after SECONDS without activity [default: {default}]")
}

/// A mistake on the command line, or a request for help.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] clap::Error);

impl<S: Service> Arguments<S> {
    /// Reads the command line.
    ///
    /// clap's parser is built only if there are arguments: super-servers mostly pass none, and building it takes a seventh of
    /// the whole process (`make bench`, `qotd` beside `qotd, no lock-down`).
    pub(crate) fn parse() -> Result<Self, Error> {
        if env::args_os().len() <= 1 { Ok(Self::default()) } else { Ok(Self::try_parse()?) }
    }
}

impl<S: Service> Default for Arguments<S> {
    fn default() -> Self {
        Self {
            options: S::Options::default(),
            sandbox: Mode::Strict,
            idle_timeout: None,
            listen: vec![],
            limits: Limits::default(),
        }
    }
}

impl Error {
    /// What is wrong, in one sentence, without advice.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(&self.0.render().to_string())
    }

    /// Prints the requested help and returns 0, or logs one sentence and returns `usage_error`.
    #[must_use]
    pub fn report(&self, name: &str, usage_error: u8) -> u8 {
        let help = matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if !help {
            log::error(&format!("{}; see `{name} --help`", self.sentence()));
            return usage_error;
        }
        if fstat(stdout()).is_ok_and(|stat| log::is_socket(&stat)) {
            log::error("--help and --version cannot be printed to a connection; remove them");
            return usage_error;
        }
        match self.0.print() {
            Ok(()) => 0,
            Err(error) => {
                log::error(&format!("cannot print the help: {error}"));
                1
            }
        }
    }
}

/// What is wrong, without the usage that clap shows below it.
fn sentence(rendered: &str) -> String {
    let below = ["\n\n  tip:", "\n\nUsage:", "\n\nFor more information"];
    let end = below.iter().filter_map(|below| rendered.rfind(below)).min();
    let words: Vec<_> = rendered[..end.unwrap_or(rendered.len())].split_whitespace().collect();
    let sentence =
        words.join(" ").trim_start_matches("error: ").replace("invalid digit found in string", "write a whole number");
    // A range as in Rust's source.
    match sentence.rsplit_once(" is not in ") {
        Some((before, range)) if range.contains("..=") => {
            format!("{before} is not between {}", range.replace("..=", " and "))
        }
        _ => sentence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Chargen, Daytime, Discard, Echo, Qotd, Time};

    fn no_arguments_mean_the_defaults<S: Service + std::fmt::Debug>() {
        let parsed = Arguments::<S>::try_parse_from([S::NAME]).expect("no arguments are fine");
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Arguments::<S>::default()));
    }

    #[test]
    fn the_defaults_are_those_of_the_parser() {
        no_arguments_mean_the_defaults::<Qotd>();
        no_arguments_mean_the_defaults::<Echo>();
        no_arguments_mean_the_defaults::<Daytime>();
        no_arguments_mean_the_defaults::<Discard>();
        no_arguments_mean_the_defaults::<Chargen>();
        no_arguments_mean_the_defaults::<Time>();
    }

    #[test]
    fn a_mistake_is_one_sentence() {
        let error = Arguments::<Echo>::try_parse_from(["echo", "--sandbox", "weak"]).expect_err("no such mode");
        assert_eq!(
            sentence(&error.render().to_string()),
            "invalid value 'weak' for '--sandbox <MODE>' [possible values: full, strict, best-effort, off]"
        );
        for (seconds, why) in [("0", "0 is not between 1 and 65535"), ("5s", "write a whole number")] {
            let error =
                Arguments::<Echo>::try_parse_from(["echo", "--idle-timeout", seconds]).expect_err("no such time");
            let said = sentence(&error.render().to_string());
            assert_eq!(said, format!("invalid value '{seconds}' for '--idle-timeout <SECONDS>': {why}"));
        }
        let error = Arguments::<Echo>::try_parse_from(["echo", "--x\n\ny"]).expect_err("no such option");
        assert!(sentence(&error.render().to_string()).ends_with("found"));
    }
}
