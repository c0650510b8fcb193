//! What a handshake found out: the typed facts of a connection, and who the client proved to be.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Certificate, hex};

/// The facts of one encrypted connection.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name as IANA has it.
    pub cipher: &'static str,
    /// The name that the client asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// The handshake took a session up again.
    pub is_resumed: bool,
    /// The certificate that the client proved to hold; verified.
    pub client: Option<ClientCertificate>,
    /// The certificate that was shown to the client.
    pub certificate: Arc<Certificate>,
    /// Under which rule for client certificates the handshake stood: a fingerprint of all that it depends on.
    pub rule: [u8; 32],
}

/// A client's verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The distinguished name, such as `CN=shop, O=Example`.
    pub subject: String,
    /// The subject's alternative names: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub sans: Vec<String>,
    /// The SPIFFE id, where the certificate has exactly one URI and it is one.
    pub spiffe: Option<String>,
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The serial number, hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub not_after: i64,
}

pub(super) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// Reads a verified certificate. `None` where it cannot be read, which the verification has excluded.
pub(super) fn read(der: &[u8]) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut sans = Vec::new();
    let mut uris = Vec::new();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => sans.push(format!("DNS:{name}")),
                GeneralName::RFC822Name(name) => sans.push(format!("email:{name}")),
                GeneralName::URI(uri) => {
                    uris.push(*uri);
                    sans.push(format!("URI:{uri}"));
                }
                GeneralName::IPAddress(ip) => {
                    if let Some(ip) = address(ip) {
                        sans.push(format!("IP:{ip}"));
                    }
                }
                _ => {}
            }
        }
    }
    let spiffe = match uris.as_slice() {
        [uri] if uri.starts_with("spiffe://") => Some((*uri).to_owned()),
        _ => None,
    };
    Some(ClientCertificate {
        subject: certificate.subject().to_string(),
        sans,
        spiffe,
        fingerprint: fingerprint(der),
        serial: hex(certificate.raw_serial()),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

pub(super) fn fingerprint(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

pub(super) fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from)).ok()
}
