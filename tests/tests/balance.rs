//! Which of several instances a request goes to, by what the request itself says.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::collections::BTreeSet;

use narthex_testkit::{FakeService, RawClient, Response, answer};
use narthex_tests::Gateway;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn sites() -> Vec<FakeService> {
    NAMES.iter().map(|name| FakeService::start(answer::fixed(200, name))).collect()
}

fn gateway(sites: &[FakeService], balance: &str) -> Gateway {
    let urls: Vec<_> = sites.iter().map(|site| format!("\"{}\"", site.url())).collect();
    let text = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ instances: [ {} ], balance: {balance} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/users/{{id}}\", public: true, to: s }} }} }} }}\n",
        urls.join(", ")
    );
    Gateway::start(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn ask(gateway: &Gateway, path: &str, fields: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
    client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")).unwrap()
}

#[test]
fn equal_headers_meet_the_same_instance_in_every_gateway() {
    let sites = sites();
    let (one, other) =
        (gateway(&sites, "{ hash: header.x-user }"), gateway(&sites, "{ hash: header.x-user }"));
    let mut used = BTreeSet::new();
    for user in 0..24 {
        let field = format!("X-User: user-{user}\r\n");
        let first = ask(&one, "/users/1", &field).text();
        assert_eq!(ask(&other, "/users/2", &field).text(), first);
        used.insert(first);
    }
    assert_eq!(used.len(), NAMES.len(), "24 users and {used:?}");
    let without: BTreeSet<_> = (0..8).map(|_| ask(&one, "/users/1", "").text()).collect();
    assert_eq!(without.len(), NAMES.len(), "without a value they take turns");
}

#[test]
fn cookies_paths_and_addresses_may_be_hashed_too() {
    let sites = sites();
    let by_path = gateway(&sites, "{ hash: path.id }");
    let same: BTreeSet<_> = (0..6).map(|_| ask(&by_path, "/users/7", "").text()).collect();
    assert_eq!(same.len(), 1);
    let several: BTreeSet<_> = (0..24).map(|id| ask(&by_path, &format!("/users/{id}"), "").text()).collect();
    assert!(several.len() > 2, "{several:?}");
    let by_ip = gateway(&sites, "{ hash: 'cookie.shop ?? client.ip' }");
    let same: BTreeSet<_> = (0..6).map(|id| ask(&by_ip, &format!("/users/{id}"), "").text()).collect();
    assert_eq!(same.len(), 1);
    let several: BTreeSet<_> =
        (0..24).map(|shop| ask(&by_ip, "/users/1", &format!("Cookie: shop={shop}\r\n")).text()).collect();
    assert!(several.len() > 2, "{several:?}");
}

#[test]
fn a_cookie_leads_back_to_the_instance_and_shows_nothing() {
    let sites = sites();
    let balance =
        "{ sticky: { cookie: shop, key: 0123456789abcdef0123456789abcdef, lifetime: 1h, secure: false } }";
    let (one, other) = (gateway(&sites, balance), gateway(&sites, balance));
    let first = ask(&one, "/users/1", "");
    let set = first.field("set-cookie").expect("a first answer sets the cookie").to_owned();
    assert!(
        set.starts_with("shop=") && set.ends_with("; Path=/; Max-Age=3600; SameSite=Lax; HttpOnly"),
        "{set}"
    );
    assert!(!set.contains("127.0.0.1"));
    let sent = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
    for gateway in [&one, &other, &one, &other] {
        let again = ask(gateway, "/users/1", &sent);
        assert_eq!((again.text(), again.field("set-cookie")), (first.text(), None));
    }
    let forged = ask(&one, "/users/1", &format!("Cookie: shop={}\r\n", "0".repeat(64)));
    assert_eq!(forged.status, 200);
    assert!(forged.field("set-cookie").is_some(), "one that is none of ours is replaced");
}

#[test]
fn random_and_ewma_use_everybody() {
    let sites = sites();
    for balance in ["random", "ewma", "least_request"] {
        let gateway = gateway(&sites, balance);
        let used: BTreeSet<_> = (0..120).map(|_| ask(&gateway, "/users/1", "").text()).collect();
        let least = if balance == "ewma" { 2 } else { NAMES.len() };
        assert!(used.len() >= least, "{balance}: {used:?}");
    }
}

#[test]
fn a_header_chooses_among_labels() {
    let sites = sites();
    let on = |fallback: &str| {
        let labelled = |at: usize, label: &str| {
            format!("{{ address: \"{}\", labels: {{ version: {label} }} }}", sites[at].url())
        };
        let text = format!(
            "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
             services: {{ s: {{ instances: [ {}, {}, {} ], subset: {{ header: X-Version, label: version, fallback: {fallback} }} }} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/users/{{id}}\", public: true, to: s }} }} }} }}\n",
            labelled(0, "v1"),
            labelled(1, "v1"),
            labelled(2, "v2")
        );
        Gateway::start(&text).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let (any, none) = (on("any"), on("none"));
    let used = |gateway: &Gateway, field: &str| -> BTreeSet<String> {
        (0..9).map(|_| ask(gateway, "/users/1", field).text()).collect()
    };
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for gateway in [&any, &none] {
        assert_eq!(used(gateway, "X-Version: v1\r\n"), of(&["a", "b"]));
        assert_eq!(used(gateway, "X-Version: v2\r\n"), of(&["c"]));
        assert_eq!(used(gateway, ""), of(&["a", "b", "c"]));
    }
    assert_eq!(used(&any, "X-Version: v3\r\n"), of(&["a", "b", "c"]));
    let refused = ask(&none, "/users/1", "X-Version: v3\r\n");
    assert_eq!((refused.status, refused.reason()), (503, "no_instance".to_owned()));
}
