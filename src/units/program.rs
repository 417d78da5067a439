//! `small-services units`: the units of any program.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::check::{self, Error};
use super::directory::Directory;
use super::template::Value;
use super::{CONNECTION, DAEMON, MADE_BY, units, values};
use crate::services::Kind;

/// Print or write systemd units for a program, with the confinement of the small services
///
/// The program must serve the connection on its descriptors 0 and 1 (NAME.socket), or all clients on the sockets that systemd
/// passes (NAME-daemon.socket). Programs of the crate small-services do both. The program must be statically linked, since the units
/// hide all libraries. `--directory /etc/systemd/system` installs the units; without it, they are printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Units {
    /// Absolute path of the program
    #[arg(long, value_name = "PATH")]
    program: PathBuf,

    /// Name of the units: NAME.socket, NAME@.service and so on
    #[arg(long)]
    name: String,

    /// Port to serve on
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Also serve UDP on the port, with the daemon
    #[arg(long)]
    udp: bool,

    /// Make only the units of this mode [default: both]
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,

    /// How long a connection lasts: seconds (reply), or until the client closes it (stream)
    #[arg(long, value_name = "KIND", default_value = "reply")]
    kind: Kind,

    /// Description of the program, as systemctl shows it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// File or directory that the program reads; can be repeated
    #[arg(long, value_name = "PATH")]
    show: Vec<PathBuf>,

    /// Write the units to DIR instead of printing them
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Replace existing units, and do not check that the program and its files exist; for packages
    #[arg(long)]
    force: bool,

    /// Arguments of the program
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Mode {
    /// A per-connection service
    Connection,
    /// A daemon for all connections
    Daemon,
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Reply, Self::Stream]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.name().into())
    }
}

impl Units {
    /// Prints or writes the units.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let units = self.render()?;
        let mut output = io::stdout().lock();
        let printed = match &self.directory {
            None => units.iter().enumerate().try_for_each(|(at, (name, text))| {
                // In the format of `systemctl cat`.
                write!(output, "{}# /etc/systemd/system/{name}\n{text}", if at == 0 { "" } else { "\n" })
            }),
            Some(path) => {
                let directory = Directory { path, force: self.force };
                directory.write(&units, self.port)?;
                self.print_next_step(path, &units, &mut output)
            }
        };
        printed.map_err(Error::Print)
    }

    fn print_next_step(&self, directory: &Path, units: &[(String, String)], output: &mut impl Write) -> io::Result<()> {
        for (name, _) in units {
            writeln!(output, "{}", directory.join(name).display())?;
        }
        let start = |suffix, what| format!("`systemctl enable --now {}{suffix}` ({what})", self.name);
        let (one, all) = (
            self.serves(Mode::Connection).then(|| start(".socket", "a per-connection service")),
            self.serves(Mode::Daemon).then(|| start("-daemon.socket", "a daemon for all connections")),
        );
        let starts: Vec<_> = one.into_iter().chain(all).collect();
        writeln!(output, "next: `systemctl daemon-reload`, then {}", starts.join(" or "))
    }

    fn serves(&self, mode: Mode) -> bool {
        self.mode.is_none_or(|only| only == mode)
    }

    /// The units, as names and contents.
    fn render(&self) -> Result<Vec<(String, String)>, Error> {
        check::name(&self.name)?;
        check::port(&self.name, self.port)?;
        if self.udp && !self.serves(Mode::Daemon) {
            return Err(Error::Udp);
        }
        let program = check::path(&self.program)?;
        let shown = self.show.iter().map(|path| check::path(path)).collect::<Result<Vec<_>, _>>()?;
        if !self.force {
            check::program(&self.program)?;
            self.show.iter().try_for_each(|path| check::file(path))?;
        }
        let description = self.description.as_ref().unwrap_or(&self.name);
        check::text(description)?;
        let files: Vec<_> = shown.iter().map(|path| format!("BindReadOnlyPaths=-{path}")).collect();
        let mut values = values(&self.name, description.replace('%', "%%"), self.port, self.kind);
        values.extend([
            ("documentation", Value::from("")),
            ("command", self.command(program)?.into()),
            ("executable", program.to_owned().into()),
            ("files", files.join("\n").into()),
            ("root", Value::Part("root".to_owned())),
            ("rootdir", "/run/small-services".into()),
            ("closed", check::inaccessible_except(&[&shown[..], &[program]].concat()).into()),
            ("datagrams", if self.udp { Value::Part("datagrams-yes".to_owned()) } else { "".into() }),
            ("transports", if self.udp { "TCP and UDP" } else { "TCP" }.into()),
        ]);
        let mut all = Vec::new();
        for (mode, templates) in [(Mode::Connection, &CONNECTION), (Mode::Daemon, &DAEMON)] {
            if self.serves(mode) {
                all.extend(units(&self.name, templates, &values));
            }
        }
        for (name, text) in &mut all {
            check::unit(name)?;
            text.insert_str(0, &format!("{MADE_BY}: {}\n", self.again(program, &shown)));
        }
        Ok(all)
    }

    /// The value of `ExecStart=`.
    fn command(&self, program: &str) -> Result<String, Error> {
        let mut words = vec![program.to_owned()];
        for argument in &self.arguments {
            check::text(argument)?;
            // systemd.service(5) and systemd.unit(5) give these characters a special meaning.
            let escaped = argument.replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
            words.push(format!("\"{escaped}\""));
        }
        Ok(words.join(" "))
    }

    /// The options that make the same units again, for their readers.
    fn again(&self, program: &str, shown: &[&str]) -> String {
        let mut words = vec![format!("--program {program} --name {} --port {}", self.name, self.port)];
        words.extend(self.udp.then(|| "--udp".to_owned()));
        words.extend(self.mode.and_then(|mode| Some(format!("--mode {}", mode.to_possible_value()?.get_name()))));
        words.extend((self.kind == Kind::Stream).then(|| "--kind stream".to_owned()));
        words.extend(self.description.iter().map(|text| format!("--description {}", quoted(text))));
        words.extend(shown.iter().map(|path| format!("--show {path}")));
        words.extend((!self.arguments.is_empty()).then(|| "--".to_owned()));
        words.extend(self.arguments.iter().map(|argument| quoted(argument)));
        words.join(" ")
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    if check::is_plain(OsStr::new(word)) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
