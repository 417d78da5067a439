//! A crate outside the repository, as a third party would write it: a service that answers a request, makes an additional system
//! call, and rereads a file.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Daemon, Folder, MODES, Mode, Process, read_all, repository, served, wait_until};

const SIGSYS: i32 = 31;

const MANIFEST: &str = r#"
[package]
name = "host"
edition = "2024"

[dependencies]
clap = { version = "4", default-features = false, features = ["derive", "std"] }
rustix = { version = "1", features = ["system"] }
small-services.path = "REPOSITORY"

# Not one of the workspace's, wherever the folder for temporary files is.
[workspace]
"#;

/// As in docs/your-own-service.md, but for a toolchain without `host-tuple`.
const CONFIG: &str = r#"
[build]
target = "TARGET"

[target.'cfg(target_env = "gnu")']
rustflags = ["-C", "target-feature=+crt-static", "-C", "relocation-model=pie"]
"#;

/// Reports the number of the host's processes, or the content of a file.
const PROGRAM: &str = r#"
#![no_main]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::system::sysinfo;
use small_services::{Answer, Behavior, Extra, Files, LineEnd, Readable, Rule, Run, Service, Syscall, file, log};

small_services::program!(Host);

enum Host {}

#[derive(clap::Args, Debug, Default)]
struct Options {
    /// The answer to `notice`
    #[arg(long)]
    notice: PathBuf,
}

impl Service for Host {
    type Options = Options;
    type Error = io::Error;
    const NAME: &'static str = "host";
    const ABOUT: &'static str = "Answers `processes` and `notice`, then closes";
    const IDLE_TIMEOUT: u16 = 10;
    const EXTRA: Extra = Extra {
        always: &[Rule::new(Syscall::SYSINFO, &[], "count the processes of the host")],
        ..Extra::NONE
    };

    fn prepare(options: &Options, _: Run) -> Result<Behavior, io::Error> {
        let path = options.notice.clone();
        Ok(Behavior::Answer(Box::new(Notice { text: read(&path)?, path })))
    }
}

struct Notice {
    path: PathBuf,
    text: String,
}

fn read(path: &Path) -> io::Result<String> {
    file::read(path, 1024).map(|octets| String::from_utf8_lossy(&octets).into_owned())
}

impl Files for Notice {
    fn readable(&self) -> Vec<Readable> {
        self.path.parent().map(|directory| Readable::all(directory.to_owned())).into_iter().collect()
    }

    fn reload(&mut self) {
        match read(&self.path) {
            Ok(text) => self.text = text,
            Err(error) => log::error(&format!("{error}; continuing with the old notice")),
        }
    }
}

impl Answer for Notice {
    fn limit(&self) -> usize {
        20
    }

    fn longest(&self) -> usize {
        2048
    }

    fn answer(&mut self, request: &[u8], _: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>) {
        match request {
            b"processes" => line_end.append(&format!("{}\n", sysinfo().procs), octets),
            b"notice" => line_end.append(&self.text, octets),
            _ => line_end.append("processes or notice?\n", octets),
        }
    }
}
"#;

/// The folder of the crate's programs: `host`, and `careless`, the same without its rule.
fn programs(test: &str, profile: &str) -> PathBuf {
    let folder = Folder::new(&format!("outside-{test}-{profile}"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let (always, rest) = PROGRAM.split_once("        always: ").unwrap();
    let careless = [always, rest.split_once('\n').unwrap().1].concat();
    for directory in [".cargo", "src/bin"] {
        fs::create_dir_all(folder.path().join(directory)).unwrap();
    }
    folder.file("Cargo.toml", MANIFEST.replace("REPOSITORY", repository().to_str().unwrap()));
    folder.file(".cargo/config.toml", CONFIG.replace("TARGET", &target));
    folder.file("src/bin/host.rs", PROGRAM);
    folder.file("src/bin/careless.rs", careless);
    // The versions of the workspace, which are available offline.
    fs::copy(repository().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();

    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--profile", profile]).current_dir(folder.path());
    // A shared target directory: dependencies are built once.
    cargo.env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"));
    for variable in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(target).join(if profile == "dev" { "debug" } else { profile })
}

/// The answer of a program, over a connection or as a filter.
fn answer(client: &mut (impl Read + Write), request: &str) -> String {
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_third_party_service_makes_the_call_that_only_its_own_rule_allows() {
    for profile in ["dev", "release"] {
        let programs = programs("served", profile);
        let notices = Folder::new(&format!("outside-notices-{profile}"));
        let notice = notices.file("notice", "Closed on Monday.\n");
        let arguments = ["--notice", notice.to_str().unwrap()];
        for mode in MODES {
            let serve = |name: &str| served(mode, programs.join(name).to_str().unwrap(), &arguments);
            for name in ["host", "careless"] {
                for (request, expected) in [
                    ("notice\r\n", "Closed on Monday.\r\n"),
                    ("", "processes or notice?\r\n"),
                    // Too long.
                    ("processes of this host\r\n", ""),
                ] {
                    let mut served = serve(name);
                    served.client.write_all(request.as_bytes()).unwrap();
                    served.client.shutdown(std::net::Shutdown::Write).unwrap();
                    assert_eq!(String::from_utf8(read_all(&mut served.client)).unwrap(), expected, "{name}, {mode:?}");
                    served.ended_well();
                }
            }

            let mut served = serve("host");
            let processes = answer(&mut served.client, "processes\r\n");
            assert!(processes.strip_suffix("\r\n").unwrap().parse::<u16>().unwrap() > 0, "{mode:?}");
            served.ended_well();

            // Without the rule, the call kills it: the client gets nothing.
            let mut served = serve("careless");
            let mut received = Vec::new();
            served.client.write_all(b"processes\r\n").unwrap();
            let _ = served.client.read_to_end(&mut received);
            assert_eq!(received, b"", "{mode:?}");
            if mode == Mode::Keeper {
                // Only this process ended, not the one that created it.
                served.ended_well();
            } else {
                assert_eq!(served.process.wait().signal(), Some(SIGSYS), "{mode:?}");
            }
        }
    }
}

#[test]
fn a_debug_build_names_the_call_that_no_rule_allows() {
    let programs = programs("debug", "dev");
    let notices = Folder::new("outside-debug");
    let notice = notices.file("notice", "Closed on Monday.\n");
    let mut command = Command::new(programs.join("careless"));
    command.arg("--notice").arg(notice).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    process.0.stdin.take().unwrap().write_all(b"processes\n").unwrap();
    let (_, log) = process.log();
    assert_eq!(log, "hunker: the policy forbids sysinfo\n");
    let page = fs::read_to_string(repository().join("docs/your-own-service.md")).unwrap();
    assert!(page.contains(&format!("`{}`", log.trim_end())));
}

#[test]
fn after_the_lock_down_it_rereads_its_own_file_and_no_other() {
    let programs = programs("reload", "release");
    let notices = Folder::new("outside-reload");
    let notice = notices.file("notice", "Closed on Monday.\n");
    let program = programs.join("host");
    let mut daemon = Daemon::start(program.to_str().unwrap(), &["--notice", notice.to_str().unwrap()]);
    let ask = || answer(&mut daemon.connect(), "notice\r\n");
    assert_eq!(ask(), "Closed on Monday.\r\n");
    fs::write(&notice, "Open again.\n").unwrap();
    daemon.process.signal("HUP");
    wait_until(|| ask() == "Open again.\r\n");
    // The link's target in another directory stays closed.
    let elsewhere = Folder::new("outside-elsewhere");
    let secret = elsewhere.file("secret", "Nobody's business.\n");
    fs::remove_file(&notice).unwrap();
    std::os::unix::fs::symlink(secret, &notice).unwrap();
    daemon.process.signal("HUP");
    assert!(daemon.process.line().contains("Permission denied (os error 13); continuing with the old notice"));
    assert_eq!(answer(&mut daemon.connect(), "notice\r\n"), "Open again.\r\n");
}

#[test]
fn usage_errors_and_its_own_errors_are_one_sentence_each() {
    let programs = programs("errors", "release");
    for (arguments, code, said) in [
        (["--notice", "/nowhere"], 1, "No such file or directory (os error 2)"),
        (["--note", "/nowhere"], 2, "unexpected argument '--note' found; see `host --help`"),
    ] {
        let mut command = Command::new(programs.join("host"));
        let mut process =
            Process::start(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
        let (ended, log) = process.log();
        assert_eq!((ended, log.as_str()), (Some(code), format!("host: {said}\n").as_str()));
    }
}
