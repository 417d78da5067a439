//! Datagrams: one reply per request, as the RFCs say, and none to sources that look forged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hunker::{Pin, Rule, Syscall};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::answer;
use super::limiter::{HEADERS, Limiter, Payer};
use super::limits::Limits;
use super::network::Subnet;
use crate::connections::listed;
use crate::numbers::{DATAGRAM_SOCKET, FILE, INPUT};
use crate::service::{Behavior, LineEnd};
use crate::sys::processes;
use crate::sys::{self, Batch};

pub(super) const RECEIVE: &[Rule] =
    &[Rule::new(Syscall::RECVMMSG, &[DATAGRAM_SOCKET, MSG_DONTWAIT], "receive datagrams")];

pub(super) const ANSWER: &[Rule] =
    &[Rule::new(Syscall::SENDMMSG, &[DATAGRAM_SOCKET, MSG_DONTWAIT], "answer datagrams")];

/// The rules of a process that only waits for datagrams.
pub(super) const RECEIVE_ALONE: &[Rule] = &[
    // MSG_WAITFORONE
    Rule::new(Syscall::RECVMMSG, &[INPUT, Pin::is(3, 0x1_0000)], "wait for datagrams and receive them"),
    sys::READ_CLOCK,
];

pub(super) const ANSWER_ALONE: &[Rule] = &[
    Rule::new(Syscall::SENDMMSG, &[INPUT, MSG_DONTWAIT], "answer datagrams"),
    Rule::new(Syscall::BRK, &[], "allocate memory for a reply"),
    Rule::new(Syscall::CLOSE, &[FILE], "close a file"),
    #[cfg(debug_assertions)]
    sys::CHECK_BEFORE_CLOSING,
];

const MSG_DONTWAIT: Pin = Pin::is(3, 0x40);

/// Maximum number of batches in a flood of datagrams before connections have their turn.
const BATCHES: usize = 16;
/// Source ports below this belong to services, which would answer the reply in turn. BSD inetd has the same rule.
const FIRST_CLIENT_PORT: u16 = 1024;

/// The length that RFC 864 and RFC 865 intend as the maximum, in octets.
const LONGEST: usize = 512;

/// Limits on the datagrams that a process sends. Rates are in octets per second; 0 means no limit.
#[derive(Clone)]
pub(super) struct DatagramLimits {
    /// The rate for each network. `None` means the length of the longest reply, per second.
    pub(super) rate: Option<u32>,
    /// The rate for all networks together.
    pub(super) total: u32,
    /// Networks without a limit.
    pub(super) exempt: Option<Vec<Subnet>>,
}

impl DatagramLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { rate: limits.datagram_rate, total: limits.datagram_total, exempt: limits.datagram_exempt.clone() }
    }
}

/// The number of datagrams served, and of those dropped: beyond a limit, or from a source that looks forged.
///
/// A keeper's processes count in memory that they share with it, because anything else would require another system call. A
/// hijacked process can falsify these figures. The keeper only reports them to the service manager.
#[derive(Clone, Copy)]
pub(super) struct DatagramCounts(&'static [AtomicU64; 2]);

impl DatagramCounts {
    /// For a daemon without datagram sockets: its processes share no memory.
    pub(super) fn none() -> Self {
        static NONE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
        Self(&NONE)
    }

    /// In memory that this process shares with its children.
    pub(super) fn shared() -> io::Result<Self> {
        processes::shared_counters().map(Self)
    }

    fn add(self, served: usize, dropped: usize) {
        for (counter, count) in self.0.iter().zip([served, dropped]) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn get(self) -> [u64; 2] {
        [0, 1].map(|index| self.0[index].load(Ordering::Relaxed))
    }

    /// The part of the status line about datagrams.
    pub(super) fn part(self) -> Option<String> {
        let [served, dropped] = self.get();
        listed("datagrams", &[(served, "served"), (dropped, "dropped")])
    }
}

/// Answers datagrams from memory that is reserved once.
pub(super) struct Datagrams {
    batch: Batch,
    limiter: Limiter,
    reply: Vec<u8>,
    random: SmallRng,
    counts: DatagramCounts,
}

impl Datagrams {
    pub(super) fn new(
        limits: DatagramLimits,
        behavior: &Behavior,
        random: SmallRng,
        counts: DatagramCounts,
        now: Instant,
    ) -> Self {
        let longest = match behavior {
            Behavior::Reply(reply) => reply.longest(),
            Behavior::Answer(answer) => answer.longest(),
            Behavior::Repeat(pattern) => pattern.longest_datagram,
            Behavior::Echo | Behavior::Discard => LONGEST,
        };
        // A longer reply takes longer to pay for. An echo costs little of it.
        let one_reply = longest.min(LONGEST) + HEADERS;
        let rate = limits.rate.unwrap_or(u32::try_from(one_reply).unwrap_or(u32::MAX));
        Self {
            batch: Batch::new(),
            limiter: Limiter::new(rate, limits.total, limits.exempt, now),
            reply: Vec::with_capacity(longest),
            random,
            counts,
        }
    }

    /// Answers the datagrams that have arrived. Returns whether there were any.
    pub(super) fn answer(&mut self, socket: BorrowedFd<'_>, behavior: &mut Behavior, now: Instant) -> bool {
        let mut any = false;
        for _ in 0..BATCHES {
            // No datagram is left, or an ICMP error reports that nobody wanted an earlier reply.
            let Ok(count) = self.batch.receive(socket, false) else { break };
            any = true;
            self.answer_batch(count, socket, behavior, now);
        }
        any
    }

    /// Waits for datagrams and answers them, in their own process.
    pub(super) fn wait_and_answer(&mut self, socket: BorrowedFd<'_>, behavior: &mut Behavior) -> io::Result<()> {
        let count = self.batch.receive(socket, true)?;
        self.answer_batch(count, socket, behavior, Instant::now());
        Ok(())
    }

    fn answer_batch(&mut self, count: usize, socket: BorrowedFd<'_>, behavior: &mut Behavior, now: Instant) {
        if matches!(behavior, Behavior::Discard) {
            return self.counts.add(count, 0);
        }
        let mut dropped = 0;
        for index in 0..count {
            if let Some(payer) = self.payer(index, now) {
                let length = self.reply(index, behavior);
                self.limiter.pay(payer, self.batch.length(index), length);
            } else {
                dropped += 1;
            }
        }
        self.counts.add(count - dropped, dropped);
        self.batch.send(socket);
    }

    /// Who pays for a reply to this request, or `None` if it gets none. This is decided before composing, which takes time and uses
    /// up a fortune if they come in turn.
    fn payer(&self, index: usize, now: Instant) -> Option<Payer> {
        let source = self.batch.source(index).filter(|&source| is_a_client(source))?;
        self.limiter.payer(source, now).filter(|_| self.batch.was_unicast(index))
    }

    /// Replies to a request. Returns the length of the reply in octets.
    fn reply(&mut self, index: usize, behavior: &mut Behavior) -> usize {
        self.reply.clear();
        match behavior {
            Behavior::Echo => {
                self.batch.echo(index);
                return self.batch.length(index);
            }
            Behavior::Discard => return 0,
            Behavior::Reply(reply) => reply.compose(LineEnd::CrLf, &mut self.reply),
            Behavior::Answer(answer) => {
                if let Some(line) = answer::line(self.batch.request(index), answer.limit()) {
                    answer.answer(line, self.batch.source(index), LineEnd::CrLf, &mut self.reply);
                }
                if self.reply.is_empty() {
                    return 0; // a connection would be closed without an answer
                }
            }
            Behavior::Repeat(pattern) => {
                let length = self.random.random_range(0..=pattern.longest_datagram).min(pattern.period.len());
                self.reply.extend_from_slice(&pattern.period[..length]);
            }
        }
        self.batch.reply(index, &self.reply);
        self.reply.len()
    }
}

/// Whether a source can be a client: neither a service, nor many hosts at once.
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
