//! The numbers of descriptors that mean something. Policies tell kinds of descriptors apart by number; in a daemon,
//! src/engine/descriptors.rs gives each kind its own.

use std::os::fd::RawFd;

use hunker::Pin;

/// The event loop's.
pub const EVENTS: RawFd = 3;
/// The first of those that are for datagram sockets and for nothing else.
pub const FIRST_DATAGRAMS: RawFd = 4;
/// The last of them.
pub const LAST_DATAGRAMS: RawFd = 11;
/// From here on: listening sockets, connections and files.
pub const FIRST_FREE: RawFd = LAST_DATAGRAMS + 1;

// As policies have them: the first argument of a call.

/// A connection, or a filter's input; in a daemon the signals.
pub(crate) const INPUT: Pin = Pin::is(0, 0);
/// A connection, or a filter's output; in a daemon the service manager.
pub(crate) const OUTPUT: Pin = Pin::is(0, 1);
pub(crate) const LOG: Pin = Pin::is(0, 2);
pub(crate) const EVENT_LOOP: Pin = Pin::is(0, number(EVENTS));
/// A descriptor that sends and receives nothing but datagrams of an IP network: sendmmsg(2) and recvmmsg(2) take addresses
/// and descriptors in memory, where no filter sees them, and a Unix-domain socket would pass these on.
pub(crate) const DATAGRAM_SOCKET: Pin = Pin::within(0, number(FIRST_DATAGRAMS), number(LAST_DATAGRAMS));
/// Not one of those that have a meaning by their number.
pub const STREAM: Pin = Pin::within(0, number(FIRST_FREE), u32::MAX);
/// The same: a file or directory that was opened after the numbers below were taken.
pub(crate) const FILE: Pin = STREAM;

/// As the kernel's half of an argument has it.
#[allow(clippy::cast_sign_loss)] // none is negative
#[must_use]
pub const fn number(descriptor: RawFd) -> u32 {
    descriptor as u32
}
