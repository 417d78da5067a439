//! Which rights of later Landlock versions than the first a policy's calls can use.

use landlock::{Access, AccessFs, AccessNet, BitFlags, Scope};

use crate::{Architecture, Pin, Rights, Rule, Syscall};

/// A set of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach(u8);

const TRUNCATES: u8 = 1;
const CONTROLS: u8 = 1 << 1;
const CONNECTS: u8 = 1 << 2;
const BINDS: u8 = 1 << 3;
/// To an address.
const SENDS: u8 = 1 << 4;
const MAKES_SOCKETS: u8 = 1 << 5;
const SIGNALS: u8 = 1 << 6;

/// The calls for each action.
const CALLS: [(u8, &[Syscall]); 8] = [
    (
        TRUNCATES,
        &[Syscall::TRUNCATE, Syscall::FTRUNCATE, Syscall::CREAT, Syscall::OPEN, Syscall::OPENAT, Syscall::OPENAT2],
    ),
    (CONTROLS, &[Syscall::IOCTL]),
    (CONNECTS, &[Syscall::CONNECT]),
    (BINDS, &[Syscall::BIND]),
    (SENDS, &[Syscall::SENDTO, Syscall::SENDMSG, Syscall::SENDMMSG]),
    (MAKES_SOCKETS, &[Syscall::SOCKET]),
    (
        SIGNALS,
        &[
            Syscall::KILL,
            Syscall::TKILL,
            Syscall::TGKILL,
            Syscall::RT_SIGQUEUEINFO,
            Syscall::RT_TGSIGQUEUEINFO,
            Syscall::PIDFD_SEND_SIGNAL,
        ],
    ),
    // It can make other calls.
    (u8::MAX, &[Syscall::IO_URING_ENTER]),
];

impl Reach {
    pub(crate) const fn of(rules: &[&[Rule]], architecture: Architecture) -> Self {
        let mut reach = 0;
        let mut list = 0;
        while list < rules.len() {
            let mut index = 0;
            while index < rules[list].len() {
                reach |= reach_of(&rules[list][index], architecture);
                index += 1;
            }
            list += 1;
        }
        Self(reach)
    }

    pub(crate) const fn sends(self) -> bool {
        self.0 & SENDS != 0
    }

    /// The rights that these actions need. A process that cannot open files has only the devices that were open before, and
    /// Landlock does not restrict those.
    pub(crate) fn rights(self, opens_files: bool) -> Rights {
        let has = |actions: u8| self.0 & actions != 0;
        let connects = has(CONNECTS) || has(SENDS) && has(MAKES_SOCKETS);
        let files = [
            (has(TRUNCATES), AccessFs::Truncate),
            (has(CONTROLS) && opens_files, AccessFs::IoctlDev),
            (connects, AccessFs::ResolveUnix),
        ];
        let network = [
            (has(BINDS), AccessNet::BindTcp),
            (connects, AccessNet::ConnectTcp),
            (has(BINDS) || connects, AccessNet::BindUdp),
            (has(SENDS) || connects, AccessNet::ConnectSendUdp),
        ];
        let scopes = [(connects, Scope::AbstractUnixSocket), (has(SIGNALS), Scope::Signal)];
        Rights { files: held(files), network: held(network), scopes: held(scopes) }
    }
}

/// The rights whose condition holds.
fn held<T: Access, const N: usize>(rights: [(bool, T); N]) -> BitFlags<T> {
    rights.into_iter().filter_map(|(holds, right)| holds.then_some(right)).collect()
}

const fn reach_of(rule: &Rule, architecture: Architecture) -> u8 {
    let mut set = 0;
    while set < CALLS.len() {
        let (actions, calls) = CALLS[set];
        let mut call = 0;
        while call < calls.len() {
            if is_call(rule, calls[call], architecture) {
                return if is_harmless(rule, architecture) { 0 } else { actions };
            }
            call += 1;
        }
        set += 1;
    }
    0
}

const fn is_call(rule: &Rule, call: Syscall, architecture: Architecture) -> bool {
    match (rule.call.number(architecture), call.number(architecture)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Whether the pins exclude an address to send to, or the flag to truncate.
const fn is_harmless(rule: &Rule, architecture: Architecture) -> bool {
    const O_TRUNC: u32 = 0x200;
    const NO_ADDRESS: Rule = Rule::new(Syscall::SENDTO, &[Pin::is(5, 0)], "");
    if is_call(rule, Syscall::SENDTO, architecture) {
        return rule.is_within(&NO_ADDRESS, architecture);
    }
    let flags = if is_call(rule, Syscall::OPEN, architecture) {
        1
    } else if is_call(rule, Syscall::OPENAT, architecture) {
        2
    } else {
        return false;
    };
    let mut index = 0;
    while index < rule.pins.len() {
        let pin = rule.pins[index];
        if pin.position == flags && pin.min == pin.max && pin.min & O_TRUNC == 0 {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(rule: Rule, opens_files: bool) -> String {
        Reach::of(&[&[rule]], Architecture::TARGET).rights(opens_files).to_string()
    }

    #[test]
    fn pins_limit_what_a_call_can_reach() {
        let free = |call| rights(Rule::new(call, &[], ""), false);
        assert_eq!(free(Syscall::READ), "");
        assert_eq!(free(Syscall::FTRUNCATE), "truncating files");
        assert_eq!(free(Syscall::BIND), "binding TCP ports or binding UDP ports");
        assert_eq!(free(Syscall::SENDMMSG), "sending UDP datagrams");
        assert_eq!(free(Syscall::PIDFD_SEND_SIGNAL), "signals to other processes");
        assert_eq!(free(Syscall::SOCKET), "");
        assert_eq!(free(Syscall::IO_URING_ENTER).split(", ").count(), 7);
        // Landlock does not restrict devices that are already open. A process that opens no files has no others.
        assert_eq!(
            (free(Syscall::IOCTL).as_str(), rights(Rule::new(Syscall::IOCTL, &[], ""), true).as_str()),
            ("", "ioctl on devices")
        );
        let pinned = |call, pin: Pin| rights(Rule::new(call, Box::leak(Box::new([pin])), ""), false);
        for (flags, reached) in [(0, ""), (0x8_0000, ""), (0x200, "truncating files"), (0x8_0201, "truncating files")] {
            assert_eq!(pinned(Syscall::OPENAT, Pin::is(2, flags)), reached, "{flags:#x}");
            // Position 3 is the mode, not the flags.
            assert_eq!(pinned(Syscall::OPENAT, Pin::is(3, flags)), "truncating files");
        }
        assert_eq!(pinned(Syscall::OPENAT, Pin::within(2, 0, 1)), "truncating files");
        let opens = Rule::new(Syscall::OPEN, Box::leak(Box::new([Pin::is(1, 0)])), "");
        assert_eq!(Reach::of(&[&[opens]], Architecture::X86_64).rights(true).to_string(), "");
        assert_eq!(pinned(Syscall::SENDTO, Pin::is(5, 0)), "");
        assert_eq!(pinned(Syscall::SENDTO, Pin::is(3, 0)), "sending UDP datagrams");
    }

    #[test]
    fn creating_and_sending_on_a_socket_reaches_what_connecting_does() {
        let of = |calls: &[Syscall]| {
            let rules: Vec<_> = calls.iter().map(|call| Rule::new(*call, &[], "")).collect();
            Reach::of(&[&rules], Architecture::TARGET)
        };
        let twice = of(&[Syscall::TRUNCATE, Syscall::FTRUNCATE, Syscall::KILL]).rights(true);
        assert_eq!(twice.to_string(), "truncating files or signals to other processes");
        let connects = of(&[Syscall::CONNECT]);
        assert_eq!(connects.rights(true), of(&[Syscall::SENDTO, Syscall::SOCKET]).rights(true));
        assert_eq!(
            connects.rights(true).to_string(),
            "connections to Unix-domain sockets by path, TCP connections, binding UDP ports, sending UDP datagrams or \
             connections to abstract Unix-domain sockets"
        );
    }
}
