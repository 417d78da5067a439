//! Namespaces, mounts, parts of the kernel, limits, identity, and the lock-down itself.

use std::ffi::c_long;

use libc::{CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, O_RDONLY, O_WRONLY};

use super::acts::{Act, Ready, call, flags, memory, one, one_or, open, parent, text, with};

const HERE: c_long = libc::AT_FDCWD as c_long;

fn enters(kind: &'static str) -> Ready {
    with(open(&format!("/proc/self/ns/{kind}"), O_RDONLY), |namespace| call(libc::SYS_setns, [namespace, 0]))
}

pub const NAMESPACES: &[Act] = &[
    ("make a user namespace", || one(libc::SYS_unshare, [CLONE_NEWUSER.into()])),
    ("make a network namespace", || one(libc::SYS_unshare, [CLONE_NEWNET.into()])),
    ("make a mount namespace", || one(libc::SYS_unshare, [CLONE_NEWNS.into()])),
    ("make a process in a user namespace", || {
        Box::new(|| match call(libc::SYS_clone, [c_long::from(CLONE_NEWUSER | libc::SIGCHLD), 0, 0, 0, 0])? {
            0 => unsafe { libc::_exit(0) },
            _ => Ok(()),
        })
    }),
    ("enter a network namespace", || enters("net")),
    ("enter a mount namespace", || enters("mnt")),
    ("mount a file system", || {
        let kind = text("tmpfs");
        one(libc::SYS_mount, [kind, text("/proc"), kind, 0, 0])
    }),
    ("mount again to write", || {
        one(libc::SYS_mount, [0, text("/proc"), 0, flags(libc::MS_REMOUNT | libc::MS_BIND), 0])
    }),
    ("unmount a file system", || one(libc::SYS_umount2, [text("/proc"), libc::MNT_DETACH.into()])),
    ("prepare a mount", || one(libc::SYS_fsopen, [text("tmpfs"), 0])),
    ("clone a mount", || one(libc::SYS_open_tree, [HERE, text("/"), flags(libc::OPEN_TREE_CLONE)])),
    ("change the root", || one(libc::SYS_chroot, [text("/")])),
    ("exchange the root", || one_or(libc::SYS_pivot_root, [text("/proc"), text("/proc")], libc::EINVAL)),
    ("name the host", || one(libc::SYS_sethostname, [text("hijacked"), 8])),
];

pub const PARTS: &[Act] = &[
    ("make a BPF map", || {
        let mut attributes = [0_u32; 32];
        attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
        one(libc::SYS_bpf, [0, memory(attributes), 128])
    }),
    ("set io_uring up", || one(libc::SYS_io_uring_setup, [1, memory([0_u32; 64])])),
    ("add a key", || {
        one(libc::SYS_add_key, [text("user"), text("hijacked"), text("x"), 1, libc::KEY_SPEC_PROCESS_KEYRING.into()])
    }),
    ("look at a keyring", || one(libc::SYS_keyctl, [0, libc::KEY_SPEC_SESSION_KEYRING.into(), 1])),
    ("ask for a key", || {
        let kind = text("user");
        one_or(libc::SYS_request_key, [kind, text("hijacked"), 0, 0], libc::ENOKEY)
    }),
    ("watch performance", || {
        let mut attributes = [0_u32; 32];
        attributes[..4].copy_from_slice(&[1, 128, 0, 0]);
        one(libc::SYS_perf_event_open, [memory(attributes), 0, -1, -1, 0])
    }),
    ("handle page faults", || one(libc::SYS_userfaultfd, [0])),
    ("make a file in memory", || one(libc::SYS_memfd_create, [text("x"), 0])),
    ("watch all files", || one(libc::SYS_fanotify_init, [0, 0])),
    ("watch a file", || one(libc::SYS_inotify_init1, [0])),
    ("read the kernel's log", || one(libc::SYS_syslog, [10, 0, 0])),
    // If the call is allowed, what it asks for is wrong.
    ("load a module", || one_or(libc::SYS_init_module, [text("x"), 1, text("")], libc::ENOEXEC)),
    ("reboot", || one_or(libc::SYS_reboot, [0, 0, 0, 0], libc::EINVAL)),
    ("set the clock", || one(libc::SYS_settimeofday, [0, memory([0_i32; 2])])),
    ("swap elsewhere", || one_or(libc::SYS_swapoff, [text("/no/such/file")], libc::ENOENT)),
    #[cfg(target_arch = "x86_64")]
    ("use the hardware's ports", || one(libc::SYS_ioperm, [0x80, 1, 1])),
];

fn limit(of: c_long, resource: libc::__rlimit_resource_t) -> Ready {
    let most = memory(libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY });
    one(libc::SYS_prlimit64, [of, resource.into(), most, 0])
}

/// Every capability, in the format of capset(2).
fn capabilities() -> [c_long; 2] {
    [memory([0x2008_0522_u32, 0]), memory([0xffff_ffff_u32, 0xffff_ffff, 0, 0x1ff, 0x1ff, 0])]
}

pub const LIMITS: &[Act] = &[
    ("raise a limit", || limit(0, libc::RLIMIT_CORE)),
    ("raise its limit on locked memory", || limit(0, libc::RLIMIT_MEMLOCK)),
    ("change another process's limits", || {
        let limits = memory([0_u64; 2]);
        one(libc::SYS_prlimit64, [parent(), libc::RLIMIT_CORE.into(), 0, limits])
    }),
    ("go before others", || one(libc::SYS_setpriority, [0, 0, -20])),
    ("go before all others", || one(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO.into(), memory(1_i32)])),
    ("choose its processor", || one(libc::SYS_sched_setaffinity, [0, 8, memory(1_u64)])),
    ("go before others on the disk", || one(libc::SYS_ioprio_set, [1, 0, 1 << 13])),
    ("lock its memory", || one(libc::SYS_mlockall, [libc::MCL_FUTURE.into()])),
    ("be spared when memory is short", || {
        let least = text("-1000");
        with(open("/proc/self/oom_score_adj", O_WRONLY), move |file| call(libc::SYS_write, [file, least, 5]))
    }),
    ("become root", || one(libc::SYS_setresuid, [0, 0, 0])),
    ("join groups", || one(libc::SYS_setgroups, [1, memory(0_u32)])),
    ("take capabilities", || {
        let [header, data] = capabilities();
        Box::new(move || {
            // All that it could have, which is what it has.
            call(libc::SYS_capget, [header, data])?;
            call(libc::SYS_capset, [header, data])?;
            if unsafe { *(data as *const u32) } == 0 { Err(std::io::Error::from_raw_os_error(1)) } else { Ok(()) }
        })
    }),
    ("leave its session", || {
        // Fails for the leader of a process group, if it is allowed.
        one_or(libc::SYS_setsid, [], libc::EPERM)
    }),
];

fn prctl(option: i32, value: c_long) -> Ready {
    one(libc::SYS_prctl, [option.into(), value, 0, 0, 0])
}

pub const UNDOING: &[Act] = &[
    ("be dumpable again", || prctl(libc::PR_SET_DUMPABLE, 1)),
    ("take no_new_privs back", || prctl(libc::PR_SET_NO_NEW_PRIVS, 0)),
    ("take the filter back", || prctl(libc::PR_SET_SECCOMP, 0)),
    ("attach a filter of its own", || {
        let allow = memory([0x7fff_0000_0000_0006_u64]);
        one(libc::SYS_seccomp, [1, 0, memory([1, allow])])
    }),
    ("make a Landlock ruleset of its own", || one(libc::SYS_landlock_create_ruleset, [memory([1_u64]), 8, 0])),
    ("raise an ambient capability", || one(libc::SYS_prctl, [libc::PR_CAP_AMBIENT.into(), 2, 10, 0, 0])),
    ("keep capabilities", || prctl(libc::PR_SET_KEEPCAPS, 1)),
    ("set its secure bits", || prctl(libc::PR_SET_SECUREBITS, 0)),
    ("catch the filter's signal", || {
        one(libc::SYS_rt_sigaction, [libc::SIGSYS.into(), memory([1_u64, 0, 0, 0]), 0, 8])
    }),
    ("be a subreaper", || prctl(libc::PR_SET_CHILD_SUBREAPER, 1)),
];
