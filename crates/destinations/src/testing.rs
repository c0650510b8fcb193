//! For tests: compiles the map behind a route's `to`, and asks the destination for its answer.

use narthex_contract::{
    CompileCx, Destination, DestinationCx, Exchange, Outcome, RegisteredDestination, Reply, Response,
    ServiceId,
};
use narthex_document::Node;
use narthex_testkit::compiling::compiled;
pub use narthex_testkit::compiling::{service_id as id_of, yaml};

/// Runs `work` with a compile context; the error holds `code: message (help)` lines.
pub fn with_cx<T>(work: impl FnOnce(&mut CompileCx<'_>) -> Option<T>) -> Result<T, String> {
    compiled("to", &Node::default(), |_| None, work).map(|(made, _)| made)
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
    let mut exchange = narthex_testkit::compiling::plain_exchange();
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
    narthex_testkit::compiling::field(&response.head.head, name)
}

/// The body as text.
pub fn body(response: &Response) -> String {
    match &response.body {
        narthex_contract::Body::Empty => String::new(),
        narthex_contract::Body::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        narthex_contract::Body::Source(_) => panic!("streams"),
    }
}
