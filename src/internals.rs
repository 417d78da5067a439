//! What lunchd uses of this crate, all of it. Hidden from the documentation: it promises nothing to anybody else.

pub use crate::arguments::Error as ArgumentsError;
pub use crate::manager::Manager;
pub use crate::random::seeded;

/// System calls that lunchd makes by this crate's code, or as this crate does.
pub mod rules {
    use hunker::Rule;

    use crate::serve::daemon;
    use crate::{file, fortune};

    /// Of one process for all clients.
    pub const DAEMON: &[Rule] = &[
        daemon::ACCEPT,
        daemon::CLOSE,
        daemon::BE_TOLD,
        daemon::TELL,
        daemon::TELL_TIME,
        #[cfg(debug_assertions)]
        daemon::CHECK_BEFORE_CLOSING,
    ];
    /// Of a file that is read again.
    pub const READ: &[Rule] = file::READ;
    /// Of a directory whose files are read again.
    pub const LIST: &[Rule] = file::LIST;
    /// Of a cookie file with an index.
    pub const READ_BY_INDEX: &[Rule] = fortune::READ_BY_INDEX;
}

/// Sockets by their names and addresses.
pub mod activation {
    pub use crate::activation::hosts::{addresses, at_each};
    pub use crate::activation::listen::listening;
    pub use crate::activation::{Error, Kind, address, kind};
}

/// Files that are read again.
pub mod file {
    pub use crate::file::{Readable, directories_of, open_regular};
}

/// One process for all clients.
pub mod serve {
    pub use crate::serve::DaemonError;
    pub use crate::serve::buffers::Buffers;
    pub use crate::serve::descriptors::{keep_numbers, raise_descriptor_limit};
    pub use crate::serve::network::{mapped, mask};
    pub use crate::serve::table::Table;
}

/// The process itself.
pub mod sys {
    pub use crate::sys::{allocate_by_brk, daemon_signals, exit, start, take_passed_sockets};
}
