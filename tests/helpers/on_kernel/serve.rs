//! Every service, in each way to serve and with each mode of the lock-down.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use small_services::services;

use crate::{client, say};

/// Ways to serve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A super-server starts a process for a connection.
    Connection,
    /// The keeper creates one itself.
    Keeper,
    Shared,
    /// On a pipe.
    Filter,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Connection, "under a super-server"),
    (Way::Keeper, "keeper"),
    (Way::Shared, "one process for all"),
    (Way::Filter, "filter"),
];

/// The outcome of one.
enum Outcome {
    /// And how it reported what it lacks.
    Served(Vec<String>),
    Refused(String),
}

/// Prints the outcome for each service and way. Where `strict` does not serve, `best-effort` is tried as well.
pub fn all(programs: &Path, full: bool) {
    std::fs::write("/text", client::TEXT).expect("a path for the text");
    let mut refused = false;
    for mode in ["strict", "best-effort", "full"] {
        let mut outcomes = Vec::new();
        for service in services::all().map(|row| row.program).chain(["lunchd"]) {
            // One service shows what the mode does here. Which services work is tested in the mode that serves.
            let wanted = full || mode == "strict" || mode == "best-effort" && refused || service == "echo";
            let ways = WAYS.iter().filter(|(way, _)| wanted && has(service, *way));
            for (way, name) in ways {
                let (outcome, row) = (served(programs, service, *way, mode), format!("{service}, {name}"));
                match outcome {
                    Ok(Outcome::Served(lines)) => {
                        for line in lines {
                            say("said", &format!("{row}, {mode}"), &line);
                        }
                        say("served", &row, &format!("{mode}: served"));
                        outcomes.push("serves".to_owned());
                    }
                    Ok(Outcome::Refused(line)) => {
                        refused |= mode == "strict";
                        say("said", &format!("{row}, {mode}"), &line);
                        say("served", &row, &format!("{mode}: refused"));
                        outcomes.push("refuses".to_owned());
                    }
                    Err(wrong) => {
                        say("served", &row, &format!("{mode}: **wrong**: {wrong}"));
                        outcomes.push(wrong);
                    }
                }
            }
        }
        outcomes.dedup();
        say("kernel", &format!("`--sandbox {mode}`"), &outcomes.join(", "));
    }
}

fn has(service: &str, way: Way) -> bool {
    service != "lunchd" || way == Way::Shared
}

fn served(programs: &Path, service: &str, way: Way, mode: &str) -> Result<Outcome, String> {
    let mut command = Command::new(programs.join(service));
    command.args(["--sandbox", mode]).stderr(Stdio::piped());
    if service == "systat" {
        command.args(["--text", "/text"]);
    }
    match way {
        Way::Connection => connection(&mut command, service),
        Way::Filter => filter(&mut command, service),
        Way::Keeper | Way::Shared => daemon(&mut command, service, way == Way::Shared),
    }
}

/// As inetd does with each connection.
fn connection(command: &mut Command, service: &str) -> Result<Outcome, String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let server: OwnedFd = listener.accept().expect("a connection").0.into();
    let again = server.try_clone().expect("a descriptor");
    let process = command.stdin(server).stdout(again).spawn().expect("the program");
    // This process closes its copy, so that the connection ends when the service closes it.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let told = client::talk(service, client);
    end(process, &[], told)
}

fn filter(command: &mut Command, service: &str) -> Result<Outcome, String> {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
    let mut input = process.stdin.take().expect("a pipe");
    let mut output = process.stdout.take().expect("a pipe");
    let _ = input.write_all(b"what came in\n"); // many do not read
    drop(input);
    let mut got = Vec::new();
    if service == "chargen" {
        output.by_ref().take(73 * 95).read_to_end(&mut got).expect("a pipe");
        let told = client::is_reply(service, &got, "\n");
        // Closes the pipe early, as `head` does.
        drop(output);
        let mut log = String::new();
        process.stderr.take().expect("a pipe").read_to_string(&mut log).expect("a pipe");
        let status = process.wait().expect("its end");
        if log.contains("refuses to serve: ") {
            return Ok(Outcome::Refused(log));
        }
        let ended = status.code() == Some(0) || status.signal() == Some(libc::SIGPIPE);
        return told.and(if ended { Ok(Outcome::Served(vec![])) } else { Err(format!("{service}: {status}: {log}")) });
    }
    output.read_to_end(&mut got).expect("a pipe");
    let told = match service {
        "echo" if got == b"what came in\n" => Ok(()),
        "discard" if got.is_empty() => Ok(()),
        _ => client::is_reply(service, &got, "\n"),
    };
    end(process, &[], told)
}

fn daemon(command: &mut Command, service: &str, shared: bool) -> Result<Outcome, String> {
    const PORT: u16 = 4000;
    if service == "lunchd" {
        command.args(["--listen", &format!("http://127.0.0.1:{PORT}")]);
    } else {
        command.args(if shared { &["--shared"][..] } else { &["--max-rate-per-source", "0"] });
        command.args(["--listen", &format!("tcp://127.0.0.1:{PORT}"), "--listen", &format!("udp://127.0.0.1:{PORT}")]);
    }
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program");
    let mut log = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut lines = Vec::new();
    let sockets = if service == "lunchd" { 1 } else { 2 };
    while lines.iter().filter(|line: &&String| line.contains("serving on ")).count() < sockets {
        let mut line = String::new();
        if log.read_line(&mut line).expect("a pipe") == 0 {
            break; // it has ended
        }
        lines.push(line);
    }
    let mut told = Ok(());
    if lines.iter().any(|line| line.contains("serving on ")) {
        for _ in 0..3 {
            let client = TcpStream::connect(("127.0.0.1", PORT)).map_err(|error| error.to_string());
            told = told.and(client.and_then(|client| client::talk(service, client)));
        }
        if service != "lunchd" {
            told = told.and_then(|()| client::datagram(service, PORT));
        }
        let _ = kill_process(Pid::from_child(&process), Signal::TERM);
    }
    for line in log.lines() {
        lines.push(line.expect("a pipe") + "\n");
    }
    end(process, &lines, told)
}

/// The outcome for one whose client received this, and that has logged these lines before.
fn end(mut process: Child, lines: &[String], told: Result<(), String>) -> Result<Outcome, String> {
    let mut log = lines.concat();
    if let Some(mut rest) = process.stderr.take() {
        rest.read_to_string(&mut log).expect("a pipe");
    }
    let status = process.wait().expect("its end");
    if let Some(line) = log.lines().find(|line| line.contains("refuses to serve: ")) {
        return Ok(Outcome::Refused(line.to_owned()));
    }
    told?;
    let lacking =
        |line: &&str| line.contains(" cannot forbid ") || line.contains("the sandbox layer Landlock is missing");
    let (lacking, others): (Vec<_>, Vec<_>) =
        log.lines().filter(|line| !line.contains("serving on ")).partition(lacking);
    if !status.success() || !others.is_empty() {
        return Err(format!("{status}: {}", others.join("; ")));
    }
    Ok(Outcome::Served(lacking.into_iter().map(str::to_owned).collect()))
}
