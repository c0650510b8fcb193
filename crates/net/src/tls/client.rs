//! TLS to a service: whom to trust, which name the instance must prove, what we prove ourselves.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::identity::unix_now;
use super::verify::{Anything, BySpiffeId};
use super::{Certificate, MinVersion, provider};

/// Seconds for which the system's authorities are not read again.
const FRESH: i64 = 30;

/// Whose signatures are believed.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The system's authorities.
    System,
    Given(Vec<CertificateDer<'static>>),
}

/// The name that is asked for and that the instance must prove.
#[derive(Debug, Clone)]
pub enum NameCheck {
    Name(ServerName<'static>),
    /// The instance's own address.
    Address,
}

/// What TLS to a service is made of.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub roots: Roots,
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    pub name: NameCheck,
    /// The instance proves itself by this URI instead of its name.
    pub spiffe: Option<String>,
    /// What we prove ourselves with.
    pub certificate: Option<Arc<Certificate>>,
    pub alpn: Vec<Vec<u8>>,
    pub min_version: MinVersion,
    /// Whoever answers is believed. For nothing but experiments.
    pub accepts_anybody: bool,
}

/// TLS to a service. Remembers sessions.
#[derive(Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: NameCheck,
}

impl NameCheck {
    /// `None`: it is neither a DNS name nor an address.
    pub fn of(host: &str) -> Option<Self> {
        ServerName::try_from(host.to_owned()).ok().map(Self::Name)
    }
}

impl ClientTls {
    /// # Errors
    /// In words for the operator: an authority that is none, no system authorities.
    pub fn new(settings: ClientSettings) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(settings.min_version.versions())
            .map_err(|error| error.to_string())?;
        let builder = if settings.accepts_anybody {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything))
        } else {
            let roots = roots(&settings.roots)?;
            let mut verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider()));
            if !settings.revocations.is_empty() {
                verifier = verifier
                    .with_crls(settings.revocations.clone())
                    .only_check_end_entity_revocation()
                    .enforce_revocation_expiration();
            }
            let by_name = verifier.build().map_err(|error| error.to_string())?;
            match &settings.spiffe {
                Some(id) => {
                    let verifier = BySpiffeId::new(id, by_name, roots, &settings.revocations)?;
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
                }
                None => builder.with_webpki_verifier(by_name),
            }
        };
        let mut config = match &settings.certificate {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.key))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.alpn;
        Ok(Self { config: Arc::new(config), name: settings.name })
    }
}

impl ClientTls {
    /// For whoever speaks TLS to an instance on other sockets than a worker's.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that is asked for at this address.
    pub fn server_name(&self, ip: std::net::IpAddr) -> ServerName<'static> {
        match &self.name {
            NameCheck::Name(name) => name.clone(),
            NameCheck::Address => ServerName::IpAddress(ip.into()),
        }
    }
}

fn roots(wanted: &Roots) -> Result<Arc<RootCertStore>, String> {
    match wanted {
        Roots::System => system_roots(),
        Roots::Given(all) => {
            let mut store = RootCertStore::empty();
            for authority in all {
                store
                    .add(authority.clone())
                    .map_err(|error| format!("an authority cannot be used: {error}"))?;
            }
            Ok(Arc::new(store))
        }
    }
}

/// The system's authorities: read once for all services of a configuration, and again for one that is loaded later.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static KNOWN: Mutex<Option<(i64, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = unix_now();
    if let Some((read, store)) = &*known
        && (0..FRESH).contains(&(now - read))
    {
        return Ok(Arc::clone(store));
    }
    let mut store = RootCertStore::empty();
    // A store of hundreds may hold one that is odd: it is left out.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err("this system has no certificate authorities: install them (ca-certificates)".into());
    }
    let store = Arc::new(store);
    *known = Some((now, Arc::clone(&store)));
    Ok(store)
}
