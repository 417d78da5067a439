//! Datagrams: one reply a request, as the RFCs say, and none to sources that look forged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::limiter::Limiter;
use crate::protocol::chargen;
use crate::random;
use crate::service::{LineEnd, Work};
use crate::sys::Batch;

/// A flood of datagrams gets so many batches before connections have their turn.
const BATCHES: usize = 16;
/// Below this, a source port belongs to a service, which would answer the reply in turn: BSD inetd's rule.
const FIRST_CLIENT_PORT: u16 = 1024;

/// Answers datagrams, from memory that is reserved once.
pub(super) struct Datagrams {
    batch: Batch,
    limiter: Limiter,
    reply: Vec<u8>,
    pattern: Vec<u8>,
    random: SmallRng,
}

impl Datagrams {
    pub(super) fn new(limiter: Limiter, work: &Work) -> io::Result<Self> {
        let longest = if let Work::Reply(reply) = work { reply.longest() } else { chargen::LONGEST_DATAGRAM };
        Ok(Self {
            batch: Batch::new(),
            limiter,
            reply: Vec::with_capacity(longest),
            pattern: chargen::pattern(LineEnd::CrLf, 1),
            random: random::seeded()?,
        })
    }

    /// Answers what has come in, and tells whether anything has.
    pub(super) fn answer(&mut self, socket: BorrowedFd<'_>, work: &mut Work, now: Instant) -> bool {
        let mut any = false;
        for _ in 0..BATCHES {
            // No datagram left; or a message about an earlier reply that nobody wanted.
            let Ok(count) = self.batch.receive(socket) else { break };
            any = true;
            if matches!(work, Work::Discard) {
                continue;
            }
            for index in 0..count {
                if self.may_have_a_reply(index, now) {
                    self.reply(index, work);
                }
            }
            self.batch.send(socket);
        }
        any
    }

    fn may_have_a_reply(&mut self, index: usize, now: Instant) -> bool {
        self.batch.source(index).is_some_and(|source| is_a_client(source) && self.limiter.allows(source.ip(), now))
            && self.batch.went_to_a_host(index)
    }

    fn reply(&mut self, index: usize, work: &mut Work) {
        self.reply.clear();
        match work {
            Work::Echo => return self.batch.echo(index),
            Work::Discard => return,
            Work::Reply(reply) => reply.compose(LineEnd::CrLf, &mut self.reply),
            // RFC 864: "a random number (between 0 and 512) of characters".
            Work::Characters => {
                let length = self.random.random_range(0..=chargen::LONGEST_DATAGRAM);
                self.reply.extend_from_slice(&self.pattern[..length]);
            }
        }
        self.batch.reply(index, &self.reply);
    }
}

/// Whether a source may be a client: neither a service, nor many hosts at once.
fn is_a_client(source: SocketAddr) -> bool {
    let one_host = match source.ip().to_canonical() {
        IpAddr::V4(v4) => !(v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_unspecified()),
    };
    one_host && source.port() >= FIRST_CLIENT_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_groups_are_no_clients() {
        for client in ["192.0.2.1:1024", "[2001:db8::1]:65535", "[::ffff:192.0.2.1]:50000", "127.0.0.1:40000"] {
            assert!(is_a_client(client.parse().expect("an address")), "{client}");
        }
        for other in [
            "192.0.2.1:7",
            "192.0.2.1:0",
            "192.0.2.1:1023",
            "255.255.255.255:4000",
            "224.0.0.1:4000",
            "[::ffff:255.255.255.255]:4000",
            "[ff02::1]:4000",
            "0.0.0.0:4000",
            "[::]:4000",
        ] {
            assert!(!is_a_client(other.parse().expect("an address")), "{other}");
        }
    }
}
