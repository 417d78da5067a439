//! Finger (RFC 1288): answers with the plan of a user. The plans are files in one directory, each with the name of its user.
#![no_main]
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use small_services::{Answer, Behavior, Extra, Files, LIST, LineEnd, Readable, Run, Service, file, log};

small_services::program!(Finger);
enum Finger {}

#[derive(clap::Args, Debug, Default)]
struct Options {
    /// Directory of the plans [default: /var/lib/finger]
    #[arg(long, value_name = "DIRECTORY")]
    plans: Option<PathBuf>,
}
const PLANS: &str = "/var/lib/finger";
/// The maximum length of a plan in octets, and the maximum number of plans: a list of all names is no longer than a plan.
const LONGEST_PLAN: usize = 16 * 1024;
const MAX_PLANS: usize = 60;
#[derive(Debug, thiserror::Error)]
#[error("cannot read the plans in {}: {source}; check the directory and its files", .directory.display())]
struct Error {
    directory: PathBuf,
    source: io::Error,
}

impl Service for Finger {
    type Options = Options;
    type Error = Error;
    const NAME: &'static str = "finger";
    const ABOUT: &'static str = "Finger (RFC 1288): sends the plan of a user, then closes";
    const IDLE_TIMEOUT: u16 = 10;
    const UDP_BY_DEFAULT: bool = false;
    const EXTRA: Extra = Extra { files: &[LIST], ..Extra::NONE };
    fn prepare(options: &Options, _: Run) -> Result<Behavior, Error> {
        let directory = options.plans.clone().unwrap_or_else(|| PLANS.into());
        let plans = read(&directory)?;
        Ok(Behavior::Answer(Box::new(Plans { directory, plans })))
    }
}

struct Plans {
    directory: PathBuf,
    plans: BTreeMap<String, String>,
}

fn read(directory: &Path) -> Result<BTreeMap<String, String>, Error> {
    let because = |source| Error { directory: directory.to_owned(), source };
    let files = file::list(directory).map_err(because)?.unwrap_or_default();
    let names = files.into_iter().filter(|(_, kind)| kind.is_file()).filter_map(|(name, _)| name.into_string().ok());
    let plan = |name: String| match file::read(&directory.join(&name), LONGEST_PLAN) {
        Ok(plan) => Some((name, printable(&String::from_utf8_lossy(&plan)))),
        Err(error) => {
            log::warning(&format!(
                "cannot read the plan {}: {error}; continuing without it",
                directory.join(name).display()
            ));
            None
        }
    };
    Ok(names.filter(|name| *name == printable(name)).take(MAX_PLANS).filter_map(plan).collect())
}

/// Removes all but printable characters (RFC 1288, section 3.3).
fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || matches!(c, ' ' | '\t' | '\n')).collect()
}

impl Files for Plans {
    fn readable(&self) -> Vec<Readable> {
        vec![Readable::all(self.directory.clone())]
    }

    fn reload(&mut self) {
        match read(&self.directory) {
            Ok(plans) => self.plans = plans,
            Err(error) => log::error(&format!("{error}; continuing with the previous plans")),
        }
    }
}

impl Answer for Plans {
    fn limit(&self) -> usize {
        256
    }
    fn answer(&mut self, request: &[u8], _: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>) {
        let request = String::from_utf8_lossy(request);
        let name = request.trim_start_matches("/W").trim();
        match self.plans.get(name) {
            _ if name.contains('@') => line_end.append("Finger forwarding service denied\n", octets),
            Some(plan) => line_end.append(plan, octets),
            None if name.is_empty() => self.plans.keys().for_each(|name| line_end.append(&format!("{name}\n"), octets)),
            None => line_end.append("There is no such user, or no plan.\n", octets),
        }
    }
    fn longest(&self) -> usize {
        2 * LONGEST_PLAN
    }
}
