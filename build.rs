//! What can be done once, at build time: the built-in collection's index, and the system call filters.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/sandbox/bpf.rs"]
mod bpf;
#[allow(dead_code)]
#[path = "src/fortune/cookie.rs"]
mod cookie;
#[allow(dead_code)]
#[path = "src/sandbox/policy.rs"]
mod policy;
#[allow(dead_code)]
#[path = "src/fortune/text.rs"]
mod text;

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "data", "src/fortune/cookie.rs", "src/fortune/text.rs", "src/sandbox"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    collect_fortunes(Path::new("data"), &out)?;
    let architecture = env::var("CARGO_CFG_TARGET_ARCH")?;
    fs::write(out.join("filters.rs"), filters(&architecture)?)?;
    Ok(())
}

/// Joins the cookie files of `data` into one text and the list of its fortunes' ends.
///
/// One text and a list of numbers, not a list of texts: numbers need no relocation when a program starts.
fn collect_fortunes(data: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.retain(|path| !path.ends_with("lunch")); // of lunchd, which reads it itself
    files.sort();
    let mut collection = String::new();
    let mut ends = Vec::new();
    for path in files {
        let file = fs::read(&path)?;
        let mut cookies =
            cookie::Cookies::new(file.as_slice(), text::Eligible::RFC_865.longest_raw(), cookie::Format::default());
        while let Some(raw) = cookies.read_next()? {
            let shown = String::from_utf8_lossy(raw);
            let fortune = text::Eligible::RFC_865
                .sendable(raw)
                .map(|sendable| sendable.text().into_owned())
                .filter(|text| text.is_ascii())
                .ok_or_else(|| format!("{}: not a fortune that RFC 865 can send:\n{shown}", path.display()))?;
            collection.push_str(&fortune);
            ends.push(u32::try_from(collection.len())?);
        }
    }
    fs::write(out.join("collection.txt"), collection)?;
    fs::write(out.join("ends.rs"), format!("&{ends:?}"))?;
    Ok(())
}

/// Compiles the policy table: one constant array of BPF instructions a service and peer, and the function that finds it.
fn filters(architecture: &str) -> Result<String, Box<dyn Error>> {
    let (number, audit): (fn(&policy::Rule) -> i64, u32) = match architecture {
        "x86_64" => (|rule| rule.call.x86_64, bpf::X86_64),
        "aarch64" => (|rule| rule.call.aarch64, bpf::AARCH64),
        other => {
            return Err(format!(
                "the policy table has no system call numbers for {other}: add a column to src/sandbox/policy.rs"
            )
            .into());
        }
    };
    let mut arms = String::new();
    for (service, peer) in policy::combinations() {
        let program = bpf::compile(policy::rules(service, peer), number, audit)
            .map_err(|error| format!("the policy table for {service:?} on {peer:?}: {error}"))?;
        let mut instructions = String::new();
        for bpf::Instruction { code, jt, jf, k } in program {
            write!(instructions, "sock_filter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }}, ")?;
        }
        writeln!(arms, "        (Service::{service:?}, Peer::{peer:?}) => &[{instructions}],")?;
    }
    // An empty program cannot be attached.
    writeln!(arms, "        _ => &[],")?;
    let head = "#[allow(clippy::pedantic)]\nfn program(service: Service, peer: Peer) -> &'static [sock_filter]";
    Ok(format!("{head} {{\n    match (service, peer) {{\n{arms}    }}\n}}\n"))
}
