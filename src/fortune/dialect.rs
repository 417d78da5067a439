//! The two sets of defaults and messages.

/// The defaults of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The service's: the built-in fortunes, as long as RFC 865 recommends.
    Service,
    /// fortune(6)'s: the host's fortunes that have an index, of any length; only ASCII if the character set of the locale or the
    /// terminal is not UTF-8.
    Fortune,
}
