//! Entry points of the fuzz targets: requests, certificates and PROXY headers.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{Https, Scheme, Site, identity, lunch, proxy};

/// `lunchd`'s answers to requests, without a network.
pub struct Answers(Site);

impl Answers {
    /// With a port, HTTP redirects to HTTPS on it.
    #[must_use]
    pub fn new(https_port: Option<u16>) -> Option<Self> {
        let https = https_port.map(|port| Https { port, public_port: None, hsts: None });
        Some(Self(Site::new(lunch().ok()?, https)))
    }

    /// The answer over HTTPS or HTTP.
    pub fn answer<B>(&self, https: bool, request: &Request<B>) -> Response<impl Body<Data = Bytes> + Unpin + use<B>> {
        self.0.answer(if https { Scheme::Https } else { Scheme::Http }, request, true)
    }
}

/// The client that a PROXY header names, and the octets after the header. They arrive in pieces of at most `piece` octets.
///
/// # Errors
///
/// If the octets are not such a header.
pub fn proxied(octets: &[u8], piece: usize) -> io::Result<(Option<SocketAddr>, &[u8])> {
    let mut stream = Pieces { octets, piece };
    let polled = pin!(proxy::header(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(client) = polled else {
        return Err(io::ErrorKind::WouldBlock.into());
    };
    Ok((client?, stream.octets))
}

/// A stream whose data is all available, in pieces.
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
