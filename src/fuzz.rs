//! What the fuzz targets read with: readers of files, variables and requests that are nobody else's business.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::net::SocketAddr;

use jiff::Timestamp;

use crate::fortune::IndexFile;
use crate::fortune::index::{Index, Version};
use crate::fortune::locale::languages_of;
use crate::fortune::search::{Kind, SearchPath};
use crate::fortune::{Source, parse_sources};
use crate::{doctor, log, protocol, sd_notify, strfile, zone};

/// `NOTIFY_SOCKET`.
///
/// # Errors
///
/// If it names no socket.
pub fn notify_socket(name: &OsStr) -> io::Result<SocketAddr> {
    sd_notify::address(name)
}

/// What operands stand for with a `FORTUNE_PATH`.
#[must_use]
pub fn collections(path: &OsStr, operands: &[OsString]) -> Option<Vec<Source>> {
    SearchPath::new(Some(path)).resolve(parse_sources(operands).ok()?, Kind::Both)
}

/// `LC_ALL`, `LANGUAGE`: the directories that locales may have.
#[must_use]
pub fn languages(locale: &str) -> Vec<String> {
    languages_of(locale)
}

/// `TZ`: whether it names a zone.
///
/// # Errors
///
/// The sentence for the log.
pub fn zone(name: &str) -> Result<(), String> {
    zone::named("TZ", name).map(drop).map_err(|error| error.to_string())
}

/// What a quoted name or variable looks like on the log.
#[must_use]
pub fn message(text: &str) -> String {
    log::one_line(text)
}

/// What `daytime` sends in a format, where `file` is the time zone's, at a second since 1970; `None` if it refuses to.
#[must_use]
pub fn daytime(file: &[u8], format: &str, second: i64) -> Option<String> {
    let zone = zone::parse(file).ok()?;
    protocol::daytime::line(format, zone, Timestamp::from_second(second).ok()?).ok()
}

/// What `doctor` shows of an answer of systemctl's or systemd-analyze's, or of a table in /proc/net.
#[must_use]
pub fn doctor(text: &str) -> String {
    doctor::understood(text)
}

/// What `strfile` writes for a cookie file.
///
/// # Errors
///
/// If it is none.
pub fn strfile(cookies: &File, delimiter: u8, ordered: bool, ignore_case: bool) -> io::Result<Vec<u8>> {
    strfile::index(cookies, delimiter, ordered, ignore_case)
}

/// What a look at a whole cookie file finds where only the header of its index is believed.
///
/// # Errors
///
/// If it is none.
pub fn scanned(mut cookies: &File, index: Index) -> io::Result<Index> {
    cookies.rewind()?;
    IndexFile::Valid(index).scan(cookies, Version::of(cookies)?.length)
}

#[cfg(feature = "web")]
pub use web::{Answers, certificate, proxied};

#[cfg(feature = "web")]
mod web {
    use std::future::Future;
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use hyper::body::{Body, Bytes};
    use hyper::{Request, Response};
    use tokio::io::{AsyncRead, ReadBuf};

    use crate::web::{Https, Scheme, Site, identity, lunch, proxy};

    /// `lunchd`'s answers to requests that never were on a network.
    pub struct Answers(Site);

    impl Answers {
        /// HTTP leads to HTTPS on this port, if it is served.
        #[must_use]
        pub fn new(https_port: Option<u16>) -> Option<Self> {
            let https = https_port.map(|port| Https { port, public_port: None, remembered: None });
            Some(Self(Site::new(lunch().ok()?, https)))
        }

        /// The answer over HTTPS, or else over HTTP.
        pub fn answer<B>(
            &self,
            https: bool,
            request: &Request<B>,
        ) -> Response<impl Body<Data = Bytes> + Unpin + use<B>> {
            self.0.answer(if https { Scheme::Https } else { Scheme::Http }, request, true)
        }
    }

    /// What a balancer says of its client, and what follows it. Octets come in pieces of this length at the most.
    ///
    /// # Errors
    ///
    /// If it says nothing of the kind.
    pub fn proxied(octets: &[u8], piece: usize) -> io::Result<(Option<SocketAddr>, &[u8])> {
        let mut stream = Pieces { octets, piece };
        let polled = pin!(proxy::header(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(client) = polled else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        Ok((client?, stream.octets))
    }

    /// What comes from a network, and is all there.
    struct Pieces<'a> {
        octets: &'a [u8],
        piece: usize,
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let length = buffer.remaining().min(self.piece).min(self.octets.len());
            let (piece, rest) = self.octets.split_at(length);
            buffer.put_slice(piece);
            self.octets = rest;
            Poll::Ready(Ok(()))
        }
    }

    /// Reads `lunchd`'s certificate and key.
    ///
    /// # Errors
    ///
    /// The sentence for the log.
    pub fn certificate(certificate: &Path, key: &Path) -> Result<(), String> {
        identity(certificate, key).map_err(|error| error.to_string())
    }
}
