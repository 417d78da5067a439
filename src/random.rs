//! Random numbers.

use std::io;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::rand::{GetRandomFlags, getrandom};

/// A generator with a seed from the kernel, drawn before the lock-down. It is not for secrets: only the choice of fortunes
/// depends on it.
///
/// # Errors
///
/// The kernel's.
pub fn seeded() -> io::Result<SmallRng> {
    let mut seed = <SmallRng as SeedableRng>::Seed::default();
    getrandom(&mut seed, GetRandomFlags::empty())?;
    Ok(SmallRng::from_seed(seed))
}
