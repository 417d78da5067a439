//! The manual pages and the completions: the repository has what its sources generate, the tools that read them report no errors,
//! and no option of a program is missing.

mod support;

#[path = "manuals/render.rs"]
mod render;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Folder, HUNG, repository, tool};

/// Compares files with what is generated, or writes them.
fn compare(folder: &str, made: &BTreeMap<String, String>) {
    let folder = repository().join(folder);
    for (name, text) in made {
        let path = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(*text == there, "{} is not what is made: `make manuals` writes it anew", path.display());
    }
}

/// The files below a folder of the repository, including subfolders.
fn files(folder: &str, below: &[&str]) -> Vec<String> {
    let entries = below.iter().flat_map(|below| {
        let entries = fs::read_dir(repository().join(folder).join(below)).unwrap().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name());
        files.map(|name| Path::new(below).join(name).to_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}

#[test]
fn the_manuals_and_completions_are_what_is_made_of_their_sources() {
    let (pages, completions) = (render::pages(), render::completions());
    compare("man", &pages);
    compare("completions", &completions);
    // No other files.
    assert!(pages.keys().eq(&files("man", &[""])), "remove the pages of man that nothing makes");
    assert!(completions.keys().eq(&files("completions", &["bash", "fish", "zsh"])), "remove what nothing makes");
}

/// What `make install` installs of them below a folder.
fn install(folder: &Folder) -> PathBuf {
    let mut make = Command::new("make");
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").args(["--no-print-directory", "-C"]).arg(repository());
    let output = make.args(["install", "FORTUNE=yes"]).arg(format!("DESTDIR={}", folder.path().display())).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.path().join("usr/local/share")
}

/// All pages below the directory of manuals, including links.
fn installed(manuals: &Path) -> Vec<PathBuf> {
    let sections = fs::read_dir(manuals).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        sections.flat_map(|section| fs::read_dir(section).unwrap().map(|entry| entry.unwrap().path())).collect();
    pages.sort();
    pages
}

/// The output of a command, including its errors.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn mandoc_and_groff_find_nothing_wrong_with_any_page() {
    let folder = Folder::new("manuals");
    let pages = installed(&install(&folder).join("man"));
    assert!(pages.len() > render::pages().len());
    for page in pages {
        assert_eq!(said(tool("mandoc").args(["-T", "lint"]).arg(&page)), "");
        assert_eq!(said(tool("groff").args(["-ww", "-mandoc", "-Tutf8", "-z"]).arg(&page)), "");
        // Paths are filled in.
        let text = fs::read_to_string(&page).unwrap();
        let between = text.split('@').skip(1).find(|it| it.ends_with("dir") && !it.contains(' '));
        assert_eq!(between, None, "{}", page.display());
    }
}

/// A page as a reader sees it.
fn shown(page: &str) -> String {
    let page = repository().join("man").join(page);
    said(tool("groff").args(["-mandoc", "-Tascii", "-P-cbou"]).arg(page))
}

/// The options in a program's help, each at the start of its description.
fn options(program: &mut Command) -> Vec<String> {
    let help = said(program.arg("--help"));
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words =
        lines.flat_map(|line| line.split([' ', ',']).take_while(|word| word.is_empty() || word.starts_with('-')));
    words.filter(|word| word.len() > 1 && *word != "--").map(str::to_owned).collect()
}

#[test]
fn each_option_of_a_program_is_in_its_page() {
    let mut programs: Vec<_> = support::programs()
        .map(|name| (format!("small-services-{name}.8"), Command::new(support::program(name))))
        .collect();
    let mut fortune = Command::new(support::program("qotd"));
    fortune.arg0("fortune");
    programs.push(("small-services-fortune.6".to_owned(), fortune));
    programs.push(("lunchd.8".to_owned(), Command::new(support::program("lunchd"))));
    programs.push(("small-services.1".to_owned(), Command::new(support::program("small-services"))));
    for subcommand in ["doctor", "units", "strfile", "unstr"] {
        let mut command = Command::new(support::program("small-services"));
        command.arg(subcommand);
        programs.push((format!("small-services-{subcommand}.1"), command));
    }
    for (page, mut program) in programs {
        let text = shown(&page);
        let explained: Vec<_> = text.lines().map(str::trim_start).filter(|line| line.starts_with('-')).collect();
        let options = options(&mut program);
        assert!(options.len() >= 2, "{page}: {options:?}");
        for option in options {
            let there = explained.iter().any(|line| line.split([' ', ',']).any(|word| word == option));
            assert!(there, "{page} does not explain {option}");
        }
    }
}

#[test]
fn each_page_of_ours_that_a_page_names_is_there() {
    let pages = render::pages();
    let mut named = 0;
    for page in pages.keys() {
        let text = shown(page).replace("-\n", "-");
        // NAME(SECTION), possibly with a line break after a hyphen.
        for (at, _) in text.match_indices('(') {
            let before = &text[..at];
            let line = before.split(char::is_whitespace).rfind(|word| !word.is_empty()).unwrap_or_default();
            let section = text[at + 1..].split(')').next().unwrap_or_default();
            let ours = line == "lunchd" || line.starts_with("small-services");
            if ours && section.len() == 1 && before.ends_with(line) {
                assert!(pages.contains_key(&format!("{line}.{section}")), "{page} names {line}({section})");
                named += 1;
            }
        }
    }
    assert!(named >= 60, "only {named} are named");
}

#[test]
fn each_unit_names_a_page_that_exists() {
    let pages = render::pages();
    for unit in files("units", &[""]).iter().filter(|name| *name != "tmpfiles.conf") {
        let text = fs::read_to_string(repository().join("units").join(unit)).unwrap();
        let named = text.split("Documentation=man:").nth(1).and_then(|rest| rest.split(')').next());
        let page = named.unwrap_or_else(|| panic!("units/{unit} names no page")).replace('(', ".");
        assert!(pages.contains_key(&page), "units/{unit} names {page}");
    }
}

#[test]
fn bash_completes_an_option_and_a_subcommand() {
    let folder = Folder::new("completions-bash");
    let scripts = install(&folder).join("bash-completion/completions");
    for (program, typed, completed) in COMPLETED {
        let mut bash = tool("bash");
        bash.args(["--noprofile", "--norc", "-c"]).arg(
            r#"source "$1" && spec=$(complete -p "$2") && function=${spec#*-F } && COMP_WORDS=("$2" "$3") COMP_CWORD=1 &&
            "${function%% *}" "$2" "$3" "$2" && printf '%s\n' "${COMPREPLY[@]}""#,
        );
        bash.arg("bash").arg(scripts.join(program)).args([program, typed]);
        assert_eq!(said(&mut bash), format!("{completed}\n"));
    }
}

#[test]
fn zsh_completes_an_option_and_a_subcommand() {
    let folder = Folder::new("completions-zsh");
    let scripts = install(&folder).join("zsh/site-functions");
    for (program, typed, completed) in COMPLETED {
        // zsh completes only in its line editor, which needs a terminal.
        let script = r#"
            zmodload zsh/zpty
            zpty shell zsh -f -i
            zpty -w shell "PS1= fpath=($1 \$fpath); autoload -Uz compinit && compinit -u -D && echo rea''dy"
            zpty -r shell output '*ready*'
            zpty -n -w shell "$2 $3"$'\t'
            zpty -r shell output "*$4*" && echo completed
            zpty -d shell"#;
        let mut zsh = tool("timeout");
        zsh.args([&HUNG.as_secs().to_string(), "zsh", "-f", "-c", script, "zsh"]).arg(&scripts);
        zsh.args([program, typed, completed]).env("TERM", "vt100").env("HOME", folder.path()).stdin(Stdio::null());
        assert_eq!(said(&mut zsh), "completed\n");
    }
}

#[test]
fn fish_completes_an_option_and_a_subcommand() {
    let folder = Folder::new("completions-fish");
    let share = install(&folder);
    for (program, typed, completed) in COMPLETED {
        let mut fish = tool("fish");
        // It does not complete a program that does not exist.
        let path = format!("{}:{}", share.join("../bin").display(), std::env::var("PATH").unwrap());
        fish.args(["--private", "-c", &format!("complete -C '{program} {typed}'")]);
        fish.env("PATH", path)
            .env("HOME", folder.path())
            .env("XDG_DATA_DIRS", &share)
            .env_remove("XDG_CONFIG_HOME")
            .env("TERM", "vt100");
        let said = said(&mut fish);
        assert_eq!(said.split('\t').next(), Some(completed), "{said}");
    }
}

/// A program, what is typed after its name, and the completed line.
const COMPLETED: [(&str, &str, &str); 2] = [("qotd", "--max-l", "--max-length"), ("small-services", "doc", "doctor")];
