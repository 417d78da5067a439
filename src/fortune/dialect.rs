//! Which program's defaults and words hold.

/// What holds where the options say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The service's: the built-in fortunes, as long as RFC 865 recommends.
    Service,
    /// fortune(6)'s: the host's fortunes that have an index, of any length, and ASCII only where the locale or the terminal has
    /// another character set than UTF-8.
    Fortune,
}
