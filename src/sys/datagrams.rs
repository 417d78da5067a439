//! Datagrams in batches: `recvmmsg(2)` and `sendmmsg(2)`. Each reply is sent from the address that its request went to.
#![allow(clippy::cast_possible_truncation)] // sizes of C structures and of one batch
#![allow(clippy::cast_ptr_alignment)] // control messages are read and written unaligned

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_uint, socklen_t};

use super::set;

/// The maximum number of datagrams in a batch.
const COUNT: usize = 32;
/// The maximum length of a UDP datagram in octets.
const LONGEST: usize = 65_535;

/// A buffer for the control message with an address, and for others that a super-server enabled; aligned as cmsg(3) requires.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 256]);

/// A batch of requests, which are answered in place. Its memory is reserved once, for all batches.
pub(crate) struct Batch {
    payloads: Vec<u8>,
    sources: [libc::sockaddr_storage; COUNT],
    controls: [Control; COUNT],
    headers: [libc::mmsghdr; COUNT],
    /// The requests that have a reply, and its length in octets.
    replies: Vec<(usize, usize)>,
}

/// Makes a UDP socket report which of the host's addresses a datagram went to (`IP_PKTINFO` in ip(7)).
///
/// # Errors
///
/// If it is not a UDP socket.
pub(crate) fn enable_pktinfo(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (level, pktinfo, errors) = match rustix::net::sockopt::socket_domain(socket)? {
        rustix::net::AddressFamily::INET => (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVERR),
        _ => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_RECVERR),
    };
    set(socket, level, pktinfo, 1)?;
    // Errors about earlier replies are not read, and would wake the program until they are.
    set(socket, level, errors, 0)
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            payloads: vec![0; COUNT * LONGEST],
            // SAFETY: all three are plain numbers and pointers, for which zeros are a value.
            sources: unsafe { mem::zeroed() },
            controls: [Control([0; 256]); COUNT],
            headers: unsafe { mem::zeroed() },
            replies: Vec::with_capacity(COUNT),
        }
    }

    /// Receives the waiting datagrams, and returns their number. With `wait`, a blocking socket waits for the first.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, wait: bool) -> io::Result<usize> {
        self.replies.clear();
        let mut vectors = self.vectors(|_| LONGEST);
        for (index, header) in self.headers.iter_mut().enumerate() {
            header.msg_hdr = libc::msghdr {
                msg_name: (&raw mut self.sources[index]).cast(),
                msg_namelen: size_of::<libc::sockaddr_storage>() as socklen_t,
                msg_iov: &raw mut vectors[index],
                msg_iovlen: 1,
                msg_control: (&raw mut self.controls[index]).cast(),
                msg_controllen: size_of::<Control>(),
                // SAFETY: plain numbers and pointers; on some architectures there is padding among them.
                ..unsafe { mem::zeroed() }
            };
        }
        // SAFETY: every header points to memory of `self` and of `vectors`, with its size, and nothing moves meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                COUNT as c_uint,
                if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT },
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The length of a request's payload in octets.
    pub(crate) fn length(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    /// The payload of a request.
    pub(crate) fn request(&self, index: usize) -> &[u8] {
        &self.payloads[index * LONGEST..][..self.length(index)]
    }

    /// Where a request came from; `None` for a source that is neither IPv4 nor IPv6.
    pub(crate) fn source(&self, index: usize) -> Option<SocketAddr> {
        let source = &raw const self.sources[index];
        // SAFETY: the kernel wrote a socket address of this family here; both types fit a sockaddr_storage and its alignment.
        unsafe {
            match i32::from((*source).ss_family) {
                libc::AF_INET => {
                    let v4 = *source.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                    Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let v6 = *source.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                    Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }

    /// Whether a request went to a unicast address, not to a multicast group or the broadcast address. (A subnet's broadcast
    /// address cannot be distinguished here; the kernel refuses to send a reply from it.)
    pub(crate) fn was_unicast(&self, index: usize) -> bool {
        let Some((kind, data)) = self.packet_information(index) else { return true };
        // SAFETY: the kernel wrote a control message of this kind here; its data may be unaligned.
        let destination = unsafe {
            if kind == libc::IP_PKTINFO {
                let information = data.cast::<libc::in_pktinfo>().read_unaligned();
                IpAddr::V4(u32::from_be(information.ipi_addr.s_addr).into())
            } else {
                IpAddr::V6(data.cast::<libc::in6_pktinfo>().read_unaligned().ipi6_addr.s6_addr.into()).to_canonical()
            }
        };
        match destination {
            IpAddr::V4(v4) => !(v4.is_multicast() || v4.is_broadcast()),
            IpAddr::V6(v6) => !v6.is_multicast(),
        }
    }

    /// The control message with a request's addresses: its type, and a pointer to its data.
    fn packet_information(&self, index: usize) -> Option<(c_int, *const u8)> {
        const KNOWN: [(c_int, c_int); 2] =
            [(libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)];
        let header = &self.headers[index].msg_hdr;
        // SAFETY: the header describes the control messages that the kernel wrote, within `self.controls[index]`.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while !message.is_null() {
                if KNOWN.contains(&((*message).cmsg_level, (*message).cmsg_type)) {
                    return Some(((*message).cmsg_type, libc::CMSG_DATA(message).cast_const()));
                }
                message = libc::CMSG_NXTHDR(header, message);
            }
        }
        None
    }

    /// Answers a request with its own payload.
    pub(crate) fn echo(&mut self, index: usize) {
        self.replies.push((index, self.length(index)));
    }

    /// Answers a request with these octets.
    pub(crate) fn reply(&mut self, index: usize, octets: &[u8]) {
        let length = octets.len().min(LONGEST);
        self.payloads[index * LONGEST..][..length].copy_from_slice(&octets[..length]);
        self.replies.push((index, length));
    }

    /// Sends the replies. Datagrams that the network does not accept are lost.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) {
        let lengths = mem::take(&mut self.replies);
        let mut vectors = self.vectors(|position| lengths.get(position).map_or(0, |reply| reply.1));
        for (position, &(index, _)) in lengths.iter().enumerate() {
            self.reply_from_destination(index);
            vectors[position].iov_base = self.payloads[index * LONGEST..].as_mut_ptr().cast();
            // `position` is never greater than `index`, so unread headers are not overwritten.
            self.headers[position].msg_hdr = self.headers[index].msg_hdr;
            self.headers[position].msg_hdr.msg_iov = &raw mut vectors[position];
        }
        let mut sent = 0;
        while sent < lengths.len() {
            let rest = &mut self.headers[sent..lengths.len()];
            // SAFETY: as in `receive`.
            let count = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as c_uint, libc::MSG_DONTWAIT)
            };
            // An error concerns the first of them, such as a missing route: the others may still be sent.
            sent += usize::try_from(count).unwrap_or(1).max(1);
        }
        self.replies = lengths;
    }

    /// Converts a request's control message into the reply's: send from the address that the request went to, over the interface
    /// of the routing table. Link-local addresses keep the interface, which the routing table does not know.
    fn reply_from_destination(&mut self, index: usize) {
        let Some((kind, data)) = self.packet_information(index) else {
            self.headers[index].msg_hdr.msg_controllen = 0;
            return;
        };
        // SAFETY: the control message is in `self.controls[index]`, which may be written; its data may be unaligned. Only this
        // message is sent, from the header before its data on.
        unsafe {
            let header = data.sub(libc::CMSG_LEN(0) as usize).cast_mut();
            let length = (*header.cast::<libc::cmsghdr>()).cmsg_len - libc::CMSG_LEN(0) as usize;
            self.headers[index].msg_hdr.msg_control = header.cast();
            self.headers[index].msg_hdr.msg_controllen = libc::CMSG_SPACE(length as c_uint) as usize;
            if kind == libc::IP_PKTINFO {
                let data = data.cast::<libc::in_pktinfo>().cast_mut();
                let mut information = data.read_unaligned();
                information.ipi_ifindex = 0;
                // Not the kernel's value, which is missing from datagrams that arrived before the option was set.
                information.ipi_spec_dst = information.ipi_addr;
                data.write_unaligned(information);
            } else {
                let data = data.cast::<libc::in6_pktinfo>().cast_mut();
                let mut information = data.read_unaligned();
                if !Ipv6Addr::from(information.ipi6_addr.s6_addr).is_unicast_link_local() {
                    information.ipi6_ifindex = 0;
                }
                data.write_unaligned(information);
            }
        }
    }

    fn vectors(&mut self, length: impl Fn(usize) -> usize) -> [libc::iovec; COUNT] {
        let start = self.payloads.as_mut_ptr();
        std::array::from_fn(|index| libc::iovec {
            // SAFETY: within `payloads`, which has COUNT * LONGEST octets.
            iov_base: unsafe { start.add(index * LONGEST) }.cast(),
            iov_len: length(index),
        })
    }
}
