//! The router of one gateway: built once from its routes, immutable, asked once per request.
//! The order of the routes in the list never decides anything.

use std::borrow::Cow;

use crate::analyse::analyse;
use crate::evaluate::{Facts, PredicateRef, Request, Route};
use crate::explain::{Trace, TryOutcome};
use crate::matching::RouteSpec;
use crate::method::RequestMethod;
use crate::normalise::decode_percent;
use crate::problem::Problem;
use crate::tree::{Ranges, Tree, Visit};

/// Finds the route of a request.
#[derive(Debug)]
pub struct Router {
    pub(crate) routes: Vec<Route>,
    tree: Tree,
    reads_host: bool,
}

/// The answer to "which route?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// `index` into the list given to `Router::build`.
    Route { index: usize, captures: Captures },
    /// 405: some route matches in everything but the method. The methods that would do, sorted; HEAD with GET.
    MethodNotAllowed { allow: Vec<String> },
    /// 404.
    NotFound,
}

/// Where the captures of a template stand in the normalised path, in the order of the template. Does not
/// allocate for up to four. Which index belongs to which name: `Router::capture_index`, asked at compile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: Ranges,
}

impl Captures {
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The range in the normalised path, in bytes.
    pub fn range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let (at, length) = *self.ranges.get(index)?;
        Some(at as usize..(at + length) as usize)
    }

    /// The captured text as it stands in the normalised `path`.
    pub fn raw<'p>(&self, path: &'p str, index: usize) -> Option<&'p str> {
        path.get(self.range(index)?)
    }

    /// The captured text, percent-decoded once.
    pub fn decoded<'p>(&self, path: &'p str, index: usize) -> Option<Cow<'p, str>> {
        self.raw(path, index).map(decode_percent)
    }

    /// False for the rest of `/a/{rest=**}` when the path is `/a`, which has no slash after it.
    pub(crate) fn has_separator(&self, path: &str, index: usize) -> bool {
        self.range(index).is_some_and(|r| r.start > 0 && path.as_bytes().get(r.start - 1) == Some(&b'/'))
    }
}

impl Router {
    /// Compiles and analyses the routes; all problems at once, the first hundred of them.
    pub fn build(specs: Vec<RouteSpec>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let routes: Vec<Option<Route>> =
            specs.iter().enumerate().map(|(i, spec)| Route::new(i, spec, &mut problems)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let routes: Vec<Route> = routes.into_iter().flatten().collect();
        let mut tree = Tree::default();
        analyse(&specs, &routes, &mut tree)?;
        let nested = routes.iter().any(|r| r.others.iter().any(|p| p.reads_host()));
        let reads_host = nested || tree.reads_host();
        Ok(Router { routes, tree, reads_host })
    }

    /// Which route answers. `path` is normalised.
    #[inline]
    pub fn find<F: Facts, T: Trace>(&self, facts: &F, path: &str, trace: &mut T) -> Found {
        if self.reads_host {
            self.find_for(&Request::canonical_host(facts), facts, path, trace)
        } else {
            self.find_for("", facts, path, trace)
        }
    }

    fn find_for<F: Facts, T: Trace>(&self, host: &str, facts: &F, path: &str, trace: &mut T) -> Found {
        let request = Request::new(facts, host, path);
        let mut finder = Finder { routes: &self.routes, request: &request, trace, wrong_method: false };
        let order = request.method.order();
        if let Some((route, ranges)) = self.tree.walk(host, path, order, &mut finder) {
            return Found::Route { index: route as usize, captures: Captures { ranges } };
        }
        if finder.wrong_method { self.not_allowed(&request) } else { Found::NotFound }
    }

    #[cold]
    fn not_allowed<F: Facts>(&self, request: &Request<'_, F>) -> Found {
        let mut collector = Collector { routes: &self.routes, request, allow: Vec::new() };
        self.tree.walk(request.host, request.path, request.method.order(), &mut collector);
        let mut allow = collector.allow;
        if allow.is_empty() {
            return Found::NotFound;
        }
        allow.sort_unstable();
        allow.dedup();
        Found::MethodNotAllowed { allow: allow.into_iter().map(str::to_owned).collect() }
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub fn route_name(&self, route: usize) -> Option<&str> {
        self.routes.get(route).map(|r| &*r.name)
    }

    /// The names a route captures, in the order of `Captures`.
    pub fn capture_names(&self, route: usize) -> impl Iterator<Item = &str> {
        self.routes.get(route).into_iter().flat_map(|r| r.captures.iter().map(|n| &**n))
    }

    /// The index of a capture in `Captures`: resolve it at compile, use it per request.
    pub fn capture_index(&self, route: usize, name: &str) -> Option<usize> {
        self.capture_names(route).position(|n| n == name)
    }

    /// Evaluates one predicate of a route by itself: what `explain` says is checked with it.
    pub fn eval_predicate<F: Facts>(&self, route: usize, which: PredicateRef, facts: &F, path: &str) -> bool {
        let host = Request::canonical_host(facts);
        let request = Request::new(facts, &host, path);
        self.routes.get(route).is_some_and(|r| r.holds(which, &request))
    }
}

struct Finder<'a, F, T> {
    routes: &'a [Route],
    request: &'a Request<'a, F>,
    trace: &'a mut T,
    wrong_method: bool,
}

impl<F: Facts, T: Trace> Visit for Finder<'_, F, T> {
    #[inline]
    fn leaf(&mut self, routes: &[u32]) -> Option<u32> {
        for &route in routes {
            match self.routes[route as usize].first_failure(self.request) {
                None => {
                    if T::ON {
                        self.trace.tried(route as usize, TryOutcome::Chosen);
                    }
                    return Some(route);
                }
                Some(failed) => {
                    self.wrong_method |= failed == PredicateRef::Method;
                    if T::ON {
                        self.trace.tried(route as usize, TryOutcome::Failed(failed));
                    }
                }
            }
        }
        None
    }
}

struct Collector<'a, F> {
    routes: &'a [Route],
    request: &'a Request<'a, F>,
    allow: Vec<&'a str>,
}

impl<F: Facts> Visit for Collector<'_, F> {
    fn leaf(&mut self, routes: &[u32]) -> Option<u32> {
        for &route in routes {
            let route = &self.routes[route as usize];
            let method: RequestMethod<'_> = self.request.method;
            if !route.methods.contains(method) && route.failure_but_method(self.request).is_none() {
                self.allow.extend(route.methods.names());
            }
        }
        None
    }
}
