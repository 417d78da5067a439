//! Builds the built-in collection and its index.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[allow(dead_code)]
#[path = "src/fortune/cookie.rs"]
mod cookie;
#[allow(dead_code)]
#[path = "src/fortune/text.rs"]
mod text;

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "data", "src/fortune/cookie.rs", "src/fortune/text.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    collect_fortunes(Path::new("data"), &out)?;
    Ok(())
}

/// Joins the cookie files of `data` into one text and a list of the ends of its fortunes.
///
/// Unlike a list of texts, a list of numbers needs no relocation when a program starts.
fn collect_fortunes(data: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
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
                .ok_or_else(|| format!("{}: this fortune does not conform to RFC 865; shorten it to 511 octets of printable ASCII:\n{shown}", path.display()))?;
            collection.push_str(&fortune);
            ends.push(u32::try_from(collection.len())?);
        }
    }
    fs::write(out.join("collection.txt"), collection)?;
    fs::write(out.join("ends.rs"), format!("&{ends:?}"))?;
    Ok(())
}
