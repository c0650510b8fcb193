//! One request through the real router and the real policies, without a socket: for `explain` and for `tests:`.
//!
//! A policy that needs the network is not asked; what it would say is unknown, and so is what follows.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use narthex_contract::{
    Body, Caller, DestinationCx, Exchange, Hooks, Locals, Moment, Outcome, Reply, TraceContext, Verdicted,
    core,
};
use narthex_proxy::{Chain, Chosen, Gateway, PathEdit, Reached, RequestFacts, Route, To, host_without_port};
use narthex_router::{Explain, Found, normalise, path_after};
use narthex_wire::{Framing, Method, Name, RequestHead, ResponseHead};

use crate::Compiled;

/// A request as a person writes it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    /// `https://shop.example/v1/orders?x=1`, or a path alone.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub caller: Option<Arc<Caller>>,
    /// When it is asked, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// What came, or would come, of it.
#[derive(Debug)]
pub struct Simulation {
    pub gateway: Option<String>,
    /// The path that is matched and sent.
    pub path: String,
    /// Of a gateway with versions: the one that was found, and why it is that one or none.
    pub version: Option<(Option<String>, String)>,
    pub route: Option<String>,
    /// The nearest other routes, and the first predicate that fails in each.
    pub others: Vec<(String, String)>,
    /// (policy, stage, what it does) in the order of calling.
    pub steps: Vec<(String, &'static str, String)>,
    pub end: End,
    /// The answer's head after the response side, where it is known.
    pub response: Option<ResponseHead>,
    pub body: Vec<u8>,
}

/// Where the request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The gateway refuses, with this reason.
    Refused(&'static str, u16),
    /// A policy or the destination answers by itself.
    Answered(u16),
    /// To this service, with this path.
    Forwarded { service: String, path: String },
    /// A policy needs the network: nobody knows.
    Unknown(String),
}

/// Why a request cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest(pub String);

/// Runs the request. `answer`: what a service is supposed to answer.
pub fn simulate(
    compiled: &Compiled,
    asked: &Asked,
    answer: &dyn Fn(&str) -> (ResponseHead, Vec<u8>),
) -> Result<Simulation, BadRequest> {
    let mut way = Way::begin(asked)?;
    let Some(gateway) = choose_gateway(compiled, &way.exchange.host) else {
        return Ok(way.refuse(core::UNKNOWN_HOST.into()));
    };
    way.simulation.gateway = Some(gateway.name.to_string());
    way.exchange.label = Some(Arc::clone(&gateway.label));
    let raw = way.exchange.request.path().to_owned();
    let mut buffer = String::new();
    let normal = match normalise(raw.as_bytes(), gateway.paths, &mut buffer) {
        Ok(path) => path.to_owned(),
        Err(error) => {
            way.simulation.path = format!("{raw} ({error})");
            return Ok(way.refuse(core::BAD_PATH.into()));
        }
    };
    way.exchange.path.clone_from(&normal);
    way.simulation.path = normal;
    way.exchange.slots.reset(gateway.slots);
    way.exchange.locals = Locals::build(&compiled.snapshot.locals(), &Locals::default());
    if let Some(end) = way.pass(&gateway.before, Which::Before) {
        return Ok(way.finish(gateway, None, end, answer));
    }
    let chosen = match way.choose_version(gateway) {
        Ok(chosen) => chosen,
        Err(reply) => return Ok(way.finish(gateway, None, Turn::Replied(reply), answer)),
    };
    let Some(route) = way.find(gateway, chosen) else {
        let end = way.simulation.end.clone();
        return Ok(way.finish(gateway, None, Turn::Ended(end), answer));
    };
    if let Some(end) = way.pass(&route.chain, Which::Route) {
        return Ok(way.finish(gateway, Some(&route), end, answer));
    }
    let end = way.destination(compiled, &route);
    Ok(way.finish(gateway, Some(&route), end, answer))
}

fn choose_gateway<'c>(compiled: &'c Compiled, host: &str) -> Option<&'c Arc<Gateway>> {
    compiled.listeners.iter().find_map(|listener| {
        let plan = compiled.snapshot.listener(listener.index)?;
        plan.gateways.get(plan.hosts.find(host)?)
    })
}

#[derive(Clone, Copy)]
enum Which {
    Before,
    Route,
}

/// Why the request goes no further.
enum Turn {
    Replied(Reply),
    Ended(End),
}

struct Way {
    exchange: Exchange,
    before: Reached,
    reached: Reached,
    has_body: bool,
    version: Option<u8>,
    /// The path that a service is sent, where that is not what the route's edit makes of the whole.
    sent: Option<String>,
    simulation: Simulation,
}

impl Way {
    fn begin(asked: &Asked) -> Result<Self, BadRequest> {
        let bad = |text: &str| BadRequest(text.to_owned());
        let (scheme, rest) = asked.url.split_once("://").unwrap_or(("http", &asked.url));
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let target = if target.is_empty() { "/" } else { target };
        let method = Method::from_bytes(asked.method.as_bytes())
            .ok_or_else(|| BadRequest(format!("`{}` is not a method", asked.method)))?;
        let mut request = RequestHead::new();
        request.set_target(method, target).map_err(|error| BadRequest(format!("`{target}`: {error}")))?;
        let given = asked.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host =
            if authority.is_empty() { given.map_or("localhost", |(_, value)| value) } else { authority };
        request.set_authority(host).map_err(|_| BadRequest(format!("`{host}` is not a host")))?;
        for (name, value) in asked.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            let parsed =
                Name::parse(name).map_err(|_| BadRequest(format!("`{name}` is not a header's name")))?;
            if !parsed.is_reserved() {
                request
                    .head
                    .append(&parsed, value.as_bytes())
                    .map_err(|_| bad("a header's value is invalid"))?;
            }
        }
        request.framing =
            if asked.body.is_empty() { Framing::None } else { Framing::Length(asked.body.len() as u64) };
        let mut exchange = Exchange { request, ..Exchange::default() };
        exchange.client.tls = scheme == "https";
        exchange.client.ip = std::net::Ipv4Addr::LOCALHOST.into();
        exchange.host = host_without_port(host).to_owned();
        exchange.request_id = "00000000000000000000000000000000".into();
        exchange.trace = TraceContext::begin(&exchange.request.head, [1, 2, 3]);
        exchange.began = Moment { monotonic: 1, unix_ms: asked.unix_ms };
        exchange.caller.clone_from(&asked.caller);
        Ok(Self {
            exchange,
            before: Reached::default(),
            reached: Reached::default(),
            has_body: !asked.body.is_empty(),
            version: None,
            sent: None,
            simulation: Simulation {
                gateway: None,
                path: String::new(),
                version: None,
                route: None,
                others: Vec::new(),
                steps: Vec::new(),
                end: End::Unknown(String::new()),
                response: None,
                body: Vec::new(),
            },
        })
    }

    fn refuse(mut self, reply: Reply) -> Simulation {
        self.simulation.end = end_of(&reply);
        self.simulation
    }

    /// Lets each policy judge. `Some`: the request goes no further.
    fn pass(&mut self, chain: &Chain, which: Which) -> Option<Turn> {
        let noted = self.exchange.trail.len();
        let reached = match which {
            Which::Before => &mut self.before,
            Which::Route => &mut self.reached,
        };
        let polled = once(chain.on_request(&mut self.exchange, self.has_body, reached));
        // Nothing is started here: what waits for data would wait for the network.
        let polled = match polled {
            Poll::Ready(Some(reply)) if is_unavailable(&reply) => {
                self.exchange.trail.pop();
                Poll::Pending
            }
            polled => polled,
        };
        let judged = &self.exchange.trail[noted..];
        let is_over = !matches!(polled, Poll::Ready(None));
        let mut unasked = None;
        for (at, link) in chain.links().enumerate() {
            let number = chain.offset() as usize + at;
            let entry = judged.iter().find(|entry| usize::from(entry.policy) == number);
            let waits = link.attached.as_ref().is_some_and(|attached| !attached.feeds.is_empty());
            let asks = waits || link.policy.hooks().has(Hooks::REQUEST);
            let does = match entry.map(|entry| entry.verdict) {
                Some(Verdicted::Continued) => "continues".to_owned(),
                Some(Verdicted::Answered(reason)) => answers(reason),
                Some(Verdicted::WouldAnswer(reason)) => format!("in shadow: {}", answers(reason)),
                None if !asks => "sees the response".to_owned(),
                None if is_over => {
                    unasked = unasked.or(Some(link.name.to_string()));
                    continue;
                }
                None => continue,
            };
            self.simulation.steps.push((link.name.to_string(), link.stage.as_str(), does));
        }
        match polled {
            Poll::Ready(None) => None,
            Poll::Ready(Some(reply)) => Some(Turn::Replied(reply)),
            Poll::Pending => {
                let name = unasked.unwrap_or_default();
                Some(Turn::Ended(End::Unknown(format!("`{name}` needs the network"))))
            }
        }
    }

    fn choose_version(&mut self, gateway: &Gateway) -> Result<Chosen, Reply> {
        let Some(versions) = &gateway.versions else { return Ok(Chosen::default()) };
        let request = &self.exchange.request;
        let facts = RequestFacts {
            head: &request.head,
            method: request.method.as_str(),
            host: &self.exchange.host,
            query: request.query(),
            version: None,
        };
        let found = versions.find(&self.exchange, &facts);
        let why = versions.finder.describe(&facts, &self.exchange.path, found);
        let version = found.ok().and_then(|found| versions.of(found.version));
        self.version = found.ok().map(|found| found.version);
        self.exchange.api_version = version.map(|version| Arc::clone(&version.name));
        self.simulation.version = Some((version.map(|version| version.name.to_string()), why));
        versions.choose(found, self.exchange.began.unix_ms / 1_000)
    }

    fn find(&mut self, gateway: &Gateway, chosen: Chosen) -> Option<Arc<Route>> {
        let request = &self.exchange.request;
        let path = path_after(&self.exchange.path, chosen.prefix);
        let facts = RequestFacts {
            head: &request.head,
            method: request.method.as_str(),
            host: &self.exchange.host,
            query: request.query(),
            version: chosen.version,
        };
        let explained = Explain::new(&gateway.router, &facts, path);
        self.simulation.others =
            explained.nearest.into_iter().map(|other| (other.name, other.text)).collect();
        match explained.found {
            Found::Route { index, captures } => {
                let route = gateway.routes.get(index)?;
                self.simulation.route = Some(route.label.route.to_string());
                self.sent = chosen.sent_path(&self.exchange.path, &route.edit);
                if let PathEdit::Rewrite(rewrite) = &route.edit {
                    let mut sent = String::new();
                    rewrite.render(&captures, path, &mut sent);
                    self.sent = Some(sent);
                }
                self.exchange.captures.fill(&route.captures, chosen.in_path(&captures, &self.exchange.path));
                self.exchange.label = Some(Arc::clone(&route.label));
                self.exchange.slots.grow(route.slots);
                Some(Arc::clone(route))
            }
            Found::MethodNotAllowed { .. } => {
                self.simulation.end = end_of(&core::METHOD_NOT_ALLOWED.into());
                None
            }
            Found::NotFound => {
                self.simulation.end = end_of(&core::NO_ROUTE.into());
                None
            }
        }
    }

    fn destination(&mut self, compiled: &Compiled, route: &Route) -> Turn {
        let id = match &route.to {
            To::Service(id) => *id,
            To::Kind(_) if route.refusal().is_some() => {
                return Turn::Ended(End::Unknown("the destination needs the network".into()));
            }
            To::Kind(kind) => match kind.answer(&mut DestinationCx::alone(&mut self.exchange, 0)) {
                Outcome::Forward(id) => id,
                Outcome::Answer(reply) => return Turn::Replied(reply),
                Outcome::Suspend(waiting) => match once(waiting) {
                    Poll::Ready(reply) => return Turn::Replied(reply),
                    Poll::Pending => {
                        return Turn::Ended(End::Unknown("the destination needs the network".into()));
                    }
                },
            },
        };
        let service =
            compiled.snapshot.service(id).map_or_else(String::new, |service| service.name.to_string());
        let path = match &route.edit {
            _ if let Some(sent) = self.sent.take() => sent,
            PathEdit::Keep => self.exchange.path.clone(),
            PathEdit::Strip(prefix) => match self.exchange.path.strip_prefix(&**prefix) {
                Some("") => "/".to_owned(),
                Some(rest) => rest.to_owned(),
                None => self.exchange.path.clone(),
            },
            PathEdit::Rewrite(_) => self.exchange.path.clone(),
        };
        Turn::Ended(End::Forwarded { service, path })
    }

    /// The response side.
    fn finish(
        mut self,
        gateway: &Gateway,
        route: Option<&Arc<Route>>,
        turn: Turn,
        answer: &dyn Fn(&str) -> (ResponseHead, Vec<u8>),
    ) -> Simulation {
        let (end, mut head, body) = match turn {
            Turn::Ended(End::Forwarded { service, path }) => {
                let (head, body) = answer(&service);
                (End::Forwarded { service, path }, head, body)
            }
            Turn::Ended(End::Refused(code, status)) => {
                (End::Refused(code, status), ResponseHead::new(status), Vec::new())
            }
            Turn::Ended(end) => {
                self.simulation.end = end;
                return self.simulation;
            }
            Turn::Replied(reply) => {
                let end = end_of(&reply);
                let (head, body) = head_of(reply);
                (end, head, body)
            }
        };
        let length = Some(body.len() as u64);
        if let Some(route) = route {
            let _ = once(route.chain.on_response(&mut self.exchange, &mut head, length, self.reached));
        }
        let _ = once(gateway.before.on_response(&mut self.exchange, &mut head, length, self.before));
        if let Some(versions) = &gateway.versions {
            versions.mark(self.version, &mut head.head);
        }
        self.simulation.end = end;
        self.simulation.response = Some(head);
        self.simulation.body = body;
        self.simulation
    }
}

fn is_unavailable(reply: &Reply) -> bool {
    matches!(reply, Reply::Problem { reason, .. } if *reason == core::POLICY_UNAVAILABLE)
}

fn answers(reason: Option<narthex_contract::Reason>) -> String {
    match reason {
        Some(reason) => format!("answers {} ({})", reason.status(), reason.code()),
        None => "answers".to_owned(),
    }
}

fn end_of(reply: &Reply) -> End {
    match reply {
        Reply::Problem { reason, .. } => End::Refused(reason.code(), reason.status()),
        Reply::Response(response) => End::Answered(response.head.status),
    }
}

fn head_of(reply: Reply) -> (ResponseHead, Vec<u8>) {
    match reply {
        Reply::Problem { reason, detail } => {
            let mut head = ResponseHead::new(reason.status());
            for (name, value) in &detail.fields {
                // Fields of a refusal are valid; one that is not would not be sent either.
                let _ = head.head.append(name, value);
            }
            (head, narthex_proxy::problem_json(reason, &detail, ""))
        }
        Reply::Response(response) => {
            let body = match response.body {
                Body::Bytes(bytes) => bytes.to_vec(),
                Body::Empty | Body::Source(_) => Vec::new(),
            };
            (response.head, body)
        }
    }
}

/// Polls once: who needs to wait needs the network.
fn once<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use narthex_config::{LoadOptions, load_text};
    use narthex_contract::{
        CompileCx, Feed, FeedOutput, Flow, PerCore, Policy, PolicyEntry, PolicyKind, Reason, RequestCx, Stage,
    };

    use super::*;
    use crate::{Keep, compile};

    /// Counts per worker; waits for data where its settings say so.
    struct Probe(PerCore<Cell<u32>>, Option<Feed<u32>>);

    impl PolicyKind for Probe {
        const NAME: &'static str = "probe";
        const SUMMARY: &'static str = "Probes.";
        const STAGES: &'static [Stage] = &[Stage::Inspect];
        const REASONS: &'static [Reason] = &[];
        type Config = bool;
        type Runtime = Self;

        fn compile(waits: bool, cx: &mut CompileCx<'_>) -> Option<Self> {
            let feed =
                waits.then(|| cx.feed("numbers", |output: FeedOutput<u32>| async move { output.set(1) }));
            Some(Self(cx.per_core(|| Cell::new(0)), feed))
        }
    }

    impl Policy for Probe {
        fn hooks(&self) -> Hooks {
            Hooks::REQUEST
        }

        fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
            assert!(self.1.is_none(), "without its data it is not asked");
            let count = self.0.of(cx.exchange);
            count.set(count.get() + 1);
            Flow::Continue
        }
    }

    fn simulated(policies: &str) -> Simulation {
        let text = format!(
            "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ r: {{ match: /a, public: true, \
             policies: [{policies}], to: {{ reply: {{ status: 204 }} }} }} }} }} }}\n"
        );
        let loaded = load_text(&LoadOptions::from_system(Path::new("narthex.yaml"), &[]), &text);
        let mut keep = Keep::default();
        keep.kinds.policies.push(&PolicyEntry::<Probe>::NEW);
        let mut problems = Vec::new();
        let metrics = narthex_telemetry::Metrics::new(1);
        let compiled = compile(loaded.file.as_ref().unwrap(), &mut keep, &metrics, &mut problems);
        let asked = Asked { method: "GET".into(), url: "/a".into(), ..Asked::default() };
        let answer = |_: &str| (ResponseHead::new(200), Vec::new());
        simulate(&compiled.unwrap_or_else(|| panic!("{problems:?}")), &asked, &answer).unwrap()
    }

    #[test]
    fn values_of_a_worker_are_there_and_data_of_the_network_is_not() {
        let simulation = simulated("probe: false");
        assert_eq!(simulation.end, End::Answered(204));
        assert_eq!(simulation.steps, [("probe".into(), "inspect", "continues".into())]);
        for policies in ["probe: true", "any_of: [probe: true]"] {
            let simulation = simulated(policies);
            assert!(
                matches!(&simulation.end, End::Unknown(why) if why.contains("needs the network")),
                "{policies}: {simulation:?}"
            );
        }
    }
}
