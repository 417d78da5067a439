//! Clients that check every octet of a reply.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Only a hang ever reaches it.
const HUNG: Duration = Duration::from_secs(60);

/// The text for systat.
pub const TEXT: &str = "nobody is here\nbut for a machine\n";

/// A whole connection: returns what was wrong, if anything.
pub fn talk(service: &str, mut client: TcpStream) -> Result<(), String> {
    let io = |error: std::io::Error| format!("{service}: {error}");
    client.set_read_timeout(Some(HUNG)).map_err(io)?;
    client.set_write_timeout(Some(HUNG)).map_err(io)?;
    let octets = noise(50_000);
    let mut got = Vec::new();
    match service {
        "echo" | "discard" => {
            let mut other = client.try_clone().map_err(io)?;
            let sent = octets.clone();
            let sender =
                std::thread::spawn(move || other.write_all(&sent).and_then(|()| other.shutdown(Shutdown::Write)));
            client.read_to_end(&mut got).map_err(io)?;
            sender.join().expect("no panic").map_err(io)?;
            let expected = if service == "echo" { octets } else { Vec::new() };
            return if got == expected { Ok(()) } else { Err(format!("{service}: {} other octets", got.len())) };
        }
        "chargen" => client.take(2 * 95 * 74).read_to_end(&mut got).map_err(io)?,
        "lunchd" => {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").map_err(io)?;
            client.read_to_end(&mut got).map_err(io)?
        }
        // It must also reply in order to a client that sends first.
        _ => {
            client.write_all(&octets[..100]).map_err(io)?;
            client.read_to_end(&mut got).map_err(io)?
        }
    };
    is_reply(service, &got, "\r\n")
}

/// A datagram and its answer, if there is one.
pub fn datagram(service: &str, port: u16) -> Result<(), String> {
    let io = |error: std::io::Error| format!("{service}, by a datagram: {error}");
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    socket.set_read_timeout(Some(HUNG)).map_err(io)?;
    socket.connect(("127.0.0.1", port)).map_err(io)?;
    let octets = noise(400);
    socket.send(&octets).map_err(io)?;
    let mut got = [0; 2048];
    match service {
        "discard" => return Ok(()),
        "echo" => {
            let length = socket.recv(&mut got).map_err(io)?;
            return if got[..length] == octets { Ok(()) } else { Err("echo: another datagram".to_owned()) };
        }
        _ => {}
    }
    let length = socket.recv(&mut got).map_err(io)?;
    if service == "chargen" {
        return if length <= 512 { Ok(()) } else { Err(format!("chargen: a datagram of {length}")) };
    }
    is_reply(service, &got[..length], "\r\n")
}

/// Whether this is a complete reply, with these line ends.
pub fn is_reply(service: &str, got: &[u8], line_end: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(got);
    let printing = text.replace(line_end, "").chars().all(|it| it == ' ' || it.is_ascii_graphic());
    let good = match service {
        "qotd" => text.ends_with(line_end) && printing && got.len() < 512 && got.len() > line_end.len(),
        "daytime" => text.ends_with(line_end) && printing && got.len() == 24 + line_end.len(),
        "systat" => text == TEXT.replace('\n', line_end),
        "time" => <[u8; 4]>::try_from(got).is_ok_and(|it| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 2_208_988_800;
            now.abs_diff(u32::from_be_bytes(it).into()) < 600
        }),
        "chargen" => {
            let line = |first: u8| (b' '..=b'~').cycle().skip(usize::from(first)).take(72);
            let expected = (0..95).cycle().flat_map(|first| line(first).chain(line_end.bytes()));
            !got.is_empty() && expected.take(got.len()).eq(got.iter().copied())
        }
        "lunchd" => {
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            text.starts_with("HTTP/1.1 200 ") && body.ends_with('\n') && text.contains("\r\nconnection: close\r\n")
        }
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("{service}: {text:?}")) }
}

/// Octets without a pattern.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
