//! With any request that HTTP allows: lunchd's answer has its security headers, is complete, and redirects only to the requested
//! host.
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::body::Body;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri, Version};
use lunchd::fuzz::Answers;

thread_local! {
    static PLAIN: Answers = Answers::new(None).expect("there is always lunch");
    static BOTH: Answers = Answers::new(Some(443)).expect("there is always lunch");
}

const SAFEGUARDS: [&str; 5] =
    ["content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy", "cache-control"];

/// A request as hyper passes it: a method, a target and fields, one per line. The bits say how it arrived.
fn request(bits: u8, lines: &[u8]) -> Option<Request<()>> {
    let mut lines = lines.split(|&octet| octet == b'\n');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(lines.next()?).ok()?;
    *request.version_mut() = [Version::HTTP_11, Version::HTTP_2, Version::HTTP_10][usize::from(bits >> 2) % 3];
    for line in lines {
        let colon = line.iter().position(|&octet| octet == b':')?;
        let name = match &line[..colon] {
            b"h" => header::HOST,
            b"a" => header::ACCEPT,
            other => HeaderName::from_bytes(other).ok()?,
        };
        request.headers_mut().append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some(request)
}

fn body(reply: Response<impl Body<Data: AsRef<[u8]>> + Unpin>) -> Vec<u8> {
    let mut body = reply.into_body();
    let mut octets = vec![];
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        octets.extend(frame.into_data().ok().expect("data").as_ref());
    }
    octets
}

/// One run.
pub fn run(data: &[u8]) {
    let [bits, lines @ ..] = data else { return };
    let Some(request) = request(*bits, lines) else { return };
    let (https, both) = (bits & 1 != 0, bits & 2 != 0);
    let site = if both { &BOTH } else { &PLAIN };
    let reply = site.with(|site| site.answer(https, &request));
    let status = reply.status().as_u16();
    assert!(matches!(status, 200 | 301 | 308 | 400 | 404 | 405 | 406 | 421 | 431), "{status}");
    for name in SAFEGUARDS {
        assert!(reply.headers().contains_key(name), "{name}");
    }
    assert_eq!(matches!(status, 301 | 308), reply.headers().contains_key(header::LOCATION));
    assert!(status != 301 || [Method::GET, Method::HEAD].contains(request.method()));
    if let Some(location) = reply.headers().get(header::LOCATION) {
        assert!(both && !https, "nobody asked for https");
        let place: Uri = location.to_str().expect("ASCII").parse().expect("an address");
        let own = request.uri().authority().map(|own| own.as_str().to_owned());
        let field = request.headers().get(header::HOST).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let (host, asked) = (place.host().expect("a host"), own.or(field).expect("somebody asked for a host"));
        assert!(place.scheme_str() == Some("https") && asked.starts_with(host), "{location:?} for {asked}");
        assert!(matches!(&asked[host.len()..], rest if rest.is_empty() || rest.starts_with(':')), "{location:?}");
        assert!(request.uri().path() == "*" || place.path().len() >= request.uri().path().len(), "{location:?}");
    }
    let media = reply.headers()[header::CONTENT_TYPE].clone();
    let accept = request.headers().get_all(header::ACCEPT).iter().collect::<Vec<_>>();
    if request.uri().path() == "/" && status == 200 && accept.is_empty() {
        assert_eq!(media, "text/plain; charset=utf-8");
    }
    assert!(status != 406 || !accept.is_empty());
    let length: usize = reply.headers()[header::CONTENT_LENGTH].to_str().expect("a number").parse().expect("a number");
    let body = body(reply);
    assert!(length > 0 && body.len() == if request.method() == Method::HEAD { 0 } else { length });
    // Every answer except a fortune and its style sheet is at most a sentence of ours.
    assert!(status == 200 || (body.len() < 120 && media == "text/plain; charset=utf-8"));
}
