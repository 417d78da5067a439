//! Ident (RFC 1413): answers `HIDDEN-USER` to every request.
//!
//! The service's own network (`PrivateNetwork=`) hides the tables with the users of connections. Most clients need only some
//! answer.
#![no_main]

use std::convert::Infallible;
use std::net::SocketAddr;

use small_services::{Answer, Behavior, Files, LineEnd, NoOptions, Run, Service};

small_services::program!(Ident);

/// Answers `HIDDEN-USER` for every pair of ports.
enum Ident {}

impl Service for Ident {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = "ident";
    const ABOUT: &'static str = "Ident (RFC 1413): answers HIDDEN-USER, then closes";
    const IDLE_TIMEOUT: u16 = 10;
    // RFC 1413 only defines TCP.
    const UDP_BY_DEFAULT: bool = false;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Answer(Box::new(Hidden)))
    }
}

struct Hidden;

impl Files for Hidden {}

impl Answer for Hidden {
    fn limit(&self) -> usize {
        64
    }

    fn answer(&mut self, request: &[u8], _: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>) {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port != 0);
        let request = String::from_utf8_lossy(request);
        let ports = request.split_once(',').and_then(|(server, client)| Some((port(server)?, port(client)?)));
        let answer = match ports {
            Some((server, client)) => format!("{server}, {client} : ERROR : HIDDEN-USER\n"),
            None => "0, 0 : ERROR : INVALID-PORT\n".to_owned(),
        };
        line_end.append(&answer, octets);
    }

    fn longest(&self) -> usize {
        64
    }
}
