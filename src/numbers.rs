//! Descriptors with a fixed number or range. Policies distinguish kinds of descriptors by number; in a daemon,
//! src/engine/descriptors.rs moves each kind to its range.

use std::os::fd::RawFd;

use hunker::Pin;

/// The event loop.
pub const EVENTS: RawFd = 3;
/// The first descriptor that is reserved for datagram sockets.
pub const FIRST_DATAGRAMS: RawFd = 4;
/// The last descriptor that is reserved for datagram sockets.
pub const LAST_DATAGRAMS: RawFd = 11;
/// From here on: listening sockets, connections and files.
pub const FIRST_FREE: RawFd = LAST_DATAGRAMS + 1;

// The same for policies, as the first argument of a call.

/// A connection, or a filter's input; in a daemon, the signals.
pub(crate) const INPUT: Pin = Pin::is(0, 0);
/// A connection, or a filter's output; in a daemon, the service manager.
pub(crate) const OUTPUT: Pin = Pin::is(0, 1);
pub(crate) const LOG: Pin = Pin::is(0, 2);
pub(crate) const EVENT_LOOP: Pin = Pin::is(0, number(EVENTS));
/// A UDP socket. sendmmsg(2) and recvmmsg(2) take addresses and descriptors in memory, where no filter sees them; on a
/// Unix-domain socket, they could pass descriptors.
pub(crate) const DATAGRAM_SOCKET: Pin = Pin::within(0, number(FIRST_DATAGRAMS), number(LAST_DATAGRAMS));
/// A descriptor above the reserved ones.
pub const STREAM: Pin = Pin::within(0, number(FIRST_FREE), u32::MAX);
/// A file or directory, which is also above the reserved descriptors: these are taken when it is opened.
pub(crate) const FILE: Pin = STREAM;

/// The lower half of the argument, as the kernel sees it.
#[allow(clippy::cast_sign_loss)] // none is negative
#[must_use]
pub const fn number(descriptor: RawFd) -> u32 {
    descriptor as u32
}
