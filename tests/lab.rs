//! docs/lab.md, step by step, as a class follows it: in a machine with a real systemd, in one root shell. Each attack works where
//! the page says so, and fails after the directives that stop it.

mod support;

use std::collections::HashMap;
use std::fs;

use support::machine::Machine;
use support::page::{Block, Shown, agrees, blocks, shown};
use support::repository;

/// The separator between the outputs of two commands.
const MARK: char = '\u{1e}';

fn page() -> String {
    fs::read_to_string(repository().join("docs/lab.md")).unwrap()
}

/// What the page's packages would install, without a network: fortune(6), and two fortunes.
fn install_packages(machine: &Machine) {
    let peers = repository().join("target/peers");
    machine.shell(&format!(
        "cd {} && mkdir -p /usr/games /usr/share/games/fortunes && install usr/games/fortune /usr/games && \
         cp --no-dereference usr/lib/*/librecode.so.0* /usr/lib/$(uname -m)-linux-gnu && \
         printf 'Mistakes are cheap in a lab.\n%%\nA fence is as good as its last attack.\n' >/usr/share/games/fortunes/lab && \
         usr/bin/strfile -s /usr/share/games/fortunes/lab",
        peers.display()
    ));
}

/// Whether control groups limit memory and processes here. Some test machines have them in legacy hierarchies, where systemd in a
/// container cannot set limits.
fn has_controllers(machine: &Machine) -> bool {
    let controllers = machine.shell("cat /sys/fs/cgroup/cgroup.controllers");
    let has = ["memory", "pids"].iter().all(|name| controllers.split_whitespace().any(|known| known == *name));
    if !has {
        eprintln!("not tried, since control groups have no limits here: the page's blocks `console cgroup`");
    }
    has
}

/// The page as a shell script that prints a mark before each command and after each block; and the expected output between the
/// marks.
fn script(page: &str, controllers: bool) -> (String, Vec<Shown<'_>>) {
    let mut script = vec!["exec 2>&1".to_owned(), format!("cd {}", repository().display())];
    let mut expected = Vec::new();
    for Block { language, text, .. } in blocks(page) {
        match language {
            "sh" => script.push(format!("{{ {text}}} >/dev/null || exit")),
            "console cgroup" if !controllers => {}
            "console" | "console cgroup" => {
                for step in shown(text).into_iter().chain([Shown { command: ":", output: "" }]) {
                    script.push(format!("printf '{MARK}'\n{}", step.command));
                    expected.push(step);
                }
            }
            other => panic!("nothing is done with {other}"),
        }
    }
    (script.join("\n"), expected)
}

#[test]
fn each_attack_of_the_page_works_before_its_step_and_not_after() {
    let page = page();
    let machine = Machine::boot("lab");
    install_packages(&machine);
    let (script, expected) = script(&page, has_controllers(&machine));
    // From a file: attacks inspect the command lines of processes. A page that hangs is a failure.
    let printed = machine
        .shell(&format!("cat >/root/lab <<'END OF THE LAB'\n{script}\nEND OF THE LAB\ntimeout 600 bash /root/lab"));
    let printed: Vec<_> = printed.split(MARK).collect();
    assert_eq!(printed.len(), expected.len() + 1, "{printed:?}");
    assert_eq!(printed[0], "", "at the beginning");
    let differ = expected.iter().zip(&printed[1..]).filter(|(shown, printed)| !agrees(shown.output, printed));
    let differ: Vec<_> =
        differ.map(|(shown, printed)| format!("# {}\n{printed}--- not:\n{}\n", shown.command, shown.output)).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(expected.len() >= 60, "{} commands", expected.len());
    let left = "systemctl list-units --no-legend --plain 'fortune*' other.service backup.service 'customers*'";
    assert_eq!(machine.shell(left), "");
}

#[test]
fn each_step_of_the_page_has_a_command_that_ends_otherwise_elsewhere() {
    let page = page();
    let mut outputs: HashMap<&str, Vec<&str>> = HashMap::new();
    for block in blocks(&page).iter().filter(|block| block.language.starts_with("console")) {
        for Shown { command, output } in shown(block.text) {
            outputs.entry(command).or_default().push(output);
        }
    }
    let sections: Vec<_> = page.split("\n### ").skip(1).collect();
    for (number, section) in (1..).zip(&sections) {
        assert!(section.starts_with(&format!("{number}. ")), "step {number}: {section}");
        let section = section.split("\n## ").next().unwrap();
        // The exposure differs at each step, with or without an attack.
        let pairs = |shown: &Shown| {
            shown.command != "exposure" && outputs[shown.command].iter().any(|other| *other != shown.output)
        };
        let both = blocks(section)
            .iter()
            .filter(|block| block.language.starts_with("console"))
            .any(|block| shown(block.text).iter().any(pairs));
        assert!(both, "step {number} has no attack that works and then fails");
    }
    assert!((12..=18).contains(&sections.len()), "{} steps", sections.len());
}
