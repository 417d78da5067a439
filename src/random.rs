//! Random numbers.

use std::io;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::rand::{GetRandomFlags, getrandom};

/// A generator with a seed from the kernel, drawn before the lock-down. Which fortune is next hangs on it and nothing that
/// anybody must not guess, so a small one will do.
///
/// # Errors
///
/// What the kernel says.
pub fn seeded() -> io::Result<SmallRng> {
    let mut seed = <SmallRng as SeedableRng>::Seed::default();
    getrandom(&mut seed, GetRandomFlags::empty())?;
    Ok(SmallRng::from_seed(seed))
}
