//! Runs each command of docs/testing-networks.md from another host over a link, with the Debian tools that the page names.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::network::Host;
use support::page::{Block, agrees, blocks};
use support::{Folder, Process, program, repository};

/// A host with the services, at 192.0.2.1, and one that tests it.
struct Network {
    _services: Vec<Process>,
    _server: Host,
    tester: Host,
}

impl Network {
    /// `options` are those of the services that do not run with the defaults.
    fn new(options: &[(&str, Vec<&str>)]) -> Self {
        let (server, tester) = (Host::new(), Host::new());
        server.link("eth0", &tester, "eth0");
        for (host, address) in [(&server, "192.0.2.1"), (&tester, "192.0.2.2")] {
            host.shell(&format!("ip address add {address}/24 dev eth0 && ip link set eth0 up"));
        }
        let ports = [("echo", 7), ("discard", 9), ("daytime", 13), ("qotd", 17), ("chargen", 19), ("time", 37)];
        let services = ports.map(|(name, port)| {
            let given = options.iter().find(|(service, _)| *service == name).map_or(&[][..], |(_, given)| given);
            let mut command = server.command(program(name));
            command.args(given).args(["--listen", &format!("192.0.2.1:{port}")]).stderr(Stdio::piped());
            let mut process = Process::start(&mut command);
            process.serving_on("tcp://");
            process
        });
        Self { _services: services.into(), _server: server, tester }
    }

    /// Runs commands of the page as its reader does, in an empty folder. Returns whether all succeed, and what they print.
    fn run(&self, script: &str, folder: &Folder) -> (bool, String) {
        let mut command = self.tester.command("bash");
        tools(&mut command).args(["-o", "pipefail", "-ec", &format!("exec 2>&1\n{script}")]).current_dir(folder.path());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).replace('\r', "\n"))
    }
}

/// Lets a command find the tools of the page: Debian's, extracted into target/peers.
fn tools(command: &mut Command) -> &mut Command {
    let peers = repository().join("target/peers");
    let folders = ["usr/bin", "usr/sbin", "usr/lib/nagios/plugins"].map(|folder| peers.join(folder));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).unwrap();
    command.env("PATH", path).env("NMAPDIR", peers.join("usr/share/nmap")).env("TERM", "dumb").env("TZ", "UTC")
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/testing-networks.md")).unwrap()
}

/// The options that the page gives to services.
fn options(page: &str) -> Vec<(&str, Vec<&str>)> {
    let units = blocks(page).into_iter().filter(|block| block.language == "ini").map(|block| block.text);
    let calls =
        units.flat_map(str::lines).filter_map(|line| line.strip_prefix("ExecStart=/usr/local/libexec/small-services/"));
    calls
        .map(|call| {
            let mut words = call.split(' ');
            (words.next().unwrap(), words.collect())
        })
        .collect()
}

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let page = page();
    let options = options(&page);
    assert_eq!(options.iter().map(|(service, _)| *service).collect::<Vec<_>>(), ["echo", "chargen"]);
    let network = Network::new(&options);
    let folder = Folder::new("recipes");
    let all = blocks(&page);
    let mut run = 0;
    for (Block { language, text, .. }, next) in all.iter().zip(all.iter().skip(1).map(Some).chain([None])) {
        match *language {
            "sh" => {
                let shown = next.filter(|next| next.language == "text").expect("what it prints").text.trim_end();
                // A busy host may lose a probe.
                let mut printed = String::new();
                let agrees = (0..3).any(|_| {
                    let (succeeds, output) = network.run(text, &folder);
                    printed = output;
                    succeeds && agrees(shown, &printed)
                });
                assert!(agrees, "{text}{printed}--- not:\n{shown}");
                run += text.lines().count();
            }
            // Output, options, and commands that require systemd or other hardware.
            "text" | "ini" | "console" | "fortios" | "ios" | "junos" => {}
            other => panic!("nothing is done with {other}"),
        }
    }
    assert!(run >= 20, "{run} commands");
}

#[test]
fn without_the_page_s_options_probes_over_udp_are_dropped() {
    let page = page();
    let probes = blocks(&page).into_iter().find(|block| block.text.starts_with("nping --udp")).unwrap().text;
    let network = Network::new(&[]);
    let folder = Folder::new("recipes-limited");
    let (_, printed) = network.run(probes, &folder);
    assert!(printed.contains("Lost: ") && !printed.contains("Lost: 0 "), "{printed}");
}
