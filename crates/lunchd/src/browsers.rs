//! Certificates that browsers refuse although other clients accept them. Checked with Chromium and with NSS, the library of Firefox:
//! neither supports keys on Edwards curves.

use x509_cert::certificate::Certificate;
use x509_cert::der::oid::ObjectIdentifier;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// The curves, as key and as signature algorithms (RFC 8410).
const EDWARDS: [(ObjectIdentifier, &str); 2] =
    [(ObjectIdentifier::new_unwrap("1.3.101.112"), "Ed25519"), (ObjectIdentifier::new_unwrap("1.3.101.113"), "Ed448")];

/// Why browsers refuse the chain, and what to do. The server's certificate comes first.
pub(super) fn refusal(chain: &[Certificate]) -> Option<String> {
    let own = chain.first()?;
    let curve = |oid: ObjectIdentifier| EDWARDS.iter().find(|(curve, _)| *curve == oid).map(|(_, name)| name);
    if let Some(curve) = curve(own.tbs_certificate.subject_public_key_info.algorithm.oid) {
        return Some(format!(
            "its key is {curve}; create a key with P-256 (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`)"
        ));
    }
    if let Some(curve) = chain.iter().find_map(|certificate| curve(certificate.signature_algorithm.oid)) {
        return Some(format!("it is signed with {curve}; have it signed by an authority whose key is ECDSA or RSA"));
    }
    let mut extensions = own.tbs_certificate.extensions.iter().flatten();
    let named = extensions.any(|extension| extension.extn_id == SUBJECT_ALT_NAME);
    (!named).then(|| {
        "it has no subjectAltName, where they look for the host name; request a certificate that has one".to_owned()
    })
}
