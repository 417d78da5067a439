//! The BPF programs of policies: their verdicts, compared with the rules and with seccompiler's programs.

use std::any::Any;
use std::collections::BTreeMap;

use hunker::{Architecture, Instruction, Narrower, Pin, Policy, Rule, Syscall};
use proptest::prelude::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, compile_from_json,
};

const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_TRAP` in debug builds, `SECCOMP_RET_KILL_PROCESS` in others.
const KILL: u32 = if cfg!(debug_assertions) { 0x0003_0000 } else { 0x8000_0000 };

const ARCHITECTURES: [(Architecture, TargetArch, u32); 2] = [
    (Architecture::X86_64, TargetArch::x86_64, 0xc000_003e),
    (Architecture::Aarch64, TargetArch::aarch64, 0xc000_00b7),
];

/// The input of a program (`struct seccomp_data`), with the low halves of the arguments. A program must not read the high halves.
#[derive(Clone, Copy, Debug)]
struct Call {
    audit: u32,
    number: u32,
    arguments: [u32; 6],
}

/// Runs a program and returns its verdict.
fn verdict(program: &[Instruction], call: Call) -> u32 {
    let (mut next, mut loaded) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[next];
        let then = |holds| usize::from(if holds { jt } else { jf });
        let taken = match code {
            0x20 => {
                loaded = match k {
                    0 => call.number,
                    4 => call.audit,
                    offset => {
                        assert_eq!(offset % 8, 0, "the program reads the high half of an argument");
                        call.arguments[(offset as usize - 16) / 8]
                    }
                };
                0
            }
            0x05 => k as usize,
            0x06 => return k,
            0x15 => then(loaded == k),
            0x25 => then(loaded > k),
            0x35 => then(loaded >= k),
            other => panic!("no such instruction: {other:#x}"),
        };
        next += 1 + taken;
    }
}

/// The verdict of the rules themselves.
fn allows(rules: &[Rule], architecture: Architecture, call: Call) -> bool {
    rules.iter().any(|rule| {
        rule.call().number(architecture) == Some(call.number)
            && rule
                .pins()
                .iter()
                .all(|pin| (pin.min()..=pin.max()).contains(&call.arguments[usize::from(pin.position())]))
    })
}

/// seccompiler's program for the same rules. seccompiler does not merge a rule without pins with pinned ones.
fn by_seccompiler(rules: &[Rule], architecture: Architecture, target: TargetArch) -> Vec<Instruction> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let number = |rule: &Rule| i64::from(rule.call().number(architecture).unwrap());
    for rule in rules {
        if rules.iter().any(|it| number(it) == number(rule) && it.pins().is_empty()) {
            calls.insert(number(rule), vec![]);
            continue;
        }
        let condition = |position, compare, value: u32| {
            SeccompCondition::new(position, SeccompCmpArgLen::Dword, compare, value.into()).unwrap()
        };
        let pins = rule.pins().iter().flat_map(|pin| {
            [
                condition(pin.position(), SeccompCmpOp::Ge, pin.min()),
                condition(pin.position(), SeccompCmpOp::Le, pin.max()),
            ]
        });
        calls.entry(number(rule)).or_default().push(SeccompRule::new(pins.collect()).unwrap());
    }
    let kill = if cfg!(debug_assertions) { SeccompAction::Trap } else { SeccompAction::KillProcess };
    let program: BpfProgram =
        SeccompFilter::new(calls, kill, SeccompAction::Allow, target).unwrap().try_into().unwrap();
    program.into_iter().map(|it| Instruction { code: it.code, jt: it.jt, jf: it.jf, k: it.k }).collect()
}

/// Calls that both architectures have.
fn calls() -> Vec<Syscall> {
    let both = |call: &&Syscall| ARCHITECTURES.iter().all(|(it, ..)| call.number(*it).is_some());
    Syscall::ALL.iter().filter(both).copied().collect()
}

fn pin() -> impl Strategy<Value = Pin> {
    // Few values, so that rules overlap, and both ends of the range.
    let value = prop_oneof![0_u32..8, Just(0x4000), Just(u32::MAX - 1), Just(u32::MAX)];
    (0_u8..6, value.clone(), value)
        .prop_map(|(position, one, other)| Pin::within(position, one.min(other), one.max(other)))
}

fn rule() -> impl Strategy<Value = Rule> {
    // Few calls, so that rules overlap. They include call number 0 of each architecture.
    let calls = calls().into_iter().take(10).chain([Syscall::READ, Syscall::IO_SETUP]).collect::<Vec<_>>();
    let call = proptest::sample::select(calls);
    (call, proptest::collection::vec(pin(), 0..4)).prop_map(|(call, mut pins)| {
        pins.sort_by_key(Pin::position);
        pins.dedup_by_key(|pin| pin.position());
        Rule::new(call, pins.leak(), "a test")
    })
}

proptest! {
    #[test]
    fn a_program_decides_as_its_rules_do_and_as_the_program_of_seccompiler_does(
        rules in proptest::collection::vec(rule(), 1..16),
        others in proptest::collection::vec(any::<u32>(), 8),
    ) {
        for (architecture, target, audit) in ARCHITECTURES {
            let (one, other) = rules.split_at(rules.len() / 2);
            let ours = Policy::for_architecture(&[one, other], architecture);
            let theirs = by_seccompiler(&rules, architecture, target);
            prop_assert!(ours.instructions().len() < theirs.len());
            let pinned = rules.iter().flat_map(Rule::pins).flat_map(|pin| [pin.min(), pin.max()]);
            let values: Vec<u32> = pinned
                .flat_map(|it| [it, it.wrapping_add(1), it.wrapping_sub(1)])
                .chain(others.iter().copied())
                .collect();
            let numbers = rules.iter().filter_map(|rule| rule.call().number(architecture));
            for number in numbers.flat_map(|it| [it, it + 1, it | 0x4000_0000]).chain(others.iter().copied()) {
                for (index, value) in values.iter().enumerate() {
                    let arguments = std::array::from_fn(|position| values[(index * (position + 1)) % values.len()]);
                    for arguments in [arguments, [*value; 6]] {
                        let call = Call { audit, number, arguments };
                        let expected = if allows(&rules, architecture, call) { ALLOW } else { KILL };
                        prop_assert_eq!(verdict(ours.instructions(), call), expected, "{:?}", call);
                        prop_assert_eq!(verdict(&theirs, call), expected, "seccompiler: {:?}", call);
                        for audit in [0, 0x4000_0003, !audit] {
                            prop_assert_eq!(verdict(ours.instructions(), Call { audit, ..call }), KILL);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_rule_outside_the_outer_policy_does_not_compile(outer in proptest::collection::vec(rule(), 1..8), inner in rule()) {
        let (outer, inner) = (outer.leak(), vec![inner].leak());
        let narrower = std::panic::catch_unwind(|| Narrower::new(&[inner], &[outer]));
        let fits = narrower.is_ok();
        if let Err(panic) = narrower {
            let name = inner[0].call().name();
            prop_assert_eq!(message(panic), format!("a rule for {name} is not within the outer policy"));
        }
        // A single outer rule must allow the whole inner rule. What only several outer rules together allow is refused, too.
        let (architecture, _, audit) = ARCHITECTURES[usize::from(cfg!(target_arch = "aarch64"))];
        let number = inner[0].call().number(architecture).unwrap();
        let corners = (0..64_usize).map(|corner| {
            std::array::from_fn(|position| {
                let pin = inner[0].pins().iter().find(|pin| usize::from(pin.position()) == position);
                let (min, max) = pin.map_or((0, u32::MAX), |pin| (pin.min(), pin.max()));
                if corner >> position & 1 == 0 { min } else { max }
            })
        });
        let corners: Vec<_> = corners.map(|arguments| Call { audit, number, arguments }).collect();
        let one_allows_all = outer.iter().any(|rule| corners.iter().all(|call| allows(&[*rule], architecture, *call)));
        prop_assert_eq!(fits, one_allows_all);
    }
}

#[test]
fn an_outer_pin_that_allows_every_value_requires_no_inner_pin() {
    const FREE: &[Rule] = &[Rule::new(Syscall::WRITE, &[], "write")];
    let fits = |min, max| {
        let pins: &[Pin] = vec![Pin::within(0, min, max)].leak();
        let outer = [Rule::new(Syscall::WRITE, pins, "write")];
        std::panic::catch_unwind(|| Narrower::new(&[FREE], &[&outer])).is_ok()
    };
    assert!(fits(0, u32::MAX));
    assert!(!fits(0, 5) && !fits(1, u32::MAX) && !fits(1, 5));
}

#[test]
fn identical_rules_are_merged_and_a_rule_without_pins_overrides_pinned_ones() {
    const PINNED: Rule = Rule::new(Syscall::WRITE, &[Pin::is(0, 1)], "print");
    const FREE: Rule = Rule::new(Syscall::WRITE, &[], "write anywhere");
    const END: Rule = Rule::new(Syscall::EXIT_GROUP, &[], "exit");
    let program = |rules: &[Rule]| Policy::new(&[rules]).instructions().to_vec();
    assert_eq!(program(&[PINNED, END, PINNED]), program(&[PINNED, END]));
    let free = program(&[FREE, END]);
    for rules in [[PINNED, FREE, END], [FREE, PINNED, END], [END, PINNED, FREE]] {
        assert_eq!(program(&rules), free);
    }
    assert_eq!(Policy::new(&[&[END], &[], &[FREE]]).instructions(), free);
}

/// The message of a panic.
fn message(panic: Box<dyn Any + Send>) -> String {
    panic.downcast::<String>().map_or_else(|panic| (*panic.downcast::<&str>().expect("a text")).to_owned(), |it| *it)
}

#[test]
fn a_rule_returns_its_call_pins_and_reason() {
    let rule = Rule::new(Syscall::WRITE, const { &[Pin::within(0, 1, 2)] }, "print");
    assert_eq!((rule.call(), rule.reason()), (Syscall::WRITE, "print"));
    assert_eq!((rule.pins()[0].position(), rule.pins()[0].min(), rule.pins()[0].max()), (0, 1, 2));
}

#[test]
fn a_policy_for_aarch64_is_these_instructions() {
    const RULES: &[Rule] = &[
        Rule::new(Syscall::READ, &[Pin::is(0, 0)], "read the input"),
        Rule::new(Syscall::READ, &[Pin::is(0, 5)], "read an opened file"),
        Rule::new(Syscall::WRITE, &[Pin::within(0, 1, 2)], "print"),
        // AT_FDCWD and aarch64's O_DIRECTORY, which is another number on x86_64.
        Rule::new(Syscall::OPENAT, &[Pin::is(0, 0xffff_ff9c), Pin::is(2, 0x4000)], "open a directory"),
        Rule::new(Syscall::CLOSE, &[], "close it"),
        Rule::new(Syscall::EXIT_GROUP, &[], "exit"),
    ];
    // Operation, jump if the comparison holds, jump if not, operand.
    let expected = [
        (0x20, 0, 0, 4),            // 0: the architecture
        (0x15, 0, 18, 0xc000_00b7), // AUDIT_ARCH_AARCH64, or to 20
        (0x20, 0, 0, 0),            // the number
        (0x35, 6, 0, 63),           // from 63 on to 10
        (0x15, 1, 0, 56),           // openat, to 6
        (0x15, 13, 14, 57),         // close, to 19 or 20
        (0x20, 0, 0, 16),           // 6: the first argument
        (0x15, 0, 12, 0xffff_ff9c), //
        (0x20, 0, 0, 32),           // the third
        (0x15, 9, 10, 0x4000),      //
        (0x15, 2, 0, 63),           // 10: read, to 13
        (0x15, 4, 0, 64),           // write, to 16
        (0x15, 6, 7, 94),           // exit_group
        (0x20, 0, 0, 16),           // 13
        (0x15, 4, 0, 0),            // the first rule, or the second
        (0x15, 3, 4, 5),            // it is still loaded
        (0x20, 0, 0, 16),           // 16
        (0x35, 0, 2, 1),            //
        (0x35, 1, 0, 3),            //
        (0x06, 0, 0, ALLOW),        // 19
        (0x06, 0, 0, KILL),         // 20
    ];
    let expected = expected.map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
    // Not a constant, so that a broken compiler fails this test and not the build.
    assert_eq!(Policy::for_architecture(&[RULES], Architecture::Aarch64).instructions(), expected);
}

#[test]
fn four_calls_are_compared_one_by_one_and_five_by_binary_search() {
    let length = |count| {
        let rules: Vec<_> = calls()[..count].iter().map(|call| Rule::new(*call, &[], "")).collect();
        Policy::new(&[&rules]).instructions().len()
    };
    // Three instructions come first, and two verdicts last.
    assert_eq!((length(4), length(5)), (3 + 4 + 2, 3 + 1 + 5 + 2));
}

#[test]
fn an_invalid_rule_is_refused_and_its_call_named() {
    let refused = |rule: Rule| {
        let panic = std::panic::catch_unwind(|| Policy::new(&[&[rule]])).expect_err("refused");
        message(panic)
    };
    for (pins, why) in [
        (vec![Pin::within(0, 2, 1)], "to no value"),
        (vec![Pin::is(6, 0)], "the last position is 5"),
        (vec![Pin::is(1, 0), Pin::is(1, 1)], "twice"),
    ] {
        let message = refused(Rule::new(Syscall::OPENAT, pins.leak(), ""));
        assert!(message.contains("openat") && message.contains(why), "{message}");
    }
    let message = refused(Rule::new(Syscall::new("nonesuch", None, None), &[], ""));
    assert!(message.contains("nonesuch does not exist on this architecture"), "{message}");
    // A long name is truncated.
    let message = refused(Rule::new(Syscall::new("x".repeat(200).leak(), None, None), &[], ""));
    assert_eq!(message, format!("a rule for {}", "x".repeat(149)));
}

#[test]
fn a_policy_with_too_many_rules_or_instructions_is_refused() {
    const PINS: &[Pin] = &[Pin::is(0, 1), Pin::is(1, 1), Pin::is(2, 1)];
    let many = |count| calls()[..count].iter().map(|call| Rule::new(*call, &[], "")).collect::<Vec<_>>();
    assert_eq!(Policy::new(&[&many(64)]).instructions().last().map(|it| it.k), Some(KILL));
    assert!(std::panic::catch_unwind(|| Policy::new(&[&many(65)])).is_err());
    // With three pins each, they need more than 160 instructions.
    let pinned: Vec<_> = calls()[..30].iter().map(|call| Rule::new(*call, PINS, "")).collect();
    assert!(std::panic::catch_unwind(|| Policy::new(&[&pinned])).is_err());
}

#[test]
fn each_name_has_its_number() {
    for (architecture, target, _) in ARCHITECTURES {
        for call in Syscall::ALL {
            let json = format!(
                r#"{{"it": {{"mismatch_action": "kill_process", "match_action": "allow", "filter": [{{"syscall": "{}"}}]}}}}"#,
                call.name()
            );
            let by_name = compile_from_json(json.as_bytes(), target);
            let Some(number) = call.number(architecture) else {
                assert!(by_name.is_err(), "{} exists on {target:?}", call.name());
                continue;
            };
            let rules = BTreeMap::from([(number.into(), vec![])]);
            let filter =
                SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, target).expect("fits");
            let by_number = BpfProgram::try_from(filter).expect("fits");
            assert_eq!(by_name.expect("a known name")["it"], by_number, "{} on {target:?}", call.name());
        }
    }
}
