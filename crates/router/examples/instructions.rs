//! Routes `searches` requests among `routes` routes: run it under callgrind with two numbers of searches and
//! take the difference. Usage: instructions ROUTES SEARCHES hit|miss

use narthex_router::{Facts, Found, Match, NoTrace, RouteSpec, Router};

struct Get;

impl Facts for Get {
    fn method(&self) -> &str {
        "GET"
    }
    fn host(&self) -> &str {
        "shop.example"
    }
    fn query(&self) -> Option<&str> {
        None
    }
    fn header_values<'a>(&'a self, _: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        std::iter::empty()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|a| a.parse::<usize>().ok()).unwrap_or(1000);
    let (routes, searches) = (number(), number());
    let miss = arguments.next().as_deref() == Some("miss");
    let specs = (0..routes).map(|i| {
        let text = match i % 2 {
            0 => format!("GET /v1/s{:06}/items", i),
            _ => format!("GET /v1/s{:06}/items/{{id}}", i),
        };
        let matching = Match::parse(&text).expect("the text above is a match");
        RouteSpec { name: format!("r{i}"), matching, over: Vec::new() }
    });
    let router = Router::build(specs.collect()).expect("no two of these tie");
    let paths: Vec<String> = (0..1000)
        .map(|i| {
            let route = i * 7919 % routes;
            let base = if miss { 900_000 } else { 0 };
            let tail = if route.is_multiple_of(2) { "" } else { "/42" };
            format!("/v1/s{:06}/items{tail}", base + route)
        })
        .collect();
    let mut found = 0;
    for i in 0..searches {
        let path = &paths[i % paths.len()];
        found += usize::from(matches!(router.find(&Get, path, &mut NoTrace), Found::Route { .. }));
    }
    assert_eq!(found, if miss { 0 } else { searches });
}
