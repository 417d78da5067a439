//! The compiler from rules to BPF. It runs at compile time.
//!
//! The cost of attaching a filter grows with its length. The cost of a system call grows with the steps to its rule. So a binary
//! search finds call numbers, and each verdict stands in the program once. seccompiler lists numbers one after the other and needs
//! nearly twice as many instructions for the same rules. The tests compare with its programs.

use crate::{Architecture, Pin, Rule, Syscall};

/// An instruction: the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// The number of instructions to skip if a comparison holds.
    pub jt: u8,
    /// The number of instructions to skip if it does not.
    pub jf: u8,
    /// The operand: what to load, compare with or return.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`
const IF_NOT_LESS: u16 = 0x35;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// `SECCOMP_RET_ALLOW`
pub(crate) const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_KILL_PROCESS`. In debug builds `SECCOMP_RET_TRAP`: the same signal, but sys.rs names the call first.
pub(crate) const KILL: u32 = if cfg!(debug_assertions) { 0x0003_0000 } else { 0x8000_0000 };

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument; all architectures here are little endian.
const ARGUMENTS: u32 = 16;

/// Up to this many numbers are compared one by one instead of by binary search.
const FEW: usize = 4;
/// The maximum number of instructions of a policy.
const MAX_INSTRUCTIONS: usize = 160;
/// The maximum number of rules of a policy.
const MAX_RULES: usize = 64;

/// A program of at most [`MAX_INSTRUCTIONS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    code: [Instruction; MAX_INSTRUCTIONS],
    length: usize,
}

impl Program {
    pub(crate) const fn instructions(&self) -> &[Instruction] {
        self.code.split_at(self.length).0
    }

    pub(crate) const fn compile(rules: &[&[Rule]], architecture: Architecture) -> Self {
        let calls = Calls::sort(rules, architecture);
        let mut assembler = Assembler {
            code: [Step { code: 0, k: 0, then: NEXT, otherwise: NEXT }; MAX_INSTRUCTIONS],
            length: 0,
            positions: [0; 2 * MAX_INSTRUCTIONS],
            labels: 2,
        };
        assembler.push(LOAD, ARCHITECTURE, NEXT, NEXT);
        assembler.push(IF_EQUAL, architecture.audit(), NEXT, KILLED);
        assembler.push(LOAD, NUMBER, NEXT, NEXT);
        assembler.find(&calls, 0, calls.count);
        assembler.finish()
    }
}

/// The rules, ordered by call number. Rules for the same call keep their order.
struct Calls {
    rules: [Rule; MAX_RULES],
    numbers: [u32; MAX_RULES],
    /// Where the rules of each call begin, and where the last call's rules end.
    starts: [usize; MAX_RULES + 1],
    /// The number of different calls.
    count: usize,
}

impl Calls {
    const fn sort(lists: &[&[Rule]], architecture: Architecture) -> Self {
        const NOTHING: Rule = Rule::new(Syscall::new("", None, None), &[], "");
        let mut calls =
            Self { rules: [NOTHING; MAX_RULES], numbers: [0; MAX_RULES], starts: [0; MAX_RULES + 1], count: 0 };
        let mut length = 0;
        let mut list = 0;
        while list < lists.len() {
            let mut index = 0;
            while index < lists[list].len() {
                length = calls.insert(&lists[list][index], length, architecture);
                index += 1;
            }
            list += 1;
        }
        let mut index = 0;
        while index < length {
            if index == 0 || calls.numbers[index] != calls.numbers[index - 1] {
                calls.starts[calls.count] = index;
                calls.count += 1;
            }
            index += 1;
        }
        calls.starts[calls.count] = length;
        calls
    }

    /// Inserts a rule after those of lower and equal numbers. Returns the new number of rules.
    const fn insert(&mut self, rule: &Rule, length: usize, architecture: Architecture) -> usize {
        check(rule);
        let Some(number) = rule.call.number(architecture) else {
            refuse(rule, "does not exist on this architecture");
        };
        let mut index = 0;
        while index < length {
            if self.numbers[index] == number {
                if self.rules[index].pins.is_empty() || is_same(self.rules[index].pins, rule.pins) {
                    return length;
                }
                if rule.pins.is_empty() {
                    // Without pins, it replaces all pinned rules for this call.
                    self.rules[index] = *rule;
                    return self.remove_others(index, length);
                }
            }
            index += 1;
        }
        assert!(length < MAX_RULES, "there are more rules than a policy holds");
        let mut at = length;
        while at > 0 && self.numbers[at - 1] > number {
            self.rules[at] = self.rules[at - 1];
            self.numbers[at] = self.numbers[at - 1];
            at -= 1;
        }
        self.rules[at] = *rule;
        self.numbers[at] = number;
        length + 1
    }

    /// Removes the rules after `kept` with the same call number.
    const fn remove_others(&mut self, kept: usize, length: usize) -> usize {
        let mut index = kept + 1;
        let mut remaining = index;
        while index < length {
            if self.numbers[index] != self.numbers[kept] {
                self.rules[remaining] = self.rules[index];
                self.numbers[remaining] = self.numbers[index];
                remaining += 1;
            }
            index += 1;
        }
        remaining
    }
}

/// Refuses a rule that contradicts itself.
const fn check(rule: &Rule) {
    let mut index = 0;
    while index < rule.pins.len() {
        let pin = rule.pins[index];
        if pin.position > 5 {
            refuse(rule, "pins an argument that no call has: the last position is 5");
        }
        if pin.min > pin.max {
            refuse(rule, "pins an argument to no value: the minimum is greater than the maximum");
        }
        let mut other = 0;
        while other < index {
            if rule.pins[other].position == pin.position {
                refuse(rule, "pins an argument twice");
            }
            other += 1;
        }
        index += 1;
    }
}

const fn is_same(one: &[Pin], other: &[Pin]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        let (a, b) = (one[index], other[index]);
        if a.position != b.position || a.min != b.min || a.max != b.max {
            return false;
        }
        index += 1;
    }
    true
}

/// Ends the compilation with a message that names the call.
pub(crate) const fn refuse(rule: &Rule, reason: &str) -> ! {
    // A panic at compile time cannot format its message, so the message is assembled here.
    let mut message = Message { octets: [0; 160], length: 0 };
    message.append("a rule for ");
    message.append(rule.call.name());
    message.append(" ");
    message.append(reason);
    match core::str::from_utf8(message.octets.split_at(message.length).0) {
        Ok(message) => panic!("{}", message),
        Err(_) => panic!("{}", rule.call.name()),
    }
}

struct Message {
    octets: [u8; 160],
    length: usize,
}

impl Message {
    const fn append(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() && self.length < self.octets.len() {
            self.octets[self.length] = text[index];
            self.length += 1;
            index += 1;
        }
    }
}

/// The target of a jump: the next instruction, or a label, whose position is known once the program is complete.
const NEXT: usize = usize::MAX;
// The first two labels are the verdicts.
const ALLOWED: usize = 0;
const KILLED: usize = 1;

#[derive(Clone, Copy)]
struct Step {
    code: u16,
    k: u32,
    then: usize,
    otherwise: usize,
}

/// An unfinished program.
struct Assembler {
    code: [Step; MAX_INSTRUCTIONS],
    length: usize,
    /// The position of each label.
    positions: [usize; 2 * MAX_INSTRUCTIONS],
    labels: usize,
}

impl Assembler {
    const fn push(&mut self, code: u16, k: u32, then: usize, otherwise: usize) {
        assert!(self.length < MAX_INSTRUCTIONS, "the rules take more instructions than a policy holds");
        self.code[self.length] = Step { code, k, then, otherwise };
        self.length += 1;
    }

    const fn label(&mut self) -> usize {
        let label = self.labels;
        self.labels += 1;
        label
    }

    const fn place(&mut self, label: usize) {
        self.positions[label] = self.length;
    }

    /// Finds the rules of a call number by binary search among the calls `from..to`.
    const fn find(&mut self, calls: &Calls, from: usize, to: usize) {
        if to - from > FEW {
            let middle = from + (to - from) / 2;
            let label = self.label();
            self.push(IF_NOT_LESS, calls.numbers[calls.starts[middle]], label, NEXT);
            self.find(calls, from, middle);
            self.place(label);
            return self.find(calls, middle, to);
        }
        let mut labels = [ALLOWED; FEW];
        let mut call = from;
        while call < to {
            let start = calls.starts[call];
            if !calls.rules[start].pins.is_empty() {
                labels[call - from] = self.label();
            }
            let otherwise = if call + 1 == to { KILLED } else { NEXT };
            self.push(IF_EQUAL, calls.numbers[start], labels[call - from], otherwise);
            call += 1;
        }
        if from == to {
            self.push(RETURN, KILL, NEXT, NEXT);
        }
        call = from;
        while call < to {
            if labels[call - from] != ALLOWED {
                self.place(labels[call - from]);
                self.pinned(calls, calls.starts[call], calls.starts[call + 1]);
            }
            call += 1;
        }
    }

    /// Compares the arguments with the pins of each rule.
    const fn pinned(&mut self, calls: &Calls, from: usize, to: usize) {
        /// No argument.
        const NONE: u8 = u8::MAX;
        let mut loaded = NONE;
        let mut index = from;
        while index < to {
            let pins = calls.rules[index].pins;
            let next_rule = self.label();
            let otherwise = if index + 1 == to { KILLED } else { next_rule };
            let mut pin = 0;
            while pin < pins.len() {
                let Pin { position, min, max } = pins[pin];
                if loaded != position {
                    self.push(LOAD, ARGUMENTS + 8 * position as u32, NEXT, NEXT);
                }
                // With one pin, the next rule always finds this argument loaded. With more, that depends on which one failed.
                loaded = if pins.len() == 1 { position } else { NONE };
                let then = if pin + 1 == pins.len() { ALLOWED } else { NEXT };
                if min == max {
                    self.push(IF_EQUAL, min, then, otherwise);
                } else if max == u32::MAX {
                    self.push(IF_NOT_LESS, min, then, otherwise);
                } else {
                    self.push(IF_NOT_LESS, min, NEXT, otherwise);
                    self.push(IF_NOT_LESS, max + 1, otherwise, then);
                }
                pin += 1;
            }
            self.place(next_rule);
            index += 1;
        }
    }

    /// Adds the verdicts and resolves the labels.
    const fn finish(mut self) -> Program {
        self.place(ALLOWED);
        self.push(RETURN, ALLOW, NEXT, NEXT);
        self.place(KILLED);
        self.push(RETURN, KILL, NEXT, NEXT);
        let nothing = Instruction { code: 0, jt: 0, jf: 0, k: 0 };
        let mut program = Program { code: [nothing; MAX_INSTRUCTIONS], length: 0 };
        let mut index = 0;
        while index < self.length {
            let Step { code, k, then, otherwise } = self.code[index];
            let (jt, jf) = (self.distance(index, then), self.distance(index, otherwise));
            program.code[index] = Instruction { code, jt, jf, k };
            index += 1;
        }
        program.length = index;
        program
    }

    /// The distance of a jump. It fits: a program has at most 160 instructions.
    #[allow(clippy::cast_possible_truncation)] // no other conversion is const
    const fn distance(&self, from: usize, to: usize) -> u8 {
        if to == NEXT { 0 } else { (self.positions[to] - from - 1) as u8 }
    }
}
