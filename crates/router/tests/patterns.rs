//! Match strings, templates and rewrites: what is accepted, and where each error points.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use common::{Ask, parsed, route};
use narthex_router::{Found, Match, NoTrace, PathPattern, Problem, Rewrite, Router, Template};

#[test]
fn match_strings() {
    let m = Match::parse("GET,POST /users/{id}").unwrap();
    assert_eq!(m.methods, ["GET", "POST"]);
    assert_eq!(m.path, Some(PathPattern::parse("/users/{id}").unwrap()));
    assert_eq!(Match::parse("/a").unwrap().methods, Vec::<String>::new());
    assert_eq!(Match::parse("GET, HEAD /a").unwrap().methods, ["GET", "HEAD"]);
}

#[test]
fn errors_of_match_strings_point_at_the_byte() {
    let cases = [
        ("GTE /x", 0, "did you mean `GET`"),
        ("get /x", 0, "did you mean `GET`"),
        ("GET,PSOT /x", 4, "did you mean `POST`"),
        ("GET|HEAD /x", 0, "is no known method"),
        ("GET,GET /x", 4, "twice"),
        ("GET,, /x", 4, "is no known method"),
        ("GET", 0, "no path"),
        ("", 0, "no path"),
        ("GET/x", 0, "blank between"),
        ("GET /a b", 6, "no blank"),
        ("GET /a/{}", 8, "needs a name"),
        ("GET /a/{id}/{id}", 12, "twice"),
        ("GET /a/{r=**}/b", 13, "last segment"),
        ("GET /a{b}", 5, "whole segment"),
        ("GET /x-{id}", 5, "whole segment"),
        ("GET /{id}.json", 9, "whole segment"),
        ("GET /{a}{b}", 8, "whole segment"),
        ("GET /a/{id", 7, "never closed"),
        ("GET /a/id}", 9, "without `{`"),
        ("GET /{a=*}", 7, "not known"),
        ("GET /{**}", 5, "{rest=**}"),
        ("GET /{*rest}", 6, "no name"),
        ("GET /{1a}", 6, "no name"),
        ("GET /a//b", 7, "write `/a/b`"),
        ("GET /a/../b", 5, "write `/b`"),
        ("GET /%7euser", 5, "write `/~user`"),
        ("GET /caf\u{e9}", 8, "write `/caf%C3%A9`"),
        ("GET /a%2fb", 8, "write `/a%2Fb`"),
        ("GET /{x}/%7e", 9, "write `~`"),
        ("GET /{x}//b", 9, "empty or a dot segment"),
        ("GET /{x}/../b", 9, "empty or a dot segment"),
        ("GET /a?b=1", 6, "query"),
        ("GET /%zz", 4, "two hexadecimal"),
    ];
    for (text, offset, message) in cases {
        let error = Match::parse(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {}", error.message);
        assert_eq!(error.offset, offset, "{text}: {}", error.message);
    }
    let deep = "/a".repeat(65);
    assert!(PathPattern::parse(&deep).unwrap_err().message.contains("64 segments"));
}

#[test]
fn rest_follows_segments() {
    let router = Router::build(vec![parsed("p", "/products/{rest=**}")]).unwrap();
    for (path, capture) in
        [("/products", ""), ("/products/", ""), ("/products/a/b", "a/b"), ("/products/a/", "a/")]
    {
        let Found::Route { captures, .. } = router.find(&Ask::new("GET", path), path, &mut NoTrace) else {
            panic!("{path} is not found");
        };
        assert_eq!(captures.raw(path, 0), Some(capture), "{path}");
    }
    for path in ["/products-for-sale", "/", "/product"] {
        assert_eq!(router.find(&Ask::new("GET", path), path, &mut NoTrace), Found::NotFound, "{path}");
    }
}

fn rewritten(pattern: &str, rewrite: &str, path: &str) -> String {
    let pattern = PathPattern::parse(pattern).unwrap();
    let rewrite = Rewrite::parse(rewrite, &pattern).unwrap();
    let matching = Match { path: Some(pattern), ..Match::default() };
    let router = Router::build(vec![route("r", matching)]).unwrap();
    let Found::Route { captures, .. } = router.find(&Ask::new("GET", path), path, &mut NoTrace) else {
        panic!("{path} is not found");
    };
    let mut out = String::new();
    rewrite.render(&captures, path, &mut out);
    out
}

#[test]
fn rewrites() {
    let cases = [
        ("/v1/{rest=**}", "/m/{rest}", "/v1/a/b", "/m/a/b"),
        ("/v1/{rest=**}", "/m/{rest=**}", "/v1/", "/m/"),
        ("/v1/{rest=**}", "/m/{rest}", "/v1", "/m"),
        ("/v1/{rest=**}", "/{rest}", "/v1", "/"),
        ("/{a}/{b}", "/{b}/x/{a}", "/1/2", "/2/x/1"),
        ("/{a}/{b}", "/item-{b}", "/1/2", "/item-2"),
        ("/{a}", "/m/{a}", "/x%252Fy", "/m/x%252Fy"),
        ("/{a}", "/m/{a}", "/caf%C3%A9", "/m/caf%C3%A9"),
        ("/{a}", "/fixed", "/x", "/fixed"),
    ];
    for (pattern, rewrite, path, want) in cases {
        assert_eq!(rewritten(pattern, rewrite, path), want, "{pattern} {rewrite} {path}");
    }
}

#[test]
fn bad_rewrites() {
    let cases = [
        ("/{id}", "/m/{ib}", 3, "did you mean `{id}`"),
        ("/a", "/m/{id}", 3, "captures nothing"),
        ("/{r=**}", "/m/{r}/x", 3, "whole last segment"),
        ("/{r=**}", "/m/x{r}", 4, "whole last segment"),
        ("/{id}", "m/{id}", 0, "begins with `/`"),
        ("/{id}", "/m/{id", 3, "partner"),
        ("/{id}", "/m}/{id}", 2, "partner"),
        ("/{id}", "/m/../{id}", 0, "normal form"),
        ("/{id}", "/m/.{id}", 3, "dots alone"),
        ("/{id}", "/m/{id};x", 3, "`;`"),
        ("/{id}", "/m?x={id}", 2, "query"),
    ];
    for (pattern, rewrite, offset, message) in cases {
        let error = Rewrite::parse(rewrite, &PathPattern::parse(pattern).unwrap()).expect_err(rewrite);
        assert!(error.message.contains(message), "{rewrite}: {}", error.message);
        assert_eq!(error.offset, offset, "{rewrite}: {}", error.message);
    }
}

#[test]
fn captures_are_decoded_once() {
    let router = Router::build(vec![parsed("r", "/u/{id}")]).unwrap();
    assert_eq!(router.capture_index(0, "id"), Some(0));
    assert_eq!(router.capture_index(0, "nope"), None);
    for (path, want) in
        [("/u/a%20b", "a b"), ("/u/%2541", "%41"), ("/u/caf%C3%A9", "caf\u{e9}"), ("/u/a%2Fb", "a/b")]
    {
        let Found::Route { captures, .. } = router.find(&Ask::new("GET", path), path, &mut NoTrace) else {
            panic!("{path} is not found");
        };
        assert_eq!(captures.decoded(path, 0).unwrap(), want);
    }
}

#[test]
fn expressions_are_anchored_and_bounded() {
    let regex = |text: &str| {
        let matching = Match { path: Some(PathPattern::Regex(text.into())), ..Match::default() };
        Router::build(vec![route("r", matching)])
    };
    let router = regex("/a|/b").unwrap();
    for (path, found) in [("/a", true), ("/b", true), ("/ab", false), ("/x/b", false)] {
        let answer = router.find(&Ask::new("GET", path), path, &mut NoTrace);
        assert_eq!(matches!(answer, Found::Route { .. }), found, "{path}");
    }
    for bad in ["a)|(b", "(", "[a-", r"\p{Nope}", "((a{1000}){1000}){1000}", "(?x)a #", &"(".repeat(500)] {
        let problems = regex(bad).expect_err(bad);
        assert!(matches!(problems[..], [Problem::BadRegex { route: 0, .. }]), "{bad}: {problems:?}");
    }
}

#[test]
fn templates_print_as_written() {
    for text in ["/users/{id}", "/{a}/b/{rest=**}"] {
        assert_eq!(Template::parse(text).unwrap().to_string(), text);
    }
}
