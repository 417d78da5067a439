//! Time, [RFC 868](https://www.rfc-editor.org/rfc/rfc868).

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::service::{Behavior, Files, LineEnd, NoOptions, Reply, Run, Service};
use crate::services::{self, Row};

/// Sends the seconds since 1900-01-01 00:00 UTC as 32 bits, most significant octet first, and closes. The count wraps around on
/// 2036-02-07.
#[derive(Debug)]
pub enum Time {}

const ROW: Row = services::row("time");

impl Service for Time {
    type Options = NoOptions;
    type Error = Infallible;
    const NAME: &'static str = ROW.program;
    const ABOUT: &'static str = ROW.about();
    const IDLE_TIMEOUT: u16 = ROW.idle;

    fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
        Ok(Behavior::Reply(Box::new(Clock)))
    }
}

struct Clock;

impl Files for Clock {}

impl Reply for Clock {
    fn compose(&mut self, _: LineEnd, octets: &mut Vec<u8>) {
        octets.extend_from_slice(&now().to_be_bytes());
    }

    fn longest(&self) -> usize {
        size_of::<u32>()
    }
}

/// The time of RFC 868 according to this host's clock, in seconds.
pub(crate) fn now() -> u32 {
    let since_1970 = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i128::from(since.as_secs()),
        Err(before) => -i128::from(before.duration().as_secs()),
    };
    since_1900(since_1970)
}

/// The time of RFC 868 for a Unix time; both are in seconds.
fn since_1900(since_1970: i128) -> u32 {
    /// 70 years, 17 of them leap years.
    const BETWEEN: i128 = (70 * 365 + 17) * 86_400;
    const ROUND: i128 = 1 << 32;
    u32::try_from((since_1970 + BETWEEN).rem_euclid(ROUND)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(since_1900(0), 2_208_988_800, "1 January 1970");
        assert_eq!(since_1900(2_398_291_200 - 2_208_988_800), 2_398_291_200, "1 January 1976");
        assert_eq!(since_1900(2_629_584_000 - 2_208_988_800), 2_629_584_000, "1 May 1983");
    }

    #[test]
    fn it_starts_over_in_2036_and_reaches_back_before_1900() {
        let end = (1 << 32) - 2_208_988_800_i128;
        assert_eq!(since_1900(end - 1), u32::MAX);
        assert_eq!(since_1900(end), 0);
        assert_eq!(since_1900(-2_208_988_801), u32::MAX);
    }
}
