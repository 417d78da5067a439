//! Checks lunchd's certificate and key.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::Findings;
use super::service::Socket;
use super::systemd;

/// A certificate that expires within this time should have been renewed. It is short because some are valid for only six days.
const SOON: Duration = Duration::from_secs(48 * 3600);

impl Socket {
    /// Checks the certificate and its key, with openssl if it is installed.
    pub(super) fn examine_credentials(&self, findings: &mut Findings) {
        // HTTP alone needs no certificate.
        if self.unit.get("FileDescriptorName") == "http" && !Path::new(systemd::IDENTITY).exists() {
            return;
        }
        let files = systemd::identity(&self.starts);
        let copied = files.values().any(|path| path.starts_with(systemd::IDENTITY));
        let again = if copied { "try-reload-or-restart" } else { "restart" };
        let again = format!("then `systemctl {again} {}`", self.starts);
        for path in files.values() {
            if let Err(error) = fs::metadata(path) {
                // Only root may read a directory with keys.
                if error.kind() == ErrorKind::PermissionDenied {
                    return;
                }
                findings.problem(
                    Some(&self.starts),
                    format!("cannot read {path}, which it needs for https: {error}"),
                    format!("put the file or a link to it there; {again}"),
                );
                return;
            }
        }
        let (Some(certificate), Some(key)) = (files.get("certificate"), files.get("key")) else { return };
        let openssl = |arguments: &str, path: &str| {
            let arguments: Vec<_> = arguments.split(' ').chain(["-in", path]).collect();
            systemd::run("openssl", &arguments).unwrap_or_default()
        };
        if openssl(&format!("x509 -noout -checkend {}", SOON.as_secs()), certificate).contains("will expire") {
            let until = openssl("x509 -noout -enddate", certificate).trim().replace("notAfter=", "");
            findings.problem(
                Some(&self.starts),
                format!("its certificate {certificate} expires on {until}"),
                format!("renew it, {again}"),
            );
        }
        let text = openssl("x509 -noout -text", certificate);
        let says = |key: &str, word: &str| {
            text.lines().filter_map(|line| line.trim().strip_prefix(key)).any(|value| value.trim().starts_with(word))
        };
        let refused = if ["ED25519", "ED448"].iter().any(|curve| says("Public Key Algorithm:", curve)) {
            Some("create a P-256 key, and request a certificate for it")
        } else if ["ED25519", "ED448"].iter().any(|curve| says("Signature Algorithm:", curve)) {
            Some("request one from an authority with an ECDSA or RSA key")
        } else {
            let unnamed = !text.is_empty() && !text.contains("Subject Alternative Name");
            unnamed.then_some("request one with the host's name as subjectAltName")
        };
        if let Some(advice) = refused {
            findings.problem(
                Some(&self.starts),
                format!("browsers refuse its certificate {certificate}"),
                format!("{advice}; {again}"),
            );
        }
        let (theirs, own) = (openssl("x509 -noout -pubkey", certificate), openssl("pkey -pubout -passin pass:", key));
        if !theirs.is_empty() && !own.is_empty() && theirs != own {
            findings.problem(
                Some(&self.starts),
                format!("the key {key} does not belong to the certificate {certificate}"),
                format!("install a matching key and certificate, {again}"),
            );
        }
    }
}
