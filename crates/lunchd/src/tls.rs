//! The certificate and its key: read and checked before the lock-down, and once more at every SIGHUP.

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
    #[error("cannot read {}: {source}; if its directory is a new one, or a link leads elsewhere than before, start it again; if not, check the permissions", .path.display())]
    OutOfReach { path: PathBuf, source: io::Error },
    #[error("locked down, it cannot read {} again: {source}; let its user read it without root's privileges, or start it again after each renewal", .path.display())]
    OnlyOnce { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM: {instead}; name a file with a line -----BEGIN {line}-----", .path.display())]
    NoPem { path: PathBuf, what: &'static str, instead: &'static str, line: &'static str },
    #[error("{} is not whole, or damaged between its lines -----BEGIN and -----END; copy it again", .path.display())]
    Damaged { path: PathBuf },
    #[error("certificate {number} in {} cannot be understood; copy it again, or ask for a new one", .path.display())]
    Certificate { path: PathBuf, number: usize },
    #[error("the certificate in {} is of X.509 version 1, which clients refuse; ask for one of version 3, with the host's name as subjectAltName", .path.display())]
    Version { path: PathBuf },
    #[error("certificate {number} in {} has signed none before it; put the server's own first, then each behind what it has signed, and no others", .path.display())]
    Order { path: PathBuf, number: usize },
    #[error("the certificate in {} expired on {on}; renew it", .path.display())]
    Expired { path: PathBuf, on: String },
    #[error("the certificate in {} is not valid before {from}; check the clock", .path.display())]
    NotYet { path: PathBuf, from: String },
    #[error("the key in {} needs a passphrase, and there is nobody to ask; write it without one: `openssl pkey -in FILE -out NEW`", .path.display())]
    Passphrase { path: PathBuf },
    #[error("the key in {} cannot be used; make one for RSA of 2,048 to 4,096 bits, ECDSA with P-256 or P-384, or Ed25519", .path.display())]
    Key { path: PathBuf },
    #[error("the key in {} does not belong to the certificate in {}; name the two that were made for each other", .key.display(), .certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

impl Error {
    /// Whether it is only that there is no such file.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// What is no reason not to serve a certificate, but for clients not to take it.
#[derive(Debug)]
pub(super) struct Doubts {
    /// Whether it is valid today.
    pub(super) dates: Result<(), Error>,
    /// Why browsers refuse it.
    pub(super) browsers: Option<String>,
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

    /// The directories that have to stay readable for [`Self::load`].
    pub(super) fn directories(&self) -> Vec<Readable> {
        let directories = file::directories_of([&*self.certificate, &*self.key]);
        directories.into_iter().map(|(directory, names)| Readable::new(directory, |it| names.contains(it))).collect()
    }

    /// Reads both and makes sure that they can be served; and tells what is wrong with the server's own certificate besides.
    pub(super) fn load(&self) -> Result<(TlsAcceptor, Doubts), Error> {
        let (chain, doubts) = self.chain()?;
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
        Ok((TlsAcceptor::from(Arc::new(config)), doubts))
    }

    /// The same again, once it is locked down: only what lies where it lay at the start can be read.
    pub(super) fn reload(&self) -> Result<(TlsAcceptor, Doubts), Error> {
        self.load().map_err(|error| match error {
            Error::Read { path, source } if source.kind() == ErrorKind::PermissionDenied => {
                Error::OutOfReach { path, source }
            }
            other => other,
        })
    }

    /// Makes sure that both can be read again, once it is locked down.
    pub(super) fn check_reach(&self) -> Result<(), Error> {
        [&self.certificate, &self.key].into_iter().try_for_each(|path| match file::open_regular(path) {
            Err(source) => Err(Error::OnlyOnce { path: path.clone(), source }),
            Ok(_) => Ok(()),
        })
    }

    /// Not of the others, which are the authority's: some hand out one that has expired, for clients that do not mind.
    fn check_dates(&self, own: &Certificate) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let validity = &own.tbs_certificate.validity;
        let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        let path = self.certificate.clone();
        let date = |when: Duration| {
            let seconds = i64::try_from(when.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).map_or_else(|_| "a day far away".to_owned(), |when| when.to_string())
        };
        if until < now {
            return Err(Error::Expired { path, on: date(until) });
        }
        if from > now {
            return Err(Error::NotYet { path, from: date(from) });
        }
        Ok(())
    }

    /// The certificates as they are sent: the server's own, then those that lead to the authority's; and what clients may
    /// have against them.
    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, Doubts), Error> {
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
        let browsers = browsers::refusal(&parsed).map(|why| {
            format!("no browser opens a page with the certificate in {}: {why}", self.certificate.display())
        });
        Ok((chain, Doubts { dates: self.check_dates(own), browsers }))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let path = self.key.clone();
        let octets = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
            // As PKCS #8 and openssl's older form have it.
            _ if octets.windows(9).any(|word| word == b"ENCRYPTED") => Error::Passphrase { path },
            pem::Error::NoItemsFound => {
                Error::NoPem { path, what: "key", instead: instead_of_pem(&octets), line: "PRIVATE KEY" }
            }
            _ => Error::Damaged { path },
        })
    }
}

/// What a file is that has no section in PEM.
fn instead_of_pem(octets: &[u8]) -> &'static str {
    // A DER sequence, as every certificate and key is one.
    const SEQUENCE: u8 = 0x30;
    match octets.trim_ascii().first() {
        None => "it is empty",
        Some(&SEQUENCE) => "it is binary, as DER and PKCS #12 are; openssl converts it",
        Some(_) => "it has other things in it",
    }
}

/// Reads a file, with the calls of the policy and no others.
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
