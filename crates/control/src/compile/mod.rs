//! File -> Snapshot. Finds every problem that needs a registry or the router; starts nothing, binds nothing.

mod balance;
mod certificates;
mod chains;
mod fallback;
mod host;
mod keep;
mod listeners;
mod matching;
mod mirror;
mod nested;
mod resilience;
mod routes;
mod services;
#[cfg(test)]
mod tests;
mod versions;

use std::sync::Arc;

use ahash::AHashMap;
use keep::Reads;
use narthex_config::{File, PolicyDef};
use narthex_contract::{Fingerprint, ServiceId};
use narthex_document::{Diagnostic, Node};
use narthex_proxy::{Gateway, ListenerPlan, Snapshot};
use narthex_telemetry::Metrics;
use narthex_wire::Address;

pub use certificates::{Holder, Secured, client_tls, server_settings};
pub use keep::{Keep, Kinds};
pub use services::{Discovered, Named};

/// A socket of a listener as compiled.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    pub index: usize,
    pub name: String,
    /// One of its addresses.
    pub address: Address,
    /// Permissions of a Unix socket.
    pub mode: u32,
}

/// A route in the order of `narthex routes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    pub gateway: String,
    pub hosts: Vec<String>,
    pub route: String,
    pub matches: String,
    /// The versions that it serves; empty: the gateway has none.
    pub versions: Vec<String>,
    pub policies: Vec<String>,
    pub to: String,
    pub public: bool,
}

/// A configuration that may go live.
pub struct Compiled {
    pub snapshot: Snapshot,
    pub listeners: Vec<ListenerSpec>,
    pub discovered: Vec<Discovered>,
    pub secured: Vec<Secured>,
    pub routes: Vec<RoutePlan>,
    /// By gateway's name, for `explain`.
    pub gateways: Vec<Arc<Gateway>>,
    pub overload: narthex_config::Overload,
}

impl Compiled {
    /// The plan of a listener by name.
    pub fn plan(&self, name: &str) -> Option<&Arc<ListenerPlan>> {
        let spec = self.listeners.iter().find(|spec| spec.name == name)?;
        self.snapshot.listener(spec.index)
    }
}

/// Compiles; pushes every problem. `None` exactly when one of them is an error.
pub fn compile(
    file: &File,
    keep: &mut Keep,
    metrics: &Metrics,
    problems: &mut Vec<Diagnostic>,
) -> Option<Compiled> {
    compile_written(file, None, keep, metrics, problems)
}

/// As [`compile`]. `node`: the tree that the file was read from; with it, routes that did not change are those that
/// `keep` knows, not new ones.
pub fn compile_written(
    file: &File,
    node: Option<&Node>,
    keep: &mut Keep,
    metrics: &Metrics,
    problems: &mut Vec<Diagnostic>,
) -> Option<Compiled> {
    let before = problems.iter().filter(|problem| problem.is_error()).count();
    let mut work = Work {
        file,
        metrics,
        problems,
        keep,
        service_names: Vec::new(),
        service_ids: AHashMap::new(),
        written: node.map(Written::of).unwrap_or_default(),
        reads: Reads::default(),
        depth: 0,
        secured: Vec::new(),
    };
    work.refuse_what_is_not_there();
    let (services, discovered) = services::compile(&mut work);
    let (gateways, routes) = routes::compile(&mut work);
    let (plans, listeners) = listeners::compile(&mut work, &gateways, &services);
    let secured = std::mem::take(&mut work.secured);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if errors > before {
        return None;
    }
    let gateways = gateways.into_iter().flatten().collect();
    let snapshot = Snapshot { version: 0, listeners: plans, services };
    let overload = file.overload.clone();
    Some(Compiled { snapshot, listeners, discovered, secured, routes, gateways, overload })
}

/// One compilation.
struct Work<'w> {
    pub file: &'w File,
    pub metrics: &'w Metrics,
    pub problems: &'w mut Vec<Diagnostic>,
    pub keep: &'w mut Keep,
    pub service_names: Vec<String>,
    pub service_ids: AHashMap<&'w str, ServiceId>,
    pub written: Written<'w>,
    /// What was looked up since somebody emptied it.
    pub reads: Reads,
    /// Policies inside policies: how deep.
    pub depth: usize,
    /// What holds certificates.
    pub secured: Vec<Secured>,
}

/// The tree that the file was read from, by name. Empty where it is not known.
#[derive(Default)]
struct Written<'w> {
    pub gateways: AHashMap<&'w str, WrittenGateway<'w>>,
    pub policies: AHashMap<&'w str, Fingerprint>,
    pub services: AHashMap<&'w str, Fingerprint>,
}

/// One gateway of the tree.
struct WrittenGateway<'w> {
    pub policies: Fingerprint,
    pub routes: AHashMap<&'w str, &'w Node>,
}

impl<'w> Written<'w> {
    fn of(root: &'w Node) -> Self {
        let entries = |key: &str| root.get(key).map_or(&[][..], Node::entries).iter();
        let prints = |key: &str| {
            entries(key).map(|(key, node)| (key.text.as_str(), Fingerprint::of_node(node))).collect()
        };
        let gateways = entries("gateways").map(|(key, node)| {
            let routes = node.get("routes").map_or(&[][..], Node::entries).iter();
            let gateway = WrittenGateway {
                policies: node.get("policies").map_or(Fingerprint::of(""), Fingerprint::of_node),
                routes: routes.map(|(key, node)| (key.text.as_str(), node)).collect(),
            };
            (key.text.as_str(), gateway)
        });
        Self { gateways: gateways.collect(), policies: prints("policies"), services: prints("services") }
    }
}

impl<'w> Work<'w> {
    /// An entry of `policies`; the look-up is noted.
    pub fn named_policy(&mut self, name: &str) -> Option<&'w PolicyDef> {
        self.reads.policies.push((name.to_owned(), self.written.policies.get(name).copied()));
        self.file.policies.get(name)
    }

    /// A service's index; the look-up is noted.
    pub fn service_id(&mut self, name: &str) -> Option<ServiceId> {
        let id = self.service_ids.get(name).copied();
        self.reads.services.push((name.to_owned(), id, self.written.services.get(name).copied()));
        id
    }

    /// Whether everything that was looked up is still what it was.
    fn still(&self, reads: &Reads) -> bool {
        let policy = |(name, was): &(String, Option<Fingerprint>)| {
            was.is_some() && self.written.policies.get(name.as_str()) == was.as_ref()
        };
        let service = |(name, id, was): &(String, Option<ServiceId>, Option<Fingerprint>)| {
            was.is_some()
                && self.service_ids.get(name.as_str()) == id.as_ref()
                && self.written.services.get(name.as_str()) == was.as_ref()
        };
        reads.policies.iter().all(policy) && reads.services.iter().all(service)
    }

    pub fn error(
        &mut self,
        code: &'static str,
        span: narthex_document::Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Diagnostic::error(code, span, message).with_help(help));
    }

    /// A promise that this version cannot keep is refused, never ignored.
    fn refuse_what_is_not_there(&mut self) {
        let later =
            "remove it: this version cannot do it, and never runs a configuration with a promise missing";
        let file = self.file;
        for (_, listener) in file.listeners.iter() {
            if let Some(proxy) = listener.trusted_proxies.first() {
                let help = "write `trusted_hops: 1` for one proxy of your own in front";
                self.error("not_available", proxy.span, "`trusted_proxies` is not available", help);
            }
        }
        for (_, service) in file.services.iter() {
            if let Some(proto) = &service.proto {
                self.error("not_available", proto.span, "gRPC transcoding is not available", later);
            }
        }
        if let Some(admin) = &file.admin {
            let is_loopback = admin.address.ip.is_some_and(|ip| ip.is_loopback());
            if !is_loopback && admin.token.is_none() {
                let help = "give it a `token: { env: NARTHEX_ADMIN_TOKEN }`, or a loopback address";
                self.error(
                    "admin_exposed",
                    admin.address.span,
                    "anybody who reaches this address could change the configuration",
                    help,
                );
            }
        }
        if let Some((name, _)) = file.tiers.iter().next() {
            self.error("not_available", name.span, "tiers are not available", later);
        }
        if let Some(log) = &file.access_log {
            let is_default =
                log.format == narthex_config::LogFormat::Json && log.fields.is_none() && log.sample.is_none();
            if !is_default {
                let help = "keep `to` alone: one JSON line per request with the standard fields";
                self.error(
                    "not_available",
                    log.to.span,
                    "`format`, `fields` and `sample` are not available",
                    help,
                );
            }
        }
    }
}
