//! The cookie files that a service is told to read, as far as it could see them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Findings;
use super::service::Socket;
use crate::fortune::DIRECTORIES;

const INSTALL: &str = "install collections, as `apt install fortunes` and `dnf install fortune-mod` do, or leave the path \
     out for those that are built in";
/// What `ProtectHome=` hides, unless it is `read-only`, as `DynamicUser=` has it.
const HOMES: &[&str] = &["/home", "/root", "/run/user"];
/// What `PrivateTmp=` hides.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp"];

impl Socket {
    /// Each file and directory on its command line.
    pub(super) fn examine_fortunes(&self, findings: &mut Findings) {
        let arguments = self.started.arguments();
        // Of lunchd's options, others name files too.
        let from = arguments.iter().position(|word| *word == "--fortunes").unwrap_or(0);
        if from == 0 && !self.name.starts_with("fortune") {
            return;
        }
        let named = &arguments[from..];
        let mut paths: Vec<&str> = named.iter().skip(1).copied().filter(|word| word.starts_with('/')).collect();
        if named.contains(&"all") {
            let installed = DIRECTORIES.iter().copied();
            let mut installed = installed.filter(|it| Path::new(it).is_dir() && !is_empty(Path::new(it))).peekable();
            if installed.peek().is_none() {
                let text = format!("there are no collections in {}", DIRECTORIES.join(", "));
                findings.problem(Some(&self.starts), text, INSTALL);
            }
            paths.extend(installed);
        }
        for path in paths {
            if let Some((text, advice)) = self.wrong_with(path) {
                findings.problem(Some(&self.starts), text, advice);
            }
        }
    }

    /// Why it cannot serve what is in a file or directory, and what to do about it.
    fn wrong_with(&self, path: &str) -> Option<(String, String)> {
        missing(Path::new(path)).or_else(|| self.hidden(path)).or_else(|| unreadable(Path::new(path)))
    }

    /// What its unit hides from it.
    fn hidden(&self, path: &str) -> Option<(String, String)> {
        let unit = &self.started;
        let below = |directory: &str| Path::new(path).starts_with(directory.trim_start_matches(['-', '+']));
        let hidden_by = |directive: &str| {
            let text = format!("it cannot see {path}: {directive} hides it");
            (text, "keep it elsewhere, below /usr/local/share say".to_owned())
        };
        let hides = |directive: &str, directories: &[&str]| {
            !matches!(unit.get(directive), "" | "no" | "read-only") && directories.iter().any(|it| below(it))
        };
        // Whatever is bound.
        if hides("ProtectHome", HOMES) {
            return Some(hidden_by("ProtectHome="));
        }
        let bound: Vec<_> =
            unit.get("BindReadOnlyPaths").split_whitespace().filter_map(|it| it.split(':').next()).collect();
        if bound.iter().any(|directory| below(directory)) {
            return None;
        }
        let edit = format!("`systemctl edit {}`, and add BindReadOnlyPaths={path}", self.starts);
        if !matches!(unit.get("RootDirectory"), "" | "/") {
            return Some((format!("it cannot see {path}: it has a root directory of its own"), edit));
        }
        if hides("PrivateTmp", TEMPORARY) {
            return Some(hidden_by("PrivateTmp="));
        }
        unit.get("InaccessiblePaths").split_whitespace().any(below).then(|| hidden_by("InaccessiblePaths="))
    }
}

fn missing(path: &Path) -> Option<(String, String)> {
    let error = fs::metadata(path).err()?;
    Some((format!("{} cannot be read: {error}", path.display()), "put it there, or correct ExecStart=".to_owned()))
}

/// Why a user of no group could not read it.
fn unreadable(path: &Path) -> Option<(String, String)> {
    let file = fs::metadata(path).ok()?;
    let readable = if file.is_dir() { 0o005 } else { 0o004 };
    let closed =
        path.ancestors().skip(1).find(|it| fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o001 == 0));
    if file.permissions().mode() & readable != readable || closed.is_some() {
        let at = closed.unwrap_or(path).display();
        let advice = format!("`chmod o+r{} {at}`", if file.is_dir() || closed.is_some() { "x" } else { "" });
        return Some((
            format!("{} may not be read by the user that it runs as: see the mode of {at}", path.display()),
            advice,
        ));
    }
    if !file.is_dir() {
        return None;
    }
    let entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if entries.is_empty() {
        return Some((format!("there is nothing in {}", path.display()), INSTALL.to_owned()));
    }
    // Those that it cannot read it leaves out, and says so.
    let modes = entries.iter().filter_map(|entry| fs::metadata(entry).ok());
    if modes.map(|entry| entry.permissions().mode()).all(|mode| mode & 0o004 == 0) {
        let text = format!("nothing in {} may be read by the user that it runs as", path.display());
        return Some((text, format!("`chmod o+r` the files in {}", path.display())));
    }
    None
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
