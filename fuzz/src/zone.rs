//! With any time zone file, daytime sends one line of printing characters that fits, or nothing.
use small_services::fuzz;

const FORMATS: [&str; 7] = ["ctime", "rfc867", "smtp", "iso8601", "nist-like", "%c %Z %z", "%s %:z %Q %%"];
/// Before all changes of the clock, at some, and after all that a file can contain.
const SECONDS: [i64; 5] = [-5_000_000_000, 0, 1_783_128_907, 1_790_000_000, 200_000_000_000];

/// One run.
pub fn run(data: &[u8]) {
    for format in FORMATS {
        for second in SECONDS {
            let Some(line) = fuzz::daytime(data, format, second) else { continue };
            let text = line.strip_suffix('\n').expect("a line end");
            assert!(!text.is_empty() && line.len() < 512, "{line:?}");
            assert!(text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()), "{line:?}");
        }
    }
}
