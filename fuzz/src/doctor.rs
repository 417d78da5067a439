//! With any output of other programs and the kernel, doctor ends, and none of the output controls the terminal.
use small_services::fuzz;

/// One run.
pub fn run(data: &[u8]) {
    let shown = fuzz::doctor(&String::from_utf8_lossy(data));
    assert!(shown.ends_with('\n') && !shown.contains(|it: char| it.is_control() && it != '\n'), "{shown:?}");
}
