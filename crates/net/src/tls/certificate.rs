//! A certificate with its key, from PEM: parsed and matched once, when configuration is compiled or a file changes.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity::{address, fingerprint};
use super::names::covers;
use super::provider;

/// Certificates in one chain or bundle.
const MAX_CERTIFICATES: usize = 1_000;

/// A certificate chain with its private key, and what is to be known of it.
#[derive(Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names, in lower case; a wildcard is `*.example`.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// The distinguished name of the subject.
    pub subject: String,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256 of the first certificate, 64 hexadecimal digits.
    pub fingerprint: String,
}

/// Which of the two texts is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Certificate,
    Key,
}

/// Why a certificate cannot be used. No message holds any of the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    #[error("there is no certificate in it: PEM begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    #[error("it is no valid PEM: {0}")]
    BadPem(&'static str),
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    #[error("there is no private key in it: PEM begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    #[error("the private key is encrypted")]
    EncryptedKey,
    #[error(
        "the private key is of a kind that is not supported: RSA from 2048 bits, ECDSA P-256, P-384, P-521 and Ed25519 are"
    )]
    BadKey,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("it holds more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    #[error("there is no revocation list in it: PEM begins with -----BEGIN X509 CRL-----")]
    NoRevocations,
}

impl CertificateError {
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoKey | Self::EncryptedKey | Self::BadKey | Self::Mismatch => Blame::Key,
            _ => Blame::Certificate,
        }
    }
}

impl Certificate {
    /// `chain`: PEM, the server's own certificate first. `key`: PEM, PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// Either text is not what it should be, or the two do not belong together.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CertificateError> {
        let chain = read_authorities(chain)?;
        let key = read_key(key)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?.clone();
        let key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
            rustls::Error::InvalidCertificate(_) => CertificateError::Unreadable(1),
            _ => CertificateError::BadKey,
        })?;
        let (_, parsed) = X509Certificate::from_der(&first).map_err(|_| CertificateError::Unreadable(1))?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        if let Ok(Some(alternatives)) = parsed.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                    GeneralName::IPAddress(ip) => addresses.extend(address(ip)),
                    _ => {}
                }
            }
        }
        let validity = parsed.validity();
        Ok(Self {
            names,
            addresses,
            subject: parsed.subject().to_string(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            fingerprint: fingerprint(&first),
            key: Arc::new(key),
        })
    }

    /// Whether it stands for this host: a DNS name in lower case, or an IP address (version 6 in brackets or not).
    pub fn covers(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => self.addresses.contains(&ip.to_canonical()) || self.addresses.contains(&ip),
            Err(_) => self.names.iter().any(|name| covers(name, host)),
        }
    }
}

/// The certificates of a PEM text, each one readable.
///
/// # Errors
/// There is none, or one that cannot be read.
pub fn read_authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut all = Vec::new();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|error| bad_pem(&error))?;
        X509Certificate::from_der(&certificate).map_err(|_| CertificateError::Unreadable(at + 1))?;
        if all.len() >= MAX_CERTIFICATES {
            return Err(CertificateError::TooMany);
        }
        all.push(certificate);
    }
    if all.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(all) }
}

/// The revocation lists of a PEM text.
///
/// # Errors
/// There is none, or it is no PEM.
pub fn read_revocations(pem: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let lists: Result<Vec<_>, PemError> =
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    let lists = lists.map_err(|error| bad_pem(&error))?;
    if lists.is_empty() { Err(CertificateError::NoRevocations) } else { Ok(lists) }
}

/// In our own words: a library's could hold a line of the text.
fn bad_pem(error: &PemError) -> CertificateError {
    CertificateError::BadPem(match error {
        PemError::MissingSectionEnd { .. } => "a section lacks its END line",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        PemError::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    })
}

fn read_key(pem: &str) -> Result<PrivateKeyDer<'static>, CertificateError> {
    if pem.contains("ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => CertificateError::NoKey,
        // What PEM's reader says of a key could hold a line of it.
        _ => CertificateError::BadKey,
    })
}
