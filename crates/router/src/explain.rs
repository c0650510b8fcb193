//! The trace that live routing runs through, and `Explain`: which route wins, and for the nearest others the
//! first predicate that fails. It uses the evaluator of live routing and must never decide anything itself.

use crate::client::client_type;
use crate::evaluate::{Facts, Predicate, PredicateRef, Request, Route};
use crate::router::{Found, Router};
use crate::value::query_value;

/// How a candidate fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryOutcome {
    Chosen,
    /// The first predicate that does not hold.
    Failed(PredicateRef),
}

/// Told of every route that the search tries, in the order in which it tries them.
pub trait Trace {
    /// False: the calls are compiled away.
    const ON: bool;
    fn tried(&mut self, route: usize, outcome: TryOutcome);
}

/// Live routing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    const ON: bool = false;
    fn tried(&mut self, _: usize, _: TryOutcome) {}
}

/// Why one other route was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub route: usize,
    pub name: String,
    /// The first predicate that fails; none: all hold, and the chosen route precedes it.
    pub failed: Option<PredicateRef>,
    /// What was wanted and what was there.
    pub text: String,
}

/// The whole answer of the search, with the candidates that it tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    pub found: Found,
    /// In the order of the search: the routes whose host and path fit.
    pub tried: Vec<(usize, TryOutcome)>,
    /// The nearest other routes, nearest first; at most `Explain::NEAREST`.
    pub nearest: Vec<Explanation>,
}

struct Log {
    tried: Vec<(usize, TryOutcome)>,
}

impl Trace for Log {
    const ON: bool = true;
    fn tried(&mut self, route: usize, outcome: TryOutcome) {
        self.tried.push((route, outcome));
    }
}

impl Explain {
    /// How many other routes are explained.
    pub const NEAREST: usize = 5;

    /// Routes the request and says why the nearest other routes were not taken. `path` is normalised.
    pub fn new<F: Facts>(router: &Router, facts: &F, path: &str) -> Self {
        let mut log = Log { tried: Vec::new() };
        let found = router.find(facts, path, &mut log);
        let chosen = match &found {
            Found::Route { index, .. } => Some(*index),
            _ => None,
        };
        let host = Request::canonical_host(facts);
        let request = Request::new(facts, &host, path);
        let mut near: Vec<(usize, usize)> = (0..router.len())
            .filter(|route| Some(*route) != chosen)
            .map(|route| (distance(&router.routes[route], &request), route))
            .collect();
        if near.len() > Explain::NEAREST {
            near.select_nth_unstable(Explain::NEAREST);
            near.truncate(Explain::NEAREST);
        }
        near.sort_unstable();
        let by = chosen.and_then(|c| router.route_name(c));
        let nearest =
            near.into_iter().map(|(_, route)| explain_route(&router.routes[route], route, by, &request));
        let nearest = nearest.collect();
        Explain { found, tried: log.tried, nearest }
    }
}

/// How far a route is from matching: a wrong segment or host weighs more than another predicate.
fn distance<F: Facts>(route: &Route, request: &Request<'_, F>) -> usize {
    let path = route.path.as_ref().map_or(0, |p| p.distance(request.path));
    let failed = |which: &PredicateRef| !route.holds(*which, request);
    let others = route.predicates().filter(|p| *p != PredicateRef::Path).filter(failed);
    path * 3 + others.map(|which| if which == PredicateRef::Host { 4 } else { 2 }).sum::<usize>()
}

fn explain_route<F: Facts>(
    route: &Route,
    index: usize,
    by: Option<&str>,
    request: &Request<'_, F>,
) -> Explanation {
    let failed = route.predicates().find(|p| !route.holds(*p, request));
    let text = match failed {
        None => format!("it matches too, but `{}` is more specific", by.unwrap_or_default()),
        Some(which) => describe(route, which, request),
    };
    Explanation { route: index, name: route.name.to_string(), failed, text }
}

fn describe<F: Facts>(route: &Route, which: PredicateRef, request: &Request<'_, F>) -> String {
    match which {
        PredicateRef::Host => describe_hosts(&route.hosts, request),
        PredicateRef::Method => describe_methods(&route.methods.names(), request),
        PredicateRef::Path => route
            .path
            .as_ref()
            .and_then(|p| p.difference(request.path))
            .unwrap_or_else(|| "path differs".to_owned()),
        PredicateRef::Other(i) => {
            route.others.get(i).map(|p| describe_predicate(p, request)).unwrap_or_default()
        }
    }
}

fn describe_hosts<F: Facts>(hosts: &[crate::host::HostPattern], request: &Request<'_, F>) -> String {
    let want: Vec<String> = hosts.iter().map(|h| format!("`{h}`")).collect();
    format!("host is `{}`, want {}", request.host, want.join(" or "))
}

fn describe_methods<F: Facts>(names: &[&str], request: &Request<'_, F>) -> String {
    format!("method is {}, want {}", request.facts.method(), names.join(" or "))
}

fn describe_predicate<F: Facts>(predicate: &Predicate, request: &Request<'_, F>) -> String {
    match predicate {
        Predicate::Methods(methods) => describe_methods(&methods.names(), request),
        Predicate::Path(path) => path.difference(request.path).unwrap_or_default(),
        Predicate::Hosts(hosts) => describe_hosts(hosts, request),
        Predicate::Header { name, test } => {
            let there = request.header(name, have);
            format!("header {name} {there}, {}", test.wanted())
        }
        Predicate::Query { name, test } => {
            let value = query_value(request.facts.query(), name);
            format!("query parameter {name} {}, {}", have(value.as_deref()), test.wanted())
        }
        Predicate::Client(set) => {
            let client = client_type(request.facts).map_or("unknown", |c| c.name());
            format!("client is {client}, want {}", set.names().join(" or "))
        }
        Predicate::Versions(set) => {
            let version = request.facts.version().map_or("none", |version| set.name(version));
            format!("version is {version}, want {}", set.names().collect::<Vec<_>>().join(" or "))
        }
        Predicate::Any(alternatives) => {
            let reasons: Vec<String> =
                alternatives.iter().filter_map(|a| first_failed(a, request)).take(4).collect();
            format!("none of the {} alternatives of `any` holds: {}", alternatives.len(), reasons.join("; "))
        }
        Predicate::All(all) => format!("in `all`: {}", first_failed(all, request).unwrap_or_default()),
        Predicate::Not(_) => "everything in `not` holds, and it must not".to_owned(),
    }
}

fn first_failed<F: Facts>(list: &[Predicate], request: &Request<'_, F>) -> Option<String> {
    list.iter().find(|p| !p.holds(request)).map(|p| describe_predicate(p, request))
}

/// What was there, cut to a readable length.
fn have(value: Option<&[u8]>) -> String {
    const SHOWN: usize = 100;
    match value {
        None => "is absent".to_owned(),
        Some(value) => {
            let cut = &value[..value.len().min(SHOWN)];
            let more = if value.len() > SHOWN { "..." } else { "" };
            format!("is {:?}{more}", String::from_utf8_lossy(cut))
        }
    }
}
