//! The RFC small services, one sandboxed process per connection.
//!
//! The life of one connection is [`run`], from top to bottom:
//!
//! ```text
//! arguments → how was I started? → prepare → lock down → serve → exit
//! ```
#![warn(clippy::unwrap_used, clippy::expect_used)]

#[doc(hidden)]
pub mod audit;
mod doctor;
pub mod engine;
mod file;
pub mod fortune;
#[doc(hidden)]
pub mod fuzz;
pub mod log;
#[doc(hidden)]
pub mod numbers;
#[doc(hidden)]
pub mod policy;
pub mod protocol;
mod random;
pub mod runtime;
mod sd_notify;
pub mod service;
mod strfile;
mod sys;
pub mod tools;
#[cfg(feature = "web")]
pub mod web;
mod zone;

/// The `main` of a service's program.
///
/// C's, not Rust's: the runtime's start reads /proc/self/maps and sets up a stack for signals, which is a tenth of what a
/// process costs (`make bench`), and opens /dev/null where a descriptor is closed, which then cannot be told any more.
#[macro_export]
macro_rules! program {
    ($service:ty) => {
        // So that `cargo check` finds a rule that contradicts itself, too.
        const _: $crate::policy::Policies =
            $crate::policy::Policies::new(&<$service as $crate::service::Service>::RULES);
        $crate::program!(run = $crate::runtime::run::<$service>);
    };
    (run = $run:path) => {
        // A loader makes system calls that the units do not allow: the program would be killed before it could say why.
        #[cfg(not(any(target_feature = "crt-static", doc)))]
        ::core::compile_error!(
            "the programs have to be static, and RUSTFLAGS has taken the place of the flags in .cargo/config.toml: build with \
             `make`, which adds them, or add `-C target-feature=+crt-static` to RUSTFLAGS"
        );

        #[allow(unsafe_code)] // the name is C's: nothing else in the program may have it
        #[unsafe(no_mangle)]
        extern "C" fn main() -> core::ffi::c_int {
            $run()
        }
    };
}
