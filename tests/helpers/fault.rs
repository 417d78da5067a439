//! `fault WHAT NUMBER PROGRAM...` runs a program with one fault:
//!
//! - `KILL` or `TERM`: the signal arrives at its system call NUMBER, which is not made if the signal kills it;
//! - `EINTR`, `EAGAIN`, `ENOMEM`: system call NUMBER does nothing and returns this error;
//! - `short`: system call NUMBER reads or writes at most one octet, or one datagram;
//! - `clock`: every reading of the clock (`CLOCK_REALTIME`) is NUMBER seconds further back than the one before;
//! - `none`: no fault.
//!
//! This process becomes the program, and a child steps through it with ptrace(2), so that its parent sees the program's own end.
//! `REPORT` names a file for the numbers of the system calls that the program made, one per line, with `!` for each that would have
//! been one too many.
//!
//! With `CHILD` set, all this applies to the first process that the program creates, from its first system call on. The program
//! itself and its other processes run undisturbed. The kernel traces a new process for the tracer of its parent.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    panic!("registers are known for x86_64 only");
}

#[cfg(target_arch = "x86_64")]
fn main() {
    x86::main();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::ffi::{c_long, c_void};
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::{env, fs, io, mem, ptr};

    use libc::{pid_t, user_regs_struct};

    /// No run of a test makes this many system calls.
    const LOOPS: usize = 100_000;
    const AT_SYSINFO_EHDR: c_long = 33;
    const AT_IGNORE: c_long = 1;
    /// The waker of lunchd's event loop, by number (crates/lunchd/src/lib.rs), and the length of a signalfd's record.
    const EVENT_LOOP: u64 = 4;
    const SIGNAL: u64 = 128;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        Signal(i32),
        Error(i32),
        Short,
        Clock,
    }

    pub fn main() {
        let arguments: Vec<_> = env::args_os().skip(1).collect();
        let [what, number, program, rest @ ..] = arguments.as_slice() else { panic!("fault WHAT NUMBER PROGRAM...") };
        let fault = match what.to_str() {
            Some("none") => Fault::None,
            Some("KILL") => Fault::Signal(libc::SIGKILL),
            Some("TERM") => Fault::Signal(libc::SIGTERM),
            Some("EINTR") => Fault::Error(libc::EINTR),
            Some("EAGAIN") => Fault::Error(libc::EAGAIN),
            Some("ENOMEM") => Fault::Error(libc::ENOMEM),
            Some("short") => Fault::Short,
            Some("clock") => Fault::Clock,
            _ => panic!("no such fault"),
        };
        let number = number.to_str().and_then(|it| it.parse().ok()).expect("a number");
        let mut ready = [0; 2];
        assert_eq!(unsafe { libc::pipe2(ready.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let parent = unsafe { libc::getpid() };
        if unsafe { libc::fork() } == 0 {
            trace(parent, ready, fault, number);
        }
        // The child must not be older than the permission to trace its parent.
        unsafe {
            libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY);
            libc::close(ready[1]);
            let mut octet = 0_u8;
            assert_eq!(libc::read(ready[0], (&raw mut octet).cast(), 1), 1, "nobody traces");
        }
        panic!("cannot start it: {}", Command::new(program).args(rest).exec());
    }

    fn ask(request: libc::c_uint, pid: pid_t, address: c_long, data: c_long) -> c_long {
        unsafe { libc::ptrace(request, pid, address as *mut c_void, data as *mut c_void) }
    }

    /// The next process that stops; `None` if none is left.
    fn wait() -> Option<(pid_t, i32)> {
        loop {
            let mut status = 0;
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if pid < 0 {
                return None;
            }
            if libc::WIFSTOPPED(status) {
                return Some((pid, status));
            }
        }
    }

    fn trace(pid: pid_t, ready: [i32; 2], fault: Fault, number: usize) -> ! {
        let report = env::var_os("REPORT");
        let mut options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL;
        if env::var_os("CHILD").is_some() {
            options |= libc::PTRACE_O_TRACEFORK;
        }
        while ask(libc::PTRACE_SEIZE, pid, 0, options.into()) != 0 {
            let error = io::Error::last_os_error();
            assert!(error.raw_os_error() == Some(libc::EPERM) && unsafe { libc::getppid() } == pid, "{error}");
        }
        ask(libc::PTRACE_INTERRUPT, pid, 0, 0);
        wait();
        // Only the program has the client's connection and the listening socket.
        unsafe {
            let end = ready[1].cast_unsigned();
            libc::close_range(0, end - 1, 0);
            libc::close_range(end + 1, libc::c_uint::MAX, 0);
            libc::write(ready[1], [0_u8].as_ptr().cast(), 1);
        }
        let child = env::var_os("CHILD").is_some();
        let calls = Vec::new();
        let mut tracer =
            Tracer { pid: if child { 0 } else { pid }, fault, number, calls, changed: None, clock: 0, started: child };
        tracer.run(pid);
        if let Some(report) = report {
            let lines = tracer.calls.iter().fold(String::new(), |lines, call| lines + &call.to_string() + "\n");
            let _ = fs::write(report, lines + if tracer.calls.len() >= LOOPS { "!\n" } else { "" });
        }
        unsafe { libc::_exit(0) }
    }

    struct Tracer {
        /// The process with the fault; 0 until it exists.
        pid: pid_t,
        fault: Fault,
        number: usize,
        calls: Vec<u64>,
        /// The registers before the changed call, and the result that it gets.
        changed: Option<(user_regs_struct, Option<i32>)>,
        clock: c_long,
        started: bool,
    }

    impl Tracer {
        /// Starting with the program itself, which is stopped.
        fn run(&mut self, program: pid_t) {
            let (mut stopped, mut signal) = (program, 0);
            loop {
                let how = if stopped == self.pid { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
                ask(how, stopped, 0, signal.into());
                let Some((pid, status)) = wait() else { return };
                (stopped, signal) = (pid, 0);
                if self.pid == 0 && pid != program {
                    self.pid = pid;
                }
                match (libc::WSTOPSIG(status), status >> 16) {
                    (stop, _) if stop == libc::SIGTRAP | 0x80 && self.started => self.at_call(),
                    (stop, _) if stop == libc::SIGTRAP | 0x80 => {}
                    (libc::SIGTRAP, libc::PTRACE_EVENT_EXEC) => {
                        self.started = true;
                        if self.fault == Fault::Clock {
                            self.hide_vdso();
                        }
                    }
                    (_, 1..) => {}
                    (stop, _) => signal = stop,
                }
            }
        }

        fn at_call(&mut self) {
            let mut information: libc::ptrace_syscall_info = unsafe { mem::zeroed() };
            let size = size_of::<libc::ptrace_syscall_info>();
            ask(
                libc::PTRACE_GET_SYSCALL_INFO,
                self.pid,
                size.cast_signed() as c_long,
                (&raw mut information) as c_long,
            );
            match information.op {
                libc::PTRACE_SYSCALL_INFO_ENTRY => {
                    let entry = unsafe { information.u.entry };
                    self.calls.push(entry.nr);
                    if self.calls.len() >= LOOPS {
                        unsafe { libc::kill(self.pid, libc::SIGKILL) };
                    } else if self.calls.len() == self.number {
                        self.go_wrong(entry.nr);
                    }
                }
                libc::PTRACE_SYSCALL_INFO_EXIT => self.after(),
                _ => {}
            }
        }

        fn go_wrong(&mut self, call: u64) {
            let before = self.registers();
            let mut changed = before;
            let wakes = (call, before.rdi, before.rdx) == (libc::SYS_write.cast_unsigned(), EVENT_LOOP, 8);
            let stops = (call, before.rdi, before.rdx) == (libc::SYS_read.cast_unsigned(), 0, SIGNAL);
            match self.fault {
                Fault::None | Fault::Clock => return,
                // An eventfd's number and a signalfd's record cannot be read in part, and an eventfd never blocks here. If an event
                // loop like tokio's got a false EAGAIN from a signalfd, the signal would never arrive.
                Fault::Error(errno) if wakes && errno != libc::EAGAIN => return,
                Fault::Error(libc::EAGAIN) if stops && self.calls.contains(&libc::SYS_epoll_wait.cast_unsigned()) => {
                    return;
                }
                Fault::Short if wakes || stops => return,
                Fault::Signal(signal) => {
                    unsafe { libc::kill(self.pid, signal) };
                    return;
                }
                // brk(2) returns no error: it leaves the break as it is.
                Fault::Error(libc::ENOMEM) if call == libc::SYS_brk.cast_unsigned() => {
                    changed.rdi = 0;
                    self.changed = Some((before, None));
                }
                Fault::Error(_)
                    if call == libc::SYS_brk.cast_unsigned() || call == libc::SYS_exit_group.cast_unsigned() =>
                {
                    return;
                }
                // close(2) closes, whatever it returns.
                Fault::Error(errno) if call == libc::SYS_close.cast_unsigned() => {
                    self.changed = Some((before, Some(errno)));
                }
                Fault::Error(errno) => {
                    // A call that every policy allows and that does nothing: write(2, NULL, 0).
                    (changed.orig_rax, changed.rdi, changed.rsi, changed.rdx) =
                        (libc::SYS_write.cast_unsigned(), 2, 0, 0);
                    self.changed = Some((before, Some(errno)));
                }
                Fault::Short => {
                    const SHORT: [c_long; 7] = [
                        libc::SYS_read,
                        libc::SYS_write,
                        libc::SYS_pread64,
                        libc::SYS_sendto,
                        libc::SYS_recvfrom,
                        libc::SYS_recvmmsg,
                        libc::SYS_sendmmsg,
                    ];
                    if !SHORT.contains(&call.cast_signed()) || before.rdx < 2 {
                        return;
                    }
                    changed.rdx = 1;
                    self.changed = Some((before, None));
                }
            }
            self.set_registers(&changed);
        }

        fn after(&mut self) {
            if let Some((before, errno)) = self.changed.take() {
                let rax = errno.map_or(self.registers().rax, |errno| i64::from(-errno).cast_unsigned());
                self.set_registers(&user_regs_struct { rax, ..before });
            } else if self.fault == Fault::Clock {
                let after = self.registers();
                if after.orig_rax == libc::SYS_clock_gettime.cast_unsigned() && after.rdi == 0 {
                    let seconds = ask(libc::PTRACE_PEEKDATA, self.pid, after.rsi.cast_signed(), 0);
                    self.clock += c_long::try_from(self.number).unwrap_or(0);
                    ask(libc::PTRACE_POKEDATA, self.pid, after.rsi.cast_signed(), seconds - self.clock);
                }
            }
        }

        /// Then the C library asks the kernel for the time, where it can be changed.
        fn hide_vdso(&self) {
            let mut at = self.registers().rsp.cast_signed();
            let mut next = || {
                at += 8;
                (at, ask(libc::PTRACE_PEEKDATA, self.pid, at, 0))
            };
            // The arguments, then the environment, each up to its null pointer.
            for _ in 0..2 {
                while next().1 != 0 {}
            }
            loop {
                let (place, key) = next();
                match key {
                    0 => return,
                    AT_SYSINFO_EHDR => {
                        ask(libc::PTRACE_POKEDATA, self.pid, place, AT_IGNORE);
                    }
                    _ => {}
                }
                next();
            }
        }

        fn registers(&self) -> user_regs_struct {
            let mut registers: user_regs_struct = unsafe { mem::zeroed() };
            let place: *mut user_regs_struct = ptr::from_mut(&mut registers);
            ask(libc::PTRACE_GETREGS, self.pid, 0, place as c_long);
            registers
        }

        fn set_registers(&self, registers: &user_regs_struct) {
            ask(libc::PTRACE_SETREGS, self.pid, 0, ptr::from_ref(registers) as c_long);
        }
    }
}
