//! Listeners: which gateways answer on them, and their bounds.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use narthex_config as config;
use narthex_contract::ServiceId;
use narthex_document::{Diagnostic, Name, Spanned};
use narthex_net::H2Limits;
use narthex_proxy::{
    BodyRate, FloodRules, ForwardedRules, Gateway, ListenerBounds, ListenerPlan, Network, Protocol,
    ProxiedRules, RawPlan, RawTo, ServerNames, Service,
};
use narthex_router::{HostProblem, HostTable};
use narthex_wire::{Limits, ProxyProtocol};

use super::{ListenerSpec, Work};

pub(super) fn compile(
    work: &mut Work<'_>,
    gateways: &[Option<Arc<Gateway>>],
    services: &[Option<Arc<Service>>],
) -> (Vec<Option<Arc<ListenerPlan>>>, Vec<ListenerSpec>) {
    let file = work.file;
    let (mut plans, mut specs) = (Vec::new(), Vec::new());
    for (name, listener) in file.listeners.iter() {
        let address = address(*listener.address);
        let key = (name.to_string(), address);
        let index = work.keep.listeners.iter().position(|known| *known == key).unwrap_or_else(|| {
            work.keep.listeners.push(key);
            work.keep.listeners.len() - 1
        });
        let on_it: Vec<usize> = file
            .gateways
            .iter()
            .enumerate()
            .filter(|(_, (_, gateway))| gateway.listeners.iter().any(|wanted| **wanted == **name))
            .map(|(at, _)| at)
            .collect();
        let hosts: Vec<Vec<String>> = on_it
            .iter()
            .filter_map(|at| file.gateways.at(*at))
            .map(|(_, gateway)| gateway.hosts.iter().map(|host| host.0.clone()).collect())
            .collect();
        let table = HostTable::build(hosts.iter().enumerate().map(|(at, hosts)| (at, hosts.as_slice())));
        let hosts = match table {
            Ok(table) => table,
            Err(problems) => {
                problems.iter().for_each(|problem| report(work, problem, &on_it));
                continue;
            }
        };
        let tls = super::certificates::listener(work, name, listener);
        if plans.len() <= index {
            plans.resize_with(index + 1, || None);
        }
        plans[index] = Some(Arc::new(ListenerPlan {
            name: Arc::clone(name.shared()),
            hosts,
            gateways: on_it.iter().filter_map(|at| gateways.get(*at).cloned().flatten()).collect(),
            forwarded: ForwardedRules {
                trusted_hops: listener.trusted_hops,
                standard: listener.forwarded == config::Forwarded::Both,
                client_cert: listener.forward_client_cert,
            },
            bounds: bounds(listener),
            raw: raw(work, services, listener),
            tls,
            redirect: listener.redirect_to_https.as_ref().map(|port| port.get()),
            proxied: listener.proxy_protocol.as_ref().map(|proxied| proxied_rules(proxied, &listener.bounds)),
            places: Arc::clone(work.keep.places.entry(name.to_string()).or_default()),
        }));
        specs.push(ListenerSpec { index, name: name.to_string(), address });
    }
    (plans, specs)
}

/// A listener without HTTP. What is undefined was reported by `config`.
fn raw(
    work: &mut Work<'_>,
    services: &[Option<Arc<Service>>],
    listener: &config::Listener,
) -> Option<RawPlan> {
    let mut plan = RawPlan {
        to: RawTo::Names(ServerNames::default()),
        services: Vec::new(),
        idle: Duration::ZERO,
        proxy_protocol: None,
        hello_bytes: listener.bounds.hello_bytes.0 as usize,
    };
    let version = |given| match given {
        config::ProxyProtocol::V1 => ProxyProtocol::V1,
        config::ProxyProtocol::V2 => ProxyProtocol::V2,
    };
    if let Some(tcp) = &listener.tcp {
        plan.to = RawTo::Service(raw_service(work, services, &tcp.to, &mut plan.services)?);
        plan.idle = tcp.idle.0;
        plan.proxy_protocol = tcp.proxy_protocol.map(version);
        return Some(plan);
    }
    let tls = listener.tls_passthrough.as_ref()?;
    let mut names = ServerNames::default();
    for (name, service) in &tls.to {
        names.insert(&name.0, raw_service(work, services, service, &mut plan.services)?);
    }
    plan.to = RawTo::Names(names);
    plan.idle = tls.idle.0;
    plan.proxy_protocol = tls.proxy_protocol.map(version);
    Some(plan)
}

/// Adds a service to those of a listener; one that has no raw bytes is refused.
fn raw_service(
    work: &mut Work<'_>,
    services: &[Option<Arc<Service>>],
    name: &Spanned<Name>,
    of_plan: &mut Vec<Arc<Service>>,
) -> Option<ServiceId> {
    let service = services.iter().flatten().find(|service| *service.name == ***name)?;
    if service.settings.protocol != Protocol::Http1 || service.settings.tls.is_some() {
        let message =
            format!("the service `{}` speaks HTTP/2 or TLS: raw bytes cannot be passed to it", &**name);
        work.error("conflict", name.span, message, "give its `url` the scheme `tcp://`");
        return None;
    }
    of_plan.push(Arc::clone(service));
    Some(ServiceId(of_plan.len() as u32 - 1))
}

fn proxied_rules(written: &config::ProxyFrom, bounds: &config::Bounds) -> ProxiedRules {
    ProxiedRules {
        from: written.from.iter().map(|network| Network { ip: network.ip, bits: network.bits }).collect(),
        bytes: bounds.proxy_header_bytes.0.clamp(107, 16 * 1024) as usize,
        time: bounds.proxy_header_time.0,
    }
}

/// No address given: every one of the machine, IPv6 and IPv4.
fn address(written: config::HostPort) -> SocketAddr {
    SocketAddr::new(written.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), written.port)
}

fn report(work: &mut Work<'_>, problem: &HostProblem, on_it: &[usize]) {
    let (HostProblem::BadHost { gateway, .. }
    | HostProblem::Taken { gateway, .. }
    | HostProblem::TwoDefaults { gateway, .. }) = problem;
    let Some((name, of)) = on_it.get(*gateway).and_then(|at| work.file.gateways.at(*at)) else { return };
    let span = match problem {
        HostProblem::BadHost { host, .. } | HostProblem::Taken { host, .. } => {
            of.hosts.get(*host).map_or(name.span, |host| host.span)
        }
        HostProblem::TwoDefaults { .. } => name.span,
    };
    let (message, help) = super::matching::cause_and_fix(&problem.to_string());
    let diagnostic = Diagnostic::error("host_conflict", span, message);
    let diagnostic = match help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    };
    work.problems.push(diagnostic);
}

fn bounds(listener: &config::Listener) -> ListenerBounds {
    let bounds = &listener.bounds;
    let speaks = |version| listener.http.iter().any(|spoken| **spoken == version);
    ListenerBounds {
        limits: Limits {
            head_bytes: bounds.header_bytes.0 as usize,
            fields: bounds.header_fields as usize,
            target: bounds.uri_bytes.0 as usize,
            chunk_extensions: bounds.chunk_extension_bytes.0 as usize,
            trailer_bytes: bounds.trailer_bytes.0 as usize,
            ..Limits::default()
        },
        h2: H2Limits {
            streams: bounds.streams,
            head_bytes: bounds.header_bytes.0 as u32,
            pending_resets: bounds.reset_streams as usize,
            stream_window: window(bounds.stream_window.0),
            connection_window: window(bounds.connection_window.0),
        },
        http1: speaks(config::HttpVersion::Http1),
        http2: speaks(config::HttpVersion::Http2),
        head: bounds.header_time.0,
        idle: bounds.idle_time.0,
        body: bounds.body_idle_time.0,
        write: bounds.write_time.0,
        half_close: listener.half_close,
        connections: bounds.connections as usize,
        connections_per_ip: bounds.connections_per_ip,
        floods: FloodRules { resets: bounds.resets, control_frames: bounds.control_frames },
        body_rate: BodyRate {
            rate: bounds.body_rate.0,
            grace: u64::try_from(bounds.body_grace.0.as_nanos()).unwrap_or(u64::MAX),
        },
        requests_per_connection: u64::from(bounds.requests_per_connection),
        body_bytes: bounds.body_bytes.0,
        drain_bytes: bounds.drain_bytes.0,
        dispatch_depth: bounds.dispatch_depth,
    }
}

/// Flow-control windows are at most 2^31 - 1 (RFC 9113 6.9.1).
fn window(bytes: u64) -> u32 {
    bytes.clamp(65_535, (1 << 31) - 1) as u32
}
