//! What is not stopped, and why. An action that is not listed here is stopped. One that is listed is not.

/// Actions that this kernel or machine does not support. Elsewhere they may succeed without the lock-down.
pub const NOT_EVERYWHERE: &[&str] = &[
    "connect to an abstract socket",
    "load a module",
    "use the hardware's ports",
    "push a character into the terminal",
    "open a socket to the virtual machine's host",
    "raise its limit on locked memory",
    "be spared when memory is short",
    "take no_new_privs back",
    "take the filter back",
    "raise an ambient capability",
    "set io_uring up",
    "handle page faults",
    "make memory executable by a key",
    "compare itself with another process",
    "make a BPF map",
    "watch performance",
    "ask for its number by the 32-bit table",
    "open a file by the 32-bit table",
    "open a socket by the 32-bit table",
    "signal a process by the 32-bit table",
    "change a limit by the 32-bit table",
    "write to the log by the 32-bit table",
    "ask for its number by the x32 table",
    "open a file by the x32 table",
    "open a socket by the x32 table",
];

/// Families of actions on files, or on networks and other services.
pub const FILES_AND_NETWORKS: &[&str] =
    &["files", "execution", "new sockets", "connections", "local sockets", "sockets that it was given"];

/// Actions on files and networks that Landlock alone does not stop: it has no right for them.
pub const LANDLOCK_LEAVES: &[(&[&str], &str)] = &[
    (
        &["list an inherited directory", "grow an open file"],
        "Landlock does not restrict open descriptors; the programs close every descriptor that was not passed on purpose",
    ),
    (
        &[
            "look at a file",
            "look at a file, as if it were open",
            "look at a file by statx",
            "look at a file by statx, as if it were open",
            "follow a link",
            "go to another directory",
        ],
        "Landlock has rights for the content of files, not for their names and attributes",
    ),
    (
        &["change a file's mode", "change a file's owner", "change a file's times", "set an attribute of a file"],
        "no right for that yet; file modes stop a user who owns nothing",
    ),
    (
        &[
            "open a TCP socket",
            "open a TCP socket for IPv6",
            "open a UDP socket",
            "open a UDP socket for IPv6",
            "open a raw socket",
            "open a packet socket",
            "open a netlink socket",
            "open a Unix-domain socket",
            "open a socket to the virtual machine's host",
            "open a socket of any other family",
            "make a pair of sockets",
        ],
        "no right for the socket itself, only for connecting and binding",
    ),
    (
        &["send a datagram over UDP", "connect over UDP", "take a UDP port"],
        "no right for it before ABI 10 (Linux 7.2), and the kernel of this table had an older one",
    ),
    (&["execute a static program that it carries along"], "a file in memory has no path, and no loader is opened"),
    (
        &["listen without a port", "listen on a socket that somebody left open"],
        "no right for listening, only for binding TCP ports and connecting",
    ),
    (
        &["take an abstract name", "connect to a service's socket in the file system"],
        "a process may take abstract names, but not reach those of others; paths have a right from ABI 9 (Linux 7.1) on",
    ),
    (GIVEN, "no right for that before ABI 9: an open descriptor may be used"),
];

/// Actions on files and networks that Landlock alone does not stop before this version.
pub const LANDLOCK_LEARNED: &[(u32, &[&str])] = &[
    (3, &["shorten a file"]),
    (4, &["connect over TCP", "take a TCP port", "turn the client's connection to another host"]),
    (6, &["connect to an abstract socket"]),
    (
        9,
        &[
            "connect to a service's socket in the file system",
            "write to another service on the service manager's socket",
            "write to another service on the log's socket",
            "write to another service in a batch on the service manager's socket",
            "write to another service in a batch on the log's socket",
            "pass a descriptor to another service",
        ],
    ),
    (10, &["send a datagram over UDP", "connect over UDP", "take a UDP port"]),
];

/// Whether Landlock alone does not stop an action, in a kernel with this version.
pub fn landlock_leaves(abi: u32, act: &str) -> bool {
    let learned = LANDLOCK_LEARNED.iter().find(|(_, acts)| acts.contains(&act));
    learned.map_or_else(|| LANDLOCK_LEAVES.iter().any(|(acts, _)| acts.contains(&act)), |(from, _)| abi < *from)
}

/// Actions on sockets that the process was given.
const GIVEN: &[&str] = &[
    "write to another service on the service manager's socket",
    "write to another service on the log's socket",
    "write to another service in a batch on the service manager's socket",
    "write to another service in a batch on the log's socket",
    "pass a descriptor to the service manager",
    "pass a descriptor to the log",
    "pass a descriptor to another service",
    "pass a descriptor over a connection",
    "pass a descriptor by a number for datagram sockets",
    "be passed a descriptor",
    "be passed a descriptor by a number for datagram sockets",
];

/// Actions that the program alone does not stop if it rereads files after the lock-down (`ListenersAndFiles` and the like).
pub const READERS_LEAVE: &[(&[&str], &str)] = &[(
    &["list an inherited directory"],
    "the process lists the directories that it follows; it has no others, because the programs close every descriptor that was not \
     passed on purpose",
)];

/// Actions that no unit alone stops.
pub const UNITS_LEAVE: &[(&[&str], &str)] = &[
    (
        &["list a directory", "list an inherited directory", "follow a link"],
        "the program reads files before its own lock-down",
    ),
    (
        &["make a temporary file"],
        "only in a private /tmp, which is removed with the service; `LimitFSIZE=0` keeps the file empty",
    ),
    (&["execute itself once more"], "the unit allows the services' own programs, and confines them as before"),
    (
        &[
            "ask the client's socket what has come",
            "list the host's interfaces through it",
            "be signalled by it",
            "bind it to an interface",
            "have it kept alive",
            "have it end in another way",
            "set an option of TCP's",
            "set an option of IP's",
            "ask who the client is",
            "have it block or not",
        ],
        "before its own lock-down, the program examines its socket and sets timeouts, with `ioctl`, `fcntl`, `setsockopt` and \
         `getpeername`",
    ),
    (&["map memory to execute"], "memory that was never writable contains no code from the attacker"),
    (
        &[
            "be dumpable again",
            "attach a filter of its own",
            "make a Landlock ruleset of its own",
            "catch the filter's signal",
            "be a subreaper",
        ],
        "the program locks itself down with `prctl`, `seccomp` and Landlock, which give it no new rights",
    ),
];

/// Attacks on a neighbour that its unit does not stop. Lunchd's has one process and a user of its own: there is no neighbour.
pub const NEIGHBOURS_UNITS_LEAVE: &[(&[&str], &str)] = &[
    (
        &[
            "look at a neighbour's limits",
            "lower a neighbour's limit on processor time",
            "lower a neighbour's limit on descriptors",
        ],
        "the C library and the program need `prlimit64` to start, and a unit's filter does not check arguments",
    ),
    (
        &["end a neighbour by a signal of fcntl's", "end a neighbour by a signal of ioctl's"],
        "before its own lock-down, the program uses both calls on its connection, and a unit's filter does not check arguments",
    ),
];

/// Actions that the per-connection units stop, and those of daemons do not.
pub const DAEMONS_UNITS_LEAVE: &[(&[&str], &str)] = &[
    (
        &[
            "read a file",
            "read a file through an inherited directory",
            "read a file through /proc/self/root",
            "look at a file",
            "look at a file, as if it were open",
            "look at a file by statx",
            "look at a file by statx, as if it were open",
        ],
        "only world-readable files outside the directories that the unit hides, such as /home and /var; before its own lock-down, the \
         program reads its fortunes and the time zone",
    ),
    (
        &["open a Unix-domain socket", "connect to a service's socket in the file system"],
        "the program notifies the service manager over such a socket",
    ),
    (
        &["turn the client's connection to another host"],
        "the program needs `connect` to reach the service manager, and its connections use the host's network",
    ),
    (
        GIVEN,
        "the program receives and answers datagrams with `sendto`, `sendmmsg` and `recvmmsg`; unlike the program's filter, a unit's \
         cannot restrict these calls to certain sockets",
    ),
    (&["open a device"], "the unit's /dev contains only zero, null, full, random, urandom and tty"),
];

/// Actions that the program alone does not stop in the keeper: it needs them to create processes and to lock them down.
pub const KEEPER_LEAVES: &[(&[&str], &str)] = &[
    (
        &["fork"],
        "the keeper starts a process per connection; `TasksMax=` limits their number, and none has more rights than the keeper",
    ),
    (&["attach a filter of its own"], "a further filter can only remove calls"),
];

/// Actions that the units of the daemons with a keeper do not stop, and lunchd's does.
pub const KEEPERS_UNITS_LEAVE: &[(&[&str], &str)] = &[
    (&["end a neighbour by kill"], "the keeper ends its own processes; its filter allows only SIGKILL"),
    (&["fork", "start a thread"], "the keeper starts a process per connection; `TasksMax=` limits their number"),
    (
        &["signal every process"],
        "the keeper ends processes; its user may signal only the keeper's own, and the call succeeds even if there are none",
    ),
];
