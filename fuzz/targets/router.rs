#![no_main]
//! The tree against the naive router of the router's own tests: routes and requests made from the input.
//! A small alphabet of paths, so that routes meet: literal, placeholder and open segments, methods, headers, versions.

#[path = "../../crates/router/tests/common/mod.rs"]
mod common;

use common::{Answer, Ask, VERSIONS, naive, versions};
use libfuzzer_sys::fuzz_target;
use narthex_router::{Found, Match, NoTrace, RouteSpec, Router, ValueTest};

const SEGMENTS: [&str; 6] = ["a", "b", "ab", "a%20b", "x.y", "A"];
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "PUT"];

struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    /// Zeros when the input is at its end.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % bound
    }
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data.iter());
    let mut routes = Vec::new();
    for number in 0..1 + bytes.below(10) {
        let Some(matching) = matching(&mut bytes) else { return };
        routes.push(RouteSpec { name: format!("r{number}"), matching, over: Vec::new() });
    }
    let Ok(router) = Router::build(routes.clone()) else { return };
    for _ in 0..8 {
        let ask = ask(&mut bytes);
        let found = match router.find(&ask, &ask.path, &mut NoTrace) {
            Found::Route { index, captures } => {
                for place in 0..captures.len() {
                    assert!(captures.raw(&ask.path, place).is_some(), "a capture stands outside the path");
                }
                Answer::Route(index)
            }
            Found::MethodNotAllowed { allow } => Answer::NotAllowed(allow),
            Found::NotFound => Answer::NotFound,
        };
        assert_eq!(found, naive(&routes, &ask), "{ask:?}\n{routes:#?}");
    }
});

fn matching(bytes: &mut Bytes<'_>) -> Option<Match> {
    let mut text = String::new();
    match bytes.below(6) {
        0 | 1 => {}
        method => text.push_str(&format!("{} ", METHODS[method - 2])),
    }
    let count = bytes.below(4);
    for number in 0..count {
        match bytes.below(9) {
            6 | 7 => text.push_str(&format!("/{{p{number}}}")),
            8 if number + 1 == count => text.push_str("/{rest=**}"),
            other => text.push_str(&format!("/{}", SEGMENTS[other % SEGMENTS.len()])),
        }
    }
    if count == 0 {
        text.push('/');
    }
    let mut matching = Match::parse(&text).ok()?;
    match bytes.below(7) {
        0 => matching.headers.push(("x-a".into(), ValueTest::Present)),
        1 => matching.headers.push(("x-a".into(), ValueTest::Exact("1".into()))),
        2 => matching.hosts.push(["h.test", "*.test"][bytes.below(2)].into()),
        3 => matching.versions = Some(versions(&VERSIONS[bytes.below(VERSIONS.len())..])),
        4 => matching.versions = Some(versions(&VERSIONS[..1 + bytes.below(VERSIONS.len())])),
        _ => {}
    }
    Some(matching)
}

fn ask(bytes: &mut Bytes<'_>) -> Ask {
    let method = METHODS[bytes.below(METHODS.len())];
    let mut path = String::new();
    for _ in 0..bytes.below(4) {
        path.push('/');
        path.push_str(SEGMENTS[bytes.below(SEGMENTS.len())]);
    }
    if path.is_empty() || bytes.below(4) == 0 {
        path.push('/');
    }
    let mut ask = Ask::new(method, &path);
    match bytes.below(4) {
        0 => ask = ask.header("x-a", "1"),
        1 => ask = ask.header("x-a", "2"),
        2 => ask = ask.host("other.test"),
        _ => {}
    }
    ask.version = Some(bytes.below(VERSIONS.len()) as u8);
    ask
}
