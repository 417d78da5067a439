//! The options of a daemon: its limits and its log.

use super::network::Subnet;

/// The default of `--datagram-total`. Only 485 networks that draw a reply of maximum length (540 octets) each exhaust it: a forger with
/// fewer leaves enough for everyone else.
pub(super) const TOTAL: u32 = 256 * 1024;

/// The limits of a daemon, and its log of connections.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Daemon options, for passed sockets and --listen")]
pub struct Limits {
    /// Serve all clients in one process instead of one process per connection
    ///
    /// This takes less memory and time, but an attacker who takes over the process has all its connections.
    #[arg(long)]
    pub shared: bool,

    /// Maximum number of concurrent connections; one more evicts an idle one, or waits
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Maximum number of concurrent connections from one source [default: half of --max-connections]
    ///
    /// A source is an IPv4 address or an IPv6 /64.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_source: Option<u32>,

    /// Maximum number of new connections per second from one source [default: 200; none with --shared]
    ///
    /// A source is an IPv4 address or an IPv6 /64. A burst may have as many. 0 is no limit.
    #[arg(long, value_name = "COUNT")]
    pub max_rate_per_source: Option<u32>,

    /// Octets per second by which datagrams to a network may exceed those from it [default: longest reply]
    ///
    /// A network is an IPv4 /24 or an IPv6 /56. Headers count. The default is at most 540. 0 is no limit.
    #[arg(long, value_name = "OCTETS")]
    pub datagram_rate: Option<u32>,

    /// Same as --datagram-rate, for all networks together; 0 is no limit
    #[arg(long, value_name = "OCTETS", default_value_t = TOTAL)]
    pub datagram_total: u32,

    /// Network without limits on datagrams, for your probes, such as 192.0.2.0/24; can be repeated
    ///
    /// Exempt only a network whose addresses others cannot forge: your router must drop forged packets.
    #[arg(long, value_name = "NETWORK")]
    pub datagram_exempt: Option<Vec<Subnet>>,

    // Not a doc comment: clap would build its extra lines in each process.
    #[arg(long, help = "Log each connection when it ends, at most 20 per second; addresses are personal data")]
    pub(crate) log_connections: bool,
}

impl Limits {
    /// The maximum number of concurrent connections from one source.
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
