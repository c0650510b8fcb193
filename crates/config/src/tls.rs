//! TLS on both sides as a user writes it: certificates, what clients must prove, what services must.

use std::borrow::Cow;
use std::path::PathBuf;

use narthex_document::{NameMap, Node, Origin, Spanned, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use crate::gateway::HostPattern;

/// A text of PEM (or of ticket keys), and the file that it was read from, which is then followed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The text.
    pub text: String,
    /// Where it was read from.
    pub path: Option<PathBuf>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may be a private key.
        f.debug_struct("Pem").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, the server's own certificate first: the path of a PEM file, or the PEM itself.
    pub cert: Spanned<Pem>,
    /// The private key: the path of a PEM file, usually `{ file: shop.key }`, or the PEM itself.
    pub key: Spanned<Pem>,
}

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// The oldest version that is spoken. Default: `tls1.2`.
    pub min_version: TlsVersion,
    /// What a client gets that asks for a name without a certificate. Default: `default`, the first certificate.
    pub unknown_name: UnknownName,
    /// Keys of session tickets that a fleet shares, usually `{ file: tickets.keys }`: one a line, the base64 of 32 random
    /// bytes; the first seals, all open. Default: keys of the process's own, a new one every six hours.
    pub ticket_keys: Option<Spanned<Pem>>,
    /// What clients must prove, by name. Default: nothing.
    pub clients: NameMap<ClientProof>,
}

/// The oldest version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "tls1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// What a client gets that asks for a name without a certificate, or for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    Default,
    /// The alert `unrecognized_name`, and the end of the connection.
    Refuse,
}

/// What the clients of some hosts must prove by a certificate.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientProof {
    /// The hosts, `*.example.com` for one or more labels in front. Default: every host that no other entry names.
    #[serde(default)]
    pub hosts: Vec<Spanned<HostPattern>>,
    /// Whether a certificate must be there. Default: `required`.
    #[serde(default)]
    pub verify: Verify,
    /// The authorities that clients' certificates are signed by: a path of a PEM file, or the PEM itself.
    #[serde(default)]
    pub ca: Option<Spanned<Pem>>,
    /// Revocation lists of these authorities: a path of a PEM file, or the PEM itself. Default: none.
    #[serde(default)]
    pub crl: Option<Spanned<Pem>>,
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// None is asked for.
    None,
    /// One that is shown must be good.
    Optional,
    /// Without a good one there is no connection.
    #[default]
    Required,
}

/// How TLS to a service is spoken. The instance's certificate is always verified.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceTls {
    /// The authorities that instances' certificates are signed by: a path of a PEM file, or the PEM itself. Default: the
    /// system's.
    pub ca: Option<Spanned<Pem>>,
    /// Revocation lists of these authorities. Default: none.
    pub crl: Option<Spanned<Pem>>,
    /// The name that is asked for (SNI) and that the certificate must stand for. Default: the url's host.
    pub name: Option<Spanned<String>>,
    /// The SPIFFE id that the certificate must hold, instead of a name.
    pub spiffe: Option<Spanned<String>>,
    /// The certificate that the gateway shows. Default: none.
    pub cert: Option<Spanned<Pem>>,
    /// The key of `cert`.
    pub key: Option<Spanned<Pem>>,
    /// The oldest version that is spoken. Default: `tls1.2`.
    pub min_version: TlsVersion,
    /// Believe whoever answers: no protection at all against anybody in between. For experiments only.
    pub dangerously_accept_any_certificate: bool,
}

impl ListenerTls {
    /// Every text that may come from a file.
    pub fn pems_mut(&mut self) -> Vec<&mut Pem> {
        let clients = self.clients.values_mut();
        let of_clients = clients.flat_map(|client| client.ca.iter_mut().chain(&mut client.crl));
        self.ticket_keys.iter_mut().chain(of_clients).map(|pem| &mut pem.value).collect()
    }
}

impl ServiceTls {
    /// Every text that may come from a file.
    pub fn pems_mut(&mut self) -> Vec<&mut Pem> {
        let all = [&mut self.ca, &mut self.crl, &mut self.cert, &mut self.key];
        all.into_iter().flatten().map(|pem| &mut pem.value).collect()
    }
}

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let Value::Text(text) = node.value else {
            let found = node.describe();
            return Err(D::Error::custom(format_args!(
                "PEM is a text, found {found}\nhelp: write the path of a file, or the text itself behind `|`"
            )));
        };
        let path = match node.origin {
            Origin::File(path) => Some(PathBuf::from(&*path)),
            _ => None,
        };
        Ok(Pem { text, path })
    }
}

impl JsonSchema for Pem {
    fn schema_name() -> Cow<'static, str> {
        "Pem".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The path of a file, relative to the configuration, or the text itself. A file is followed: what changes there is used within two seconds."
        })
    }
}
