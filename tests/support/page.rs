//! A page of docs/, for the tests that follow its instructions.

use regex_lite::Regex;

/// A fenced block of the page, and the text above it.
pub struct Block<'a> {
    pub prose: &'a str,
    pub language: &'a str,
    pub text: &'a str,
}

pub fn blocks(page: &str) -> Vec<Block<'_>> {
    let parts: Vec<_> = page.split("```").collect();
    let pairs = parts.chunks_exact(2);
    pairs
        .map(|pair| {
            let (language, text) = pair[1].split_once('\n').unwrap();
            Block { prose: pair[0], language, text }
        })
        .collect()
}

/// A command in a block with prompts, and the output that the page shows.
pub struct Shown<'a> {
    pub command: &'a str,
    pub output: &'a str,
}

/// A block of a root shell: commands after `# `, each followed by its output.
pub fn shown(text: &str) -> Vec<Shown<'_>> {
    let steps = text.strip_prefix("# ").unwrap_or_else(|| panic!("no prompt: {text}")).split("\n# ");
    let parts = steps.map(|step| step.split_once('\n').unwrap_or((step, "")));
    parts.map(|(command, output)| Shown { command, output: output.trim_end() }).collect()
}

/// Whether a command printed what the page shows. `...` stands for any text that is not empty, also over several lines.
pub fn agrees(output: &str, printed: &str) -> bool {
    let parts: Vec<_> = output.split("...").map(regex_lite::escape).collect();
    Regex::new(&format!("(?s)^{}$", parts.join(".+"))).unwrap().is_match(printed.trim_end())
}

/// The list of the commands of all pages, with what runs each.
pub const LISTED: &str = "tests/pages/commands";

/// A row of the list: a command, and the file that runs it, with the fragment of the file that does. Without a file, the reason.
pub struct Listed {
    pub command: &'static str,
    pub file: &'static str,
    pub fragment: &'static str,
}

pub fn listed() -> Vec<Listed> {
    let rows = include_str!("../pages/commands").lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or_else(|| panic!("{LISTED}: {line}"));
        Listed { command: cell(), file: cell(), fragment: cell() }
    })
    .collect()
}

/// The commands of a page's blocks of `sh` and `console`, as the list has them: each in one line, without a comment and `sudo`.
/// A block that is a script of its own has none.
pub fn commands(page: &str) -> Vec<String> {
    let comment = Regex::new(r"\s+#\s.*$").unwrap();
    let mut commands = Vec::new();
    for block in blocks(page).iter().filter(|block| ["sh", "console"].contains(&block.language)) {
        if block.text.starts_with("#!") {
            continue;
        }
        for line in block.text.replace("\\\n", " ").lines() {
            let line = if block.language == "sh" { Some(line) } else { line.strip_prefix("$ ") };
            let line = comment.replace(line.unwrap_or_default(), "");
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let line = line.strip_prefix("sudo ").unwrap_or(&line);
            if !line.is_empty() {
                commands.push(line.to_owned());
            }
        }
    }
    commands
}
