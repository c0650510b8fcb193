//! Versions: each row of the README's table, and what the analysis says of routes that serve some of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use common::{Ask, parsed, versions};
use narthex_router::{
    FoundVersion, NoTrace, Problem, RouteSpec, Router, VersionBy, VersionPlace, Versions, path_after,
};

fn all(default: Option<u8>, fallback: Option<u8>) -> Versions {
    Versions {
        names: ["1", "2", "beta"].map(Into::into).into(),
        places: Box::new([
            VersionPlace::Path("/v".into()),
            VersionPlace::Header("x-api-version".into()),
            VersionPlace::MediaType { vendor: Some("vnd.shop".into()), parameter: "version".into() },
            VersionPlace::Query("v".into()),
        ]),
        default,
        fallback,
    }
}

/// `GET /path?query Header:value`, blanks in the value written `_`.
fn ask(text: &str) -> Ask {
    let mut words = text.split(' ');
    let target = words.next().unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut ask = Ask::new("GET", path);
    ask.query = query.map(str::to_owned);
    words.fold(ask, |ask, header| {
        let (name, value) = header.split_once(':').unwrap();
        ask.header(name, &value.replace('_', " "))
    })
}

#[test]
fn the_table_of_the_readme() {
    let text = include_str!("../README.md");
    let lines = text.lines().skip_while(|line| !line.starts_with("| request | version |")).skip(2);
    let rows: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 18, "{}", rows.len());
    for row in rows {
        let cells: Vec<String> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        for (column, finder) in
            [all(None, None), all(Some(1), None), all(Some(1), Some(0))].into_iter().enumerate()
        {
            let ask = ask(&cells[0]);
            let found = finder.find(&ask, &ask.path);
            let have = match found {
                Ok(FoundVersion { version, prefix, .. }) if prefix > 0 => {
                    format!("{}, {}", finder.name(version), path_after(&ask.path, prefix))
                }
                Ok(found) => finder.name(found.version).to_owned(),
                Err(miss) => format!("{miss:?}").split('(').next().unwrap().to_lowercase(),
            };
            assert_eq!(have, cells[1 + column], "{row}");
            assert!(!finder.describe(&ask, &ask.path, found).is_empty());
        }
    }
}

#[test]
fn it_says_why() {
    let finder = all(Some(1), Some(0));
    for (request, why) in [
        ("/v1/x", "1, named by the path"),
        ("/x X-Api-Version:BETA", "beta, named by the header x-api-version"),
        ("/x", "2, the default: the request names none"),
        ("/v7/x", "1, the fallback: there is no version \"7\" (the path)"),
        ("/x Accept:a/b;version=9", "none: the header accept names versions, and none that there is"),
    ] {
        let ask = ask(request);
        assert_eq!(finder.describe(&ask, &ask.path, finder.find(&ask, &ask.path)), why, "{request}");
    }
    let found = finder.find(&ask("/x"), "/x").unwrap();
    assert_eq!(found, FoundVersion { version: 1, by: VersionBy::Default, prefix: 0 });
}

fn route(name: &str, text: &str, of: &[&str]) -> RouteSpec {
    let mut route = parsed(name, text);
    route.matching.versions = (!of.is_empty()).then(|| versions(of));
    route
}

fn problem(routes: Vec<RouteSpec>) -> String {
    let problems = Router::build(routes).expect_err("they cannot be together");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn versions_tell_routes_apart() {
    let routes =
        vec![route("a", "GET /x", &["1"]), route("b", "GET /x", &["2", "3"]), route("c", "POST /x", &[])];
    let router = Router::build(routes).unwrap();
    for (version, wanted) in [(0, "a"), (1, "b"), (2, "b")] {
        let ask = Ask { version: Some(version), ..Ask::new("GET", "/x") };
        let narthex_router::Found::Route { index, .. } = router.find(&ask, "/x", &mut NoTrace) else {
            panic!("version {version}")
        };
        assert_eq!(router.route_name(index), Some(wanted));
    }
    // A more special route before one for every version.
    Router::build(vec![route("a", "GET /x", &["1"]), route("b", "GET /x", &[])]).unwrap();
}

#[test]
fn what_the_analysis_says() {
    let tie = problem(vec![route("a", "GET /x", &["1", "2"]), route("b", "GET /x", &["2", "3"])]);
    assert!(tie.contains("tie"), "{tie}");
    let duplicate = problem(vec![route("a", "GET /x", &["1"]), route("b", "GET /x", &["1"])]);
    assert!(duplicate.contains("exactly the same"), "{duplicate}");
    let every = problem(vec![route("a", "GET /x", &["1", "2", "3"]), route("b", "GET /x", &[])]);
    assert!(every.contains("`b` is never reached: `a` comes first"), "{every}");
    let together = problem(vec![
        route("a", "GET /x", &["1"]),
        route("b", "GET /x", &["2", "3"]),
        route("c", "GET /x", &[]),
    ]);
    assert!(together.contains("`c` is never reached: `a` and `b`"), "{together}");
    let of_some = vec![
        route("a", "GET /x", &["1"]),
        route("b", "GET /x", &["2"]),
        route("c", "/x", &["1", "2"]),
        route("d", "/x", &[]),
    ];
    Router::build(of_some).expect("`c` answers other methods, `d` version 3");
    let mut twice = route("a", "GET /x", &["1"]);
    twice.matching.all =
        vec![narthex_router::Match { versions: Some(versions(&["2"])), ..Default::default() }];
    let problems = Router::build(vec![twice]).expect_err("no request has both");
    assert!(matches!(problems[..], [Problem::Contradiction { .. }]), "{problems:?}");
}
