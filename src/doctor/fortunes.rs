//! Checks whether a service can read its cookie files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Findings;
use super::service::Socket;
use crate::fortune::DIRECTORIES;

const INSTALL: &str = "install collections, for example with `apt install fortunes` or `dnf install fortune-mod`, or remove the \
     path to use the built-in fortunes";
/// The directories that `ProtectHome=` hides. With `read-only`, which `DynamicUser=` implies, it hides none.
const HOMES: &[&str] = &["/home", "/root", "/run/user"];
/// The directories that `PrivateTmp=` hides.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp"];

impl Socket {
    /// Checks each file and directory on the command line.
    pub(super) fn examine_fortunes(&self, findings: &mut Findings) {
        let arguments = self.started.arguments();
        // Other options of lunchd also name files.
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
                let text = format!("no collections are installed in {}", DIRECTORIES.join(", "));
                findings.problem(Some(&self.starts), text, INSTALL);
            }
            paths.extend(installed);
        }
        for path in paths {
            if let Some((text, advice)) = self.problem_with(path) {
                findings.problem(Some(&self.starts), text, advice);
            }
        }
    }

    /// Why the service cannot use a file or directory, and the next step.
    fn problem_with(&self, path: &str) -> Option<(String, String)> {
        missing(Path::new(path)).or_else(|| self.hidden(path)).or_else(|| unreadable(Path::new(path)))
    }

    /// Whether the unit hides a path from the service.
    fn hidden(&self, path: &str) -> Option<(String, String)> {
        let unit = &self.started;
        let below = |directory: &str| Path::new(path).starts_with(directory.trim_start_matches(['-', '+']));
        let hidden_by = |directive: &str| {
            let text = format!("it cannot see {path}: {directive} hides it");
            (text, "move it elsewhere, such as below /usr/local/share".to_owned())
        };
        let hides = |directive: &str, directories: &[&str]| {
            !matches!(unit.get(directive), "" | "no" | "read-only") && directories.iter().any(|it| below(it))
        };
        // Also for paths that are bound.
        if hides("ProtectHome", HOMES) {
            return Some(hidden_by("ProtectHome="));
        }
        let bound: Vec<_> =
            unit.get("BindReadOnlyPaths").split_whitespace().filter_map(|it| it.split(':').next()).collect();
        if bound.iter().any(|directory| below(directory)) {
            return None;
        }
        let edit = format!("run `systemctl edit {}`, and add BindReadOnlyPaths={path}", self.starts);
        if !matches!(unit.get("RootDirectory"), "" | "/") {
            return Some((format!("it cannot see {path}: it has its own root directory"), edit));
        }
        if hides("PrivateTmp", TEMPORARY) {
            return Some(hidden_by("PrivateTmp="));
        }
        unit.get("InaccessiblePaths").split_whitespace().any(below).then(|| hidden_by("InaccessiblePaths="))
    }
}

fn missing(path: &Path) -> Option<(String, String)> {
    let error = fs::metadata(path).err()?;
    Some((format!("cannot read {}: {error}", path.display()), "put it there, or correct ExecStart=".to_owned()))
}

/// Why a user without groups cannot read a path.
fn unreadable(path: &Path) -> Option<(String, String)> {
    let file = fs::metadata(path).ok()?;
    let readable = if file.is_dir() { 0o005 } else { 0o004 };
    let closed =
        path.ancestors().skip(1).find(|it| fs::metadata(it).is_ok_and(|it| it.permissions().mode() & 0o001 == 0));
    if file.permissions().mode() & readable != readable || closed.is_some() {
        let at = closed.unwrap_or(path).display();
        let advice = format!("run `chmod o+r{} {at}`", if file.is_dir() || closed.is_some() { "x" } else { "" });
        return Some((format!("its user may not read {}: see the mode of {at}", path.display()), advice));
    }
    if !file.is_dir() {
        return None;
    }
    let entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    if entries.is_empty() {
        return Some((format!("{} is empty", path.display()), INSTALL.to_owned()));
    }
    // The service skips unreadable files with a warning.
    let modes = entries.iter().filter_map(|entry| fs::metadata(entry).ok());
    if modes.map(|entry| entry.permissions().mode()).all(|mode| mode & 0o004 == 0) {
        let text = format!("its user may not read any file in {}", path.display());
        return Some((text, format!("run `chmod o+r` on the files in {}", path.display())));
    }
    None
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
