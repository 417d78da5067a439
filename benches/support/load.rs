//! How clients connect. Two loads, since a server may be fast with one kind of client and slow with another.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::time::{ClockId, clock_gettime};

use super::{Result, as_f64, connect_and_read, micros, percentile, rate_and_p99};

/// Concurrent clients.
pub const AT_ONCE: usize = 32;
const SOURCES: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A thread for each: it connects, waits in read(2) for the end, closes, and starts again.
    Threads,
    /// One thread for all, with an event loop, from 200 addresses: each connection is closed as soon as its reply has ended.
    Loop,
}

/// The results of a load: clients a second, the 99th percentile of their waiting time in microseconds, and the clients' own
/// processor time.
pub struct Taken {
    pub rate: f64,
    pub p99: f64,
    pub processor: Duration,
}

impl Load {
    pub const ALL: [Self; 2] = [Self::Threads, Self::Loop];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Threads => "32 clients that wait",
            Self::Loop => "32 clients of an event loop",
        }
    }

    /// This many clients. Each sends `first`, if it is not empty, before it reads.
    pub fn run(self, count: usize, address: SocketAddr, first: &[u8]) -> Result<Taken> {
        let before = processor_time();
        let (rate, p99) = match self {
            Self::Threads => rate_and_p99(AT_ONCE, count, |_| connect_and_read(address, first))?,
            Self::Loop => one_loop(count, address, first)?,
        };
        Ok(Taken { rate, p99, processor: processor_time().saturating_sub(before) })
    }
}

/// Of this process, with all its threads so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// A connection in progress.
struct Client {
    connection: TcpStream,
    begun: Instant,
    length: usize,
}

fn begin(number: usize, address: SocketAddr) -> io::Result<Client> {
    let begun = Instant::now();
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    let last = u8::try_from(number % SOURCES).unwrap_or(0) + 1;
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 1, 0, last), 0)))?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(Client { connection: socket.into(), begun, length: 0 }),
        Err(error) => Err(error.into()),
    }
}

fn one_loop(count: usize, address: SocketAddr, first: &[u8]) -> Result<(f64, f64)> {
    let wait = Timespec { tv_sec: 60, tv_nsec: 0 };
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut clients: Vec<Option<Client>> = (0..AT_ONCE).map(|_| None).collect();
    let (mut begun, mut times) = (0, Vec::with_capacity(count));
    let mut start_next = |place: usize, clients: &mut [Option<Client>]| -> Result<()> {
        if begun < count {
            let client = begin(begun, address)?;
            let interest = if first.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            epoll::add(&epoll, &client.connection, EventData::new_u64(u64::try_from(place)?), interest)?;
            clients[place] = Some(client);
            begun += 1;
        }
        Ok(())
    };
    let start = Instant::now();
    (0..AT_ONCE).try_for_each(|place| start_next(place, &mut clients))?;
    let mut events = Vec::with_capacity(AT_ONCE);
    let mut reply = [0; 1024];
    while times.len() < count {
        events.clear();
        if epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))? == 0 {
            return Err("connections without an end".into());
        }
        for &epoll::Event { flags, data } in &events {
            let place = usize::try_from(data.u64())?;
            let Some(client) = clients[place].as_mut() else { continue };
            if flags.contains(EventFlags::OUT) {
                io::Write::write_all(&mut client.connection, first)?;
                epoll::modify(&epoll, &client.connection, data, EventFlags::IN)?;
            }
            loop {
                match client.connection.read(&mut reply) {
                    Ok(0) if client.length == 0 => return Err("a connection without a reply".into()),
                    Ok(0) => {
                        times.push(micros(client.begun.elapsed()));
                        clients[place] = None; // closes it
                        start_next(place, &mut clients)?;
                        break;
                    }
                    Ok(length) => client.length += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok((as_f64(count) / start.elapsed().as_secs_f64(), percentile(&times, 99)))
}
