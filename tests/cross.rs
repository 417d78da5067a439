//! Programs that were cross-built for aarch64: their filters are aarch64's, instruction by instruction.
//!
//! `make cross` builds them and runs this test, with their folder in CROSS.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use hunker::{Architecture, Instruction, Pin, Policy, Rule, Syscall};

/// `AUDIT_ARCH_AARCH64`
const AARCH64: u32 = 0xc000_00b7;

/// A policy as the aarch64 program has it.
#[derive(Default)]
struct Printed {
    name: String,
    rules: Vec<Rule>,
    code: Vec<Instruction>,
}

/// The policies that tests/helpers/policies.rs prints on the other architecture.
fn printed(built: &str) -> Vec<Printed> {
    let output = Command::new("qemu-aarch64-static").arg(format!("{built}/examples/policies")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut policies: Vec<Printed> = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let numbers = |from: usize| fields[from..].iter().map(|it| it.parse().expect("a number")).collect::<Vec<u32>>();
        if fields[0] == "policy" {
            policies.push(Printed { name: fields[1..].join(" "), ..Printed::default() });
            continue;
        }
        let policy = policies.last_mut().expect("a policy comes first");
        if fields[0] == "rule" {
            // By name alone if the table has the call: the number must follow from the name.
            let known = Syscall::ALL.iter().copied().find(|it| it.name() == fields[1]);
            let call = known.unwrap_or_else(|| Syscall::new(line.to_owned().leak(), None, Some(numbers(2)[0])));
            let pins: Vec<_> = numbers(3)
                .chunks_exact(3)
                .map(|it| Pin::within(u8::try_from(it[0]).expect("a position"), it[1], it[2]))
                .collect();
            policy.rules.push(Rule::new(call, pins.leak(), ""));
        } else {
            let numbers = numbers(1);
            let half = |index: usize| u8::try_from(numbers[index]).expect("a distance");
            let code = u16::try_from(numbers[0]).expect("an instruction");
            policy.code.push(Instruction { code, jt: half(1), jf: half(2), k: numbers[3] });
        }
    }
    policies
}

/// Compiled here for aarch64. The programs are release builds, which kill; debug builds raise a signal.
fn compiled_here(rules: &[Rule]) -> Vec<Instruction> {
    let policy = Policy::for_architecture(&[rules], Architecture::Aarch64);
    let released = |it: &Instruction| if it.k == 0x0003_0000 { Instruction { k: 0x8000_0000, ..*it } } else { *it };
    policy.instructions().iter().map(released).collect()
}

/// The bytes as they are in a program.
fn octets(code: &[Instruction]) -> Vec<u8> {
    code.iter().flat_map(|it| [&it.code.to_le_bytes()[..], &[it.jt, it.jf], &it.k.to_le_bytes()].concat()).collect()
}

#[test]
#[ignore = "needs programs for aarch64: run `make cross`"]
fn the_filters_of_a_cross_build_are_those_of_its_architecture() {
    let built = env::var("CROSS").expect("CROSS is not set: run `make cross`");
    let policies = printed(&built);
    let services: BTreeSet<_> = policies.iter().filter_map(|it| it.name.split(' ').next()).collect();
    let expected = small_services::services::all().map(|row| row.program).chain(["finger", "lunchd"]);
    assert_eq!(services, expected.collect());
    // lunchd is not built here.
    for Printed { name, rules, code } in policies.iter().filter(|it| !it.name.starts_with("lunchd ")) {
        assert_eq!(*code, compiled_here(rules), "{name}");
        // The second instruction compares the architecture.
        assert_eq!((code[1].code, code[1].k), (0x15, AARCH64), "{name}");
        // The installed program contains exactly this filter.
        let program = match name.split(' ').next().expect("a name") {
            // With files, the example also lists a directory.
            "finger" if name.ends_with("Files") => continue,
            "finger" => "examples/finger",
            program => program,
        };
        let program = fs::read(PathBuf::from(&built).join(program)).unwrap();
        let filter = octets(code);
        assert!(program.windows(filter.len()).any(|it| it == filter), "{name}: the program has another filter");
    }
}
