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
