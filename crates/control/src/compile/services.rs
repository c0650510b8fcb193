//! Services: settings, states that outlive reloads, names to be looked up.

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::AHashMap;
use narthex_config as config;
use narthex_contract::ServiceId;
use narthex_discovery::dns::DnsSettings;
use narthex_document::{Name, Spanned};
use narthex_net::H2Limits;
use narthex_proxy::{HostRule, Member, Protocol, Rules, Service, ServiceTimes, Settings, State, Whereabouts};
use narthex_wire::{Address, Authority, Limits};

use super::{Work, balance, resilience};
use crate::health::Checks;

/// Where a service's instances come from.
pub struct Discovered {
    pub service: String,
    pub state: Arc<State>,
    /// Addresses that need no look-up.
    pub fixed: Vec<Member>,
    /// To be looked up.
    pub names: Vec<Named>,
    pub dns: DnsSettings,
    /// What its instances are judged by.
    pub rules: Rules,
    pub checks: Option<Checks>,
}

/// A name, each of whose addresses is an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub port: u16,
    pub weight: u32,
    pub place: Whereabouts,
}

pub(super) fn compile(work: &mut Work<'_>) -> (Vec<Option<Arc<Service>>>, Vec<Discovered>) {
    let file = work.file;
    work.keep.number_services(&file.services.names().collect::<Vec<_>>());
    let numbered = work.keep.service_ids.iter().enumerate();
    let numbered: AHashMap<String, ServiceId> =
        numbered.filter_map(|(index, name)| Some((name.clone()?, ServiceId(index as u32)))).collect();
    let mut services: Vec<Option<Arc<Service>>> = Vec::new();
    services.resize_with(work.keep.service_ids.len(), || None);
    let mut discovered = Vec::new();
    for (name, service) in file.services.iter() {
        let text = name.as_str();
        let Some(id) = numbered.get(text) else { continue };
        if !service.is_raw() {
            work.service_names.push(text.to_owned());
            work.service_ids.insert(text, *id);
        }
        let Some(settings) = settings(work, name, service) else { continue };
        let state = Arc::clone(work.keep.services.entry(text.to_owned()).or_insert_with(State::new));
        let series = work.metrics.service(text);
        let checks = service.health.as_ref().map(|health| Checks::new(health, service, &settings));
        let rules = balance::rules(file, service, &settings);
        discovered.push(Discovered { rules, checks, ..addresses(text, service, &state) });
        let service = Service::new(Arc::clone(name.shared()), settings, series, state);
        services[id.0 as usize] = Some(Arc::new(service));
    }
    work.keep.services.retain(|name, _| file.services.get(name).is_some());
    (services, discovered)
}

/// What all instances speak, and whether by TLS.
fn protocol(work: &mut Work<'_>, service: &config::Service) -> Option<(Protocol, bool)> {
    let mut is_secure = false;
    let mut protocol = None;
    for address in service.addresses() {
        let of_scheme = match address.address.scheme {
            config::Scheme::Http | config::Scheme::Https => {
                service.protocol.as_ref().map_or(Protocol::Http1, |wanted| match **wanted {
                    config::Protocol::Http1 => Protocol::Http1,
                    config::Protocol::H2c | config::Protocol::Http2 => Protocol::Http2,
                    config::Protocol::Auto => Protocol::Auto,
                })
            }
            // Only listeners that pass connections through may name it.
            config::Scheme::Tcp => Protocol::Http1,
            config::Scheme::H2c | config::Scheme::H2 => Protocol::Http2,
        };
        is_secure |= matches!(address.address.scheme, config::Scheme::Https | config::Scheme::H2);
        if protocol.is_some_and(|known| known != of_scheme) {
            let help = "give all instances the same scheme";
            work.error(
                "mixed_protocols",
                address.span,
                "the instances of one service speak different protocols",
                help,
            );
            return None;
        }
        protocol = Some(of_scheme);
    }
    Some((protocol.unwrap_or(Protocol::Http1), is_secure))
}

fn settings(work: &mut Work<'_>, name: &Spanned<Name>, service: &config::Service) -> Option<Settings> {
    let (protocol, is_secure) = protocol(work, service)?;
    let tls = match is_secure {
        true => Some(super::certificates::service(work, name, service)?),
        false => None,
    };
    let bounds = &service.bounds;
    let addresses = service.addresses();
    let first = addresses.first()?;
    let balance = balance::balance(work, name, service)?;
    let subset = balance::subset(work, service)?;
    let mut checked = |text: &str| {
        let help = "write a host name or an IP address, with or without a port";
        let message = format!("`{text}` is not a host that can be sent");
        let parsed = Authority::parse(text).ok();
        parsed.or_else(|| {
            work.error("invalid_host", first.span, message, help);
            None
        })
    };
    let authority = checked(&first.address.authority())?;
    let host = match &service.host {
        config::HostRule::Keep => HostRule::Keep,
        config::HostRule::Service => HostRule::Fixed(authority.clone()),
        config::HostRule::Name(name) => HostRule::Fixed(checked(name)?),
    };
    Some(Settings {
        protocol,
        tls,
        proxy_protocol: service.proxy_protocol.map(super::listeners::version),
        host,
        authority,
        balance,
        subset,
        outliers: service.outliers.as_ref().map(balance::outliers),
        times: service_times(service),
        limits: Limits {
            head_bytes: bounds.header_bytes.0 as usize,
            fields: bounds.header_fields as usize,
            ..Limits::default()
        },
        h2: H2Limits {
            streams: bounds.streams,
            head_bytes: bounds.header_bytes.0 as u32,
            ..H2Limits::default()
        },
        max_connections: service.max_connections.map_or(usize::MAX, |max| max.get() as usize),
        max_requests: service.max_requests.map_or(usize::MAX, |max| max.get() as usize),
        max_pending: service.max_pending as usize,
        pass_deadline: service.pass_deadline,
        max_interim: bounds.interim_responses,
        idle_connections: bounds.idle_connections as usize,
        retry: service.retry.as_ref().map(resilience::retry).unwrap_or_default(),
        budget: resilience::budget(&service.retry_budget),
        breaker: service.breaker.as_ref().map(resilience::breaker),
        adaptive: service.adaptive.as_ref().map(resilience::adaptive),
    })
}

fn service_times(service: &config::Service) -> ServiceTimes {
    let times = &service.timeouts;
    ServiceTimes {
        connect: times.connect.0,
        tls: times.tls.0,
        first_byte: times.first_byte.0,
        idle: times.idle.0,
        write: times.write.0,
        tunnel_idle: times.tunnel_idle.0,
        pending: times.pending.0,
        keep: service.bounds.idle_time.0,
    }
}

fn addresses(name: &str, service: &config::Service, state: &Arc<State>) -> Discovered {
    let (mut fixed, mut names) = (Vec::new(), Vec::new());
    for instance in service.addresses() {
        let weight = u32::from(instance.weight);
        let zone = instance.zone.as_deref().map(Arc::from);
        let label = service.subset.as_ref().and_then(|subset| instance.labels.get(subset.label.as_str()));
        let label = label.map(|label| Arc::from(label.as_str()));
        let place = Whereabouts { priority: instance.priority, zone, label };
        let port = instance.address.port;
        let ip = instance.address.ip().map(|ip| Address::Ip(SocketAddr::new(ip, port)));
        let known = instance.address.socket.as_deref().map(Address::unix).or(ip);
        match known {
            Some(address) => fixed.push(Member { address, weight, place }),
            None => names.push(Named { name: instance.address.host.clone(), port, weight, place }),
        }
    }
    let dns = DnsSettings {
        min_ttl: service.dns.min_ttl.0,
        max_ttl: service.dns.max_ttl.0,
        timeout: service.dns.timeout.0,
        server: service.dns.server.as_ref().map(|server| {
            SocketAddr::new(server.ip.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()), server.port)
        }),
    };
    let (rules, checks) = (Rules::default(), None);
    Discovered { service: name.to_owned(), state: Arc::clone(state), fixed, names, dns, rules, checks }
}
