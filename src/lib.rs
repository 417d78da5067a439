//! The RFC small services, and a framework for your own: each process is trusted with one connection and nothing more.
//!
//! A super-server starts a program of this crate: systemd with `Accept=yes` or `Accept=no`, inetd, xinetd or tcpserver. The
//! program detects from its descriptors how it was started. It can also open its own sockets (`--listen`), or print on a terminal.
//! Before it reads from the network, it locks itself down: it keeps no capability, no access to files or other hosts, and only a
//! few system calls. A reply needs four.
//!
//! # A service
//!
//! This service tells each client its address. It is complete: the common options, log, limits and lock-down are included.
//!
//! ```
//! use std::convert::Infallible;
//! use std::net::SocketAddr;
//!
//! use small_services::{Answer, Behavior, Files, LineEnd, NoOptions, Run, Service};
//!
//! enum WhoAmI {}
//!
//! impl Service for WhoAmI {
//!     type Options = NoOptions;
//!     type Error = Infallible;
//!     const NAME: &'static str = "whoami";
//!     const ABOUT: &'static str = "Tells each client its address";
//!     const IDLE_TIMEOUT: u16 = 10; // seconds
//!
//!     fn prepare(_: &NoOptions, _: Run) -> Result<Behavior, Infallible> {
//!         Ok(Behavior::Answer(Box::new(Mirror)))
//!     }
//! }
//!
//! struct Mirror;
//!
//! impl Files for Mirror {}
//!
//! impl Answer for Mirror {
//!     fn limit(&self) -> usize { 80 } // maximum length of a request in octets
//!     fn longest(&self) -> usize { 80 } // maximum length of an answer in octets
//!
//!     fn answer(&mut self, _: &[u8], from: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>) {
//!         let text = from.map_or("a local client\n".to_owned(), |address| format!("{}\n", address.ip()));
//!         line_end.append(&text, octets);
//!     }
//! }
//! # /* a doctest has its own main
//! small_services::program!(WhoAmI); // in src/main.rs, below `#![no_main]`
//! # */
//! # let _: fn() -> ! = small_services::runtime::run::<WhoAmI>;
//! ```
//!
//! `examples/finger.rs` is a service with files, options and its own error. docs/your-own-service.md leads from `cargo new` to
//! `systemctl enable`.
//!
//! # The life of a connection
//!
//! ```text
//! arguments → how was I started? → prepare → lock down → serve → exit
//! ```
//!
//! [`runtime::run`] follows these steps from top to bottom. A [`Service`] prepares everything that needs the outside world, and
//! returns its [`Behavior`]. Each behavior has an [`engine`], which makes the system calls. Its policy is compiled with the
//! program and allows only these calls, with pinned arguments. A service that needs another call adds it in its [`Extra`]
//! rules.
//!
//! # Limits
//!
//! Programs require Linux 5.13 or newer on `x86_64` or `aarch64`, are statically linked, and have one thread. A service cannot
//! open a connection, write a file or start a program. No additional rule can change that: Landlock, the empty capability sets
//! and the units still forbid it.
#![warn(clippy::unwrap_used, clippy::expect_used)]

mod connections;
mod doctor;
pub mod engine;
mod executable;
pub mod file;
pub mod fortune;
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod internals;
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
pub mod services;
mod strfile;
mod sys;
pub mod tools;
#[doc(hidden)]
pub mod units;
mod zone;

pub use file::Readable;
pub use hunker::{Pin, Rule, Syscall};
pub use policy::{Extra, LIST};
pub use service::{Answer, Behavior, Files, LineEnd, NoOptions, Pattern, Reply, Run, Service, StreamOptions};

/// The `main` of a service's program.
///
/// It is C's `main`, not Rust's. Rust's runtime reads /proc/self/maps and sets up a signal stack, which takes a tenth of the
/// time of a process (`make bench`). It also hides closed descriptors by opening /dev/null on them.
#[macro_export]
macro_rules! program {
    ($service:ty) => {
        // Compiles the policies in `cargo check` too, which finds contradictory rules.
        const _: $crate::engine::Policies =
            $crate::engine::Policies::new(<$service as $crate::service::Service>::EXTRA);
        $crate::program!(run = $crate::runtime::run::<$service>);
    };
    (run = $run:path) => {
        // A loader makes system calls that the units forbid: the program would be killed before it could log why.
        #[cfg(not(any(target_feature = "crt-static", doc)))]
        ::core::compile_error!(
            "the programs must be statically linked, but RUSTFLAGS overrides the flags in .cargo/config.toml; build with \
             `make`, which adds them, or add `-C target-feature=+crt-static` to RUSTFLAGS"
        );

        #[allow(unsafe_code)] // the name is C's: nothing else in the program may have it
        #[unsafe(no_mangle)]
        extern "C" fn main() -> core::ffi::c_int {
            $run()
        }
    };
}
