//! `--listen`: the smallest super-server, for trying a service out. It reads nothing from the network itself: each
//! connection gets a process of its own, which starts as it would under inetd.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use crate::report;

/// How many connections are served at once; the next one waits.
const MOST_AT_ONCE: usize = 32;

/// Why listening is not possible.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose an address of this host and a free port above 1023")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The program cannot start itself.
    #[error("cannot start a process for a connection: {0}; check that /proc is mounted")]
    Start(io::Error),
}

/// Listens on `address` for as long as the program runs, with one process a connection.
///
/// # Errors
///
/// When the address cannot be had, or no process can be started.
pub fn listen(address: SocketAddr) -> Result<Infallible, Error> {
    let bound = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|source| Error::Bind { address, source })?;
    let program = env::current_exe().map_err(Error::Start)?;
    report::notice(&format!(
        "serving on {address}; try `nc {} {}` in another terminal; Ctrl-C ends it",
        address.ip(),
        address.port()
    ));
    let mut children: VecDeque<Child> = VecDeque::new();
    loop {
        let connection = match listener.accept() {
            Ok((connection, _)) => connection,
            // A client that is gone again, or no descriptor left: nothing that the next connection could not mend.
            Err(error) => {
                report::warning(&format!("cannot accept a connection: {error}"));
                thread::yield_now();
                continue;
            }
        };
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if children.len() == MOST_AT_ONCE
            && let Some(mut oldest) = children.pop_front()
        {
            let _ = oldest.wait();
        }
        children.push_back(start(&program, connection).map_err(Error::Start)?);
    }
}

/// Starts this program again, with the same arguments and the connection as its descriptors 0 and 1.
fn start(program: &std::path::Path, connection: TcpStream) -> io::Result<Child> {
    let input = OwnedFd::from(connection);
    let output = input.try_clone()?;
    Command::new(program).args(env::args_os().skip(1)).stdin(Stdio::from(input)).stdout(Stdio::from(output)).spawn()
}
