//! A page of docs/, for the tests that do what it says.

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

/// A command of a block with prompts, and what the page shows that it prints.
pub struct Shown<'a> {
    pub command: &'a str,
    pub output: &'a str,
}

/// What a block of a root shell shows: commands after `# `, each with its output below it.
pub fn shown(text: &str) -> Vec<Shown<'_>> {
    let steps = text.strip_prefix("# ").unwrap_or_else(|| panic!("no prompt: {text}")).split("\n# ");
    let parts = steps.map(|step| step.split_once('\n').unwrap_or((step, "")));
    parts.map(|(command, output)| Shown { command, output: output.trim_end() }).collect()
}

/// Whether a command printed what the page shows, where `...` is any text, of more than one line too, but not nothing.
pub fn agrees(output: &str, printed: &str) -> bool {
    let parts: Vec<_> = output.split("...").map(regex_lite::escape).collect();
    Regex::new(&format!("(?s)^{}$", parts.join(".+"))).unwrap().is_match(printed.trim_end())
}
