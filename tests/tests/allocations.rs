//! Ten policies that continue allocate nothing: the chain of a compiled configuration, called again and again on one
//! recycled exchange, request side and response side. No socket: what the kernel and the runtime do is not counted.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use narthex_config::{LoadOptions, load_text};
use narthex_contract::{Exchange, TraceContext};
use narthex_proxy::Reached;
use narthex_testkit::CountingAllocator;
use narthex_wire::{Method, ResponseHead};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CONFIG: &str = r#"
narthex: 1
listeners: { main: { address: "127.0.0.1:0" } }
services: { s: { url: "http://127.0.0.1:9" } }
gateways:
  g:
    listeners: [main]
    routes:
      all:
        match: "/{rest=**}"
        public: true
        to: s
        policies:
          - ip_access: { allow: ["127.0.0.0/8", "::/0"] }
          - ip_access: { name: not_those, deny: ["10.0.0.0/8"] }
          - request_id: {}
          - cors: { origins: ["https://shop.example"] }
          - body_limit: { max: 1MiB }
          - body_limit: { name: response_limit, response: 8MiB }
          - headers: { request: { set: { X-Fixed: one, X-Client: "{client.ip}" } } }
          - headers: { name: taken_away, request: { remove: [X-Internal] } }
          - headers: { name: answered, response: { set: { X-Served-By: narthex } } }
          - compress: {}
"#;

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("none of these policies waits for anything"),
    }
}

#[test]
fn ten_policies_that_continue_allocate_nothing() {
    let loaded = load_text(&LoadOptions::from_system(Path::new("ten.yaml"), &[]), CONFIG);
    let checked = narthex::check_loaded(loaded);
    let compiled = checked.compiled.as_ref().unwrap_or_else(|| panic!("{}", checked.render(false)));
    let route = &compiled.gateways[0].routes[0];
    assert_eq!(route.chain.links().count(), 10);
    let mut exchange = Exchange::default();
    let mut response = ResponseHead::new(200);
    let mut counted = Vec::new();
    for _ in 0..4 {
        exchange.reset();
        response.clear();
        exchange.request.set_target(Method::Get, "/orders").expect("a valid target");
        exchange.path.push_str("/orders");
        exchange.client.ip = [127, 0, 0, 1].into();
        exchange.request_id.push_str("0123456789abcdef0123456789abcdef");
        exchange.trace = TraceContext::begin(&exchange.request.head, [1, 2, 3]);
        exchange.slots.reset(route.slots);
        let before = CountingAllocator::count();
        let mut reached = Reached::default();
        assert!(ready(route.chain.on_request(&mut exchange, false, &mut reached)).is_none());
        assert!(ready(route.chain.on_response(&mut exchange, &mut response, Some(5), reached)).is_none());
        counted.push(CountingAllocator::count() - before);
    }
    assert!(counted[0] > 0, "the first pass fills buffers, so the counter is seen to count: {counted:?}");
    assert_eq!(counted[1..], [0, 0, 0], "{counted:?}");
}
