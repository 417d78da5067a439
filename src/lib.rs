//! The RFC small services, and the crate to write your own with: a service that nobody trusts with more than one connection.
//!
//! A program of this crate is started by a super-server: systemd with `Accept=yes` or `Accept=no`, inetd, xinetd or tcpserver.
//! Its descriptors tell how, so the same program also serves all clients by itself (`--listen`), and prints once on a
//! terminal. Before it reads one octet from the network, it locks itself down: no capability, no file, no other host, and
//! few system calls: a reply takes four.
//!
//! # A service
//!
//! This one tells each client its address. It is whole: options of all services, log, limits and the lock-down come with it.
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
//!     fn limit(&self) -> usize { 80 } // octets of a request, at most
//!     fn longest(&self) -> usize { 80 } // octets of an answer
//!
//!     fn answer(&mut self, _: &[u8], from: Option<SocketAddr>, line_end: LineEnd, octets: &mut Vec<u8>) {
//!         let text = from.map_or("a local client\n".to_owned(), |address| format!("{}\n", address.ip()));
//!         line_end.append(&text, octets);
//!     }
//! }
//! # /* the program's own main would be a second one
//! small_services::program!(WhoAmI); // in src/main.rs, below `#![no_main]`
//! # */
//! # let _: fn() -> ! = small_services::runtime::run::<WhoAmI>;
//! ```
//!
//! `examples/finger.rs` is one with files, options and an error of its own; docs/your-own-service.md goes from `cargo new` to
//! `systemctl enable`.
//!
//! # The life of a connection
//!
//! ```text
//! arguments → how was I started? → prepare → lock down → serve → exit
//! ```
//!
//! [`runtime::run`] reads like this from top to bottom. A [`Service`] prepares, with all that it needs from the outside world,
//! and says what is to be done: its [`Behavior`]. For each behavior there is an [`engine`], which makes the system calls; its
//! policy is compiled with the program and has these calls only, their arguments pinned. A service that needs another call
//! says so in its [`Extra`] rules.
//!
//! # Limits
//!
//! Linux 5.13 or newer, on `x86_64` or `aarch64`; programs are static. One thread. A service cannot open a connection, write a file
//! or start a program, and no rule that it adds gives these back: Landlock, the empty capability sets and the units stay.
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
/// C's, not Rust's: the runtime's start reads /proc/self/maps and sets up a stack for signals, which is a tenth of what a
/// process costs (`make bench`), and opens /dev/null where a descriptor is closed, which then cannot be told any more.
#[macro_export]
macro_rules! program {
    ($service:ty) => {
        // So that `cargo check` finds a rule that contradicts itself, too.
        const _: $crate::engine::Policies =
            $crate::engine::Policies::new(<$service as $crate::service::Service>::EXTRA);
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
