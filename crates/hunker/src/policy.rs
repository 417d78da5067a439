//! Policies: which system calls a process may make, and with which arguments.

use crate::compile::{Instruction, Program};
use crate::reach::Reach;
use crate::{Architecture, Rights, Syscall};

/// The values that are allowed for one argument of a call: of its low 32 bits, which is all that the kernel reads of a
/// descriptor, a flag or a length of type `int`. Do not pin what is wider, and pointers never: what they lead to may change
/// after the filter looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) position: u8,
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl Pin {
    /// One value, for the argument at this position. The first is 0.
    #[must_use]
    pub const fn is(position: u8, value: u32) -> Self {
        Self { position, min: value, max: value }
    }

    /// The values from `min` to `max`.
    #[must_use]
    pub const fn within(position: u8, min: u32, max: u32) -> Self {
        Self { position, min, max }
    }

    /// Which argument.
    #[must_use]
    pub const fn position(&self) -> u8 {
        self.position
    }

    /// The least value.
    #[must_use]
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The greatest.
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
    /// Allows a call where each of its pinned arguments has an allowed value. Without pins it is allowed with all arguments.
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

    /// Whether every call that this rule allows is allowed by the other rule.
    pub(crate) const fn is_within(&self, other: &Self, architecture: Architecture) -> bool {
        match (self.call.number(architecture), other.call.number(architecture)) {
            (Some(one), Some(number)) if one == number => {}
            _ => return false,
        }
        let mut index = 0;
        while index < other.pins.len() {
            let outer = other.pins[index];
            // A pin that allows every value asks for none.
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

/// A policy, compiled to a BPF program for seccomp(2): what is not allowed kills the process.
///
/// Make it a constant, and the compiler does the work:
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
/// A process may do what any of its rules allows. So identical rules are one, and a call that is allowed both freely and with
/// pinned arguments is free. What contradicts itself does not compile:
///
/// ```compile_fail
/// # use hunker::{Pin, Policy, Rule, Syscall};
/// static POLICY: Policy = Policy::new(&[&[Rule::new(Syscall::WRITE, &[Pin::within(0, 2, 1)], "never")]]);
/// ```
///
/// Reasons are not part of it: a constant without an address in it needs no relocation when the program starts.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    program: Program,
    reach: Reach,
}

impl Policy {
    /// The policy that allows what one of the rules allows. Rules come in lists, so that each can stand beside the code that
    /// makes its calls.
    ///
    /// # Panics
    ///
    /// With the name of the call: if a rule pins an argument twice, to no value, or one that a call does not have; if its call
    /// does not exist on the architecture. Without one if there are more rules or instructions than a policy holds.
    #[must_use]
    pub const fn new(rules: &[&[Rule]]) -> Self {
        Self::for_architecture(rules, Architecture::TARGET)
    }

    /// The same for another architecture than the one that is compiled for.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    pub const fn for_architecture(rules: &[&[Rule]], architecture: Architecture) -> Self {
        Self { program: Program::compile(rules, architecture), reach: Reach::of(rules, architecture) }
    }

    /// Whether a rule allows to send datagrams to an address: `sendmsg`, `sendmmsg`, or `sendto` with more than 0 for the length of
    /// one.
    #[must_use]
    pub const fn sends_datagrams(&self) -> bool {
        self.reach.sends()
    }

    /// The rights that its calls take, of those that Landlock learned after its first version: what an older one leaves to the
    /// process. It is told whether the process may open files.
    #[must_use]
    pub fn reached(&self, opens_files: bool) -> Rights {
        self.reach.rights(opens_files)
    }

    /// The program.
    #[must_use]
    pub const fn instructions(&self) -> &[Instruction] {
        self.program.instructions()
    }
}

/// A policy for a process that is locked down already: see [`narrow`](crate::narrow).
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
/// Filters add up: a call passes only if every one of them allows it. A call that the first policy forbids would be a rule
/// that means nothing, so it does not compile:
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
    /// The policy of these rules, within another one's.
    ///
    /// # Panics
    ///
    /// As [`Policy::new`], and with the name of the call if a rule allows what no rule of the outer policy allows.
    #[must_use]
    pub const fn new(rules: &[&[Rule]], outer: &[&[Rule]]) -> Self {
        let mut list = 0;
        while list < rules.len() {
            let mut index = 0;
            while index < rules[list].len() {
                let rule = &rules[list][index];
                if !is_allowed(rule, outer, Architecture::TARGET) {
                    crate::compile::refuse(rule, "is allowed, but not by the policy around it");
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
