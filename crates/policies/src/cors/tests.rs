//! The tables of CORS: which origin is allowed, what a preflight's answer says, how responses are marked.

use narthex_contract::{Reply, Response};
use narthex_wire::{Framing, Head, Method};

use crate::shared::testing::{Compiled, compile, field, problems, response};

fn preflight(policy: &Compiled, fields: &[(&str, &str)]) -> Option<Box<Response>> {
    let mut exchange = policy.exchange(fields);
    exchange.request.method = Method::Options;
    match policy.request(&mut exchange) {
        None => None,
        Some(Reply::Response(response)) => Some(response),
        Some(Reply::Problem { reason, .. }) => panic!("{reason:?}"),
    }
}

fn asked(policy: &Compiled, origin: &str, method: &str, headers: &str) -> Head {
    let mut fields = vec![("Origin", origin), ("Access-Control-Request-Method", method)];
    if !headers.is_empty() {
        fields.push(("Access-Control-Request-Headers", headers));
    }
    let response = preflight(policy, &fields).unwrap();
    assert_eq!(response.head.status, 204);
    response.head.head
}

/// The head of a response to a simple request, which the service marked in its own way.
fn marked(policy: &Compiled, origin: Option<&str>) -> Head {
    let fields: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
    let mut exchange = policy.exchange(&fields);
    assert!(policy.request(&mut exchange).is_none());
    let service = [
        ("Access-Control-Allow-Origin", "https://service.example"),
        ("access-control-allow-credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Service"),
        ("Access-Control-Allow-Private-Network", "true"),
        ("Vary", "Accept"),
    ];
    let mut answer = response(200, Framing::Length(5), &service);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    answer.head
}

#[test]
fn which_origin_is_allowed() {
    for (origins, origin, expected) in [
        ("['https://a.example']", "https://a.example", "https://a.example"),
        ("['HTTPS://A.example:443']", "https://a.example", "https://a.example"),
        ("['http://a.example:80']", "http://a.example", "http://a.example"),
        ("['https://a.example:80']", "https://a.example:80", "https://a.example:80"),
        ("['https://a.example']", "http://a.example", ""),
        ("['https://a.example']", "https://a.example:8443", ""),
        ("['https://a.example']", "https://a.example.evil.example", ""),
        ("['https://a.example']", "https://A.example", ""),
        ("['https://a.example']", "null", ""),
        ("'https://a.example'", "https://a.example", "https://a.example"),
        ("['https://*.a.example']", "https://b.a.example", "https://b.a.example"),
        ("['https://*.a.example']", "https://c.b.a.example", "https://c.b.a.example"),
        ("['https://*.a.example']", "https://a.example", ""),
        ("['https://*.a.example']", "https://.a.example", ""),
        ("['https://*.a.example']", "https://eviла.example", ""),
        ("['https://*.a.example']", "https://evila.example", ""),
        ("['https://*.a.example']", "https://evil.example/.a.example", ""),
        ("['https://*.a.example']", "https://evil.example:1@b.a.example", ""),
        ("['https://*.a.example']", "https://b.a.example:8443", ""),
        ("['https://*.a.example:8443']", "https://b.a.example:8443", "https://b.a.example:8443"),
        ("[{ regex: 'https://[a-z]+[.]example' }]", "https://b.example", "https://b.example"),
        ("[{ regex: 'https://[a-z]+[.]example' }]", "https://b.example.evil", ""),
        ("[{ regex: 'https://[a-z]+[.]example' }]", "xhttps://b.example", ""),
        ("[{ regex: 'https://a|https://b' }]", "https://a.evil", ""),
        ("[{ regex: 'https://a|https://b' }]", "https://b", "https://b"),
        ("['null']", "null", "null"),
        ("['http://[::1]:3000']", "http://[::1]:3000", "http://[::1]:3000"),
        ("['*']", "https://anything", "*"),
        ("'*'", "null", "*"),
        ("['https://x.example', 'https://y.example']", "https://y.example", "https://y.example"),
        ("['capacitor://localhost']", "capacitor://localhost", "capacitor://localhost"),
    ] {
        let policy = compile("cors", &format!("{{ origins: {origins} }}"));
        assert_eq!(
            field(&marked(&policy, Some(origin)), "Access-Control-Allow-Origin"),
            expected,
            "{origins} {origin}"
        );
        let head = asked(&policy, origin, "GET", "");
        assert_eq!(field(&head, "Access-Control-Allow-Origin"), expected, "preflight {origins} {origin}");
        assert_eq!(field(&head, "Access-Control-Allow-Methods").is_empty(), expected.is_empty());
    }
}

#[test]
fn what_a_preflight_says() {
    let policy = compile(
        "cors",
        "{ origins: ['https://a.example'], methods: [GET, PUT], headers: [X-A, X-B], max_age: 10m, credentials: true }",
    );
    let head = asked(&policy, "https://a.example", "PUT", "x-a");
    assert_eq!(field(&head, "Access-Control-Allow-Methods"), "GET, PUT");
    assert_eq!(field(&head, "Access-Control-Allow-Headers"), "X-A, X-B");
    assert_eq!(field(&head, "Access-Control-Allow-Credentials"), "true");
    assert_eq!(field(&head, "Access-Control-Max-Age"), "600");
    assert_eq!(field(&head, "Vary"), "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    let refused = asked(&policy, "https://b.example", "PUT", "x-a");
    let names: Vec<_> =
        refused.iter().map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
    assert_eq!(names, ["Vary"], "nothing but Vary for an origin that is not allowed");
}

#[test]
fn stars_with_and_without_credentials() {
    let without =
        compile("cors", "{ origins: 'https://a.example', methods: '*', headers: ['*', Authorization] }");
    let head = asked(&without, "https://a.example", "REPORT", "x-a");
    assert_eq!(field(&head, "Access-Control-Allow-Methods"), "*");
    assert_eq!(field(&head, "Access-Control-Allow-Headers"), "*, Authorization");
    let with =
        compile("cors", "{ origins: 'https://a.example', methods: '*', headers: '*', credentials: true }");
    let head = asked(&with, "https://a.example", "REPORT", "x-a,authorization");
    assert_eq!(field(&head, "Access-Control-Allow-Methods"), "REPORT");
    assert_eq!(field(&head, "Access-Control-Allow-Headers"), "x-a,authorization");
    let odd = asked(&with, "https://a.example", "RE PORT", "x-a; b");
    assert_eq!(
        field(&odd, "Access-Control-Allow-Methods") + &field(&odd, "Access-Control-Allow-Headers"),
        ""
    );
    let long = "x".repeat(5000);
    assert_eq!(field(&asked(&with, "https://a.example", "GET", &long), "Access-Control-Allow-Headers"), "");
}

#[test]
fn private_networks() {
    let fields = [
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Private-Network", "true"),
    ];
    for (settings, allowed) in [("true", "true"), ("false", "")] {
        let policy =
            compile("cors", &format!("{{ origins: 'https://a.example', private_network: {settings} }}"));
        let head = preflight(&policy, &fields).unwrap().head.head;
        assert_eq!(field(&head, "Access-Control-Allow-Private-Network"), allowed);
        assert_eq!(field(&head, "Vary").contains("Private-Network"), !allowed.is_empty());
    }
}

#[test]
fn only_a_preflight_is_answered() {
    let policy = compile("cors", "{ origins: '*' }");
    assert!(preflight(&policy, &[("Origin", "https://a.example")]).is_none());
    assert!(preflight(&policy, &[("Access-Control-Request-Method", "GET")]).is_none());
    let mut get =
        policy.exchange(&[("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")]);
    assert!(policy.request(&mut get).is_none());
}

#[test]
fn responses_are_marked_and_the_services_marks_removed() {
    let policy = compile("cors", "{ origins: 'https://a.example', credentials: true, expose: [X-A, X-B] }");
    let head = marked(&policy, Some("https://a.example"));
    assert_eq!(field(&head, "Access-Control-Allow-Origin"), "https://a.example");
    assert_eq!(field(&head, "Access-Control-Allow-Credentials"), "true");
    assert_eq!(field(&head, "Access-Control-Expose-Headers"), "X-A, X-B");
    assert_eq!(field(&head, "Access-Control-Allow-Private-Network"), "");
    assert_eq!(field(&head, "Vary"), "Accept, Origin");
    for origin in [None, Some("https://b.example")] {
        let head = marked(&policy, origin);
        let left = head.iter().filter(|field| field.name.to_ascii_lowercase().starts_with(b"access-control"));
        assert_eq!(left.count(), 0);
        assert_eq!(field(&head, "Vary"), "Accept, Origin");
    }
    let any = compile("cors", "{ origins: '*' }");
    for origin in [None, Some("https://b.example")] {
        let head = marked(&any, origin);
        assert_eq!(field(&head, "Access-Control-Allow-Origin"), "*");
        assert_eq!(field(&head, "Vary"), "Accept");
    }
}

#[test]
fn the_decision_survives_an_edit_of_the_request() {
    for origins in ["'https://a.example'", "'https://*.example'"] {
        let policy = compile("cors", &format!("{{ origins: {origins} }}"));
        let mut exchange = policy.exchange(&[("Origin", "https://a.example")]);
        assert!(policy.request(&mut exchange).is_none());
        exchange.request.head.remove(&"Origin".parse().unwrap());
        let mut answer = response(401, Framing::Length(1), &[]);
        assert!(policy.response(&mut exchange, &mut answer).is_none());
        assert_eq!(field(&answer.head, "Access-Control-Allow-Origin"), "https://a.example");
    }
}

#[test]
fn repeated_origins_allow_nothing() {
    let policy = compile("cors", "{ origins: ['https://a.example'] }");
    let mut exchange = policy.exchange(&[("Origin", "https://a.example"), ("Origin", "https://a.example")]);
    assert!(policy.request(&mut exchange).is_none());
    let mut answer = response(200, Framing::None, &[]);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    assert_eq!(field(&answer.head, "Access-Control-Allow-Origin"), "");
}

#[test]
fn what_is_refused_at_compile() {
    for (settings, code) in [
        ("{ origins: '*', credentials: true }", "cors_star_with_credentials"),
        ("{ origins: ['https://a.example', '*'], credentials: true }", "cors_star_with_credentials"),
        ("{ origins: ['https://a.example', '*'] }", "redundant_origins"),
        ("{ origins: ['null'], credentials: true }", "cors_null_with_credentials"),
        ("{ origins: 'https://a.example', expose: '*', credentials: true }", "cors_star_with_credentials"),
        ("{ origins: [] }", "no_origins"),
        ("{ origins: [a.example] }", "https://a.example"),
        ("{ origins: ['https://a.example/'] }", "write `https://a.example`"),
        ("{ origins: ['https://a.*.example'] }", "regex"),
        ("{ origins: ['https://*'] }", "invalid_origin"),
        ("{ origins: ['*://a.example'] }", "invalid_origin"),
        ("{ origins: ['https://bücher.example'] }", "punycode"),
        ("{ origins: ['https://a.example:99999'] }", "not a port"),
        ("{ origins: ['https://[::g]'] }", "IPv6"),
        ("{ origins: [{ regex: '(' }] }", "invalid_regex"),
        ("{ origins: [{ regex: 'a)|(b' }] }", "invalid_regex"),
        ("{ origins: [{ regex: '(a{1000}){1000}' }] }", "invalid_regex"),
        ("{ origins: [{ rexeg: 'a' }] }", "regex"),
        ("{ origins: '*', methods: [get] }", "write GET"),
        ("{ origins: '*', headers: ['a b'] }", "invalid_field_name"),
        ("{}", "origins"),
    ] {
        let told = problems("cors", settings);
        assert!(told.contains(code), "{settings}: {told}");
    }
}
