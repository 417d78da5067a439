//! The files that systemd hands over to lunchd: a certificate and its key.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use super::Findings;
use super::checks::Socket;
use super::systemd;

/// What is not renewed by then needs somebody to look: some certificates last for six days only.
const SOON: Duration = Duration::from_hours(48);

impl Socket {
    /// The files that systemd hands over to it: a certificate and its key, as openssl sees them where there is one.
    pub(super) fn examine_credentials(&self, findings: &mut Findings) {
        let files = systemd::credentials(&self.starts);
        let again = format!("then `systemctl restart {}`", self.starts);
        for path in files.values() {
            if let Err(error) = fs::metadata(path) {
                // Only root may look into a directory with keys.
                if error.kind() == ErrorKind::PermissionDenied {
                    return;
                }
                findings.problem(
                    Some(&self.starts),
                    format!("{path}, which LoadCredential= hands over to it, cannot be read: {error}"),
                    format!("put it there, or name another with `systemctl edit {}`; {again}", self.starts),
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
                format!("its certificate {certificate} is not valid after {until}"),
                format!("renew it, {again}"),
            );
        }
        let (theirs, own) = (openssl("x509 -noout -pubkey", certificate), openssl("pkey -pubout -passin pass:", key));
        if !theirs.is_empty() && !own.is_empty() && theirs != own {
            findings.problem(
                Some(&self.starts),
                format!("the key {key} does not belong to the certificate {certificate}"),
                format!("put the two there that were made for each other, {again}"),
            );
        }
    }
}
