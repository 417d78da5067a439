//! Whatever other programs and the kernel say: doctor comes to an end, and nothing of it steers the terminal.
use small_services::fuzz;

/// One run.
pub fn run(data: &[u8]) {
    let shown = fuzz::doctor(&String::from_utf8_lossy(data));
    assert!(shown.ends_with('\n') && !shown.contains(|it: char| it.is_control() && it != '\n'), "{shown:?}");
}
