//! The fuzz targets on their corpus, and on random variations of it. `make fuzz` searches further.

#[path = "../fuzz/src/lib.rs"]
mod targets;

mod support;

use std::fs;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::repository;

/// The number of random inputs for each target.
const RUNS: usize = 20_000;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = repository().join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() > 10, "only {} inputs", corpus.len());
    for input in &corpus {
        run(input);
    }
    // Fixed, so that a failure is reproducible.
    let mut random = SmallRng::seed_from_u64(865);
    for _ in 0..RUNS {
        let mut any = || corpus[random.random_range(0..corpus.len())].clone();
        let (mut input, other) = (any(), any());
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(0..=input.len());
            match random.random_range(0..4) {
                0 => input.insert(place, random.random()),
                1 => input.truncate(place),
                2 => input.extend(&other[random.random_range(0..=other.len())..]),
                _ => input.iter_mut().skip(place).take(1).for_each(|octet| *octet = random.random()),
            }
        }
        run(&input);
    }
}

#[test]
fn the_scanner_finds_what_a_plain_reading_finds() {
    replay("cookies", targets::cookies::run);
}

#[test]
fn with_any_index_no_fortune_is_wrong_or_truncated() {
    replay("index", targets::index::run);
}

#[test]
fn every_command_line_is_understood_or_refused() {
    replay("arguments", targets::arguments::run);
}

#[test]
fn no_environment_variable_is_misread() {
    replay("environment", targets::environment::run);
}

#[test]
fn with_any_time_zone_file_daytime_sends_a_line_or_nothing() {
    replay("zone", targets::zone::run);
}

#[test]
fn output_of_other_programs_cannot_control_the_terminal_of_doctor() {
    replay("doctor", targets::doctor::run);
}

#[test]
fn an_index_made_of_any_cookie_file_finds_its_texts() {
    replay("strfile", targets::strfile::run);
}

#[test]
fn every_request_has_a_complete_answer_and_redirects_nowhere_else() {
    replay("request", targets::request::run);
}

#[test]
fn no_message_about_a_certificate_quotes_from_its_key() {
    replay("certificate", targets::certificate::run);
}

#[test]
fn a_proxy_header_is_read_whole_or_refused() {
    replay("proxy", targets::proxy::run);
}
