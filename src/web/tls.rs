//! The certificate and its key: read and checked before the lock-down, and once more at every SIGHUP.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, version};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// No certificate and no key is longer, in octets.
const LONGEST: usize = 1024 * 1024;

/// Why HTTPS cannot be served. No message quotes from a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("--certificate is there, and --key is not; name the certificate's key with --key FILE")]
    MissingKey,
    #[error("--key is there, and --certificate is not; name the key's certificate with --certificate FILE")]
    MissingCertificate,
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM; name a file with a line -----BEGIN {line}-----", .path.display())]
    NoPem { path: PathBuf, what: &'static str, line: &'static str },
    #[error("the certificate in {} cannot be understood: {reason}; ask for a new one", .path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the certificate in {} expired on {on}; renew it", .path.display())]
    Expired { path: PathBuf, on: String },
    #[error("the certificate in {} is not valid before {from}; check the clock", .path.display())]
    NotYet { path: PathBuf, from: String },
    #[error("the key in {} cannot be used: {reason}; use RSA, ECDSA (P-256, P-384) or Ed25519", .path.display())]
    Key { path: PathBuf, reason: String },
    #[error("the key in {} does not belong to the certificate in {}; name the two that were made for each other", .key.display(), .certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

/// Where to find who it is.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    /// Both, or none.
    pub(super) fn new(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>, Error> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate: certificate.into(), key: key.into() })),
            (Some(_), None) => Err(Error::MissingKey),
            (None, Some(_)) => Err(Error::MissingCertificate),
            (None, None) => Ok(None),
        }
    }

    /// The directories that have to stay readable for [`Self::load`]: those that hold the two files, and those that hold what
    /// they link to. A file alone would not do: a new certificate is a new file.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for path in [&self.certificate, &self.key] {
            for path in [Some(path.clone()), path.canonicalize().ok()].into_iter().flatten() {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                directories.extend(parent.unwrap_or(Path::new(".")).canonicalize());
            }
        }
        directories.sort();
        directories.dedup();
        directories
    }

    /// Reads both and makes sure that clients will take them.
    pub(super) fn load(&self) -> Result<TlsAcceptor, Error> {
        let chain = self.chain()?;
        let key = self.key()?;
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(reason) => {
                Error::Certificate { path: self.certificate.clone(), reason: format!("{reason:?}") }
            }
            other => Error::Key { path: self.key.clone(), reason: other.to_string() },
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let path = || self.certificate.clone();
        let octets = read(&self.certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&octets)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Certificate { path: path(), reason: damage(&error).to_owned() })?;
        let Some(first) = chain.first() else {
            return Err(Error::NoPem { path: path(), what: "certificate", line: "CERTIFICATE" });
        };
        // The others of the chain are the authority's: some hand out one that has expired, for clients that do not mind.
        let first = Certificate::from_der(first)
            .map_err(|error| Error::Certificate { path: path(), reason: error.to_string() })?;
        let validity = first.tbs_certificate.validity;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let date = |when: std::time::Duration| {
            let seconds = i64::try_from(when.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).map_or_else(|_| "a day far away".to_owned(), |when| when.to_string())
        };
        if until < now {
            return Err(Error::Expired { path: path(), on: date(until) });
        }
        if from > now {
            return Err(Error::NotYet { path: path(), from: date(from) });
        }
        Ok(chain)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let path = self.key.clone();
        PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| match error {
            pem::Error::NoItemsFound => Error::NoPem { path, what: "key without a passphrase", line: "PRIVATE KEY" },
            other => Error::Key { path, reason: damage(&other).to_owned() },
        })
    }
}

/// What is wrong with PEM. The error's own words quote the line, and where a line end is missing, that is the key; whoever takes
/// one file for the other has the key read as a certificate.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a line -----END …----- is missing",
        pem::Error::IllegalSectionStart { .. } => "a line -----BEGIN …----- does not end as it should",
        pem::Error::Base64Decode(_) => "it has other characters than those of Base64",
        _ => "it is no PEM",
    }
}

/// Reads a file, with the calls of the policy and no others.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| Error::Read { path: path.to_owned(), source };
    // Through the standard library: on each architecture, its flags are those that the policy pins. O_NONBLOCK: opening a
    // FIFO must not wait for its writer.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    while octets.len() <= LONGEST {
        // By position: what cannot be read again and again, such as a FIFO, holds no certificate.
        match file.read_at(&mut piece, octets.len() as u64) {
            Ok(0) => return Ok(octets),
            Ok(length) => octets.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::Error::new(ErrorKind::InvalidData, "it is longer than 1 MiB")))
}
