//! The command line: the options of all services, and those of one.

use std::env;
use std::net::SocketAddr;

use clap::Parser;
use clap::error::ErrorKind;
use rustix::fs::fstat;
use rustix::stdio::stdout;

use crate::report;
use crate::sandbox::Mode;
use crate::service::Service;

/// What a service was asked to do.
#[derive(Debug, Parser)]
#[command(version, about = S::ABOUT, name = S::NAME, after_help = AFTER_HELP)]
pub(crate) struct Arguments<S: Service> {
    #[command(flatten)]
    pub(crate) options: S::Options,

    /// What to do if the kernel lacks a layer of the sandbox
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Strict)]
    pub(crate) sandbox: Mode,

    /// Let a client go that neither reads, sends nor closes for so many seconds [default: 60 for echo and discard, else 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) idle_timeout: Option<u16>,

    /// Listen there and serve each connection with a process of its own, to try the service out
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
}

const AFTER_HELP: &str = "\
Started by a super-server (systemd with Accept=yes, inetd with nowait, tcpserver), the program serves the connection on
its descriptors 0 and 1. Started from a shell, it is a filter from standard input to standard output.";

/// A mistake on the command line, or a call for help.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] clap::Error);

impl<S: Service> Arguments<S> {
    /// Reads the command line.
    ///
    /// Super-servers mostly give no arguments, and building clap's parser to find none is a seventh of the whole process
    /// (`make bench`, `qotd` beside `qotd, no lock-down`): it is built when there is something to parse.
    pub(crate) fn parse() -> Result<Self, Error> {
        if env::args_os().len() <= 1 { Ok(Self::default()) } else { Ok(Self::try_parse()?) }
    }
}

impl<S: Service> Default for Arguments<S> {
    fn default() -> Self {
        Self { options: S::Options::default(), sandbox: Mode::Strict, idle_timeout: None, listen: None }
    }
}

impl Error {
    /// Prints the help to whoever asked for it on a terminal (exit code 0), or puts one sentence on the log (2).
    pub(crate) fn report(&self, name: &str) -> u8 {
        let help = matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if !help {
            report::error(&format!("{}; see `{name} --help`", sentence(&self.0.render().to_string())));
            return 2;
        }
        if fstat(stdout()).is_ok_and(|stat| report::is_socket(&stat)) {
            report::error("--help and --version are for a terminal, not for a connection; leave them out");
            return 2;
        }
        match self.0.print() {
            Ok(()) => 0,
            Err(error) => {
                report::error(&format!("cannot print the help: {error}"));
                1
            }
        }
    }
}

/// What is wrong, without the usage that clap shows below it.
fn sentence(rendered: &str) -> String {
    let problem = rendered.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = problem.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Daytime, Discard, Echo, Qotd};

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
    }

    #[test]
    fn a_mistake_is_one_sentence() {
        let error = Arguments::<Echo>::try_parse_from(["echo", "--sandbox", "weak"]).expect_err("no such mode");
        assert_eq!(
            sentence(&error.render().to_string()),
            "invalid value 'weak' for '--sandbox <MODE>' [possible values: strict, best-effort, off]"
        );
    }
}
