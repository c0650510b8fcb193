//! From a head to a route: the host's gateway, its Admit and Cors policies, the one normalisation, the router.

use std::sync::Arc;

use narthex_contract::{Detail, Hooks, Reply, TraceContext, core};
use narthex_net::Inbound;
use narthex_router::{Facts, Found, NoTrace, PathError, normalise_text, path_after};
use narthex_wire::{Head, Known, Method, Name, RequestHead, push_hex};

use crate::exchange::{Interrupt, Line, Run};
use crate::forwarded;
use crate::problem::put_known;
use crate::snapshot::Gateway;
use crate::versioning::{self, Chosen};

const ALLOW: Name = Name::known(Known::Allow);
const CLIENT_CERT: Name = Name::known(Known::XForwardedClientCert);
/// Longest correlation id that is taken over from a client.
const REQUEST_ID_BYTES: usize = 128;

/// A request as the router asks about it.
pub struct RequestFacts<'a> {
    pub head: &'a Head,
    pub method: &'a str,
    pub host: &'a str,
    pub query: Option<&'a str>,
    /// Of the gateway's API, once it is found.
    pub version: Option<u8>,
}

impl Facts for RequestFacts<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn host(&self) -> &str {
        self.host
    }

    fn query(&self) -> Option<&str> {
        self.query
    }

    fn header_values<'a>(&'a self, lower_case_name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.head.all_str(lower_case_name)
    }

    fn version(&self) -> Option<u8> {
        self.version
    }
}

/// Fills in who asks and how the exchange is known in logs.
pub fn identify(run: &mut Run, line: &Line<'_>) {
    let exchange = &mut run.exchange;
    let worker = line.worker;
    exchange.locals.clone_from(line.snapshot.locals());
    exchange.client.peer = line.peer.address;
    exchange.client.own = line.peer.own;
    exchange.client.connection = line.peer.guest.as_ref().map_or(0, |guest| guest.id);
    exchange.client.tls = line.peer.secured.is_some();
    exchange.tls = line.peer.secured.as_ref().map(|secured| Arc::clone(&secured.tls));
    let told = forwarded::client_ip(line.plan.forwarded, &exchange.request.head);
    exchange.client.is_unix = told.is_none() && line.peer.address.is_unix();
    exchange.client.ip = told.unwrap_or_else(|| line.peer.address.ip());
    exchange.authority.push_str(exchange.request.authority());
    exchange.host.push_str(host_without_port(&exchange.authority));
    let given = exchange.request.head.get_known(Known::XRequestId).filter(|id| is_acceptable(id));
    match given.and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => {
            exchange.request_id.push_str(id);
            exchange.request_id_is_given = true;
        }
        None => {
            let random = u128::from(worker.random()) << 64 | u128::from(worker.random());
            push_hex(&mut exchange.request_id, random.to_be_bytes());
        }
    }
    let random = [worker.random(), worker.random(), worker.random()];
    exchange.trace = TraceContext::begin(&exchange.request.head, random);
    run.follow_client();
}

/// What goes on to the service and is settled before any policy looks.
pub fn stamp(run: &mut Run, line: &Line<'_>) {
    let exchange = &mut run.exchange;
    // A client cannot vouch for a certificate.
    exchange.request.head.remove(&CLIENT_CERT);
    let proved = line.peer.secured.as_ref().and_then(|secured| secured.field.as_deref());
    if let Some(field) = proved.filter(|_| line.plan.forwarded.client_cert) {
        put_known(&mut exchange.request.head, Known::XForwardedClientCert, field.as_bytes());
    }
    let (id, trace) = (exchange.request_id.as_bytes(), exchange.trace.to_header());
    line.worker.stamps().stamp_request(&mut exchange.request.head, id, &trace);
}

/// Finds the gateway and the route. `Some`: an answer already.
pub async fn route(run: &mut Run, line: &mut Line<'_>) -> Result<Option<Reply>, Interrupt> {
    if let Some(reply) = refuse_forms(&run.exchange.request) {
        return Ok(Some(reply));
    }
    if let Some(reply) = elsewhere(run, line) {
        return Ok(Some(reply));
    }
    let Some(gateway) = line.plan.hosts.find(&run.exchange.host).and_then(|at| line.plan.gateways.get(at))
    else {
        return Ok(Some(core::UNKNOWN_HOST.into()));
    };
    let gateway = Arc::clone(gateway);
    run.gateway = Some(Arc::clone(&gateway));
    run.exchange.label = Some(Arc::clone(&gateway.label));
    run.exchange.slots.reset(gateway.slots);
    let normalised = normal_path(run, &gateway);
    let due = line.due(crate::RouteTimes::default().deadline);
    let has_body = !matches!(run.exchange.request.framing, narthex_wire::Framing::None);
    if !gateway.before.is_silent(Hooks::REQUEST, &mut run.before) {
        let admitted = gateway.before.on_request(&mut run.exchange, has_body, &mut run.before);
        if let Some(reply) = line.wait_for(due, admitted).await? {
            return Ok(Some(reply));
        }
    }
    let is_plain = match normalised {
        Ok(is_normal) => is_normal,
        Err(error) => {
            let operator = Detail::operator(error.to_string()).operator;
            let detail = Detail { operator, ..Detail::client(error.code()) };
            return Ok(Some(Reply::problem_with(core::BAD_PATH, detail)));
        }
    };
    if forwarded::goes_in_circles(&run.exchange.request.head) {
        return Ok(Some(core::LOOP_DETECTED.into()));
    }
    Ok(find(run, &gateway, is_plain))
}

/// A request that belongs to another connection: one for its host, or an encrypted one.
fn elsewhere(run: &Run, line: &Line<'_>) -> Option<Reply> {
    if let Some(port) = line.plan.redirect {
        let is_known = line.plan.gateways.is_empty() || line.plan.hosts.find(&run.exchange.host).is_some();
        return Some(if is_known { to_https(run, port) } else { core::UNKNOWN_HOST.into() });
    }
    match (&line.peer.secured, &line.plan.tls) {
        // What a destination asks for comes on no connection: only what the client has proved counts.
        (Some(secured), Some(tls)) if run.depth > 0 && secured.has_proved(tls, &run.exchange.host) => None,
        (Some(secured), Some(tls)) if !secured.admits(tls, &run.exchange.host) => {
            let asked = secured.tls.sni.as_deref().unwrap_or("no name");
            let text =
                format!("the connection was opened for {asked}, the request is for {}", run.exchange.host);
            Some(Reply::problem_with(core::MISDIRECTED, Detail::operator(text)))
        }
        (None, Some(_)) => {
            let text = "the listener speaks TLS since this connection was opened";
            Some(Reply::problem_with(core::MISDIRECTED, Detail::operator(text)))
        }
        _ => None,
    }
}

/// 308 to the same host, path and query by `https` (RFC 9110 15.4.9).
fn to_https(run: &Run, port: u16) -> Reply {
    let request = &run.exchange.request;
    if run.exchange.host.is_empty() || request.is_asterisk() {
        return core::NO_ROUTE.into();
    }
    let mut location = format!("https://{}", run.exchange.host);
    if port != 443 {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(request.path());
    if let Some(query) = request.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = narthex_contract::Response::new(308, "");
    put_known(&mut response.head.head, Known::Location, location.as_bytes());
    Reply::Response(Box::new(response))
}

/// Forms of a request that a gateway has no use for.
fn refuse_forms(request: &RequestHead) -> Option<Reply> {
    if request.is_authority_form() || request.method == Method::Connect {
        return Some(core::CONNECT_REFUSED.into());
    }
    None
}

/// `true`: it came in as it has to be, and holds no escape.
fn normal_path(run: &mut Run, gateway: &Gateway) -> Result<bool, PathError> {
    let exchange = &mut run.exchange;
    if exchange.request.is_asterisk() {
        exchange.path.push('*');
        return Ok(true);
    }
    let mut buffer = std::mem::take(&mut exchange.path);
    let raw = exchange.request.path();
    let is_normal = normalise_text(raw, gateway.paths, &mut buffer)?;
    exchange.path = buffer;
    if !is_normal {
        // What is authorised is what is sent.
        let stored = exchange.request.set_path(&exchange.path);
        debug_assert!(stored.is_ok(), "a normalised path is a valid one");
    }
    Ok(is_normal)
}

/// `is_plain`: the path holds no escape.
fn find(run: &mut Run, gateway: &Gateway, is_plain: bool) -> Option<Reply> {
    if run.exchange.request.is_asterisk() {
        // `OPTIONS *` is about the server, not about a resource (RFC 9110 9.3.7): no template stands for it.
        return Some(core::NO_ROUTE.into());
    }
    let chosen = match &gateway.versions {
        None => Chosen::default(),
        Some(versions) => match versioning::choose(run, versions) {
            Ok(chosen) => chosen,
            Err(reply) => return Some(reply),
        },
    };
    let exchange = &mut run.exchange;
    let request = &exchange.request;
    let asked = preflight_method(request);
    let method = asked.unwrap_or(request.method.as_str());
    let path = path_after(&exchange.path, chosen.prefix);
    let (head, host, version) = (&request.head, &exchange.host, chosen.version);
    let mut facts = RequestFacts { head, method, host, query: request.query(), version };
    let mut found = gateway.router.find(&facts, path, &mut NoTrace);
    if asked.is_some() && !matches!(found, Found::Route { .. }) {
        // A preflight for nothing that is there: then it is an ordinary OPTIONS.
        facts.method = request.method.as_str();
        found = gateway.router.find(&facts, path, &mut NoTrace);
    }
    match found {
        Found::Route { index, captures } => {
            let route = gateway.routes.get(index)?;
            if !is_plain && !route.keeps_encoded_slashes && holds_encoded_slash(&exchange.path) {
                let detail = Detail::client("path_encoded_slash");
                return Some(Reply::problem_with(core::BAD_PATH, detail));
            }
            run.rewritten.clear();
            if let crate::PathEdit::Rewrite(rewrite) = &route.edit {
                rewrite.render(&captures, path, &mut run.rewritten);
            }
            exchange.captures.fill(&route.captures, chosen.in_path(&captures, &exchange.path));
            exchange.label = Some(Arc::clone(&route.label));
            exchange.slots.grow(route.slots);
            if chosen.prefix > 0 {
                versioning::edit_path(run, chosen, route);
            }
            run.route = Some(Arc::clone(route));
            None
        }
        Found::MethodNotAllowed { allow } => {
            let detail = Detail::default().field(ALLOW, allow.join(", "));
            Some(Reply::problem_with(core::METHOD_NOT_ALLOWED, detail))
        }
        Found::NotFound => Some(core::NO_ROUTE.into()),
    }
}

/// A normalised path holds one only where some route of the gateway keeps them.
fn holds_encoded_slash(path: &str) -> bool {
    path.contains('%') && (path.contains("%2F") || path.contains("%5C"))
}

/// The method that a CORS preflight asks about.
pub(crate) fn preflight_method(request: &RequestHead) -> Option<&str> {
    if request.method != Method::Options || !request.head.contains(&Name::known(Known::Origin)) {
        return None;
    }
    let asked = request.head.get_known(Known::AccessControlRequestMethod)?;
    std::str::from_utf8(asked).ok()
}

pub fn host_without_port(authority: &str) -> &str {
    let bytes = authority.as_bytes();
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.len().checked_sub(digits + 1) {
        Some(colon) if bytes[colon] == b':' => &authority[..colon],
        _ => authority,
    }
}

fn is_acceptable(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.iter().all(u8::is_ascii_graphic)
}

/// Whether more of the request's body is to come than is worth reading for a kept connection.
pub fn leaves_much_unread(client: &Inbound, request: &RequestHead, worth: u64) -> bool {
    if client.body_is_done() {
        return false;
    }
    match request.framing {
        narthex_wire::Framing::Length(length) => length > worth || request.expect_continue,
        _ => true,
    }
}
