//! What a request is answered with. No sockets here: a request in, a response out.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::str::FromStr;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::body::{Body, Room};
use super::sockets::Scheme;
use super::{accept, authority, page};
use crate::fortune::Fortunes;

/// The most header fields of a request; beyond that, the answer is 431.
pub(super) const MOST_FIELDS: usize = 64;

/// Everything that can be asked for.
pub(crate) struct Site {
    fortunes: RefCell<Fortunes>,
    /// Where HTTPS is, if it is anywhere: then HTTP leads there.
    https: Option<Https>,
    room: Room,
}

/// Where clients find HTTPS, and what they are to remember of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Https {
    /// The port that it is served on.
    pub(crate) port: u16,
    /// The port that clients find it on, where somebody said so.
    pub(crate) public_port: Option<u16>,
    /// What was asked for.
    pub(crate) remembered: Option<Remembered>,
}

impl Https {
    /// The port that a client is led to, which named one itself or did not. One that named none came by port 80, whatever
    /// the port is here, and goes on by 443.
    fn port_for(self, names_port: bool) -> u16 {
        self.public_port.unwrap_or(if names_port { self.port } else { 443 })
    }

    /// What `Strict-Transport-Security` says. It is for the host as a whole, whatever the port (RFC 6797): without being asked
    /// for it is said only where the whole host's web is here.
    fn strict(self) -> Option<String> {
        let default =
            if self.public_port.unwrap_or(self.port) == 443 { Remembered::For(YEAR) } else { Remembered::Off };
        match self.remembered.unwrap_or(default) {
            Remembered::For(seconds) => Some(format!("max-age={seconds}")),
            Remembered::Off => None,
        }
    }
}

/// For how long a browser remembers to come by HTTPS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// So many seconds.
    For(u32),
    /// It is not told.
    Off,
}

impl FromStr for Remembered {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            seconds => seconds.parse().map(Self::For).map_err(|_| "write a number of seconds, or `off`"),
        }
    }
}

/// What every answer carries: nothing from elsewhere is loaded, run or framed, and nothing is kept but the style.
const ALWAYS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];
/// In seconds.
const YEAR: u32 = 31_536_000;
const TEXT: &str = "text/plain; charset=utf-8";

type Reply = Response<Bytes>;

impl Site {
    pub(crate) fn new(fortunes: Fortunes, https: Option<Https>) -> Self {
        Self { fortunes: RefCell::new(fortunes), https, room: Room::new() }
    }

    /// Reads the fortunes again, if they are from files.
    pub(super) fn reload(&self) {
        self.fortunes.borrow_mut().reload();
    }

    /// Answers a request that came over `scheme`: with 503 if there is no room for the answer.
    pub(crate) fn answer<B>(&self, scheme: Scheme, request: &Request<B>) -> Response<Body> {
        let (head, mut octets) = self.resource(scheme, request).into_parts();
        if request.method() == Method::HEAD {
            octets.clear();
        }
        let mut reply = match self.room.hold(octets) {
            Some(body) => Response::from_parts(head, body),
            None => busy(),
        };
        let headers = reply.headers_mut();
        for (name, value) in ALWAYS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        let strict = self.https.filter(|_| scheme == Scheme::Https).and_then(Https::strict);
        if let Some(Ok(strict)) = strict.map(HeaderValue::try_from) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, strict);
        }
        reply
    }

    fn resource<B>(&self, scheme: Scheme, request: &Request<B>) -> Reply {
        if request.headers().len() > MOST_FIELDS {
            return plain(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request has too many header fields; send no more than 64.\n",
            );
        }
        let path = request.uri().path();
        if path.is_empty() {
            return plain(StatusCode::BAD_REQUEST, "The request is for no path.\n"); // CONNECT, or a host alone
        }
        let host = match host(request) {
            Ok(host) => host,
            Err(reason) => return plain(StatusCode::BAD_REQUEST, reason),
        };
        if !is_encoded(path) || !is_encoded(request.uri().query().unwrap_or_default()) {
            return plain(StatusCode::BAD_REQUEST, "In the address, % has to be followed by two hexadecimal digits.\n");
        }
        if let (Scheme::Http, Some(https)) = (scheme, self.https) {
            return redirect(host, https, request);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are served here.\n");
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        match path {
            "/" => self.fortune(request),
            "/style.css" => {
                let mut reply = complete(StatusCode::OK, "text/css; charset=utf-8", page::STYLE);
                reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
                reply
            }
            _ => plain(StatusCode::NOT_FOUND, "There is nothing here; try / instead.\n"),
        }
    }

    fn fortune<B>(&self, request: &Request<B>) -> Reply {
        let mut reply = match accept::wanted(request.headers()) {
            Some(form) => {
                let (media, body) = page::rendered(&self.fortunes.borrow_mut().choose().text, form);
                complete(StatusCode::OK, media, body)
            }
            None => plain(
                StatusCode::NOT_ACCEPTABLE,
                "This comes as text/html, text/plain or application/json; ask for one of them with Accept.\n",
            ),
        };
        reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        reply
    }
}

/// The host that the client asked for; `None` if it did not have to say (HTTP/1.0).
fn host<B>(request: &Request<B>) -> Result<Option<&str>, &'static str> {
    const INVALID: &str = "The request's host is not a valid one.\n";
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(one), None) => Some(one.to_str().ok().and_then(authority::host).ok_or(INVALID)?),
        (Some(_), Some(_)) => return Err("The request has more than one Host.\n"),
    };
    // The request's own authority goes before the field (RFC 9112, section 3.2.2).
    let own = request.uri().authority().map(|own| authority::host(own.as_str()).ok_or(INVALID)).transpose()?;
    // HTTP/2 has no need of the field.
    let had = if request.version() == Version::HTTP_11 { field } else { own.or(field) };
    match own.or(field) {
        _ if had.is_none() && request.version() > Version::HTTP_10 => Err("The request has no Host.\n"),
        host => Ok(host),
    }
}

/// Whether the client says on which port it found this.
fn names_port<B>(request: &Request<B>) -> bool {
    let field = || request.headers().get(header::HOST).and_then(|field| field.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str).or_else(field);
    authority.and_then(authority::port).is_some()
}

/// Leads to the same address over HTTPS.
fn redirect<B>(host: Option<&str>, https: Https, request: &Request<B>) -> Reply {
    let Some(host) = host else {
        return plain(StatusCode::BAD_REQUEST, "The request has no Host.\n");
    };
    let mut location = format!("https://{host}");
    let port = https.port_for(names_port(request));
    if port != 443 {
        let _ = write!(location, ":{port}");
    }
    // `*` and the authority alone (OPTIONS, CONNECT) are no paths.
    let path = request.uri().path();
    location.push_str(&if path.starts_with('/') { as_uri(path) } else { "/".to_owned() });
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(&as_uri(query));
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return plain(StatusCode::BAD_REQUEST, "The address is not a valid one.\n");
    };
    // Every client knows 301; but from a POST it makes a GET (RFC 9110, section 15.4.2), and what is asked here is to be asked
    // there as well.
    let keeps = [Method::GET, Method::HEAD].contains(request.method());
    let status = if keeps { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    let mut reply = plain(status, "This is served over https.\n");
    reply.headers_mut().insert(header::LOCATION, location);
    reply
}

/// Whether each `%` begins an octet (RFC 3986, section 2.1).
fn is_encoded(part: &str) -> bool {
    part.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()))
}

/// What clients send and RFC 3986 does not allow in a path or query, percent-encoded; what is encoded stays as it is.
fn as_uri(part: &str) -> String {
    let mut uri = String::with_capacity(part.len());
    for &octet in part.as_bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&octet) {
            uri.push(octet.into());
        } else {
            let _ = write!(uri, "%{octet:02X}");
        }
    }
    uri
}

/// For whoever comes while all room for answers is taken.
fn busy() -> Response<Body> {
    let text = "Too much is on its way to others; try again in a moment.\n";
    let mut reply = plain(StatusCode::SERVICE_UNAVAILABLE, text).map(|_| Body::of(text));
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    complete(status, TEXT, text)
}

fn complete(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // Said here, so that HEAD says it too.
    let length = reply.body().len();
    reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    reply
}
