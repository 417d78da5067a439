//! What lunchd uses of this crate, all of it. Hidden from the documentation: it promises nothing to anybody else.

pub use crate::connections::{ConnectionLog, Counts, Ended, Outcome, listed};
pub use crate::random::seeded;
pub use crate::runtime::arguments::Error as ArgumentsError;
pub use crate::sd_notify::Manager;

/// System calls that lunchd makes by this crate's code, or as this crate does.
pub mod rules {
    use hunker::Rule;

    use crate::engine::{daemon, shared};
    use crate::{file, fortune, sys};

    /// Of one process for all clients.
    pub const DAEMON: &[Rule] = &[
        shared::ACCEPT,
        daemon::CLOSE,
        daemon::BE_TOLD,
        daemon::TELL,
        sys::TELL_TIME,
        #[cfg(debug_assertions)]
        sys::CHECK_BEFORE_CLOSING,
    ];
    /// Of a file that is read again.
    pub const READ: &[Rule] = file::READ;
    /// Of directories whose files are read again, cookie files with an index among them.
    pub const WATCH: &[Rule] = &[file::LIST, fortune::READ_BY_INDEX];
}

/// Sockets by their names and addresses.
pub mod activation {
    pub use crate::engine::Kind;
    pub use crate::runtime::activation::hosts::{addresses, at_each};
    pub use crate::runtime::activation::listen::listening;
    pub use crate::runtime::activation::{Error, address, kind};
}

/// Files that are read again.
pub mod file {
    pub use crate::file::{Readable, directories_of, open_regular};
}

/// One process for all clients.
pub mod engine {
    pub use crate::engine::DaemonError;
    pub use crate::engine::buffers::Buffers;
    pub use crate::engine::daemon::is_of_the_socket;
    pub use crate::engine::descriptors::{keep_numbers, raise_descriptor_limit};
    pub use crate::engine::network::{NoSubnet, Subnet};
    pub use crate::engine::table::Table;
}

/// The process itself.
pub mod sys {
    pub use crate::sys::{allocate_by_brk, daemon_signals, exit, start, take_passed_sockets, take_signal};
}
