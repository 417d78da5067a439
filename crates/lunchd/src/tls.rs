//! The certificate and its key: read and checked before the lock-down, and again at every SIGHUP.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, version};
use x509_cert::certificate::{Certificate, Version};
use x509_cert::der::Decode;

use super::browsers;
use small_services::internals::file::{self, Readable};

/// The maximum length of a file with certificates or a key, in bytes.
const LONGEST: usize = 1024 * 1024;

/// Why HTTPS cannot be served. No message quotes from a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("--certificate requires --key; name the certificate's key with --key FILE")]
    MissingKey,
    #[error("--key requires --certificate; name the key's certificate with --certificate FILE")]
    MissingCertificate,
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}; if its directory is new, or a symbolic link has a new target, restart lunchd; otherwise check the permissions", .path.display())]
    OutOfReach { path: PathBuf, source: io::Error },
    #[error("cannot reread {} after the lock-down: {source}; let the user of lunchd read it without root privileges, or restart lunchd after each renewal", .path.display())]
    OnlyOnce { path: PathBuf, source: io::Error },
    #[error("{} contains no {what} in PEM: {instead}; name a file with a line -----BEGIN {line}-----", .path.display())]
    NoPem { path: PathBuf, what: &'static str, instead: &'static str, line: &'static str },
    #[error("{} is incomplete or damaged between its lines -----BEGIN and -----END; copy it again", .path.display())]
    Damaged { path: PathBuf },
    #[error("certificate {number} in {} cannot be parsed; copy it again, or request a new one", .path.display())]
    Certificate { path: PathBuf, number: usize },
    #[error("the certificate in {} is of X.509 version 1, which clients refuse; request one of version 3, with the host name as subjectAltName", .path.display())]
    Version { path: PathBuf },
    #[error("certificate {number} in {} did not sign any certificate before it; put the server's certificate first, then each issuer after the certificate that it signed, and remove all others", .path.display())]
    Order { path: PathBuf, number: usize },
    #[error("the certificate in {} expired on {on}; renew it", .path.display())]
    Expired { path: PathBuf, on: String },
    #[error("the certificate in {} is not valid before {from}; check the clock", .path.display())]
    NotYet { path: PathBuf, from: String },
    #[error("the key in {} has a passphrase; remove it with `openssl pkey -in FILE -out NEW`", .path.display())]
    Passphrase { path: PathBuf },
    #[error("the key in {} cannot be used; create an RSA key of 2,048 to 4,096 bits, an ECDSA key with P-256 or P-384, or an Ed25519 key", .path.display())]
    Key { path: PathBuf },
    #[error("the key in {} does not belong to the certificate in {}; name a matching pair", .key.display(), .certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

impl Error {
    /// Whether the file does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Why clients may refuse a certificate that can be served.
#[derive(Debug)]
pub(super) struct Warnings {
    /// Whether it is valid now.
    pub(super) dates: Result<(), Error>,
    /// Why browsers refuse it.
    pub(super) browsers: Option<String>,
}

/// The paths of the certificate and its key.
#[derive(Debug)]
pub(super) struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    /// Takes both paths or none.
    pub(super) fn new(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>, Error> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(Self { certificate: certificate.into(), key: key.into() })),
            (Some(_), None) => Err(Error::MissingKey),
            (None, Some(_)) => Err(Error::MissingCertificate),
            (None, None) => Ok(None),
        }
    }

    /// The directories that must stay readable for [`Self::reload`].
    pub(super) fn directories(&self) -> Vec<Readable> {
        let directories = file::directories_of([&*self.certificate, &*self.key]);
        directories.into_iter().map(|(directory, names)| Readable::new(directory, |it| names.contains(it))).collect()
    }

    /// Reads both files and checks that they can be served. Also returns why clients may refuse the server's certificate.
    pub(super) fn load(&self) -> Result<(TlsAcceptor, Warnings), Error> {
        let (chain, warnings) = self.chain()?;
        let key = self.key()?;
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Error::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => Error::Certificate { path: self.certificate.clone(), number: 1 },
            _ => Error::Key { path: self.key.clone() },
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = ["h2", "http/1.1", "http/1.0"].map(|name| name.as_bytes().to_vec()).into();
        Ok((TlsAcceptor::from(Arc::new(config)), warnings))
    }

    /// Loads them again after the lock-down. Only directories that were named before it are readable.
    pub(super) fn reload(&self) -> Result<(TlsAcceptor, Warnings), Error> {
        self.load().map_err(|error| match error {
            Error::Read { path, source } if source.kind() == ErrorKind::PermissionDenied => {
                Error::OutOfReach { path, source }
            }
            other => other,
        })
    }

    /// Checks, after the lock-down, that both can be read again.
    pub(super) fn check_reach(&self) -> Result<(), Error> {
        [&self.certificate, &self.key].into_iter().try_for_each(|path| match file::open_regular(path) {
            Err(source) => Err(Error::OnlyOnce { path: path.clone(), source }),
            Ok(_) => Ok(()),
        })
    }

    /// Checks the dates of the server's certificate. Not those of the others: some authorities deliver an expired one for old clients.
    fn check_dates(&self, own: &Certificate) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let validity = &own.tbs_certificate.validity;
        let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let path = self.certificate.clone();
        let date = |when: Duration| {
            let seconds = i64::try_from(when.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).map_or_else(|_| "an unknown date".to_owned(), |when| when.to_string())
        };
        if until < now {
            return Err(Error::Expired { path, on: date(until) });
        }
        if from > now {
            return Err(Error::NotYet { path, from: date(from) });
        }
        Ok(())
    }

    /// The certificate chain as it is sent, the server's certificate first, and why clients may refuse it.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, Warnings), Error> {
        let path = || self.certificate.clone();
        let octets = read(&self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
        let chain = chain.map_err(|_| Error::Damaged { path: path() })?;
        let mut parsed: Vec<Certificate> = Vec::new();
        for (number, certificate) in (1..).zip(&chain) {
            let certificate =
                Certificate::from_der(certificate).map_err(|_| Error::Certificate { path: path(), number })?;
            let subject = &certificate.tbs_certificate.subject;
            if number > 1 && !parsed.iter().any(|before| before.tbs_certificate.issuer == *subject) {
                return Err(Error::Order { path: path(), number });
            }
            parsed.push(certificate);
        }
        let Some(own) = parsed.first() else {
            let (what, line) = ("certificate", "CERTIFICATE");
            return Err(Error::NoPem { path: path(), what, instead: instead_of_pem(&octets), line });
        };
        if own.tbs_certificate.version != Version::V3 {
            return Err(Error::Version { path: path() });
        }
        let browsers = browsers::refusal(&parsed)
            .map(|why| format!("browsers refuse the certificate in {}: {why}", self.certificate.display()));
        Ok((chain, Warnings { dates: self.check_dates(own), browsers }))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let path = self.key.clone();
        let octets = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
            // In PKCS #8 and in openssl's older format.
            _ if octets.windows(9).any(|word| word == b"ENCRYPTED") => Error::Passphrase { path },
            pem::Error::NoItemsFound => {
                Error::NoPem { path, what: "key", instead: instead_of_pem(&octets), line: "PRIVATE KEY" }
            }
            _ => Error::Damaged { path },
        })
    }
}

/// What a file contains instead of PEM.
fn instead_of_pem(octets: &[u8]) -> &'static str {
    // Every certificate and key in DER is a sequence.
    const SEQUENCE: u8 = 0x30;
    match octets.trim_ascii().first() {
        None => "it is empty",
        Some(&SEQUENCE) => "it is binary, as DER and PKCS #12 are; openssl converts it",
        Some(_) => "it contains something else",
    }
}

/// Reads a file with only the calls of the policy.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| Error::Read { path: path.to_owned(), source };
    let (mut file, _) = file::open_regular(path).map_err(failed)?;
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    while octets.len() <= LONGEST {
        match file.read(&mut piece) {
            Ok(0) => return Ok(octets),
            Ok(length) => octets.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::Error::new(ErrorKind::InvalidData, "it is longer than 1 MiB")))
}
