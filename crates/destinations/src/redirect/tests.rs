//! Where clients are sent, what is escaped, and that no request chooses the host.

use narthex_wire::Method;

use crate::testing::{answered, compile, field, plain_exchange, problems};

fn location(settings: &str, path: &str, query: Option<&str>) -> String {
    let mut exchange = plain_exchange();
    exchange.request.set_target(Method::Get, "/").unwrap();
    exchange.request.set_query(query).unwrap();
    exchange.path = path.into();
    let names = [std::sync::Arc::from("rest")].into();
    exchange.captures.fill(&names, std::iter::once(1..path.len() as u32));
    let response = answered(&*compile("redirect", settings), &mut exchange);
    assert_eq!(response.head.head.len(), 1);
    field(&response, "Location")
}

#[test]
fn where_clients_are_sent() {
    for (settings, path, query, expected) in [
        ("{ redirect: 'https://b.example{path}' }", "/a", None, "https://b.example/a"),
        ("{ redirect: 'https://b.example{path}' }", "/a", Some("x=1&y=%20"), "https://b.example/a?x=1&y=%20"),
        ("{ redirect: 'https://b.example{path}' }", "/a", Some(""), "https://b.example/a"),
        (
            "{ redirect: 'https://b.example{path}', keep_query: false }",
            "/a",
            Some("x=1"),
            "https://b.example/a",
        ),
        ("{ redirect: 'https://b.example/?a=b' }", "/a", Some("x=1"), "https://b.example/?a=b&x=1"),
        ("{ redirect: '/new#part' }", "/a", Some("x=1"), "/new?x=1#part"),
        ("{ redirect: '/new?q={path.rest}#{host}' }", "/a", None, "/new?q=a#shop.example"),
        ("{ redirect: '{scheme}://{host}:8443{path}' }", "/a", None, "https://shop.example:8443/a"),
        ("{ redirect: 'https://{host}/x' }", "/a", None, "https://shop.example/x"),
        ("{ redirect: 'http://[::1]:80/x' }", "/a", None, "http://[::1]:80/x"),
        ("{ redirect: '{path}' }", "//evil.example/x", None, "/evil.example/x"),
        ("{ redirect: '{path}' }", "///evil.example", None, "/evil.example"),
        ("{ redirect: '/{path.rest}' }", "//evil.example", None, "/evil.example"),
        ("{ redirect: '/{path.rest}' }", "/\\evil.example", None, "/%5Cevil.example"),
        (
            "{ redirect: 'https://b.example/{path.rest}' }",
            "/@evil.example",
            None,
            "https://b.example/@evil.example",
        ),
        ("{ redirect: '/x/{path.rest}' }", "/a%3Fb%23c", None, "/x/a%3Fb%23c"),
        ("{ redirect: '/x/{path.rest}' }", "/a%0d%0aSet-Cookie:b", None, "/x/a%0D%0ASet-Cookie:b"),
        ("{ redirect: '/x/{path.rest}' }", "/%C3%BC%zz", None, "/x/%C3%BC%25zz"),
        ("{ redirect: '/x/{cookie.no}' }", "/a", None, "/x/"),
    ] {
        assert_eq!(location(settings, path, query), expected, "{settings} {path} {query:?}");
    }
}

#[test]
fn statuses() {
    for status in [301, 302, 303, 307, 308] {
        let destination = compile("redirect", &format!("{{ redirect: /x, status: {status} }}"));
        assert_eq!(answered(&*destination, &mut plain_exchange()).head.status, status);
    }
    assert_eq!(answered(&*compile("redirect", "{ redirect: /x }"), &mut plain_exchange()).head.status, 308);
    for status in [200, 300, 304, 305, 404] {
        assert!(
            problems("redirect", &format!("{{ redirect: /x, status: {status} }}"))
                .contains("does not redirect")
        );
    }
}

#[test]
fn no_request_chooses_the_host() {
    for (address, expected) in [
        ("{header.x}", "no host that is fixed"),
        ("{query.to}", "no host that is fixed"),
        ("//b.example", "no host that is fixed"),
        ("b.example/x", "no host that is fixed"),
        ("javascript://x", "no host that is fixed"),
        ("", "no host that is fixed"),
        ("https://{header.host}/x", "no valid host"),
        ("https:///x", "no valid host"),
        ("https://a@b.example/x", "no valid host"),
        ("https://b.example{path.rest}", "touches the host"),
        ("https://b.example{query.q}/x", "touches the host"),
        ("https://b.example:{header.port}/", "touches the host"),
        ("https://{host}.evil.example/", "touches the host"),
        ("https://{host}{path.rest}", "touches the host"),
        ("https://{host}@evil.example/", "touches the host"),
        ("https://{host}:80@evil.example/", "touches the host"),
        ("/a b", "percent-encoded"),
        ("/ü", "percent-encoded"),
        ("/{{x}}", "percent-encoded"),
        ("/{pat}", "unknown_variable"),
        ("/{path", "lone"),
        ("/x#{pat}", "unknown_variable"),
    ] {
        let told = problems("redirect", &format!("{{ redirect: '{address}' }}"));
        assert!(told.contains(expected), "{address}: {told}");
    }
}
