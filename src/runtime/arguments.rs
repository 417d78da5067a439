//! The command line: the options of all services, and those of one.

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

/// What a service was asked to do.
#[derive(Debug, Parser)]
#[command(version, about = S::ABOUT, name = S::NAME, after_help = AFTER_HELP, args_override_self = true)]
pub(crate) struct Arguments<S: Service> {
    #[command(flatten)]
    pub(crate) options: S::Options,

    /// What to do if the kernel lacks a layer of the sandbox
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Strict)]
    pub(crate) sandbox: Mode,

    /// How long a client may be idle.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..), help = idle_help(S::IDLE_TIMEOUT))]
    #[arg(long_help = format!("{}\n\nWith inetd's wait, also how long to stay without any client [default: {STAY}].", idle_help(S::IDLE_TIMEOUT)))]
    pub(crate) idle_timeout: Option<u16>,

    /// The addresses to serve on.
    #[arg(long, value_name = "ADDRESS", help = if S::UDP_UNASKED { LISTEN } else { LISTEN_TCP }, long_help = None)]
    pub(crate) listen: Vec<Address>,

    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// How long a program stays without traffic that inetd would start again for the next client, in seconds.
pub(crate) const STAY: u16 = 60;

const LISTEN: &str = "Serve there: IP:PORT, or only tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated";
const LISTEN_TCP: &str = "Serve there: IP:PORT (TCP only), tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated";

const AFTER_HELP: &str = "\
The descriptors tell how the program was started. A connection on descriptors 0 and 1 (systemd with
Accept=yes, inetd with nowait, tcpserver): it serves that one. Sockets that were passed (systemd with
Accept=no, inetd with wait) or that --listen opens: it serves all clients, each in a process of its
own, or with --shared all in one. None of these: it is a filter from standard input to standard output.";

fn idle_help(default: u16) -> String {
    format!("Let a client go that was idle for so long [default: {default}]")
}

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
    /// What is wrong, without the advice.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(&self.0.render().to_string())
    }

    /// Prints the help to whoever asked for it on a terminal (exit code 0), or puts one sentence on the log (`usage_error`).
    #[must_use]
    pub fn report(&self, name: &str, usage_error: u8) -> u8 {
        let help = matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if !help {
            log::error(&format!("{}; see `{name} --help`", self.sentence()));
            return usage_error;
        }
        if fstat(stdout()).is_ok_and(|stat| log::is_socket(&stat)) {
            log::error("--help and --version are for a terminal, not for a connection; leave them out");
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
    words.join(" ").trim_start_matches("error: ").to_owned()
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
        let error = Arguments::<Echo>::try_parse_from(["echo", "--x\n\ny"]).expect_err("no such option");
        assert!(sentence(&error.render().to_string()).ends_with("found"));
    }
}
