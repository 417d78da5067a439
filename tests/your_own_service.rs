//! docs/your-own-service.md, step by step: cargo's commands here, with the crate as published, and those for an administrator in a
//! machine with a real systemd.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::machine::Machine;
use support::page::{Block, blocks};
use support::{Folder, repository};

fn run(command: &mut Command) {
    for variable in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    let output = command.env("CARGO_NET_OFFLINE", "true").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn cargo(directory: &Path, arguments: &[&str]) {
    run(Command::new(env!("CARGO")).arg("--quiet").args(arguments).current_dir(directory));
}

/// Creates a registry for all crates below a folder: small-services and hunker as they would be published, and what they and the
/// page need.
fn registry(folder: &Folder) {
    let directory = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(folder.path().join("needed/src")).unwrap();
    folder.file("needed/src/lib.rs", "");
    let manifest = "[package]\nname = \"needed\"\nedition = \"2024\"\n[dependencies]\nthiserror = \"2\"\n\
                    clap = { version = \"4\", default-features = false, features = [\"derive\", \"std\"] }\n";
    let ours = format!("small-services.path = {:?}\n", repository().to_str().unwrap());
    folder.file("needed/Cargo.toml", [manifest, &ours].concat());
    fs::copy(repository().join("Cargo.lock"), folder.path().join("needed/Cargo.lock")).unwrap();
    cargo(&folder.path().join("needed"), &["vendor", "--versioned-dirs", &directory("registry")]);

    let packed = directory("packed");
    let package = ["package", "--locked", "--no-verify", "--allow-dirty", "--target-dir", &packed];
    cargo(repository(), &[&package[..], &["--package", "hunker", "--package", "small-services"]].concat());
    for entry in fs::read_dir(Path::new(&packed).join("package")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|extension| extension == "crate") {
            run(Command::new("tar").arg("--extract").arg("--file").arg(&entry).arg("-C").arg(directory("registry")));
            let unpacked = Path::new("registry").join(entry.file_stem().unwrap());
            folder.file(unpacked.join(".cargo-checksum.json").to_str().unwrap(), r#"{"files":{}}"#);
        }
    }
    fs::create_dir_all(folder.path().join(".cargo")).unwrap();
    folder.file(
        ".cargo/config.toml",
        format!(
            "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = {:?}\n",
            directory("registry")
        ),
    );
}

#[test]
fn the_page_leads_from_an_empty_directory_to_a_service_under_systemd() {
    let page = fs::read_to_string(repository().join("docs/your-own-service.md")).unwrap();
    let example = fs::read_to_string(repository().join("examples/finger.rs")).unwrap();
    let elsewhere = fs::read_to_string(repository().join("tests/outside.rs")).unwrap();
    let folder = Folder::new("your-own-service");
    registry(&folder);
    let machine = Machine::boot_release(
        "your-own-service",
        "bookworm",
        &[&format!("--bind-ro={}", folder.path().to_str().unwrap())],
    );
    machine.shell(&format!("make -C {} install", repository().display()));

    let mut directory: PathBuf = folder.path().to_owned();
    let in_the_machine =
        |directory: &Path, command: &str| format!("sudo() {{ \"$@\"; }}; cd {} && {command}", directory.display());
    let (mut here, mut there, mut seen, mut written) = (0, 0, 0, 0);
    for Block { prose, language, text } in blocks(&page) {
        if prose.ends_with("of `src/main.rs`, then:\n\n") {
            fs::write(directory.join("src/main.rs"), &example).unwrap();
        }
        match language {
            "toml" => {
                fs::create_dir(directory.join(".cargo")).unwrap();
                fs::write(directory.join(".cargo/config.toml"), text).unwrap();
            }
            // The first block is the whole program. Each other block is a part of a program that is built.
            "rust" if written == 0 => fs::write(directory.join("src/main.rs"), text).unwrap(),
            "rust" => assert!(example.contains(text) || elsewhere.contains(text), "in no program:\n{text}"),
            "ini" => {
                let unit = fs::read_to_string(repository().join("units/fortune@.service")).unwrap();
                let call = text.trim_end().rsplit('=').next().unwrap();
                assert!(!unit.contains(call) && elsewhere.to_lowercase().contains(call), "{call}");
            }
            "sh" => {
                for command in text.lines() {
                    if command.contains("sudo ") {
                        machine.shell(&in_the_machine(&directory, command));
                        there += 1;
                    } else if let Some(into) = command.strip_prefix("cd ") {
                        directory.push(into);
                    } else {
                        run(Command::new("bash").args(["-c", command]).current_dir(&directory));
                        here += 1;
                    }
                }
            }
            "console" => {
                let (command, shown) = text.strip_prefix("$ ").and_then(|text| text.split_once('\n')).unwrap();
                let command = in_the_machine(&directory, command);
                // A daemon may take a moment to reread its files.
                machine.wait_for(&format!("[ \"$({command} | tr -d '\\r')\" = '{}' ]", shown.trim_end()));
                seen += 1;
            }
            other => panic!("nothing is done with {other}"),
        }
        written += usize::from(language == "rust");
    }
    assert!(here >= 6 && there >= 10 && seen >= 4, "{here} commands here, {there} there, {seen} answers");
    // Nothing failed, and both sockets are as the page says.
    assert_eq!(machine.shell("systemctl --failed --no-legend"), "");
    assert_eq!(machine.shell("systemctl is-enabled finger.socket finger-daemon.socket || true"), "disabled\nenabled\n");
    assert_eq!(machine.shell("systemctl is-active finger-daemon.service"), "active\n");
}
