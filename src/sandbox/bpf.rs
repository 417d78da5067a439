//! Compiles rules of the policy table to a BPF program for seccomp(2).
//!
//! `build.rs` does this, so that no process has to. The kernel's cost of attaching a filter grows with its length, and that
//! of a system call with the steps to its rule. So numbers are found by halves, and every verdict stands in the program
//! once; `seccompiler`, which lists one number after the other, takes nearly twice the instructions for the same rules
//! (its programs are the unit tests' yardstick).

use super::policy::{Pin, Rule};

/// An instruction, as the kernel's `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// What to load or to compare with.
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
pub const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_KILL_PROCESS`
pub const KILL: u32 = 0x8000_0000;

/// `AUDIT_ARCH_X86_64`
pub const X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64`
pub const AARCH64: u32 = 0xc000_00b7;

// Where `struct seccomp_data` has them.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument; both architectures are little endian.
const ARGUMENTS: u32 = 16;

/// So many numbers are compared one by one rather than halved again.
const FEW: usize = 4;

/// Where a jump goes: places are known once the program is complete.
#[derive(Clone, Copy)]
enum Target {
    Next,
    Label(usize),
}

/// A program in the making. Labels stand for places; the first two are the verdicts.
struct Assembler {
    architecture: u32,
    code: Vec<(u16, u32, Target, Target)>,
    labels: Vec<usize>,
}

const ALLOWED: Target = Target::Label(0);
const KILLED: Target = Target::Label(1);

/// The program that allows what the rules allow and kills the process for all else. `number` tells a rule's system call
/// number, `architecture` is the kernel's `AUDIT_ARCH_`.
///
/// # Errors
///
/// If a call stands there with and without pinned arguments, or twice without: one of the rules would mean nothing. If the
/// program has a jump that is too long for BPF.
pub fn compile<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    number: fn(&Rule) -> i64,
    architecture: u32,
) -> Result<Vec<Instruction>, String> {
    let mut calls: Vec<(u32, Vec<&Rule>)> = Vec::new();
    for rule in rules {
        let number = u32::try_from(number(rule)).map_err(|_| format!("{} has no number", rule.call.name))?;
        match calls.iter_mut().find(|(known, _)| *known == number) {
            None => calls.push((number, vec![rule])),
            Some((_, others)) if others.iter().chain([&rule]).any(|it| it.arguments.is_empty()) => {
                return Err(format!(
                    "{} stands there with and without pinned arguments, or twice without",
                    rule.call.name
                ));
            }
            Some((_, others)) => others.push(rule),
        }
    }
    calls.sort_by_key(|(number, _)| *number);
    let mut assembler = Assembler { architecture, code: Vec::new(), labels: vec![0, 0] };
    assembler.load(ARCHITECTURE);
    assembler.jump(IF_EQUAL, architecture, Target::Next, KILLED);
    assembler.load(NUMBER);
    assembler.find(&calls);
    assembler.finish()
}

impl Assembler {
    fn load(&mut self, place: u32) {
        self.code.push((LOAD, place, Target::Next, Target::Next));
    }

    fn jump(&mut self, comparison: u16, value: u32, then: Target, otherwise: Target) {
        self.code.push((comparison, value, then, otherwise));
    }

    fn label(&mut self) -> usize {
        self.labels.push(0);
        self.labels.len() - 1
    }

    fn place(&mut self, label: usize) {
        self.labels[label] = self.code.len();
    }

    /// Goes from a number to its rules.
    fn find(&mut self, calls: &[(u32, Vec<&Rule>)]) {
        if calls.len() > FEW {
            let (lower, upper) = calls.split_at(calls.len() / 2);
            let label = self.label();
            self.jump(IF_NOT_LESS, upper[0].0, Target::Label(label), Target::Next);
            self.find(lower);
            self.place(label);
            return self.find(upper);
        }
        let pinned: Vec<_> = calls
            .iter()
            .enumerate()
            .map(|(index, (number, rules))| {
                let is_last = index + 1 == calls.len();
                let free = rules.iter().any(|rule| rule.arguments.is_empty());
                let label = self.label();
                let then = if free { ALLOWED } else { Target::Label(label) };
                self.jump(IF_EQUAL, *number, then, if is_last { KILLED } else { Target::Next });
                (label, free, rules)
            })
            .collect();
        for (label, _, rules) in pinned.into_iter().filter(|(_, free, _)| !free) {
            self.place(label);
            self.pinned(rules);
        }
    }

    /// Compares the arguments with each rule's.
    fn pinned(&mut self, rules: &[&Rule]) {
        let mut loaded = None;
        for (index, rule) in rules.iter().enumerate() {
            let next_rule = self.label();
            let otherwise = if index + 1 == rules.len() { KILLED } else { Target::Label(next_rule) };
            for (index, pin) in rule.arguments.iter().enumerate() {
                let Pin { position, min, max } = pin.on(self.architecture == AARCH64);
                if loaded != Some(position) {
                    self.load(ARGUMENTS + 8 * u32::from(position));
                }
                // What the next rule finds loaded depends on where this one failed; with one argument it is certain.
                loaded = (rule.arguments.len() == 1).then_some(position);
                let then = if index + 1 == rule.arguments.len() { ALLOWED } else { Target::Next };
                if min == max {
                    self.jump(IF_EQUAL, min, then, otherwise);
                } else if max == u32::MAX {
                    self.jump(IF_NOT_LESS, min, then, otherwise);
                } else {
                    self.jump(IF_NOT_LESS, min, Target::Next, otherwise);
                    self.jump(IF_NOT_LESS, max + 1, otherwise, then);
                }
            }
            self.place(next_rule);
        }
    }

    /// Adds the verdicts, and turns labels into distances.
    fn finish(mut self) -> Result<Vec<Instruction>, String> {
        for (label, verdict) in [(0, ALLOW), (1, KILL)] {
            self.place(label);
            self.code.push((RETURN, verdict, Target::Next, Target::Next));
        }
        let labels = self.labels;
        self.code
            .into_iter()
            .enumerate()
            .map(|(index, (code, k, then, otherwise))| {
                let distance = |target| match target {
                    Target::Next => Ok(0),
                    Target::Label(label) => u8::try_from(labels[label] - index - 1)
                        .map_err(|_| "there are too many rules: a jump is longer than BPF has".to_owned()),
                };
                Ok(Instruction { code, jt: distance(then)?, jf: distance(otherwise)?, k })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    };

    use super::super::policy;
    use super::*;

    /// The same rules, as `seccompiler` compiles them.
    fn by_seccompiler<'a>(rules: impl Iterator<Item = &'a Rule>, architecture: TargetArch) -> Vec<Instruction> {
        let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for rule in rules {
            let number = if architecture == TargetArch::x86_64 { rule.call.x86_64 } else { rule.call.aarch64 };
            let condition = |position, compare, value: u32| {
                SeccompCondition::new(position, SeccompCmpArgLen::Dword, compare, value.into())
            };
            let pins = rule.arguments.iter().flat_map(|pin| {
                let Pin { position, min, max } = pin.on(architecture == TargetArch::aarch64);
                if min == max {
                    vec![condition(position, SeccompCmpOp::Eq, min)]
                } else {
                    vec![condition(position, SeccompCmpOp::Ge, min), condition(position, SeccompCmpOp::Le, max)]
                }
            });
            let pins: Vec<_> = pins.collect::<Result<_, _>>().expect("positions from 0 to 5");
            let allowed = calls.entry(number).or_default();
            if !pins.is_empty() {
                allowed.push(SeccompRule::new(pins).expect("pins"));
            }
        }
        let filter = SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, architecture);
        let program: seccompiler::BpfProgram = filter.expect("a filter").try_into().expect("a program");
        program.into_iter().map(|it| Instruction { code: it.code, jt: it.jt, jf: it.jf, k: it.k }).collect()
    }

    /// Runs a program, and returns its verdict.
    fn verdict(program: &[Instruction], architecture: u32, number: u32, arguments: [u32; 6]) -> u32 {
        const JUMP: u16 = 0x05;
        const IF_GREATER: u16 = 0x25;
        let (mut next, mut loaded) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[next];
            let taken = match code {
                LOAD => {
                    loaded = match k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        // The high halves are not to be looked at.
                        place => arguments[(place - ARGUMENTS) as usize / 8],
                    };
                    0
                }
                JUMP => k as usize,
                RETURN => return k,
                IF_EQUAL => usize::from(if loaded == k { jt } else { jf }),
                IF_NOT_LESS => usize::from(if loaded >= k { jt } else { jf }),
                IF_GREATER => usize::from(if loaded > k { jt } else { jf }),
                other => panic!("no such instruction: {other:#x}"),
            };
            next += 1 + taken;
        }
    }

    #[test]
    fn the_programs_decide_as_those_of_seccompiler_and_are_shorter() {
        type Column = fn(&Rule) -> i64;
        let architectures: [(TargetArch, u32, Column); 2] = [
            (TargetArch::x86_64, X86_64, |rule| rule.call.x86_64),
            (TargetArch::aarch64, AARCH64, |rule| rule.call.aarch64),
        ];
        for (architecture, audit, number_of) in architectures {
            for (service, peer) in policy::combinations() {
                let ours = compile(policy::rules(service, peer), number_of, audit).expect("a table that holds");
                let theirs = by_seccompiler(policy::rules(service, peer), architecture);
                assert!(ours.len() < theirs.len() * 3 / 4, "{service:?} on {peer:?}: {} instructions", ours.len());
                let compare = |audit: u32, number: u32, arguments: [u32; 6]| {
                    let verdicts = [&ours, &theirs].map(|program| verdict(program, audit, number, arguments));
                    assert_eq!(verdicts[0], verdicts[1], "{service:?} on {peer:?}: {number} with {arguments:x?}");
                    assert!([ALLOW, KILL].contains(&verdicts[0]));
                };
                for number in (0..512).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                    for other in [0, 0x4000_0003, X86_64, AARCH64] {
                        compare(other, number, [0; 6]);
                    }
                    // Every value that is pinned for it, its neighbours, and some that are not.
                    let rules =
                        policy::rules(service, peer).filter(|rule| u32::try_from(number_of(rule)) == Ok(number));
                    let pinned =
                        rules.flat_map(|rule| rule.arguments).flat_map(|pin| [pin.min, pin.max, pin.on(true).min]);
                    let mut values: Vec<u32> = pinned
                        .flat_map(|it| [it, it.wrapping_add(1), it.wrapping_sub(1)])
                        .chain([0, 7, 0x4040])
                        .collect();
                    values.sort_unstable();
                    values.dedup();
                    for (&first, &other) in
                        values.iter().flat_map(|first| values.iter().map(move |other| (first, other)))
                    {
                        compare(audit, number, [first, other, 0, other, 0, 0]);
                        compare(audit, number, [first, 0, 0, other, 0, 0]);
                        compare(audit, number, [0, first, 0, other, 0, 0]);
                        compare(audit, number, [first, 0, other, 0, 0, 0]);
                        compare(audit, number, [first, 1, other, 0, 0, 0]);
                        compare(audit, number, [first, 0, 0, 0x4000, 0, other]);
                        compare(audit, number, [first, 0, 0, 0xc000, 0, other]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_directory_is_opened_by_the_flag_of_the_target_whatever_the_compiler_runs_on() {
        type Column = fn(&Rule) -> i64;
        let architectures: [(u32, Column, u32, u32); 2] = [
            (X86_64, |rule| rule.call.x86_64, 0x9_0800, 0x8_4800),
            (AARCH64, |rule| rule.call.aarch64, 0x8_4800, 0x9_0800),
        ];
        for (audit, number_of, own, other) in architectures {
            let rules = || policy::rules(policy::Service::Qotd, policy::Peer::ListenersAndFiles);
            let program = compile(rules(), number_of, audit).expect("a table that holds");
            let openat = rules().find(|rule| rule.call.name == "openat").map(number_of).expect("it opens files");
            let openat = u32::try_from(openat).expect("a number");
            let decide = |flags| verdict(&program, audit, openat, [0xffff_ff9c, 0, flags, 0, 0, 0]);
            assert_eq!((decide(own), decide(other)), (ALLOW, KILL), "{audit:#x}");
        }
    }

    #[test]
    fn a_call_is_pinned_or_free() {
        const ONE: &[Pin] = &[Pin { position: 0, min: 1, max: 1 }];
        const MORE: &[Pin] = &[Pin { position: 0, min: 2, max: 9 }];
        let rule = |arguments| Rule { arguments, ..policy::TABLE[0] };
        let number = |rule: &Rule| rule.call.x86_64;
        for pair in [[rule(&[]), rule(&[])], [rule(ONE), rule(&[])], [rule(&[]), rule(ONE)]] {
            assert!(compile(pair.iter(), number, X86_64).is_err());
        }
        assert!(compile([rule(ONE), rule(MORE)].iter(), number, X86_64).is_ok());
    }
}
