//! What happens when services fail: over real sockets, with services that fail on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

mod breakers;
mod bulkheads;
mod deadlines;
mod fallbacks;
mod hedges;
mod mirrors;
mod retries;

use narthex_testkit::{RawClient, Response};
use narthex_tests::Gateway;
use std::net::SocketAddr;

/// A gateway with one route `/{rest=**}` to the service `s`.
struct Scene {
    gateway: Gateway,
    address: SocketAddr,
}

impl Scene {
    /// `services`: the entries of `services`; `route`: more settings of the route.
    fn new(services: &str, route: &str) -> Self {
        let config = format!(
            "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
             services: {{ {services} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s, \
             {route} }} }} }} }}\n"
        );
        let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
        let address = gateway.address("main").expect("it listens");
        Self { gateway, address }
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.address).unwrap()
    }

    fn get(&self, path: &str) -> Response {
        self.client().exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap()
    }

    fn post(&self, fields: &str, body: &str) -> Response {
        let length = body.len();
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
        self.client().exchange(request).unwrap()
    }

    /// What the line of `/metrics` that begins with `series` says; 0 where there is none.
    fn metric(&self, series: &str) -> f64 {
        let page = self.ask_admin("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    fn ask_admin(&self, path: &str) -> String {
        let admin = self.gateway.admin().expect("it has an admin listener");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        RawClient::connect(admin).unwrap().exchange(request).unwrap().text()
    }
}
