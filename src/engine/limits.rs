//! The options of a daemon: how much it serves, and what it logs.

use super::limiter::TOTAL;
use super::network::Subnet;

/// How much is served.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "All clients, on sockets that are passed or that --listen opens")]
pub struct Limits {
    /// Serve all clients in one process, instead of making a process for each connection
    ///
    /// It takes less memory and time, but an attacker who takes it over has the connections of all.
    #[arg(long)]
    pub shared: bool,

    /// Maximum number of concurrent connections; one more ends one that is idle
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Maximum number of concurrent connections from one source [default: half of all]
    ///
    /// A source is an IPv4 address or an IPv6 /64.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_source: Option<u32>,

    /// Maximum number of new connections per second from one source [default: 200; with --shared no limit]
    ///
    /// A source is an IPv4 address or an IPv6 /64. As many may come at once. 0 is no limit.
    #[arg(long, value_name = "COUNT")]
    pub max_rate_per_source: Option<u32>,

    /// Send a network so many octets a second more in datagrams than it sends [default: one longest reply]
    ///
    /// A network is an IPv4 /24 or an IPv6 /56. Headers count. 0 is no limit.
    #[arg(long, value_name = "OCTETS")]
    pub datagram_rate: Option<u32>,

    /// The same for all networks together; 0 is no limit
    #[arg(long, value_name = "OCTETS", default_value_t = TOTAL)]
    pub datagram_total: u32,

    /// Do not limit datagrams to this network, such as 192.0.2.0/24: that of your probes; can be repeated
    ///
    /// Name no network whose addresses others can forge: your border has to drop what comes with them.
    #[arg(long, value_name = "NETWORK")]
    pub datagram_exempt: Option<Vec<Subnet>>,

    // No comment for rustdoc: its lines would be more for the parser to build in each process.
    #[arg(
        long,
        help = "Log each connection when it ends; off by default: addresses are personal data, and clients could fill the log"
    )]
    pub(crate) log_connections: bool,
}

impl Limits {
    /// How many connections one source may have at a time.
    pub(super) fn per_source(&self) -> usize {
        self.max_per_source.unwrap_or_else(|| self.max_connections.div_ceil(2)) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shared: false,
            max_connections: 1000,
            max_per_source: None,
            max_rate_per_source: None,
            datagram_rate: None,
            datagram_total: TOTAL,
            datagram_exempt: None,
            log_connections: false,
        }
    }
}
