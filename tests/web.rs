//! lunchd as its clients see it: what it answers, and what it never does.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;

use support::manager::Manager;
use support::web::{Authority, EC, Lunchd, assert_dish, curl, dishes, try_curl};
use support::{Folder, connected, program, wait_until};

/// A lunchd that redirects from HTTP to HTTPS.
fn both(authority: &Authority, more: &[&str]) -> (Lunchd, SocketAddr, SocketAddr) {
    authority.certify("site", EC, 1);
    let (certificate, key) = (authority.path("site.pem"), authority.path("site.key"));
    let mut arguments = vec!["--certificate", &certificate, "--key", &key];
    arguments.extend(["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]);
    arguments.extend(more);
    let lunchd = Lunchd::start(&arguments);
    let (http, https) = (lunchd.address("http"), lunchd.address("https"));
    (lunchd, http, https)
}

fn plain(more: &[&str]) -> (Lunchd, SocketAddr) {
    let lunchd = Lunchd::start(&[&["--listen", "http://127.0.0.1:0"], more].concat());
    let http = lunchd.address("http");
    (lunchd, http)
}

/// Sends these octets, and returns everything that arrives.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut client = connected(address);
    client.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    String::from_utf8(reply).expect("ASCII")
}

fn field<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let head = reply.split("\r\n\r\n").next().unwrap();
    head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|it| it.1)
}

#[test]
fn started_by_hand_it_logs_its_address_and_sighup_does_not_end_it() {
    let mut lunchd = Lunchd::start(&["--listen", "http://localhost:0"]);
    let address = lunchd.address("http");
    assert!(!lunchd.log().contains("LISTEN_"), "{}", lunchd.log());
    lunchd.process.signal("HUP");
    assert_dish(&curl(&[&format!("http://{address}/")]));
    assert_eq!(lunchd.process.0.try_wait().unwrap(), None);
    let log = Lunchd::start(&["--listen", "http://elsewhere.example:80"]).ended(2);
    assert!(log.contains("'elsewhere.example' is not in /etc/hosts"), "{log}");
    // Without names the sockets cannot be told apart.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let words = format!("descriptor 3 (tcp://{}), which is not named http or https", socket.local_addr().unwrap());
    let log = Lunchd::passed(&[&socket.into()], "", &[]).ended(1);
    assert!(log.contains(&words), "{log}");
}

#[test]
fn http_redirects_to_the_same_address_over_https() {
    let authority = Authority::new("leads");
    let (_lunchd, http, https) = both(&authority, &[]);
    let port = https.port();
    for (request, host, expected) in [
        ("GET /", "localhost:80", "https://localhost:P/"),
        ("HEAD /a%20b/%C3%A9?c=%26&d", "localhost:8080", "https://localhost:P/a%20b/%C3%A9?c=%26&d"),
        ("POST /?x=//y", "[::1]:80", "https://[::1]:P/?x=//y"),
        ("GET //elsewhere.example/", "localhost:1", "https://localhost:P//elsewhere.example/"),
        ("GET /\"{}|^", "localhost:1", "https://localhost:P/%22%7B%7D%7C%5E"),
        ("OPTIONS *", "localhost:1", "https://localhost:P/"),
        ("GET http://other.example:1/x", "localhost", "https://other.example:P/x"),
        // A client that names no port used HTTP's standard port, whatever it is mapped to here.
        ("GET /", "localhost", "https://localhost/"),
        ("GET /", "localhost:", "https://localhost/"),
        ("DELETE /?a", "[::1]", "https://[::1]/?a"),
        ("GET http://other.example/x", "localhost:1", "https://other.example/x"),
    ] {
        let reply = raw(http, &format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        // Every client knows 301, but may change the method to GET. 308 forbids that.
        let status = if request.starts_with("GET") || request.starts_with("HEAD") { "301" } else { "308" };
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {reply}");
        assert_eq!(field(&reply, "location"), Some(expected.replace('P', &port.to_string()).as_str()), "{request}");
    }
}

#[test]
fn healthz_answers_over_both_schemes_without_a_fortune_or_a_log_line() {
    let authority = Authority::new("health");
    authority.certify("site", EC, 1);
    let manager = Manager::new(authority.folder().path().join("notify"));
    let mut command = Command::new(program("lunchd"));
    command.args(["--certificate", &authority.path("site.pem"), "--key", &authority.path("site.key")]);
    command.args(["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0", "--log-connections"]);
    let lunchd = Lunchd::spawn(command.env("NOTIFY_SOCKET", manager.path()));
    let (http, https) = (lunchd.address("http"), lunchd.address("https"));
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), format!("STATUS=connections: 0 now, 0 served; fortunes: {}, built in", dishes().len()));
    for line in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close", "GET /healthz?x HTTP/1.0"] {
        let reply = raw(http, &format!("{line}\r\n\r\n"));
        assert!(
            reply.starts_with("HTTP/1.") && reply.contains(" 200 OK\r\n") && reply.ends_with("\r\n\r\nok\n"),
            "{reply}"
        );
        assert_eq!(field(&reply, "content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(field(&reply, "cache-control"), Some("no-store"));
    }
    let head = raw(http, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(head.contains(" 200 OK\r\n") && head.ends_with("\r\n\r\n") && field(&head, "content-length") == Some("3"));
    let post = raw(http, "POST /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(post.contains(" 405 ") && field(&post, "allow") == Some("GET, HEAD"), "{post}");
    let ca = authority.path("ca.pem");
    let over_tls = |path: &str| curl(&["--cacert", &ca, &format!("https://{https}{path}")]);
    assert_eq!(over_tls("/healthz"), "ok\n");
    // A client that asks for something is another matter; so is one that fails.
    assert_dish(&over_tls("/"));
    raw(http, "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    raw(https, "no TLS at all\r\n\r\n");
    lunchd.wait_for(": tls-failed in ");
    wait_until(|| lunchd.log().matches(": connection from 127.0.0.1:").count() == 4);
    assert_eq!(lunchd.log().matches(": served in 0.").count(), 3, "{}", lunchd.log());
    wait_until(|| {
        manager.next()
            == format!(
                "STATUS=connections: 0 now, 7 served; TLS failures: 1; requests: 1 2xx, 1 3xx, 1 4xx; fortunes: {}, built in",
                dishes().len()
            )
    });
}

#[test]
fn https_options_without_an_https_socket_are_logged() {
    let lunchd = Lunchd::start(&["--listen", "http://127.0.0.1:0", "--https-port", "443"]);
    lunchd.wait_for("--https-port and --hsts have no effect without an https socket");
}

#[test]
fn behind_a_port_mapping_http_redirects_to_the_named_port() {
    let authority = Authority::new("mapped");
    for (public, expected) in [("443", "https://site.example/a?b"), ("4443", "https://site.example:4443/a?b")] {
        let (_lunchd, http, _) = both(&authority, &["--https-port", public]);
        for host in ["site.example", "site.example:8080", "site.example:80"] {
            let reply = raw(http, &format!("GET /a?b HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            assert_eq!(field(&reply, "location"), Some(expected), "{host}: {reply}");
        }
    }
    let log = Lunchd::start(&["--https-port", "0"]).ended(2);
    assert!(log.contains("--https-port"), "{log}");
}

#[test]
fn hsts_is_sent_by_default_if_https_is_on_port_443_or_as_configured() {
    let authority = Authority::new("strict");
    let ca = authority.path("ca.pem");
    for (arguments, expected) in [
        (&[][..], None),
        (&["--https-port", "443"], Some("max-age=31536000")),
        (&["--https-port", "4443"], None),
        (&["--https-port", "443", "--hsts", "off"], None),
        (&["--hsts", "86400"], Some("max-age=86400")),
        // To make browsers forget it.
        (&["--https-port", "443", "--hsts", "0"], Some("max-age=0")),
    ] {
        let (_lunchd, http, https) = both(&authority, arguments);
        let url = format!("https://localhost:{}/", https.port());
        let secure = curl(&["--http1.1", "--include", "--cacert", &ca, &url]);
        assert_eq!(field(&secure, "strict-transport-security"), expected, "{arguments:?}: {secure}");
        // Over plain HTTP it has no meaning (RFC 6797, section 7.2).
        let plain = raw(http, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(field(&plain, "strict-transport-security"), None, "{arguments:?}: {plain}");
    }
    let log = Lunchd::start(&["--hsts", "never"]).ended(2);
    assert!(log.contains("write a number of seconds, or `off`"), "{log}");
}

#[test]
fn a_socket_for_http_alone_needs_no_certificate() {
    let folder = Folder::new("none");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let identity = ["--certificate", &path("certificate.pem"), "--key", &path("key.pem")];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let listener = OwnedFd::from(listener);
    let lunchd = Lunchd::passed(&[&listener], "http", &identity);
    assert_dish(&curl(&[&url]));
    assert!(lunchd.log().contains("serving http only, without a certificate"), "{}", lunchd.log());
    drop(lunchd);
    // With https it is an error, and so is an existing but unusable certificate.
    let log = Lunchd::passed(&[&listener, &listener], "http:https", &identity).ended(1);
    assert!(log.contains("certificate.pem: No such file"), "{log}");
    folder.file("certificate.pem", "nonsense");
    let log = Lunchd::passed(&[&listener], "http", &identity).ended(1);
    assert!(log.contains("contains no certificate in PEM"), "{log}");
    // As when started by hand, where the certificate was named on purpose.
    let log = Lunchd::start(&["--certificate", &path("x"), "--key", &path("y"), "--listen", "http://127.0.0.1:0"]);
    assert!(log.ended(1).contains("No such file"));
}

#[test]
fn a_certificate_that_browsers_refuse_is_served_with_a_warning() {
    let authority = Authority::new("refused");
    let edwards = Authority::new("edwards");
    edwards.openssl("req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=edwards");
    let warning = |authority: &Authority, name: &str| {
        let (certificate, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        let lunchd = Lunchd::start(&["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"]);
        let url = format!("https://localhost:{}/", lunchd.address("https").port());
        // curl accepts it.
        assert_dish(&curl(&["--insecure", &url]));
        let warnings = |log: String| log.lines().filter(|line| line.contains("browsers refuse")).count();
        let before = warnings(lunchd.log());
        lunchd.process.signal("HUP");
        lunchd.wait_for("reloaded the certificate");
        support::wait_until(|| warnings(lunchd.log()) == 2 * before);
        lunchd.log().lines().find_map(|line| line.split_once("browsers refuse").map(|(_, why)| why.to_owned()))
    };
    for (name, key) in [("p256", EC), ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"), ("rsa", "rsa:2048")] {
        authority.certify(name, key, 1);
        assert_eq!(warning(&authority, name), None, "{name}");
    }
    authority.certify("ed25519", "ed25519", 1);
    edwards.certify("by-ed25519", EC, 1);
    authority.folder().file("leaf", "basicConstraints=CA:FALSE\n");
    authority.certify("nameless", EC, 1);
    for (authority, name, words) in [
        (&authority, "ed25519", "its key is Ed25519; create a key with P-256"),
        (&edwards, "by-ed25519", "it is signed with Ed25519; have it signed"),
        (&authority, "nameless", "it has no subjectAltName"),
    ] {
        let warning = warning(authority, name).unwrap_or_else(|| panic!("no warning about {name}"));
        assert!(warning.contains(&format!("{name}.pem")) && warning.contains(words), "{warning}");
    }
}

#[test]
fn an_invalid_host_gets_400_and_nothing_is_reflected() {
    let authority = Authority::new("hosts");
    let (_lunchd, redirecting, _) = both(&authority, &[]);
    let (_other, serving) = plain(&[]);
    for address in [redirecting, serving] {
        for host in [
            "Host: evil\"><script>",
            "Host: a b",
            "Host: user@reflected.example",
            "Host: reflected.example/path",
            "Host: reflected.example:99999",
            "Host: [::1",
            "Host:",
            "Host: one.example\r\nHost: reflected.example",
            "X-Forwarded-Host: reflected.example",
        ] {
            let reply = raw(address, &format!("GET / HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n"));
            assert!(reply.starts_with("HTTP/1.1 400 "), "{host}: {reply}");
            assert!(!reply.contains("reflected") && !reply.contains("script") && !reply.contains("ocation"), "{reply}");
        }
        for line in ["GET /%zz HTTP/1.1", "GET /?%4 HTTP/1.1", "GET http://user@reflected.example/ HTTP/1.1"] {
            let reply = raw(address, &format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
            assert!(reply.starts_with("HTTP/1.1 400 ") && !reply.contains("reflected"), "{line}: {reply}");
        }
    }
    // HTTP/1.0 need not name a host, if none is needed.
    assert!(raw(serving, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
    assert!(raw(redirecting, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 400 "));
    // No other part of a request is reflected either.
    let reply = raw(
        serving,
        "GET /reflected?reflected HTTP/1.1\r\nHost: reflected.example\r\nX-A: reflected\r\nConnection: close\r\n\r\n",
    );
    assert!(reply.starts_with("HTTP/1.1 404 ") && !reply.contains("reflected"), "{reply}");
}

#[test]
fn a_dish_is_served_as_html_text_and_json() {
    let authority = Authority::new("forms");
    let (_lunchd, _, https) = both(&authority, &[]);
    let url = format!("https://localhost:{}/", https.port());
    let ca = authority.path("ca.pem");
    authority.folder().file("large", vec![0; 10_000_000]);
    let large = authority.path("large");
    for version in ["--http1.1", "--http2"] {
        let get = |more: &[&str]| curl(&[&[version, "--cacert", &ca, &url], more].concat());
        assert_dish(&get(&[]));
        assert_dish(&get(&["--header", "Accept: text/plain"]));
        let json: serde_json::Value = serde_json::from_str(&get(&["--header", "Accept: application/json"])).unwrap();
        assert_dish(&format!("{}\n", json["text"].as_str().unwrap()));
        let page = get(&["--header", "Accept: text/html,*/*;q=0.8"]);
        let heading = page.split_once("<h1>").unwrap().1.split_once("</h1>").unwrap().0;
        assert_dish(&format!("{}\n", heading.replace("&#39;", "'")));
        assert!(get(&["--header", "Accept: image/png", "--write-out", "%{http_code}"]).ends_with("406"));

        let head = get(&["--head", "--header", "Accept: text/html"]);
        assert!(head.contains(" 200") && !head.contains("<h1>"), "{head}");
        let head = head.to_lowercase();
        let length: usize = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        assert!(length > 300, "{head}");
        for line in [
            "content-type: text/html; charset=utf-8",
            "vary: accept",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; style-src 'self';",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(line), "no {line:?} in {head}");
        }
        // Browsers would apply it to all ports of the host.
        assert!(!head.contains("cookie") && !head.contains("strict-transport-security"), "{head}");

        let status = |more: &[&str]| get(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], more].concat());
        assert_eq!(status(&["--request-target", "/missing"]), "404");
        assert_eq!(status(&["--request-target", "/style.css"]), "200");
        assert_eq!(status(&["--data", "x=y"]), "405");
        assert!(get(&["--include", "--request", "DELETE"]).to_lowercase().contains("allow: get, head"));
        assert_eq!(status(&["--upload-file", &large]), "405");
        let long = format!("X-Long: {}", "x".repeat(20_000));
        assert_eq!(status(&["--header", &long]), "431");
        let many: Vec<_> = (0..65).map(|number| format!("X-{number}: x")).collect();
        let with = |count: usize| many[..count].iter().flat_map(|field| ["--header", field]).collect::<Vec<_>>();
        assert_eq!((status(&with(50)).as_str(), status(&with(65)).as_str()), ("200", "431"));
    }
}

#[test]
fn any_collection_is_served_and_its_markup_escaped() {
    let folder = Folder::new("collections");
    let path = |name: &str, text: &str| folder.file(name, text).to_str().unwrap().to_owned();
    let (one, never) = (path("one", "<b>\"one\" & 'two'</b>\nand more\n"), path("never", "never\n"));
    let (_lunchd, http) = plain(&["--fortunes", "100%", &one, "0%", &never]);
    let url = format!("http://{http}/");
    assert_eq!(curl(&[&url]), "<b>\"one\" & 'two'</b>\nand more\n");
    let page = curl(&[&url, "--header", "Accept: text/html"]);
    assert!(page.contains("<h1>&lt;b&gt;&quot;one&quot; &amp; &#39;two&#39;&lt;/b&gt;\nand more</h1>"), "{page}");
    assert_eq!(
        curl(&[&url, "--header", "Accept: application/json"]),
        "{\"text\":\"<b>\\\"one\\\" & 'two'</b>\\nand more\"}\n"
    );
}

#[test]
fn every_kind_of_key_serves_both_versions_of_tls() {
    let authority = Authority::new("keys");
    let ca = authority.path("ca.pem");
    for (name, key) in [("rsa", "rsa:2048"), ("ec", EC), ("ed25519", "ed25519")] {
        authority.certify(name, key, 1);
        let (certificate, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        // A single dash, in the old style.
        let arguments = ["-certificate", &certificate, "-key", &key, "--listen", "https://127.0.0.1:0"];
        let lunchd = Lunchd::start(&arguments);
        let url = format!("https://localhost:{}/", lunchd.address("https").port());
        for (version, alpn) in [("1.2", "--http2"), ("1.3", "--http2"), ("1.3", "--http1.1"), ("1.2", "--http1.1")] {
            let shown = curl(&["--tls-max", version, &format!("--tlsv{version}"), alpn, "--cacert", &ca, &url]);
            assert_dish(&shown);
            let spoken = ["--write-out", "%{http_version}", "--output", "/dev/null"];
            let spoken = curl(&[&spoken[..], &["--tls-max", version, alpn, "--cacert", &ca, &url]].concat());
            assert_eq!(spoken, if alpn == "--http2" { "2" } else { "1.1" });
        }
    }
}

#[test]
fn the_whole_chain_is_sent() {
    let root = Authority::new("root");
    root.folder().file("leaf", "basicConstraints=critical,CA:TRUE\n");
    root.certify("between", EC, 1);
    let between = Authority::new("between");
    for file in ["pem", "key"] {
        fs::copy(root.path(&format!("between.{file}")), between.path(&format!("ca.{file}"))).unwrap();
    }
    between.certify("site", EC, 1);
    let chain = [fs::read(between.path("site.pem")).unwrap(), fs::read(between.path("ca.pem")).unwrap()].concat();
    between.folder().file("chain.pem", chain);
    let (certificate, key) = (between.path("chain.pem"), between.path("site.key"));
    let lunchd = Lunchd::start(&["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"]);
    let url = format!("https://localhost:{}/", lunchd.address("https").port());
    assert_dish(&curl(&["--cacert", &root.path("ca.pem"), &url]));
}

#[test]
fn an_unusable_certificate_is_one_sentence_and_no_socket_is_bound() {
    let authority = Authority::new("mistakes");
    for (name, key) in
        [("good", EC), ("other", EC), ("short", "rsa:1024"), ("p521", "ec -pkeyopt ec_paramgen_curve:P-521")]
    {
        authority.certify(name, key, 1);
    }
    authority.openssl("x509 -req -in good.csr -signkey good.key -days 1 -out v1.pem");
    authority.openssl("x509 -in good.pem -outform der -out good.der");
    authority.openssl("pkey -in good.key -outform der -out good.key.der");
    authority.openssl("pkey -in good.key -aes128 -passout pass:secret -out pkcs8.key");
    authority.openssl("pkey -in good.key -aes128 -passout pass:secret -traditional -out traditional.key");
    let read = |name: &str| fs::read_to_string(authority.path(name)).unwrap();
    let (good, ca, other) = (read("good.pem"), read("ca.pem"), read("other.pem"));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, text) in [
        ("nonsense", nonsense),
        ("chain with nonsense", &format!("{good}{nonsense}")),
        ("chain upside down", &format!("{ca}{good}")),
        ("chain with a stranger", &format!("{good}{other}{ca}")),
        ("cut off", &good[..good.len() - 40]),
        ("scrawled", &format!("{}!{}", &good[..200], &good[200..])),
        ("empty", ""),
        ("blank", "\n\n"),
    ] {
        authority.folder().file(name, text);
    }
    let mistake = |certificate: &str, key: &str, named: &str, words: &str| {
        let (certificate, key) = (authority.path(certificate), authority.path(key));
        let arguments = ["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"];
        let log = Lunchd::start(&arguments).ended(1);
        assert!(log.starts_with("lunchd: ") && log.lines().count() == 1, "{log}");
        assert!(log.contains(&authority.path(named)) && log.contains(words) && log.contains("; "), "{words}: {log}");
        // Neither Rust's debug format of an error nor any part of a key, as text or as numbers.
        assert!(!["Error", "MIG", "77, 73, 71"].iter().any(|never| log.contains(never)), "{log}");
    };
    mistake("missing.pem", "good.key", "missing.pem", "No such file");
    mistake("good.pem", "missing.key", "missing.key", "No such file");
    mistake("", "good.key", "", "it is not a regular file");
    mistake("good.pem", "other.key", "other.key", "does not belong to the certificate");
    mistake("good.pem", "short.key", "short.key", "RSA key of 2,048 to");
    mistake("short.pem", "short.key", "short.key", "RSA key of 2,048 to");
    mistake("p521.pem", "p521.key", "p521.key", "P-256 or P-384");
    mistake("good.pem", "pkcs8.key", "pkcs8.key", "has a passphrase");
    mistake("good.pem", "traditional.key", "traditional.key", "has a passphrase");
    mistake("good.key", "good.key", "good.key", "contains no certificate in PEM");
    mistake("good.pem", "good.pem", "good.pem", "contains no key in PEM");
    mistake("empty", "good.key", "empty", "it is empty");
    mistake("good.pem", "blank", "blank", "it is empty");
    mistake("good.der", "good.key", "good.der", "it is binary");
    mistake("good.pem", "good.key.der", "good.key.der", "it is binary");
    mistake("cut off", "good.key", "cut off", "is incomplete or damaged");
    mistake("scrawled", "good.key", "scrawled", "is incomplete or damaged");
    mistake("nonsense", "good.key", "nonsense", "certificate 1 in");
    mistake("chain with nonsense", "good.key", "chain with nonsense", "certificate 2 in");
    mistake("chain upside down", "good.key", "chain upside down", "put the server's certificate first");
    mistake("chain with a stranger", "good.key", "chain with a stranger", "put the server's certificate first");
    mistake("v1.pem", "good.key", "v1.pem", "X.509 version 1");
    // A key without line ends, in either file: no octet of it is on the log, as text or as numbers.
    let key = fs::read_to_string(authority.path("good.key")).unwrap();
    authority.folder().file("line", key.replace('\n', ""));
    authority.folder().file("begun", key.replacen("-----\n", "-----", 1));
    for name in ["line", "begun"] {
        for (certificate, key) in [("good.pem", name), (name, "good.key")] {
            mistake(certificate, key, name, "is incomplete or damaged");
        }
    }
    let (certificate, key) = (authority.path("good.pem"), authority.path("good.key"));
    for half in [["--certificate", &certificate], ["--key", &key]] {
        let log = Lunchd::start(&half).ended(1);
        assert!(log.contains(" requires --") && log.lines().count() == 1, "{log}");
    }
    let log = Lunchd::start(&["--listen", "https://127.0.0.1:0"]).ended(1);
    assert!(log.contains("https requires a certificate"), "{log}");
}

#[test]
fn an_expired_certificate_is_served_with_a_warning_and_never_replaces_another() {
    let authority = Authority::new("expired");
    authority.certify("old", EC, -1);
    authority.certify("good", EC, 1);
    let serve = |name: &str| {
        let (certificate, key) = (authority.path(&format!("{name}.pem")), authority.path(&format!("{name}.key")));
        Lunchd::start(&["--certificate", &certificate, "--key", &key, "--listen", "https://127.0.0.1:0"])
    };
    let lunchd = serve("old");
    let url = format!("https://localhost:{}/", lunchd.address("https").port());
    assert!(lunchd.log().contains("old.pem expired on 20") && lunchd.log().contains("renew it"), "{}", lunchd.log());
    // Clients report it too, and may continue.
    let output = try_curl(&["--cacert", &authority.path("ca.pem"), &url]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("expired"), "{output:?}");
    assert_dish(&curl(&["--insecure", &url]));
    let lunchd = serve("good");
    let url = format!("https://localhost:{}/", lunchd.address("https").port());
    for file in ["pem", "key"] {
        fs::rename(authority.path(&format!("old.{file}")), authority.path(&format!("good.{file}"))).unwrap();
    }
    lunchd.process.signal("HUP");
    lunchd.wait_for("continuing with the previous certificate");
    assert!(lunchd.log().contains("good.pem expired on 20"), "{}", lunchd.log());
    assert_dish(&curl(&["--cacert", &authority.path("ca.pem"), &url]));
}

#[test]
fn an_error_in_the_fortunes_is_one_sentence_and_no_socket_is_bound() {
    let folder = Folder::new("no-fortunes");
    let path = |name: &str, text: &str| folder.file(name, text).to_str().unwrap().to_owned();
    let (lengthy, missing) = (path("long", &"x".repeat(1000)), folder.path().join("missing").display().to_string());
    for (fortunes, code, words) in [
        (vec![missing.as_str()], 1, "cannot read"),
        (vec![&lengthy], 1, "no fortune to send in"),
        (vec!["200%", &lengthy], 1, "200% is not a percentage"),
        (vec!["--daily", "--zone", "Nowhere"], 1, "the time zone --zone=Nowhere cannot be used"),
        (vec!["-m", "x"], 1, "-f, -m, -c and -w do not apply to a service"),
        (vec!["--bad"], 2, "after --fortunes: unexpected argument '--bad' found; see `qotd --help`"),
        (vec![&lengthy, "--sandbox", "off"], 2, "put lunchd's own options before --fortunes"),
    ] {
        let log =
            Lunchd::start(&[&["--listen", "http://127.0.0.1:0", "--fortunes"], &fortunes[..]].concat()).ended(code);
        assert!(log.contains(words) && !log.contains("serving"), "{fortunes:?}: {log}");
        assert_eq!(log.lines().filter(|line| !line.contains("LISTEN_")).count(), 1, "{log}");
    }
}

#[test]
fn sockets_are_known_by_their_names_in_any_order() {
    let authority = Authority::new("names");
    authority.certify("site", EC, 1);
    let (certificate, key, ca) = (authority.path("site.pem"), authority.path("site.key"), authority.path("ca.pem"));
    let identity = ["--certificate", &certificate, "--key", &key];
    for order in [["http", "https", "http", "https", "https"], ["https", "https", "http", "other", "http"]] {
        let path = authority.folder().path().join(format!("socket-{}", order[3]));
        let unix = OwnedFd::from(UnixListener::bind(&path).unwrap());
        let tcp = ["127.0.0.1:0", "[::1]:0", "127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).unwrap());
        let addresses: Vec<_> = tcp.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let tcp = tcp.map(OwnedFd::from);
        let sockets = [&tcp[0], &tcp[1], &tcp[2], &tcp[3], &unix];
        let lunchd = Lunchd::passed(&sockets, &order.join(":"), &identity);
        let secure = addresses.iter().zip(order).find(|(_, name)| *name == "https").unwrap().0.port();
        for (address, name) in addresses.iter().zip(order) {
            match name {
                "https" => assert_dish(&curl(&["--cacert", &ca, &format!("https://{address}/")])),
                "http" => {
                    let place = curl(&[
                        "--write-out",
                        "%{redirect_url}",
                        "--output",
                        "/dev/null",
                        &format!("http://{address}/a?b"),
                    ]);
                    let host = address.to_string().rsplit_once(':').unwrap().0.to_owned();
                    assert_eq!(place, format!("https://{host}:{secure}/a?b"));
                }
                _ => lunchd.wait_for("ignoring descriptor 6 (other)"),
            }
        }
        let unix = path.to_str().unwrap();
        let shown = curl(&["--unix-socket", unix, "--cacert", &ca, &format!("{}://localhost/", order[4])]);
        if order[4] == "https" {
            assert_dish(&shown);
        } else {
            assert!(shown.contains("https"), "{shown}");
        }
        let log = lunchd.log();
        assert!(
            log.contains("LISTEN_FDS=5\n") && log.contains(&format!("LISTEN_FDNAMES={}\n", order.join(":"))),
            "{log}"
        );
    }
    // Without https, http serves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let listener = OwnedFd::from(listener);
    let lunchd = Lunchd::passed(&[&listener], "http", &[]);
    assert_dish(&curl(&[&url]));
    drop(lunchd);
    let log = Lunchd::passed(&[&listener], "lunchd.socket", &[]).ended(1);
    assert!(log.contains("no socket is named http or https; set FileDescriptorName="), "{log}");
    let datagrams = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let log = Lunchd::passed(&[&datagrams], "http", &[]).ended(1);
    assert!(log.contains("descriptor 3, named http, is not a listening stream socket"), "{log}");
}

#[test]
fn every_dish_is_served_eventually() {
    let (_lunchd, http) = plain(&[]);
    let mut missing: std::collections::BTreeSet<_> = dishes().into_iter().collect();
    let mut client = connected(http);
    support::wait_until(|| {
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut reply = [0; 4096];
        let mut length = client.read(&mut reply).unwrap();
        while !reply[..length].windows(4).any(|end| end == b"\r\n\r\n") || reply[length - 1] != b'\n' {
            length += client.read(&mut reply[length..]).unwrap();
        }
        let reply = std::str::from_utf8(&reply[..length]).unwrap();
        if let Some((_, dish)) = reply.split_once("\r\n\r\n") {
            missing.remove(dish);
        }
        missing.is_empty()
    });
}

#[test]
fn curl_refuses_a_certificate_of_another_authority() {
    // The other tests rely on curl's checks.
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let (_lunchd, _, https) = both(&authority, &[]);
    let url = format!("https://localhost:{}/", https.port());
    assert_eq!(try_curl(&["--cacert", &other.path("ca.pem"), &url]).status.code(), Some(60));
}
