//! Policies: which system calls a process may make, and with which arguments.

use crate::compile::{Instruction, Program};
use crate::reach::Reach;
use crate::{Architecture, Rights, Syscall};

/// The allowed values of one argument of a call. A pin compares the low 32 bits, which are all that the kernel reads of a
/// descriptor, a flag or a length of type `int`. Do not pin wider arguments. Never pin pointers: the memory that they point to may
/// change after the filter has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) position: u8,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Pin {
    /// A single value for the argument at this position. The first position is 0.
    #[must_use]
    pub const fn is(position: u8, value: u32) -> Self {
        Self { position, min: value, max: value }
    }

    /// The values from `min` to `max`.
    #[must_use]
    pub const fn within(position: u8, min: u32, max: u32) -> Self {
        Self { position, min, max }
    }

    /// The argument's position.
    #[must_use]
    pub const fn position(&self) -> u8 {
        self.position
    }

    /// The minimum value.
    #[must_use]
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The maximum value.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }
}

/// A call that a process may make, and why it needs it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub(crate) call: Syscall,
    pub(crate) pins: &'static [Pin],
    pub(crate) reason: &'static str,
}

impl Rule {
    /// Allows a call if each pinned argument has an allowed value. Without pins, allows it with any arguments.
    #[must_use]
    pub const fn new(call: Syscall, pins: &'static [Pin], reason: &'static str) -> Self {
        Self { call, pins, reason }
    }

    /// The call.
    #[must_use]
    pub const fn call(&self) -> Syscall {
        self.call
    }

    /// Its pinned arguments.
    #[must_use]
    pub const fn pins(&self) -> &'static [Pin] {
        self.pins
    }

    /// Why it is allowed.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// Whether the other rule allows every call that this rule allows.
    pub(crate) const fn is_within(&self, other: &Self, architecture: Architecture) -> bool {
        match (self.call.number(architecture), other.call.number(architecture)) {
            (Some(one), Some(number)) if one == number => {}
            _ => return false,
        }
        let mut index = 0;
        while index < other.pins.len() {
            let outer = other.pins[index];
            // A pin that allows every value requires none.
            let mut holds = outer.min == 0 && outer.max == u32::MAX;
            let mut own = 0;
            while own < self.pins.len() {
                let pin = self.pins[own];
                holds |= pin.position == outer.position && pin.min >= outer.min && pin.max <= outer.max;
                own += 1;
            }
            if !holds {
                return false;
            }
            index += 1;
        }
        true
    }
}

/// A policy, compiled to a BPF program for seccomp(2). A call that it does not allow kills the process.
///
/// If the policy is a constant, the Rust compiler compiles it:
///
/// ```
/// use hunker::{Pin, Policy, Rule, Syscall};
///
/// const RULES: &[Rule] = &[
///     Rule::new(Syscall::WRITE, &[Pin::within(0, 1, 2)], "print output and errors"),
///     Rule::new(Syscall::EXIT_GROUP, &[], "exit"),
/// ];
/// static POLICY: Policy = Policy::new(&[RULES]);
/// assert!(POLICY.instructions().len() < 12);
/// ```
///
/// A process may do what any of its rules allows. Identical rules are merged, and a rule without pins overrides pinned rules for the
/// same call. A rule that contradicts itself does not compile:
///
/// ```compile_fail
/// # use hunker::{Pin, Policy, Rule, Syscall};
/// static POLICY: Policy = Policy::new(&[&[Rule::new(Syscall::WRITE, &[Pin::within(0, 2, 1)], "never")]]);
/// ```
///
/// A policy does not contain the reasons: a constant without addresses needs no relocation when the program starts.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    program: Program,
    reach: Reach,
}

impl Policy {
    /// Compiles the policy that allows what any of the rules allows. Rules come in several lists, so that each list can stand
    /// beside the code that makes its calls.
    ///
    /// # Panics
    ///
    /// If a rule pins an argument twice, to no value, or at a position that no call has, or if its call does not exist on the
    /// architecture. The message names the call. Also if there are more rules or instructions than a policy holds.
    #[must_use]
    pub const fn new(rules: &[&[Rule]]) -> Self {
        Self::for_architecture(rules, Architecture::TARGET)
    }

    /// Compiles the policy for another architecture than [`Architecture::TARGET`].
    ///
    /// # Panics
    ///
    /// As for [`new`](Self::new).
    #[must_use]
    pub const fn for_architecture(rules: &[&[Rule]], architecture: Architecture) -> Self {
        Self { program: Program::compile(rules, architecture), reach: Reach::of(rules, architecture) }
    }

    /// Whether a rule allows sending datagrams to an address: `sendmsg`, `sendmmsg`, or `sendto` with an address longer than 0.
    #[must_use]
    pub const fn sends_datagrams(&self) -> bool {
        self.reach.sends()
    }

    /// The rights of later Landlock versions than the first that the policy's calls can use: an older Landlock leaves them to the
    /// process. `opens_files` says whether the process may open files.
    #[must_use]
    pub fn reached(&self, opens_files: bool) -> Rights {
        self.reach.rights(opens_files)
    }

    /// The BPF program.
    #[must_use]
    pub const fn instructions(&self) -> &[Instruction] {
        self.program.instructions()
    }
}

/// A policy for a process that is already locked down: see [`narrow`](crate::narrow).
///
/// ```
/// # use hunker::{Narrower, Pin, Rule, Syscall};
/// const PARENT: &[Rule] = &[
///     Rule::new(Syscall::WRITE, &[Pin::within(0, 1, 2)], "print output and errors"),
///     Rule::new(Syscall::EXIT_GROUP, &[], "exit"),
/// ];
/// const CHILD: &[Rule] = &[Rule::new(Syscall::WRITE, &[Pin::is(0, 1)], "print")];
/// static NARROWER: Narrower = Narrower::new(&[CHILD], &[PARENT]);
/// ```
///
/// A process can make a call only if all its filters allow it. A rule for a call that the outer policy forbids would be useless,
/// so it does not compile:
///
/// ```compile_fail
/// # use hunker::{Narrower, Rule, Syscall};
/// # const PARENT: &[Rule] = &[Rule::new(Syscall::EXIT_GROUP, &[], "exit")];
/// const CHILD: &[Rule] = &[Rule::new(Syscall::WRITE, &[], "print")];
/// static NARROWER: Narrower = Narrower::new(&[CHILD], &[PARENT]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Narrower {
    pub(crate) policy: Policy,
}

impl Narrower {
    /// Compiles the policy of `rules`, within the policy of `outer`.
    ///
    /// # Panics
    ///
    /// As for [`Policy::new`]. Also if a rule allows what no outer rule allows. The message names the call.
    #[must_use]
    pub const fn new(rules: &[&[Rule]], outer: &[&[Rule]]) -> Self {
        let mut list = 0;
        while list < rules.len() {
            let mut index = 0;
            while index < rules[list].len() {
                let rule = &rules[list][index];
                if !is_allowed(rule, outer, Architecture::TARGET) {
                    crate::compile::refuse(rule, "is not within the outer policy");
                }
                index += 1;
            }
            list += 1;
        }
        Self { policy: Policy::new(rules) }
    }
}

const fn is_allowed(rule: &Rule, outer: &[&[Rule]], architecture: Architecture) -> bool {
    let mut list = 0;
    while list < outer.len() {
        let mut index = 0;
        while index < outer[list].len() {
            if rule.is_within(&outer[list][index], architecture) {
                return true;
            }
            index += 1;
        }
        list += 1;
    }
    false
}
