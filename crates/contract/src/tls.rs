//! The facts of an encrypted connection, as policies, variables and the log see them.

/// What the handshake with the client found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name as IANA has it.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI), in lower case.
    pub sni: Option<Box<str>>,
    /// The certificate that the client proved to hold, verified against the listener's authorities.
    pub client: Option<ClientCertificate>,
}

/// A client's verified certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The distinguished name, such as `CN=shop, O=Example`.
    pub subject: Box<str>,
    /// The subject's alternative names: `DNS:…`, `URI:…`, `email:…`, `IP:…`.
    pub sans: Vec<String>,
    /// All of `sans`, separated by commas.
    pub san: Box<str>,
    /// The SPIFFE id, where the certificate has exactly one URI and it is one.
    pub spiffe: Option<Box<str>>,
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub fingerprint: Box<str>,
    /// The serial number, hexadecimal.
    pub serial: Box<str>,
    /// When it expires, in seconds since 1970.
    pub not_after: i64,
}
