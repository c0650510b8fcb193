//! TLS of a listener: for each name the certificate to show and what its clients must prove. Immutable; a file that
//! changes makes a new one.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::names::Names;
use super::{Certificate, TicketKeys, provider};

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinVersion {
    Tls12,
    Tls13,
}

impl MinVersion {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

/// What a client gets that asks for a name without a certificate, or for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    Default,
    /// The alert `unrecognized_name`.
    Refuse,
}

/// Whether clients must prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    None,
    Optional,
    Required,
}

/// What the clients of some hosts must prove.
#[derive(Debug, Clone)]
pub struct ClientRule {
    /// Names and wildcards in lower case; none: every host that no other rule names.
    pub hosts: Vec<String>,
    pub mode: ClientMode,
    pub authorities: Vec<CertificateDer<'static>>,
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
}

/// What a listener's TLS is made of. The first certificate is the default one.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    pub certificates: Vec<Arc<Certificate>>,
    pub unknown: UnknownName,
    pub min_version: MinVersion,
    /// In the order of preference: `h2`, `http/1.1`.
    pub alpn: Vec<Vec<u8>>,
    pub clients: Vec<ClientRule>,
    pub tickets: Arc<TicketKeys>,
    /// Sessions without tickets that are remembered, for each rule.
    pub sessions: usize,
    /// For the whole handshake.
    pub handshake: Duration,
    /// Handshakes of the listener that may be under way.
    pub handshakes: usize,
}

/// No client certificates are asked for.
const NO_RULE: [u8; 32] = [0; 32];

/// One rule's configuration.
#[derive(Debug)]
struct Class {
    rule: [u8; 32],
    config: Arc<ServerConfig>,
    sessions: Arc<dyn StoresServerSessions + Send + Sync>,
}

/// A listener's TLS.
#[derive(Debug)]
pub struct ServerTls {
    certificates: Arc<Chooser>,
    unknown: UnknownName,
    classes: Vec<Class>,
    /// Indexes of classes; 0 is the one for hosts without a rule.
    by_host: Names<usize>,
    pub handshake: Duration,
    pub handshakes: usize,
}

/// What a ClientHello leads to.
pub(super) struct Choice {
    pub config: Arc<ServerConfig>,
    pub certificate: Arc<Certificate>,
    pub rule: [u8; 32],
    pub sni: Option<Box<str>>,
}

impl ServerTls {
    /// Sessions that `before` remembers go on, as far as their rule is the same.
    ///
    /// # Errors
    /// An authority or a revocation list is not one, in words for the operator.
    pub fn new(settings: ServerSettings, before: Option<&Self>) -> Result<Self, String> {
        let certificates = Arc::new(Chooser::new(&settings.certificates)?);
        let mut tls = Self {
            certificates,
            unknown: settings.unknown,
            classes: Vec::new(),
            by_host: Names::default(),
            handshake: settings.handshake,
            handshakes: settings.handshakes,
        };
        let of_all_others = settings.clients.iter().find(|rule| rule.hosts.is_empty());
        tls.add_class(&settings, of_all_others, before)?;
        for rule in settings.clients.iter().filter(|rule| !rule.hosts.is_empty()) {
            tls.add_class(&settings, Some(rule), before)?;
            for host in &rule.hosts {
                *tls.by_host.entry(host) = tls.classes.len() - 1;
            }
        }
        Ok(tls)
    }

    fn add_class(
        &mut self,
        settings: &ServerSettings,
        rule: Option<&ClientRule>,
        before: Option<&Self>,
    ) -> Result<(), String> {
        let rule = rule.filter(|rule| rule.mode != ClientMode::None);
        let fingerprint = rule.map_or(NO_RULE, fingerprint);
        let known = before.and_then(|before| before.classes.iter().find(|class| class.rule == fingerprint));
        let sessions = match known {
            Some(class) => Arc::clone(&class.sessions),
            None => ServerSessionMemoryCache::new(settings.sessions),
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(settings.min_version.versions())
            .map_err(|error| error.to_string())?;
        let builder = match rule {
            None => builder.with_no_client_auth(),
            Some(rule) => builder.with_client_cert_verifier(verifier(rule)?),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&self.certificates) as _);
        config.alpn_protocols.clone_from(&settings.alpn);
        config.session_storage = Arc::clone(&sessions) as _;
        config.ticketer = settings.tickets.under(fingerprint);
        self.classes.push(Class { rule: fingerprint, config: Arc::new(config), sessions });
        Ok(())
    }

    /// `Err`: the name that there is no certificate for.
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Result<Choice, String> {
        let sni = asked_for(hello);
        let Some(certificate) = self.certificates.find(hello, self.unknown) else {
            return Err(sni.unwrap_or_default());
        };
        let class = self.class(sni.as_deref().unwrap_or(""));
        Ok(Choice {
            config: Arc::clone(&class.config),
            certificate: Arc::clone(certificate),
            rule: class.rule,
            sni: sni.map(Into::into),
        })
    }

    fn class(&self, host: &str) -> &Class {
        let at = self.by_host.find_deep(host).copied().unwrap_or(0);
        &self.classes[at]
    }

    /// Whether a request for `host` (lower case, without its port) may come on a connection of these facts: it asked for
    /// this very name or was shown a certificate of it, and proved what the host's clients must.
    pub fn admits(&self, facts: &super::TlsFacts, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let is_asked_for = facts.sni.as_deref() == Some(host);
        (is_asked_for || facts.certificate.covers(host)) && self.has_proved(facts, host)
    }

    /// Whether the client proved what those of `host` must: the rule of this host stood at the handshake.
    pub fn has_proved(&self, facts: &super::TlsFacts, host: &str) -> bool {
        // A name is never asked for as an address: without SNI the default rule stood.
        self.class(host.trim_end_matches('.')).rule == facts.rule
    }
}

/// The name in the ClientHello, in lower case, without a final dot.
fn asked_for(hello: &ClientHello<'_>) -> Option<String> {
    hello.server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase())
}

fn verifier(rule: &ClientRule) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in &rule.authorities {
        roots.add(authority.clone()).map_err(|error| format!("an authority cannot be used: {error}"))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider()));
    if !rule.revocations.is_empty() {
        // Who signs a certificate is configured; whom they signed is what changes. A list that is too old says nothing.
        builder = builder
            .with_crls(rule.revocations.clone())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    if rule.mode == ClientMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| error.to_string())
}

fn fingerprint(rule: &ClientRule) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(if rule.mode == ClientMode::Required { b"required" } else { b"optional" });
    let authorities = rule.authorities.iter().map(AsRef::as_ref);
    let revocations = rule.revocations.iter().map(AsRef::<[u8]>::as_ref);
    for (kind, der) in authorities.map(|der| (1u8, der)).chain(revocations.map(|der| (2u8, der))) {
        context.update(&[kind]);
        context.update(&(der.len() as u64).to_be_bytes());
        context.update(der);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// Certificates by name; several of one name are for different signature algorithms.
#[derive(Debug)]
struct Chooser {
    names: Names<Vec<Arc<Certificate>>>,
    default: Arc<Certificate>,
}

impl Chooser {
    fn new(certificates: &[Arc<Certificate>]) -> Result<Self, String> {
        let default = certificates.first().ok_or("TLS needs a certificate")?;
        let mut names: Names<Vec<_>> = Names::default();
        for certificate in certificates {
            for name in &certificate.names {
                names.entry(name).push(Arc::clone(certificate));
            }
        }
        Ok(Self { names, default: Arc::clone(default) })
    }

    fn find(&self, hello: &ClientHello<'_>, unknown: UnknownName) -> Option<&Arc<Certificate>> {
        match asked_for(hello).and_then(|name| self.names.find(&name)) {
            Some(several) => {
                let schemes = hello.signature_schemes();
                let fits = several.iter().find(|one| one.key.key.choose_scheme(schemes).is_some());
                fits.or_else(|| several.first())
            }
            None => (unknown == UnknownName::Default).then_some(&self.default),
        }
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An unknown name that is refused does not come here.
        self.find(&hello, UnknownName::Default).map(|certificate| Arc::clone(&certificate.key))
    }
}
