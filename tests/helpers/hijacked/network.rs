//! Sockets: new ones, other hosts and local services, and the client's own.

use std::ffi::{c_int, c_long};
use std::io;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;

use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM};

use small_services::numbers;

use super::acts::{Act, Ready, call, client, flags, memory, one, one_or, open, text, with};

fn socket(family: c_int, kind: c_int) -> io::Result<c_long> {
    call(libc::SYS_socket, [family.into(), kind.into(), 0])
}

fn opens(family: c_int, kind: c_int) -> Ready {
    one(libc::SYS_socket, [family.into(), kind.into(), 0])
}

pub const NEW: &[Act] = &[
    ("open a TCP socket", || opens(AF_INET, SOCK_STREAM)),
    ("open a TCP socket for IPv6", || opens(AF_INET6, SOCK_STREAM)),
    ("open a UDP socket", || opens(AF_INET, SOCK_DGRAM)),
    ("open a UDP socket for IPv6", || opens(AF_INET6, SOCK_DGRAM)),
    ("open a raw socket", || one(libc::SYS_socket, [AF_INET.into(), SOCK_RAW.into(), libc::IPPROTO_ICMP.into()])),
    ("open a packet socket", || opens(AF_PACKET, SOCK_RAW)),
    ("open a netlink socket", || opens(AF_NETLINK, SOCK_RAW)),
    ("open a Unix-domain socket", || opens(AF_UNIX, SOCK_STREAM)),
    ("open a socket to the virtual machine's host", || opens(AF_VSOCK, SOCK_STREAM)),
    ("open a socket of any other family", || {
        const KNOWN: [c_int; 6] = [AF_INET, AF_INET6, AF_PACKET, AF_NETLINK, AF_UNIX, AF_VSOCK];
        Box::new(|| {
            let mut last = Ok(());
            for family in (0..64).filter(|family| !KNOWN.contains(family)) {
                for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, libc::SOCK_SEQPACKET] {
                    match socket(family, kind) {
                        Ok(_) => return Ok(()),
                        Err(error) => last = Err(error),
                    }
                }
            }
            last
        })
    }),
    ("make a pair of sockets", || {
        one(libc::SYS_socketpair, [AF_UNIX.into(), SOCK_STREAM.into(), 0, memory([0 as c_int; 2])])
    }),
];

/// 127.0.0.1 with a port, in the kernel's format, and its length.
pub fn loopback(port: u16) -> [c_long; 2] {
    let address = libc::sockaddr_in {
        sin_family: 2,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    [memory(address), 16]
}

/// A TCP listener that the test starts beside this process, or in this process itself.
fn listener() -> u16 {
    let beside = std::env::var("TCP").ok().and_then(|port| port.parse().ok());
    beside.unwrap_or(1)
}

/// An address without a family: connecting to it dissolves a connection.
fn nowhere() -> [c_long; 2] {
    [memory([0_u8; 16]), 16]
}

/// The same if the socket is for both IP versions.
fn loopback_for_both(port: u16) -> [c_long; 2] {
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let address = libc::sockaddr_in6 {
        sin6_family: 10,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: mapped },
        sin6_scope_id: 0,
    };
    [memory(address), 28]
}

/// A connection other than the one that reports the outcome, if more clients can connect. Otherwise no additional call is made: the
/// process could be killed for it.
fn connection() -> c_long {
    if client() == 0 { 0 } else { call(libc::SYS_accept4, [3, 0, 0, 0]).expect("another connection") }
}

pub const CONNECTIONS: &[Act] = &[
    ("connect over TCP", || {
        let [address, length] = loopback(listener());
        with(socket(AF_INET, SOCK_STREAM), move |socket| call(libc::SYS_connect, [socket, address, length]))
    }),
    ("take a TCP port", || {
        let [address, length] = loopback(0);
        with(socket(AF_INET, SOCK_STREAM), move |socket| {
            call(libc::SYS_bind, [socket, address, length])?;
            call(libc::SYS_listen, [socket, 1])
        })
    }),
    ("listen without a port", || with(socket(AF_INET, SOCK_STREAM), |socket| call(libc::SYS_listen, [socket, 1]))),
    ("send a datagram over UDP", || {
        let [address, length] = loopback(9);
        let octet = memory(0_u8);
        with(socket(AF_INET, SOCK_DGRAM), move |socket| {
            call(libc::SYS_sendto, [socket, octet, 1, libc::MSG_DONTWAIT.into(), address, length])
        })
    }),
    ("connect over UDP", || {
        let [address, length] = loopback(9);
        with(socket(AF_INET, SOCK_DGRAM), move |socket| call(libc::SYS_connect, [socket, address, length]))
    }),
    ("take a UDP port", || {
        let [address, length] = loopback(0);
        with(socket(AF_INET, SOCK_DGRAM), move |socket| call(libc::SYS_bind, [socket, address, length]))
    }),
    ("turn the client's connection to another host", || {
        let ([nowhere, none], [address, length]) = (nowhere(), loopback(listener()));
        let [mapped, longer] = loopback_for_both(listener());
        with(Ok(connection()), move |socket| {
            call(libc::SYS_connect, [socket, nowhere, none])?;
            let turned = call(libc::SYS_connect, [socket, address, length]);
            turned.or_else(|first| call(libc::SYS_connect, [socket, mapped, longer]).map_err(|_| first))
        })
    }),
    ("listen on a socket that somebody left open", || {
        let open = TcpListener::bind("127.0.0.1:0").map(|socket| socket.into_raw_fd().into());
        with(open, |socket| call(libc::SYS_listen, [socket, 1]))
    }),
];

/// The address of a Unix-domain socket and its length. An abstract name starts with a zero octet.
pub fn local(name: &[u8]) -> [c_long; 2] {
    let mut address = [0_u8; 110];
    address[0] = 1;
    address[2..][..name.len()].copy_from_slice(name);
    [memory(address), flags(2 + name.len())]
}

fn abstract_name(name: &str) -> [c_long; 2] {
    local(format!("\0{name}").as_bytes())
}

pub const LOCAL: &[Act] = &[
    ("connect to an abstract socket", || {
        let [address, length] = abstract_name(&std::env::var("ABSTRACT").unwrap_or_else(|_| "hijacked".to_owned()));
        with(socket(AF_UNIX, SOCK_STREAM), move |socket| call(libc::SYS_connect, [socket, address, length]))
    }),
    ("take an abstract name", || {
        let [address, length] = abstract_name(&format!("hijacked-{}", std::process::id()));
        with(socket(AF_UNIX, SOCK_STREAM), move |socket| call(libc::SYS_bind, [socket, address, length]))
    }),
    ("connect to a service's socket in the file system", || {
        let path = std::env::var("SERVICE").unwrap_or_else(|_| "/run/systemd/journal/stdout".to_owned());
        let [address, length] = local(path.as_bytes());
        with(socket(AF_UNIX, SOCK_STREAM), move |socket| call(libc::SYS_connect, [socket, address, length]))
    }),
];

/// A duplicate with the lowest free number from the given one on.
fn from(number: c_long, descriptor: c_long) -> io::Result<c_long> {
    call(libc::SYS_fcntl, [descriptor, libc::F_DUPFD.into(), number])
}

/// A number of connections in a daemon with `--shared`.
const CONNECTION: c_long = numbers::FIRST_FREE as c_long;
/// A number of datagram sockets there.
const DATAGRAMS: c_long = numbers::LAST_DATAGRAMS as c_long;

fn set(level: c_int, option: c_int, value: c_long, length: c_long) -> Ready {
    with(from(CONNECTION, client()), move |socket| {
        call(libc::SYS_setsockopt, [socket, level.into(), option.into(), value, length])
    })
}

pub const OWN: &[Act] = &[
    ("ask the client's socket what has come", || {
        one(libc::SYS_ioctl, [client(), flags(libc::FIONREAD), memory(0_i32)])
    }),
    ("list the host's interfaces through it", || {
        let interfaces = memory([4096_i64, memory([0_u8; 4096])]);
        one(libc::SYS_ioctl, [client(), flags(libc::SIOCGIFCONF), interfaces])
    }),
    ("set an interface of the host's through it", || {
        // What it is already: IFF_UP and IFF_LOOPBACK.
        let mut request = [0_u8; 40];
        request[..2].copy_from_slice(b"lo");
        request[16] = 0x49;
        one(libc::SYS_ioctl, [client(), flags(libc::SIOCSIFFLAGS), memory(request)])
    }),
    ("push a character into the terminal", || one(libc::SYS_ioctl, [client(), 0x5412, text("x")])),
    ("be signalled by it", || one(libc::SYS_ioctl, [client(), flags(libc::FIOASYNC), memory(1_i32)])),
    ("filter it", || {
        let everything = memory([0xffff_0000_0006_u64]);
        let filter = memory([1_i64, everything]);
        set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, filter, 16)
    }),
    ("bind it to an interface", || set(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, text("lo"), 2)),
    ("repair it", || set(libc::IPPROTO_TCP, 19, memory(0_i32), 4)),
    ("give it a larger buffer than others", || set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, memory(1 << 24_i32), 4)),
    ("have it kept alive", || set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, memory(1_i32), 4)),
    ("have it end in another way", || set(libc::SOL_SOCKET, libc::SO_LINGER, memory([1_i32, 0]), 8)),
    ("set an option of TCP's", || set(libc::IPPROTO_TCP, libc::TCP_NODELAY, memory(1_i32), 4)),
    ("set an option of IP's", || set(libc::IPPROTO_IP, libc::IP_TTL, memory(64_i32), 4)),
    ("ask who the client is", || one(libc::SYS_getpeername, [client(), memory([0_u8; 128]), memory(128_i32)])),
    ("have it block or not", || one(libc::SYS_fcntl, [client(), libc::F_SETFL.into(), libc::O_NONBLOCK.into()])),
    ("send a descriptor", || {
        let message: [c_long; 7] = [0; 7];
        one(libc::SYS_sendmsg, [client(), memory(message), 0])
    }),
    ("receive a descriptor", || {
        let message: [c_long; 7] = [0; 7];
        one_or(libc::SYS_recvmsg, [client(), memory(message), libc::MSG_DONTWAIT.into()], libc::EAGAIN)
    }),
    ("splice it into a pipe", || {
        let mut ends = [0; 2];
        let answer = unsafe { libc::pipe(ends.as_mut_ptr()) };
        let pipe = if answer == 0 { Ok(ends[1].into()) } else { Err(io::Error::last_os_error()) };
        // Splicing nothing is allowed wherever splicing something is.
        let socket = client();
        with(pipe, move |pipe| call(libc::SYS_splice, [socket, 0, pipe, 0, 0, 0]))
    }),
];

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// A local datagram service that the process does not use: the journal, if the test has none.
fn another_service() -> [c_long; 2] {
    local(variable("OTHER", "/run/systemd/journal/socket").as_bytes())
}

/// A socket to the service manager, as a daemon with `--shared` has on descriptor 1, and to syslog on 2.
fn to_manager(number: c_long) -> io::Result<c_long> {
    let [address, length] = local(variable("MANAGER", "/run/systemd/notify").as_bytes());
    let socket = socket(AF_UNIX, SOCK_DGRAM)?;
    call(libc::SYS_connect, [socket, address, length])?;
    call(libc::SYS_dup3, [socket, number, 0])
}

/// A connection to a local service, under the number of a connection in a daemon with `--shared`.
fn to_service() -> io::Result<c_long> {
    let [address, length] = local(variable("SERVICE", "/run/systemd/journal/stdout").as_bytes());
    let socket = socket(AF_UNIX, SOCK_STREAM)?;
    call(libc::SYS_connect, [socket, address, length])?;
    from(CONNECTION, socket)
}

/// The forged line that it writes there.
const LINE: &str = "MESSAGE=hijacked\nSYSLOG_IDENTIFIER=sshd\nPRIORITY=7\n";

/// One message for sendmmsg(2) or recvmmsg(2): with an address, a control message, or neither.
pub fn message(octets: &str, [address, length]: [c_long; 2], control: &[u64]) -> c_long {
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    let octets = octets.as_bytes().to_vec().leak();
    let vector = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    message.msg_hdr.msg_iov = memory(vector) as *mut _;
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_name = address as *mut _;
    message.msg_hdr.msg_namelen = u32::try_from(length).unwrap_or(0);
    if !control.is_empty() {
        message.msg_hdr.msg_control = control.to_vec().leak().as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = size_of_val(control);
    }
    memory(message)
}

pub const NO_ADDRESS: [c_long; 2] = [0; 2];

/// The control message that passes descriptor 0.
pub const RIGHTS: [u64; 3] = [20, 1 | (1 << 32), 0];

fn sends(socket: io::Result<c_long>, address: [c_long; 2]) -> Ready {
    let (line, length) = (text(LINE), flags(LINE.len()));
    with(socket, move |socket| {
        call(libc::SYS_sendto, [socket, line, length, libc::MSG_NOSIGNAL.into(), address[0], address[1]])
    })
}

fn sends_message(socket: io::Result<c_long>, message: c_long) -> Ready {
    with(socket, move |socket| call(libc::SYS_sendmmsg, [socket, message, 1, libc::MSG_DONTWAIT.into()]))
}

/// A Unix-domain socket to which the process passes descriptors: it is both ends, and the descriptor is its own.
fn mailbox() -> io::Result<c_long> {
    let socket = socket(AF_UNIX, SOCK_DGRAM)?;
    // Units do not allow bind(2). A socket with SO_PASSCRED gets a name when it connects, and keeps it.
    let know_senders = |value: i32| {
        call(libc::SYS_setsockopt, [socket, libc::SOL_SOCKET.into(), libc::SO_PASSCRED.into(), memory(value), 4])
    };
    know_senders(1)?;
    for [address, length] in [another_service(), nowhere()] {
        call(libc::SYS_connect, [socket, address, length])?;
    }
    know_senders(0)?; // that would be a control message too
    let (name, size) = (memory([0_u8; 110]), memory(110_i32));
    call(libc::SYS_getsockname, [socket, name, size])?;
    let own = message("x", [name, unsafe { *(size as *const i32) }.into()], &RIGHTS);
    call(libc::SYS_sendmmsg, [socket, own, 1, libc::MSG_DONTWAIT.into()])?;
    from(CONNECTION, socket)
}

/// Receives a passed descriptor, if there is one.
fn is_passed_one(socket: c_long, message: c_long) -> io::Result<c_long> {
    call(libc::SYS_recvmmsg, [socket, message, 1, libc::MSG_DONTWAIT.into(), 0])?;
    let truncated = unsafe { (*(message as *const libc::mmsghdr)).msg_hdr.msg_flags } & libc::MSG_CTRUNC != 0;
    let length = unsafe { (*(message as *const libc::mmsghdr)).msg_hdr.msg_controllen };
    if length == 0 || truncated { Err(io::Error::from_raw_os_error(libc::ENOMSG)) } else { Ok(0) }
}

fn room() -> c_long {
    message("  ", NO_ADDRESS, &[0; 16])
}

/// Moves a descriptor to a number that only datagram sockets have in a daemon with `--shared`, and replaces what is there.
fn under_number_for_datagrams(socket: c_long) -> io::Result<c_long> {
    call(libc::SYS_close, [DATAGRAMS])?;
    call(libc::SYS_dup3, [socket, DATAGRAMS, 0]) // accept4 returns the lowest free number, with the same effect
}

pub const GIVEN: &[Act] = &[
    ("write to another service on the service manager's socket", || sends(to_manager(1), another_service())),
    ("write to another service on the log's socket", || sends(to_manager(2), another_service())),
    ("write to another service in a batch on the service manager's socket", || {
        sends_message(to_manager(1), message(LINE, another_service(), &[]))
    }),
    ("write to another service in a batch on the log's socket", || {
        sends_message(to_manager(2), message(LINE, another_service(), &[]))
    }),
    ("pass a descriptor to the service manager", || sends_message(to_manager(1), message(LINE, NO_ADDRESS, &RIGHTS))),
    ("pass a descriptor to the log", || sends_message(to_manager(2), message(LINE, NO_ADDRESS, &RIGHTS))),
    ("pass a descriptor to another service", || {
        sends_message(to_manager(1), message(LINE, another_service(), &RIGHTS))
    }),
    ("pass a descriptor over a connection", || sends_message(to_service(), message(LINE, NO_ADDRESS, &RIGHTS))),
    ("pass a descriptor by a number for datagram sockets", || {
        let message = message(LINE, NO_ADDRESS, &RIGHTS);
        let kept = open("/", libc::O_PATH).and_then(|root| call(libc::SYS_dup3, [root, DATAGRAMS, 0]));
        with(kept.and_then(|_| to_service()), move |connection| {
            let socket = under_number_for_datagrams(connection)?;
            call(libc::SYS_sendmmsg, [socket, message, 1, libc::MSG_DONTWAIT.into()])
        })
    }),
    ("be passed a descriptor", || {
        let room = room();
        with(mailbox(), move |socket| is_passed_one(socket, room))
    }),
    ("be passed a descriptor by a number for datagram sockets", || {
        let room = room();
        let kept = open("/", libc::O_PATH).and_then(|root| call(libc::SYS_dup3, [root, DATAGRAMS, 0]));
        with(kept.and_then(|_| mailbox()), move |socket| is_passed_one(under_number_for_datagrams(socket)?, room))
    }),
];
