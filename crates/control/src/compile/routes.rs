//! Gateways and routes: the router's input, chains, destinations, fallbacks.

use std::sync::Arc;

use ahash::AHashMap;
use narthex_config as config;
use narthex_contract::{Attached, CompileCx, Fingerprint, Place, RouteLabel};
use narthex_document::{Diagnostic, Name, Span, Spanned};
use narthex_proxy::{DeadlineScope, Gateway, PathEdit, Route, RouteTimes, To, Upgrades};
use narthex_router::{EncodedSlashes, PathPattern, PathRules, Rewrite, RouteSpec, Router};

use super::chains::{self, GatewayPolicies, Placed};
use super::host::Host;
use super::keep::{KeptGateway, KeptRoute, Reads};
use super::{RoutePlan, Work, fallback, matching, mirror, resilience, versions};

/// One entry per gateway of the file; `None` where it has problems.
pub(super) fn compile(work: &mut Work<'_>) -> (Vec<Option<Arc<Gateway>>>, Vec<RoutePlan>) {
    let file = work.file;
    let (mut gateways, mut plans, mut kept) = (Vec::new(), Vec::new(), AHashMap::new());
    for (name, gateway) in file.gateways.iter() {
        gateways.push(compile_gateway(work, name, gateway, &mut plans, &mut kept).map(Arc::new));
    }
    work.keep.gateways = kept;
    (gateways, plans)
}

fn compile_gateway(
    work: &mut Work<'_>,
    name: &Spanned<Name>,
    gateway: &config::Gateway,
    plans: &mut Vec<RoutePlan>,
    kept: &mut AHashMap<String, Arc<KeptGateway>>,
) -> Option<Gateway> {
    let (policies, known_by) = chains::of_gateway(work, name, &gateway.policies);
    let mut kept_routes = AHashMap::new();
    let (mut specs, mut routes, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_complete = true;
    for (route_name, route) in gateway.routes.iter() {
        match compile_route(work, name, route_name, route, &policies) {
            Some(made) => {
                let to = to_text(work, route);
                plans.push(plan((name, gateway), (route_name, route), to, &policies, &made.placed));
                specs.push(made.spec);
                spans.push((route_name.span, route.matches.span));
                routes.push(made.route);
                if let Some(known) = made.kept {
                    kept_routes.insert(route_name.to_string(), known);
                }
            }
            None => is_complete = false,
        }
    }
    if let Some((fingerprint, reads)) = known_by {
        let known = KeptGateway { fingerprint, reads, policies: Arc::clone(&policies), routes: kept_routes };
        kept.insert(name.to_string(), Arc::new(known));
    }
    let keeps = gateway.routes.iter().any(|(_, route)| route.encoded_slashes == config::EncodedSlashes::Keep);
    let router = match Router::build(specs) {
        Ok(router) => router,
        Err(problems) => {
            problems.iter().for_each(|problem| report(work, problem, &spans));
            return None;
        }
    };
    let label = RouteLabel { gateway: Arc::clone(name.shared()), route: "".into(), template: "".into() };
    let versions = versions::compile(work, name, gateway);
    is_complete.then(|| Gateway {
        series: work.metrics.route(name, ""),
        name: Arc::clone(name.shared()),
        router,
        routes,
        paths: PathRules {
            encoded_slashes: if keeps { EncodedSlashes::Keep } else { EncodedSlashes::Refuse },
        },
        versions,
        before: chains::chain(&policies.before, 0),
        slots: policies.slots as usize,
        label: Arc::new(label),
    })
}

fn report(work: &mut Work<'_>, problem: &narthex_router::Problem, spans: &[(Span, Span)]) {
    let span = spans.get(problem.route()).map_or(Span::NONE, |(_, matches)| *matches);
    let (message, help) = matching::cause_and_fix(&problem.to_string());
    let mut diagnostic = Diagnostic::error(code(problem), span, message);
    if let Some(help) = help {
        diagnostic = diagnostic.with_help(help);
    }
    if let Some((_, other)) = problem.other().and_then(|other| spans.get(other)) {
        diagnostic = diagnostic.with_label(*other, "the other one");
    }
    work.problems.push(diagnostic);
}

fn code(problem: &narthex_router::Problem) -> &'static str {
    use narthex_router::Problem as P;
    match problem {
        P::DuplicateName { .. } | P::Duplicate { .. } => "duplicate_route",
        P::Tie { .. } => "ambiguous_routes",
        P::Unreachable { .. } | P::UnreachableVersions { .. } => "unreachable_route",
        P::Contradiction { .. } => "impossible_route",
        P::UnknownOver { .. } | P::UselessOver { .. } | P::OverCircle { .. } => "bad_over",
        P::TooMany { .. } | P::More { .. } => "too_many_routes",
        _ => "bad_match",
    }
}

struct Made {
    spec: RouteSpec,
    route: Arc<Route>,
    placed: Vec<Placed>,
    /// What to know it by next time; `None`: it is compiled again.
    kept: Option<Arc<KeptRoute>>,
}

/// The route as it was compiled before, where nothing that it depends on has changed since.
fn unchanged(
    work: &mut Work<'_>,
    gateway: &str,
    name: &str,
    route: &config::Route,
    policies: &Arc<GatewayPolicies>,
) -> Option<Made> {
    let written = Fingerprint::of_node(work.written.gateways.get(gateway)?.routes.get(name)?);
    let kept = Arc::clone(work.keep.gateways.get(gateway)?.routes.get(name)?);
    let is_same = kept.fingerprint == written
        && Arc::ptr_eq(&kept.policies, policies)
        && kept.buffered_body == buffered_body(work, gateway)
        && work.still(&kept.reads);
    if !is_same {
        return None;
    }
    let versions = work.file.gateways.get(gateway).and_then(versions::names);
    let matching = matching::compile(work, &route.matches.map, versions.as_ref())?;
    let over = route.over.iter().map(|name| name.to_string()).collect();
    Some(Made {
        spec: RouteSpec { name: name.to_owned(), matching, over },
        route: Arc::clone(&kept.route),
        placed: kept.placed.clone(),
        kept: Some(kept),
    })
}

/// Bytes of a body that a policy must see whole: what all of the gateway's listeners allow.
fn buffered_body(work: &Work<'_>, gateway: &str) -> usize {
    let bound = |listener: &Spanned<Name>| work.file.listeners.get(listener);
    let listeners =
        work.file.gateways.get(gateway).into_iter().flat_map(|of| of.listeners.iter().filter_map(bound));
    listeners.map(|listener| listener.bounds.buffered_body_bytes.0 as usize).min().unwrap_or(1024 * 1024)
}

fn compile_route(
    work: &mut Work<'_>,
    gateway: &Spanned<Name>,
    name: &Spanned<Name>,
    route: &config::Route,
    policies: &Arc<GatewayPolicies>,
) -> Option<Made> {
    if let Some(made) = unchanged(work, gateway, name, route, policies) {
        return Some(made);
    }
    let problems = work.problems.len();
    work.reads = Reads::default();
    let versions = work.file.gateways.get(gateway).and_then(versions::names);
    let matching = matching::compile(work, &route.matches.map, versions.as_ref());
    let pattern = matching.as_ref().and_then(|matching| matching.path.clone());
    let captures: Vec<String> =
        pattern.iter().flat_map(|pattern| pattern.capture_names()).map(str::to_owned).collect();
    let place = Place::Route { gateway, route: name, captures: &captures };
    let (placed, slots) = chains::of_route(work, place, route, policies);
    require_authentication(work, name, route, &placed, policies);
    let authenticated = placed.iter().any(chains::authenticates);
    let mut slots = slots;
    let (to, attached) = match destination(work, route, place, &mut slots, authenticated) {
        Some((to, attached)) => (Some(to), attached),
        None => (None, None),
    };
    let edit = edit(work, route, pattern.as_ref());
    let fallback = fallback::compile(work, route, place, &mut slots, authenticated);
    let text = route.matches.map.path.as_ref().map_or("", |path| path.as_str());
    let label = Arc::new(RouteLabel {
        gateway: Arc::clone(gateway.shared()),
        route: Arc::clone(name.shared()),
        template: text.into(),
    });
    let series = work.metrics.route(gateway, name);
    let mirror = mirror::compile(work, route, &label, &series);
    let compiled = Route {
        series,
        label,
        captures: captures.iter().map(|name| name.as_str().into()).collect(),
        chain: chains::chain(&placed, policies.before.len()),
        slots: slots as usize,
        to: to?,
        edit: edit?,
        fallback: fallback?,
        times: times(&route.deadline),
        upgrades: Upgrades {
            websocket: route.upgrade.iter().any(|upgrade| **upgrade == config::Upgrade::Websocket),
            close_when_removed: route.on_route_removed == config::OnRouteRemoved::Close,
        },
        service_times: service_times(&route.timeouts),
        retry: route.retry.as_ref().map(resilience::retry),
        mirror,
        buffered_body: buffered_body(work, gateway),
        keeps_encoded_slashes: route.encoded_slashes == config::EncodedSlashes::Keep,
        attached,
    };
    let compiled = Arc::new(compiled);
    let over = route.over.iter().map(|name| name.to_string()).collect();
    let spec = RouteSpec { name: name.to_string(), matching: matching?, over };
    // What was complained of is complained of again.
    let is_clean = work.problems.len() == problems;
    let kept = if is_clean { kept(work, (gateway, name), policies, &compiled, &placed) } else { None };
    Some(Made { spec, route: compiled, placed, kept })
}

/// What to know a route by next time; `None` where its text is not known.
fn kept(
    work: &mut Work<'_>,
    (gateway, name): (&str, &str),
    policies: &Arc<GatewayPolicies>,
    route: &Arc<Route>,
    placed: &[Placed],
) -> Option<Arc<KeptRoute>> {
    let written = work.written.gateways.get(gateway)?.routes.get(name)?;
    Some(Arc::new(KeptRoute {
        fingerprint: Fingerprint::of_node(written),
        reads: std::mem::take(&mut work.reads),
        policies: Arc::clone(policies),
        buffered_body: route.buffered_body,
        route: Arc::clone(route),
        placed: placed.to_vec(),
    }))
}

fn times(written: &config::Deadline) -> RouteTimes {
    let scope = match written.scope {
        config::DeadlineScope::Head => DeadlineScope::Head,
        config::DeadlineScope::Whole => DeadlineScope::Whole,
    };
    RouteTimes { deadline: written.after.0, scope }
}

fn service_times(of_route: &config::RouteTimeouts) -> narthex_proxy::TimesOverride {
    narthex_proxy::TimesOverride {
        connect: of_route.connect.map(|time| time.0),
        tls: of_route.tls.map(|time| time.0),
        first_byte: of_route.first_byte.map(|time| time.0),
        idle: of_route.idle.map(|time| time.0),
        write: of_route.write.map(|time| time.0),
        tunnel_idle: of_route.tunnel_idle.map(|time| time.0),
    }
}

/// Nobody gets in unasked: a route whose chain authenticates nobody must say `public: true`.
fn require_authentication(
    work: &mut Work<'_>,
    name: &Spanned<Name>,
    route: &config::Route,
    placed: &[Placed],
    policies: &GatewayPolicies,
) {
    if route.public || placed.iter().any(chains::authenticates) {
        return;
    }
    let inherited = policies.inherited.iter().any(chains::authenticates);
    let help = if inherited {
        "this route removes the gateway's authentication: write `public: true` if that is meant"
    } else {
        "add a policy that finds out who asks, or write `public: true` if anybody may call it"
    };
    let message = format!("the route `{}` authenticates nobody", name.as_str());
    work.error("missing_auth", name.span, message, help);
}

fn destination(
    work: &mut Work<'_>,
    route: &config::Route,
    place: Place<'_>,
    slots: &mut u32,
    authenticated: bool,
) -> Option<(To, Option<(Arc<str>, Arc<Attached>)>)> {
    let kind = match &*route.to {
        // An undefined one was reported by `config`.
        config::To::Service(name) => return work.service_id(name).map(|id| (To::Service(id), None)),
        config::To::Kind(kind) => kind,
    };
    let known = work.keep.kinds.destination_names();
    let chosen = match kind.kind(&known) {
        Ok(chosen) => chosen,
        Err(problem) => {
            work.problems.push(*problem);
            return None;
        }
    };
    let kinds = work.keep.kinds.destinations.iter().copied();
    let registered = kinds.into_iter().find(|entry| entry.name() == chosen.kind.as_str())?;
    let mut host = Host { work, slots };
    let mut cx = CompileCx::new(&mut host, place, registered.name(), kind.0.span, authenticated);
    let compiled = registered.compile(&kind.0, &mut cx)?;
    let attached = cx.take_attached().map(|attached| (registered.name().into(), attached));
    Some((To::Kind(compiled), attached))
}

fn edit(work: &mut Work<'_>, route: &config::Route, pattern: Option<&PathPattern>) -> Option<PathEdit> {
    if let (Some(strip), Some(rewrite)) = (&route.strip, &route.rewrite) {
        let problem =
            Diagnostic::error("conflict", rewrite.span, "`strip` and `rewrite` cannot both be given")
                .with_label(strip.span, "the other one")
                .with_help("keep one: `rewrite` can do what `strip` does");
        work.problems.push(problem);
        return None;
    }
    if let Some(strip) = &route.strip {
        let prefix = strip.trim_end_matches('/');
        if !prefix.starts_with('/') {
            let help = format!("write it as in `/{}`", strip.trim_matches('/'));
            work.error("bad_path", strip.span, "`strip` is a path of whole segments", help);
            return None;
        }
        let written = route.matches.map.path.as_ref().map_or("", |path| path.as_str());
        let fits = written.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !fits && !written.starts_with('~') {
            let help = "write a prefix of the path in `match`, or `rewrite` the path";
            let message =
                format!("`strip: {}` never applies: the route's path does not begin with it", strip.as_str());
            work.error("useless_strip", strip.span, message, help);
            return None;
        }
        return Some(PathEdit::Strip(prefix.into()));
    }
    let Some(rewrite) = &route.rewrite else { return Some(PathEdit::Keep) };
    let fallback = PathPattern::Exact("/".into());
    match Rewrite::parse(rewrite, pattern.unwrap_or(&fallback)) {
        Ok(compiled) => Some(PathEdit::Rewrite(compiled)),
        Err(error) => {
            let (message, help) = matching::cause_and_fix(&error.message);
            let problem = Diagnostic::error("bad_path", rewrite.span, message);
            work.problems.push(match help {
                Some(help) => problem.with_help(help),
                None => problem,
            });
            None
        }
    }
}

fn to_text(work: &Work<'_>, route: &config::Route) -> String {
    match &*route.to {
        config::To::Service(service) => service.to_string(),
        config::To::Kind(kind) => {
            let known = work.keep.kinds.destination_names();
            kind.kind(&known).map(|kind| format!("({})", kind.kind.as_str())).unwrap_or_default()
        }
    }
}

fn plan(
    (gateway, of): (&Spanned<Name>, &config::Gateway),
    (name, route): (&Spanned<Name>, &config::Route),
    to: String,
    policies: &GatewayPolicies,
    placed: &[Placed],
) -> RoutePlan {
    let map = &route.matches.map;
    let methods = map.method.iter().flat_map(|methods| methods.0.iter().map(|method| method.0.as_str()));
    let methods: Vec<_> = methods.collect();
    let path = map.path.as_ref().map_or("*", |path| path.as_str());
    let mut matches =
        if methods.is_empty() { path.to_owned() } else { format!("{} {path}", methods.join(",")) };
    let more = map.headers.len() + map.query.len() + map.client.0.len() + map.any.len() + map.all.len();
    if more > 0 || map.not.is_some() {
        matches.push_str(" (+ predicates)");
    }
    let known = of.versions.iter().flat_map(|versions| versions.known.iter().map(|(name, _)| name.0.clone()));
    let serves = |name: &String| map.version.0.is_empty() || map.version.0.iter().any(|one| **one == *name);
    let names = policies.before.iter().chain(placed).map(|placed| {
        let shadow = if placed.link.shadow { " (shadow)" } else { "" };
        format!("{}{shadow}", placed.link.name)
    });
    RoutePlan {
        gateway: gateway.to_string(),
        hosts: of.hosts.iter().map(|host| host.0.clone()).collect(),
        route: name.to_string(),
        matches,
        versions: known.filter(serves).collect(),
        policies: names.collect(),
        to,
        public: route.public,
    }
}
