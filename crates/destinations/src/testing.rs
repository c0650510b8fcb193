//! For tests: compiles the map behind a route's `to`, and asks the destination for its answer.

use narthex_contract::{
    CompileCx, CompileHost, Destination, DestinationCx, Exchange, Nested, NestedIn, Outcome, Place,
    RegisteredDestination, Reply, Response, ServiceId,
};
use narthex_document::{Diagnostic, Node, Sources, parse};
use narthex_wire::Method;

/// Stands in for the compiler: every service exists but `missing`, diagnostics are kept.
#[derive(Default)]
pub struct TestHost {
    pub diagnostics: Vec<Diagnostic>,
}

/// The number that a service has here.
pub fn id_of(name: &str) -> ServiceId {
    ServiceId(name.len() as u32)
}

impl CompileHost for TestHost {
    fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn service(&mut self, name: &str) -> Option<ServiceId> {
        (name != "missing").then(|| id_of(name))
    }

    fn service_names(&self) -> Vec<String> {
        vec!["catalog".into()]
    }

    fn next_slot(&mut self) -> u32 {
        0
    }

    fn nested(&mut self, _: &[Node], _: NestedIn<'_>) -> Option<Vec<Nested>> {
        unreachable!("no destination has policies inside")
    }
}

/// Reads YAML; panics where it is none.
pub fn yaml(text: &str) -> Node {
    let mut sources = Sources::default();
    let id = sources.add("test.yaml", text);
    let (node, problems) = parse(text, id);
    assert!(problems.is_empty(), "{problems:?}");
    node.unwrap()
}

/// Runs `work` with a compile context; the error holds `code: message (help)` lines.
pub fn with_cx<T>(work: impl FnOnce(&mut CompileCx<'_>) -> Option<T>) -> Result<T, String> {
    let mut host = TestHost::default();
    let captures = ["id".to_owned(), "rest".to_owned()];
    let place = Place::Route { gateway: "shop", route: "home", captures: &captures };
    let made = work(&mut CompileCx::new(&mut host, place, "to", narthex_document::Span::NONE, true));
    let told: Vec<String> = host
        .diagnostics
        .iter()
        .map(|problem| {
            format!("{}: {} ({})", problem.code, problem.message, problem.help.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(made.is_none(), host.diagnostics.iter().any(Diagnostic::is_error), "{told:?}");
    made.ok_or_else(|| told.join("\n"))
}

pub fn compile_node(
    kind: &dyn RegisteredDestination,
    settings: &Node,
) -> Result<Box<dyn Destination>, String> {
    with_cx(|cx| kind.compile(settings, cx))
}

pub fn compile(kind: &str, settings: &str) -> Box<dyn Destination> {
    compile_node(crate::destination(kind).unwrap(), &yaml(settings))
        .unwrap_or_else(|told| panic!("{settings}: {told}"))
}

/// The problems of settings that must be refused.
pub fn problems(kind: &str, settings: &str) -> String {
    match compile_node(crate::destination(kind).unwrap(), &yaml(settings)) {
        Ok(_) => panic!("`{settings}` compiles"),
        Err(told) => told,
    }
}

/// `GET https://shop.example/a?b=c` from 10.1.2.3.
pub fn plain_exchange() -> Exchange {
    let mut exchange = Exchange { path: "/a".into(), host: "shop.example".into(), ..Exchange::default() };
    exchange.request.set_target(Method::Get, "/a?b=c").unwrap();
    exchange.request.set_authority("shop.example").unwrap();
    exchange.client.ip = [10, 1, 2, 3].into();
    exchange.client.tls = true;
    exchange.request_id = "r1".into();
    exchange
}

/// The service that the request is handed to.
pub fn forwarded(destination: &dyn Destination, exchange: &mut Exchange, random: u64) -> ServiceId {
    match destination.answer(&mut DestinationCx::alone(exchange, random)) {
        Outcome::Forward(service) => service,
        _ => panic!("answers by itself"),
    }
}

/// The full answer.
pub fn answered(destination: &dyn Destination, exchange: &mut Exchange) -> Response {
    match destination.answer(&mut DestinationCx::alone(exchange, 0)) {
        Outcome::Answer(Reply::Response(response)) => *response,
        _ => panic!("gives no full answer"),
    }
}

/// All values of a field, joined by `|`.
pub fn field(response: &Response, name: &str) -> String {
    let values: Vec<_> =
        response.head.head.all_str(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    values.join("|")
}

/// The body as text.
pub fn body(response: &Response) -> String {
    match &response.body {
        narthex_contract::Body::Empty => String::new(),
        narthex_contract::Body::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        narthex_contract::Body::Source(_) => panic!("streams"),
    }
}
