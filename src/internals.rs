//! Everything that lunchd uses of this crate. Hidden from the documentation, without any promise of stability.

pub use crate::connections::{ConnectionLog, Counts, Ended, Outcome, listed};
pub use crate::random::seeded;
pub use crate::runtime::arguments::Error as ArgumentsError;
pub use crate::sd_notify::Manager;

/// Rules for the system calls that lunchd makes in this crate's code, or in the same way.
pub mod rules {
    use hunker::Rule;

    use crate::engine::{daemon, shared};
    use crate::{file, fortune, sys};

    /// Calls of a daemon.
    pub const DAEMON: &[Rule] = &[
        shared::ACCEPT,
        daemon::CLOSE,
        daemon::READ_SIGNALS,
        daemon::NOTIFY,
        sys::READ_CLOCK,
        #[cfg(debug_assertions)]
        sys::CHECK_BEFORE_CLOSING,
    ];
    /// Calls that reload a file.
    pub const READ: &[Rule] = file::READ;
    /// Calls that reload the files of a directory, including cookie files with an index.
    pub const WATCH: &[Rule] = &[file::LIST, fortune::READ_BY_INDEX];
}

/// Sockets: their names and addresses.
pub mod activation {
    pub use crate::engine::Kind;
    pub use crate::runtime::activation::hosts::{addresses, at_each};
    pub use crate::runtime::activation::listen::{advice, listening};
    pub use crate::runtime::activation::{Error, address, kind};
}

/// Files that are reloaded.
pub mod file {
    pub use crate::file::{Readable, directories_of, open_regular};
}

/// Parts of a daemon.
pub mod engine {
    pub use crate::engine::DaemonError;
    pub use crate::engine::buffers::Buffers;
    pub use crate::engine::descriptors::{keep_numbers, raise_descriptor_limit};
    pub use crate::engine::network::{NoSubnet, Subnet};
    pub use crate::engine::sockets::{is_of_the_socket, remedy};
    pub use crate::engine::table::Table;
}

/// Calls that concern the process itself.
pub mod sys {
    pub use crate::sys::{allocate_by_brk, daemon_signals, exit, start, take_passed_sockets, take_signal};
}
