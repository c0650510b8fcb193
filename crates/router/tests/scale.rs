//! A hundred thousand routes: everything is found, nothing else is, and the analysis still sees a conflict.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use common::{Ask, parsed, route};
use narthex_router::{Found, Match, NoTrace, PathPattern, Problem, RouteSpec, Router, ValueTest};

fn many(count: usize) -> Vec<RouteSpec> {
    (0..count)
        .map(|i| match i % 3 {
            0 => parsed(&format!("r{i}"), &format!("GET /s{}/exact{i}", i % 100)),
            1 => parsed(&format!("r{i}"), &format!("GET /s{}/kind{i}/{{id}}", i % 100)),
            _ => parsed(&format!("r{i}"), &format!("GET /deep/er/s{i}/{{rest=**}}")),
        })
        .collect()
}

fn path(i: usize) -> String {
    match i % 3 {
        0 => format!("/s{}/exact{i}", i % 100),
        1 => format!("/s{}/kind{i}/42", i % 100),
        _ => format!("/deep/er/s{i}/a/b"),
    }
}

#[test]
fn a_hundred_thousand_routes() {
    let router = Router::build(many(100_000)).unwrap();
    for i in 0..100_000 {
        let path = path(i);
        match router.find(&Ask::new("GET", &path), &path, &mut NoTrace) {
            Found::Route { index, .. } => assert_eq!(index, i, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    for path in ["/s1/exact2", "/s1", "/deep/er", "/none", "/s1/kind1/", "/deep/er/s3"] {
        assert_eq!(router.find(&Ask::new("GET", path), path, &mut NoTrace), Found::NotFound, "{path}");
    }
}

#[test]
fn a_conflict_among_many_is_found() {
    let mut routes = many(20_000);
    routes.push(parsed("again", "GET /s1/kind1/{other}"));
    let problems = Router::build(routes).unwrap_err();
    assert!(matches!(&problems[..], [Problem::Duplicate { a: 1, b: 20_000, .. }]), "{problems:?}");
}

/// One path for twenty thousand tenants, told apart by a header: not compared each with each.
#[test]
fn many_routes_of_one_shape() {
    let tenant = |i: usize| {
        let headers = vec![("X-Tenant".to_owned(), ValueTest::Exact(format!("t{i}")))];
        route(
            &format!("t{i}"),
            Match { path: Some(PathPattern::parse("/a").unwrap()), headers, ..Match::default() },
        )
    };
    let routes: Vec<RouteSpec> = (0..20_000).map(tenant).collect();
    let router = Router::build(routes.clone()).unwrap();
    let ask = Ask::new("GET", "/a").header("X-Tenant", "t17000");
    assert!(matches!(router.find(&ask, "/a", &mut NoTrace), Found::Route { index: 17_000, .. }));
    let mut tied = routes;
    let headers = vec![("X-Other".to_owned(), ValueTest::Present)];
    let path = Some(PathPattern::parse("/a").unwrap());
    tied.push(route("other", Match { path, headers, ..Match::default() }));
    let problems = Router::build(tied).unwrap_err();
    assert!(matches!(problems.last(), Some(Problem::More { count: 19_900, .. })), "{}", problems.len());
}
