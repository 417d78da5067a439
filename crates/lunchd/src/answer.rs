//! Answers to requests. This file knows no sockets: it takes a request and returns a response.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::str::FromStr;

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::body::{Body, Budget};
use super::sockets::Scheme;
use super::{authority, negotiate, page};
use small_services::fortune::Fortunes;

/// The maximum number of header fields of a request. More are answered with 431.
pub(super) const MAX_FIELDS: usize = 64;

/// Everything that clients can request.
pub(crate) struct Site {
    fortunes: RefCell<Fortunes>,
    /// Where HTTPS is served, if it is: then HTTP redirects there.
    https: Option<Https>,
    budget: Budget,
}

/// Where clients find HTTPS, and the HSTS option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Https {
    /// The port that it is served on.
    pub(crate) port: u16,
    /// The port that clients use, from `--https-port`.
    pub(crate) public_port: Option<u16>,
    /// The value of `--hsts`.
    pub(crate) hsts: Option<Hsts>,
}

impl Https {
    /// The port to which a client is redirected. A client that named no port used port 80, whatever the port is here, and is
    /// redirected to 443.
    fn port_for(self, names_port: bool) -> u16 {
        self.public_port.unwrap_or(if names_port { self.port } else { 443 })
    }

    /// The value of `Strict-Transport-Security`. It applies to all ports of the host (RFC 6797), so by default it is sent only if
    /// HTTPS is on port 443.
    fn strict(self) -> Option<String> {
        let default = if self.public_port.unwrap_or(self.port) == 443 { Hsts::For(YEAR) } else { Hsts::Off };
        match self.hsts.unwrap_or(default) {
            Hsts::For(seconds) => Some(format!("max-age={seconds}")),
            Hsts::Off => None,
        }
    }
}

/// How long a browser remembers to use only HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hsts {
    /// This number of seconds.
    For(u32),
    /// The header is not sent.
    Off,
}

impl FromStr for Hsts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            seconds => seconds.parse().map(Self::For).map_err(|_| "write a number of seconds, or `off`"),
        }
    }
}

/// The headers of every answer: nothing from elsewhere is loaded, run or framed, and only the style sheet is cached.
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
        Self { fortunes: RefCell::new(fortunes), https, budget: Budget::new() }
    }

    /// Rereads the fortunes if they are from files.
    pub(super) fn reload(&self) {
        self.fortunes.borrow_mut().reload();
    }

    /// Answers a request that arrived over `scheme`: with 503 if the budget for answers is exhausted, and with 505 if its version of
    /// HTTP is not supported.
    pub(crate) fn answer<B>(&self, scheme: Scheme, request: &Request<B>, version_is_served: bool) -> Response<Body> {
        let resource = if version_is_served { self.resource(scheme, request) } else { other_version() };
        let (head, mut octets) = resource.into_parts();
        if request.method() == Method::HEAD {
            octets.clear();
        }
        let mut reply = match self.budget.hold(octets) {
            Some(body) => Response::from_parts(head, body),
            None => busy(),
        };
        let headers = reply.headers_mut();
        protect(headers);
        let strict = self.https.filter(|_| scheme == Scheme::Https).and_then(Https::strict);
        if let Some(Ok(strict)) = strict.map(HeaderValue::try_from) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, strict);
        }
        reply
    }

    fn resource<B>(&self, scheme: Scheme, request: &Request<B>) -> Reply {
        if fields(request) > MAX_FIELDS {
            return plain(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request has too many header fields; send at most 64.\n",
            );
        }
        let host = match well_formed(request).and_then(|()| host(scheme, request)) {
            Ok(host) => host,
            Err(reason) => return plain(StatusCode::BAD_REQUEST, reason),
        };
        // The request is for another port, or came through a proxy that did not check it (RFC 9110, section 7.4).
        if request.uri().scheme_str().is_some_and(|other| !other.eq_ignore_ascii_case(&scheme.to_string())) {
            return plain(StatusCode::MISDIRECTED_REQUEST, "The address has a scheme that is not served here.\n");
        }
        let path = request.uri().path();
        if !is_encoded(path) || !is_encoded(request.uri().query().unwrap_or_default()) {
            return plain(StatusCode::BAD_REQUEST, "In the address, % must be followed by two hexadecimal digits.\n");
        }
        if let (Scheme::Http, Some(https), false) = (scheme, self.https, *request.method() == Method::CONNECT) {
            return redirect(host, https, request);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are supported.\n");
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
        let mut reply = match negotiate::wanted(request.headers()) {
            Some(form) => {
                let (media, body) = page::rendered(self.fortunes.borrow_mut().choose().text, form);
                complete(StatusCode::OK, media, body)
            }
            None => plain(
                StatusCode::NOT_ACCEPTABLE,
                "Available as text/html, text/plain or application/json; request one of them with Accept.\n",
            ),
        };
        reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        reply
    }
}

/// Adds the headers of every answer that are not set yet.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The number of header fields. HTTP/2 may split Cookie into several fields, which count as one (RFC 9113, section 8.2.3).
fn fields<B>(request: &Request<B>) -> usize {
    let crumbs = request.headers().get_all(header::COOKIE).iter().count();
    let same = if request.version() == Version::HTTP_2 { crumbs.saturating_sub(1) } else { 0 };
    request.headers().len() - same
}

/// Checks what the HTTP parsers do not check.
fn well_formed<B>(request: &Request<B>) -> Result<(), &'static str> {
    // RFC 9113, section 8.2.1.
    let padded = |value: &HeaderValue| [value.as_bytes().first(), value.as_bytes().last()].map(is_blank) != [false; 2];
    if request.version() == Version::HTTP_2 && request.headers().values().any(padded) {
        return Err("A header field's value begins or ends with white space.\n");
    }
    let uri = request.uri();
    match (request.method(), uri.path()) {
        // Only a host and a port (RFC 9110, section 9.3.6).
        (&Method::CONNECT, "") if uri.scheme().is_none() && uri.port_u16().is_some() => Ok(()),
        (&Method::CONNECT, _) => Err("CONNECT requires a host and a port.\n"),
        // RFC 9110, section 7.1.
        (&Method::OPTIONS, "*") => Ok(()),
        (_, "*") => Err("Only OPTIONS may request *.\n"),
        (_, "") => Err("The request has no path.\n"),
        _ => Ok(()),
    }
}

fn is_blank(octet: Option<&u8>) -> bool {
    matches!(octet, Some(b' ' | b'\t'))
}

/// The host that the client requested; `None` if it did not need to name one (HTTP/1.0).
fn host<B>(scheme: Scheme, request: &Request<B>) -> Result<Option<&str>, &'static str> {
    const INVALID: &str = "The request's host is invalid.\n";
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) => None,
        (Some(one), None) => Some(one.to_str().ok().and_then(authority::host).ok_or(INVALID)?),
        (Some(_), Some(_)) => return Err("The request has more than one Host.\n"),
    };
    // The authority in the request target overrides the field (RFC 9112, section 3.2.2).
    let own = request.uri().authority();
    // In HTTP/2 both must be the same if both are present (RFC 9113, section 8.3.1).
    if let (Version::HTTP_2, Some(own), Some(field)) = (request.version(), own, request.headers().get(header::HOST)) {
        let default = if scheme == Scheme::Https { 443 } else { 80 };
        if !field.to_str().is_ok_and(|field| authority::same(own.as_str(), field, default)) {
            return Err("The request's :authority and Host differ.\n");
        }
    }
    let own = own.map(|own| authority::host(own.as_str()).ok_or(INVALID)).transpose()?;
    // HTTP/2 does not require the field.
    let had = if request.version() == Version::HTTP_11 { field } else { own.or(field) };
    match own.or(field) {
        _ if had.is_none() && request.version() > Version::HTTP_10 => Err("The request has no Host.\n"),
        host => Ok(host),
    }
}

/// Whether the request names a port.
fn names_port<B>(request: &Request<B>) -> bool {
    let field = || request.headers().get(header::HOST).and_then(|field| field.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str).or_else(field);
    authority.and_then(authority::port).is_some()
}

/// Redirects to the same address over HTTPS.
fn redirect<B>(host: Option<&str>, https: Https, request: &Request<B>) -> Reply {
    let Some(host) = host else {
        return plain(StatusCode::BAD_REQUEST, "The request has no Host.\n");
    };
    let mut location = format!("https://{host}");
    let port = https.port_for(names_port(request));
    if port != 443 {
        let _ = write!(location, ":{port}");
    }
    // `*` (OPTIONS) is not a path.
    let path = request.uri().path();
    location.push_str(&if path.starts_with('/') { as_uri(path) } else { "/".to_owned() });
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(&as_uri(query));
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return plain(StatusCode::BAD_REQUEST, "The address is invalid.\n");
    };
    // Every client knows 301, but may then turn POST into GET (RFC 9110, section 15.4.2). 308 keeps the method.
    let keeps = [Method::GET, Method::HEAD].contains(request.method());
    let status = if keeps { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    let mut reply = plain(status, "This is served over https.\n");
    reply.headers_mut().insert(header::LOCATION, location);
    reply
}

/// Whether each `%` begins an encoded octet (RFC 3986, section 2.1).
fn is_encoded(part: &str) -> bool {
    part.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()))
}

/// Percent-encodes what RFC 3986 does not allow in a path or query. What is already encoded stays as it is.
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

/// The answer while the budget for answers is exhausted.
fn busy() -> Response<Body> {
    let text = "The server is busy; try again in a moment.\n";
    let mut reply = plain(StatusCode::SERVICE_UNAVAILABLE, text).map(|_| Body::of(text));
    reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

fn other_version() -> Reply {
    // RFC 9110, section 15.6.6.
    let mut reply =
        plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.0 and 1.1 are supported, and HTTP/2 over TLS.\n");
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// The answer to a client that speaks HTTP on a port for TLS, as octets.
pub(super) fn no_tls() -> Vec<u8> {
    raw(plain(StatusCode::BAD_REQUEST, "This port is for https; use an address that begins with https://\n"))
}

/// The answer to a client that did not finish its request in time (RFC 9110, section 15.5.9), as octets.
pub(super) fn too_slow() -> Vec<u8> {
    raw(plain(StatusCode::REQUEST_TIMEOUT, "The request took too long to arrive.\n"))
}

/// An answer outside hyper, to an incomplete request. It ends the HTTP/1 connection.
fn raw(mut reply: Reply) -> Vec<u8> {
    let headers = reply.headers_mut();
    protect(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).ok();
    if let Some(Ok(date)) = date.map(HeaderValue::try_from) {
        headers.insert(header::DATE, date);
    }
    let mut octets = format!("HTTP/1.1 {}\r\n", reply.status()).into_bytes();
    for (name, value) in reply.headers() {
        octets.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    octets.extend([b"\r\n", &reply.body()[..]].concat());
    octets
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    complete(status, TEXT, text)
}

fn complete(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    // For all further headers: growing the map costs more.
    reply.headers_mut().reserve(16);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // Set here, so that HEAD has it, too.
    let length = reply.body().len();
    reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    reply
}
