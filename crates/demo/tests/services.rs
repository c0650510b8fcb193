//! The demo services by themselves, without a gateway.

use narthex_testkit::{RawClient, Response};
use std::net::SocketAddr;

fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> Response {
    let request =
        format!("{method} {target} HTTP/1.1\r\nHost: demo\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut client = RawClient::connect(address).expect("the demo listens");
    client.exchange(request).expect("the demo answers")
}

#[test]
fn users_are_made_read_and_deleted() {
    let demo = narthex_demo::start().unwrap();
    let made = ask(demo.users, "POST", "/users", r#"{"name":"Alan","email":"a@b"}"#);
    assert_eq!((made.status, made.field("location")), (201, Some("/users/3")));
    assert_eq!(ask(demo.users, "GET", "/users/3", "").json()["name"], "Alan");
    assert_eq!(ask(demo.users, "GET", "/users", "").json()["users"].as_array().unwrap().len(), 3);
    let gone = ask(demo.users, "DELETE", "/users/3", "");
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    for (method, target, body, status) in [
        ("GET", "/users/3", "", 404),
        ("DELETE", "/users/3", "", 404),
        ("GET", "/users/x", "", 404),
        ("POST", "/users", "{", 400),
        ("POST", "/users", "[]", 422),
        ("POST", "/users", r#"{"name":" ","email":"a@b"}"#, 422),
        ("POST", "/users", r#"{"name":"A","email":"ab"}"#, 422),
        ("POST", "/users", &"x".repeat(70_000), 413),
        ("PUT", "/users", "", 404),
    ] {
        let got = ask(demo.users, method, target, body);
        assert_eq!(got.status, status, "{method} {target}");
        assert_eq!(got.json()["from"], "the demo service");
    }
}

#[test]
fn orders_are_validated_and_events_end() {
    let demo = narthex_demo::start().unwrap();
    assert_eq!(ask(demo.orders, "POST", "/orders", r#"{"user":2,"product":10,"quantity":1}"#).status, 201);
    assert_eq!(ask(demo.orders, "POST", "/orders", r#"{"user":2,"product":10,"quantity":0}"#).status, 422);
    let of_two = ask(demo.orders, "GET", "/orders?user=2", "");
    assert_eq!(of_two.json()["orders"][0]["id"], 2);
    let events = ask(demo.orders, "GET", "/orders/events?count=2", "");
    assert_eq!(events.field("content-type"), Some("text/event-stream"));
    assert_eq!(events.text(), "id: 1\ndata: {\"event\":1}\n\nid: 2\ndata: {\"event\":2}\n\n");
}

#[test]
fn the_catalogue_is_large_slow_and_failing_on_demand() {
    let demo = narthex_demo::start().unwrap();
    assert_eq!(ask(demo.catalogue, "GET", "/products/10", "").json()["price"], "10.90");
    assert_eq!(ask(demo.catalogue, "GET", "/download?bytes=100001", "").body.len(), 100_001);
    let head = ask(demo.catalogue, "HEAD", "/download?bytes=2000000000000", "");
    assert_eq!(head.field("content-length"), Some("1073741824"));
    let began = std::time::SystemTime::now();
    assert_eq!(ask(demo.catalogue, "GET", "/healthz?delay_ms=60", "").json()["healthy"], true);
    assert!(began.elapsed().unwrap().as_millis() >= 60);
    assert_eq!(ask(demo.catalogue, "GET", "/products?fail=503", "").status, 503);
    assert_eq!(ask(demo.catalogue, "GET", "/products?fail=200", "").status, 200);
    let gone = demo.catalogue;
    drop(demo);
    RawClient::connect(gone).unwrap_err();
}
