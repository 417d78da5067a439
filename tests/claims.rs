//! What the pages claim of kernels and systemds is about those that the tests boot, and each claim has its command.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGES: [&str; 3] = ["README.md", "docs/testing.md", "docs/threat-model.md"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// The kernels of docs/kernels.md: name, release, architecture and Landlock version.
fn kernels() -> Vec<[String; 4]> {
    let page = read("docs/kernels.md");
    let row = |first: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("| {first} |")));
        let line = line.unwrap_or_else(|| panic!("docs/kernels.md has no row {first:?}"));
        line.trim_matches('|').split('|').skip(1).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    // The header row of the first table has no name in its first column.
    let (titles, releases, architectures) = (row(""), row("Linux"), row("architecture"));
    let versions = row("Landlock's version");
    let all = titles.into_iter().zip(releases).zip(architectures).zip(versions);
    all.map(|(((title, release), architecture), version)| [title, release, architecture, version]).collect()
}

/// `6.1`, from a release or a word.
fn minor(release: &str) -> Option<String> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (parts.next()?, parts.next()?);
    let there = release.contains('.') && !major.is_empty() && !minor.is_empty();
    there.then(|| format!("{major}.{minor}"))
}

/// Each word that follows this one in a page.
fn after<'a>(page: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    page.split(word).skip(1)
}

#[test]
fn every_kernel_that_a_claim_names_is_one_of_the_matrix_or_has_the_landlock_of_one() {
    let kernels = kernels();
    let minors: BTreeSet<_> = kernels.iter().filter_map(|[_, release, ..]| minor(release)).collect();
    // The first kernel with each Landlock version.
    let firsts: BTreeSet<_> =
        kernels.iter().filter_map(|[.., version]| version.parse().ok()).map(hunker::kernel_of).collect();
    let mut named = 0;
    for page in PAGES {
        let text = read(page).split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in after(&text, "Linux ") {
            if let Some(kernel) = minor(rest.split_whitespace().next().unwrap_or_default()) {
                let covered = minors.contains(&kernel) || firsts.contains(kernel.as_str());
                assert!(
                    covered,
                    "{page} names Linux {kernel}, and docs/kernels.md has no such kernel: add it to tests/kernels.rs"
                );
                named += 1;
            }
        }
    }
    assert!(named >= 2, "{named} kernels");
    // The list in README, and each architecture.
    let readme = read("README.md");
    let (_, list) = readme.split_once("([tested](docs/kernels.md): ").expect("a list of kernels");
    let (list, _) = list.split_once(')').expect("its end");
    let listed: BTreeSet<_> = list.split([' ', ',']).filter_map(minor).collect();
    assert_eq!(listed, minors, "README.md");
    for [_, release, architecture, _] in kernels.iter().filter(|it| it[2] != "x86_64") {
        let words = format!("{} on {architecture}", minor(release).expect("a release"));
        assert!(list.contains(&words), "README.md: {words}");
    }
    for architecture in ["x86_64", "aarch64"] {
        assert!(kernels.iter().any(|it| it[2] == architecture), "docs/kernels.md has no kernel for {architecture}");
    }
}

#[test]
fn the_table_of_landlock_s_versions_says_which_were_seen_on_real_kernels() {
    let kernels = kernels();
    let page = read("docs/threat-model.md");
    let (_, section) = page.split_once("## Landlock by kernel\n").expect("the section");
    // A distribution with its kernel.
    let mut distributions = 0;
    for line in section.lines().filter(|line| line.contains(" has it")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (_, has) = cells[1].split_once("; ").expect("who has it");
        let (who, _) = has.split_once(" has it").expect("who has it");
        let there = kernels.iter().any(|[title, .., version]| title.contains(who) && version == cells[0]);
        assert!(there, "docs/kernels.md does not show Landlock {} of {who}", cells[0]);
        distributions += 1;
    }
    assert!(distributions >= 3, "{distributions} distributions");
    let seen: BTreeSet<u32> = kernels.iter().map(|it| it[3].parse().expect("a version")).filter(|it| *it > 0).collect();

    let (_, sentence) = section.split_once("\nVersions ").expect("a sentence");
    let (list, _) = sentence.split_once(", and what is done without Landlock,").expect("its list");
    let said: BTreeSet<u32> = list.split([' ', ',']).filter_map(|it| it.parse().ok()).collect();
    assert_eq!(said, seen, "docs/threat-model.md");
}

/// The versions of systemd that tests boot: those of the named releases, and Debian 12's, which tests/machine boots by default.
fn systemds() -> BTreeSet<u32> {
    let mut versions = BTreeSet::from([252]);
    for file in ["tests/systemd.rs", "tests/systemds.rs"] {
        let text = read(file);
        for word in ["starts_with(\"systemd ", "version >= ", "serves(\"trixie\", ", "serves(\"sid\", "] {
            let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok();
            versions.extend(after(&text, word).filter_map(number));
        }
    }
    versions
}

#[test]
fn every_systemd_that_a_claim_names_is_booted() {
    let systemds = systemds();
    let readme = read("README.md");
    let (_, list) = readme.split_once("(tested: ").expect("a list of systemds");
    let (list, _) = list.split_once(')').expect("its end");
    let listed: BTreeSet<u32> = list.split(", ").filter_map(|it| it.parse().ok()).collect();
    assert_eq!(listed, systemds, "README.md");
    let page = read("docs/threat-model.md");
    for rest in after(&page, "systemd ") {
        if let Ok(version) = rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>() {
            assert!(systemds.contains(&version), "docs/threat-model.md names systemd {version}, which no test boots");
        }
    }
}

#[test]
fn every_claim_has_a_command_or_a_test() {
    let page = read("docs/testing.md");
    let (_, table) = page.split_once("| claim | shown by | more |\n|---|---|---|\n").expect("the table");
    let rows: Vec<Vec<_>> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 10, "{}", rows.len());
    let (suites, makefile) = (read("tests/run"), read("Makefile"));
    for row in rows {
        for command in row[1].split('`').skip(1).step_by(2) {
            let known = match command.split_once(' ') {
                Some(("tests/run", suite)) => suites.contains(&format!("add {suite} ")),
                Some(("make", target)) => makefile.contains(&format!("\n{target}:")),
                _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(command).exists(),
            };
            assert!(known, "docs/testing.md claims {:?} by {command}", row[0]);
        }
        // Claims about kernels and systemds name the suites that boot them.
        if ["kernel", "Landlock"].iter().any(|word| row[0].contains(word)) {
            assert!(["kernels", "rights"].iter().any(|suite| row[1].contains(suite)), "docs/testing.md: {}", row[0]);
        }
    }
}
