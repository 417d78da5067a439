//! The command line of `lunchd`.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Parser;

use super::answer::Hsts;
use super::proxy::Trusted;
use super::sockets::Address;
use small_services::internals::ArgumentsError as Error;
use small_services::protocol;
use small_services::runtime::sandbox::Mode;

/// The options of `lunchd`.
#[derive(Debug, Parser)]
#[command(version, about = "Serve a fortune for each request over HTTP and HTTPS", name = super::NAME, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Certificate chain in PEM: the server's certificate, then the intermediate ones
    #[arg(long, value_name = "FILE")]
    pub(super) certificate: Option<PathBuf>,

    /// Private key of the certificate in PEM: RSA, ECDSA or Ed25519
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,

    /// Serve these fortunes instead of lunch dishes; must be the last option, followed by options and arguments of qotd: see `qotd --help`
    #[arg(long, value_name = "OPTION|[N%] FILE|DIR", num_args = 0.., allow_hyphen_values = true)]
    fortunes: Option<Vec<OsString>>,

    /// Listen on http://IP:PORT or https://IP:PORT; can be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<Address>,

    /// Redirect from http to https on this port, if clients reach https through a port mapping
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) https_port: Option<u16>,

    /// Tell browsers to use only https for SECONDS (HSTS); 0 makes browsers forget it, `off` sends no header [default: one year if https is on
    /// port 443, else off]
    #[arg(long, value_name = "SECONDS|off")]
    pub(super) hsts: Option<Hsts>,

    /// Network of balancers whose connections begin with a PROXY header (version 1 or 2) that names the client, or `unix` for
    /// Unix-domain sockets; can be repeated
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub(super) proxy_protocol: Vec<Trusted>,

    /// Close a connection after SECONDS with an unfinished handshake or request, without a request, or without progress in reading
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) idle_timeout: u16,

    /// Close every connection after SECONDS; the client may connect again
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) connection_timeout: u16,

    /// Maximum number of concurrent connections; one more evicts the connection that has been idle longest
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_connections: u32,

    /// Maximum number of concurrent connections from one IPv4 address or IPv6 /64 [default: half of --max-connections]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_per_source: Option<u32>,

    /// Log each connection when it ends, at most 20 per second; addresses are personal data
    #[arg(long)]
    pub(super) log_connections: bool,

    /// What to do if the kernel lacks a layer of the sandbox
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Strict)]
    pub(super) sandbox: Mode,
}

const AFTER_HELP: &str = "\
A service manager passes sockets named `http` or `https` (FileDescriptorName=). If both are present, http
redirects to https. Without sockets, lunchd listens with https on port 8443 if it has a certificate, else
with http on 127.0.0.1:8080. SIGHUP rereads the certificate, the key and the fortunes.

/healthz is for health checks of load balancers. It answers `ok` over http and https, without a fortune,
a redirect or a log line.";

impl Arguments {
    /// Reads the command line. `-key` and `-certificate` may have a single dash.
    pub(super) fn parse() -> Result<Self, Error> {
        Ok(Self::try_parse_from(env::args_os().map(with_two_dashes))?)
    }

    /// The fortunes to serve; `None` for lunch dishes.
    pub(super) fn fortunes(&self) -> Result<Option<protocol::QotdOptions>, Error> {
        let Some(words) = &self.fortunes else { return Ok(None) };
        let line = [OsString::from("--fortunes")].into_iter().chain(words.iter().cloned());
        Ok(Some(FortunesLine::try_parse_from(line)?.options))
    }
}

/// The words after `--fortunes`.
#[derive(Debug, Parser)]
#[command(version, name = super::NAME, disable_help_flag = true)]
struct FortunesLine {
    #[command(flatten)]
    options: protocol::QotdOptions,
}

fn with_two_dashes(argument: OsString) -> OsString {
    let single = [&b"-key"[..], b"-certificate"];
    let name = argument.as_bytes().split(|&octet| octet == b'=').next();
    if name.is_some_and(|name| single.contains(&name)) {
        let mut double = OsString::from("-");
        double.push(argument);
        return double;
    }
    argument
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_single_dash_is_accepted() {
        for dashes in ["-", "--"] {
            let line = ["lunchd".to_owned(), format!("{dashes}key"), "k".to_owned(), format!("{dashes}certificate=c")];
            let arguments = line.into_iter().map(|word| with_two_dashes(word.into()));
            let parsed = Arguments::try_parse_from(arguments).expect("as the manual says");
            assert_eq!(parsed.key.as_deref(), Some(Path::new("k")));
            assert_eq!(parsed.certificate.as_deref(), Some(Path::new("c")));
        }
    }

    #[test]
    fn fortunes_takes_the_options_of_qotd() {
        let parse = |line: &[&str]| Arguments::try_parse_from(line).expect("as the manual says").fortunes();
        assert!(parse(&["lunchd", "--max-connections", "7"]).is_ok_and(|options| options.is_none()));
        let options = parse(&["lunchd", "--key", "k", "--fortunes", "30%", "a", "b", "--daily", "--key", "x", "-s"]);
        let options = format!("{:?}", options.expect("as qotd's manual says").expect("there is something"));
        let expected = [r#"sources: ["30%", "a", "b"]"#, "daily: true", r#"key: "x""#, "short: true"];
        assert!(expected.iter().all(|part| options.contains(part)), "{options}");
        assert!(parse(&["lunchd", "--fortunes", "--bad"]).is_err());
    }
}
