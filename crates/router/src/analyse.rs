//! What is wrong between routes: ties, duplicates, routes that are never reached, `over` that cannot hold.
//! It also orders the routes of each leaf. It compares only routes of one path shape, and among many of one
//! shape only those that no exact value tells apart: building must never become quadratic.

mod over;
mod predicates;
mod versions;

use ahash::{HashMap, HashSet};

use crate::evaluate::{PathTest, Predicate, Route};
use crate::matching::RouteSpec;
use crate::method::Order;
use crate::problem::Problem;
use crate::tree::{Leaf, Tree};
use crate::value::{Test, apart};
use crate::witness::witness;
use over::{positions, unknown_over};
use predicates::{disjoint_predicates, excludes, flatten, implied};
use versions::Covered;

/// Comparisons in one build; beyond it the configuration is refused rather than half checked.
const MAX_COMPARISONS: usize = 4_000_000;
/// Problems shown of one build.
const MAX_PROBLEMS: usize = 100;
/// So few routes are compared each with each.
const FEW: usize = 24;

/// Fills the tree, in the order of precedence.
pub(crate) fn analyse(specs: &[RouteSpec], routes: &[Route], tree: &mut Tree) -> Result<(), Vec<Problem>> {
    let mut analysis = Analysis::new(specs, routes)?;
    for (index, route) in routes.iter().enumerate() {
        let index = index as u32;
        let hosts: Vec<_> =
            if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(Some).collect() };
        let leaves = hosts.into_iter().map(|h| tree.insert(index, h, route.path.as_ref())).collect();
        analysis.leaves.push(leaves);
        analysis.contradiction(index);
    }
    for (leaf, routes) in tree.leaves.iter().enumerate() {
        let mut members = routes.plain.clone();
        analysis.leaf = leaf as u32;
        analysis.compare_all(&mut members, &mut Vec::new());
    }
    for (wide, narrow) in tree.covering() {
        analysis.compare_covering(&tree.leaves[wide as usize], &tree.leaves[narrow as usize], narrow);
    }
    analysis.useless_over();
    for leaf in &mut tree.leaves {
        analysis.sort(leaf);
    }
    analysis.finish()
}

/// The part of precedence that the path has not decided, bigger first: method, headers, query, the rest.
type Rank = (u8, [u16; 3]);

struct Analysis<'a> {
    specs: &'a [RouteSpec],
    routes: &'a [Route],
    /// Each route's predicates, `all` opened.
    flat: Vec<Vec<&'a Predicate>>,
    over: Vec<Vec<u32>>,
    /// Position in an order in which each route stands before those it is `over`.
    position: Vec<u32>,
    /// The leaves of each route: one per host.
    leaves: Vec<Vec<u32>>,
    leaf: u32,
    comparisons: usize,
    reported: HashSet<(u32, u32)>,
    /// By leaf and route: the versions that those before it take away from it, and who they are.
    covered: HashMap<(u32, u32), Covered>,
    /// In which leaves a route is never reached, and by whom.
    shadowed: HashMap<u32, Vec<(u32, u32)>>,
    problems: Vec<Problem>,
    hidden: usize,
}

/// What may tell many routes of one shape apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Method,
    Header(&'a str),
    Query(&'a str),
}

impl<'a> Analysis<'a> {
    fn new(specs: &'a [RouteSpec], routes: &'a [Route]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut names: HashMap<&str, u32> = HashMap::default();
        for (index, spec) in specs.iter().enumerate() {
            if let Some(first) = names.insert(&spec.name, index as u32) {
                let first = first as usize;
                problems.push(Problem::DuplicateName { route: index, first, name: spec.name.clone() });
            }
        }
        let mut over = vec![Vec::new(); specs.len()];
        for (index, spec) in specs.iter().enumerate() {
            for name in &spec.over {
                match names.get(name.as_str()) {
                    Some(other) if *other as usize != index => over[index].push(*other),
                    _ => problems.push(unknown_over(specs, index, name)),
                }
            }
        }
        let position = positions(specs, &over).map_err(|problem| problems.push(problem));
        let (true, Ok(position)) = (problems.is_empty(), position) else {
            problems.truncate(MAX_PROBLEMS);
            return Err(problems);
        };
        let flat = routes.iter().map(|r| flatten(&r.others)).collect();
        Ok(Analysis {
            specs,
            routes,
            flat,
            over,
            position,
            leaves: Vec::with_capacity(routes.len()),
            leaf: 0,
            comparisons: 0,
            reported: HashSet::default(),
            covered: HashMap::default(),
            shadowed: HashMap::default(),
            problems,
            hidden: 0,
        })
    }

    fn push(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS { self.problems.push(problem) } else { self.hidden += 1 }
    }

    fn name(&self, route: u32) -> String {
        self.routes[route as usize].name.to_string()
    }

    fn rank(&self, route: u32, order: Order) -> Rank {
        let route = &self.routes[route as usize];
        (route.methods.level(order), route.counts)
    }

    /// A route whose own predicates exclude each other.
    fn contradiction(&mut self, route: u32) {
        let flat = &self.flat[route as usize];
        let pair = flat
            .iter()
            .enumerate()
            .find_map(|(i, p)| flat[i + 1..].iter().find(|q| disjoint_predicates(p, q)).map(|q| (*p, *q)));
        let Some((p, _)) = pair else { return };
        let about = match p {
            Predicate::Header { name, .. } => format!("its tests of the header {name} exclude each other"),
            Predicate::Query { name, .. } => {
                format!("its tests of the query parameter {name} exclude each other")
            }
            _ => "two of its predicates exclude each other".to_owned(),
        };
        let name = self.name(route);
        self.push(Problem::Contradiction { route: route as usize, name, message: about });
    }

    /// Compares every two of `members` that no key in `used` tells apart.
    fn compare_all(&mut self, members: &mut [u32], used: &mut Vec<Key<'a>>) {
        let key = if members.len() > FEW { self.best_key(members, used) } else { None };
        let Some(key) = key else {
            for (i, &a) in members.iter().enumerate() {
                for &b in &members[i + 1..] {
                    if !self.compare(a, b) {
                        return;
                    }
                }
            }
            return;
        };
        used.push(key);
        let mut buckets: HashMap<&str, Vec<u32>> = HashMap::default();
        let mut loose = Vec::new();
        for &route in members.iter() {
            match self.key_value(route, key) {
                Some(value) => buckets.entry(value).or_default().push(route),
                None => loose.push(route),
            }
        }
        for bucket in buckets.values_mut() {
            for &a in &loose {
                for &b in bucket.iter() {
                    if !self.compare(a, b) {
                        return;
                    }
                }
            }
            self.compare_all(bucket, used);
        }
        self.compare_all(&mut loose, used);
        used.pop();
    }

    /// The key that has an exact value on most of the routes; none when it has it on fewer than half.
    fn best_key(&self, members: &[u32], used: &[Key<'a>]) -> Option<Key<'a>> {
        let mut counts: HashMap<Key<'a>, usize> = HashMap::default();
        for &route in members {
            if self.routes[route as usize].methods.single().is_some() {
                *counts.entry(Key::Method).or_default() += 1;
            }
            for predicate in &self.flat[route as usize] {
                let key = match predicate {
                    Predicate::Header { name, test: Test::Exact(_) } => Key::Header(name),
                    Predicate::Query { name, test: Test::Exact(_) } => Key::Query(name),
                    _ => continue,
                };
                *counts.entry(key).or_default() += 1;
            }
        }
        let unused =
            counts.into_iter().filter(|(key, count)| !used.contains(key) && *count * 2 >= members.len());
        unused.max_by_key(|(_, count)| *count).map(|(key, _)| key)
    }

    fn key_value(&self, route: u32, key: Key<'_>) -> Option<&'a str> {
        if key == Key::Method {
            return self.routes[route as usize].methods.single();
        }
        self.flat[route as usize].iter().find_map(|p| match p {
            Predicate::Header { name, test: Test::Exact(value) } if key == Key::Header(name) => {
                Some(&**value)
            }
            Predicate::Query { name, test: Test::Exact(value) } if key == Key::Query(name) => Some(&**value),
            _ => None,
        })
    }

    /// False when there were too many comparisons.
    fn compare(&mut self, a: u32, b: u32) -> bool {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            if self.comparisons == MAX_COMPARISONS + 1 {
                let name = self.name(a);
                self.problems.insert(0, Problem::TooMany { route: a as usize, name });
            }
            return false;
        }
        if self.disjoint(a, b) {
            return true;
        }
        let tied = [Order::Plain, Order::Head].into_iter().find(|order| {
            let (ra, rb) = (&self.routes[a as usize], &self.routes[b as usize]);
            ra.methods.overlaps(&rb.methods, *order) && self.rank(a, *order) == self.rank(b, *order)
        });
        let resolved = self.is_over(a, b) || self.is_over(b, a);
        match tied {
            Some(order) if !resolved => self.tie(a.min(b), a.max(b), order),
            _ => {
                for (over, under) in [(a, b), (b, a)] {
                    if !self.precedes(over, under) {
                        continue;
                    }
                    if self.implies(under, over) || self.covers(over, under) {
                        self.shadow(under, over, self.leaf);
                    }
                }
            }
        }
        true
    }

    fn is_over(&self, a: u32, b: u32) -> bool {
        self.over[a as usize].contains(&b)
    }

    /// True when `a` comes before `b` for every method that `b` answers. They share a leaf.
    fn precedes(&self, a: u32, b: u32) -> bool {
        [Order::Plain, Order::Head].into_iter().all(|order| {
            let (ra, rb) = (self.rank(a, order), self.rank(b, order));
            !self.routes[b as usize].methods.answers(order) || ra > rb || (ra == rb && self.is_over(a, b))
        })
    }

    fn tie(&mut self, a: u32, b: u32, order: Order) {
        if !self.reported.insert((a, b)) {
            return;
        }
        if self.problems.len() >= MAX_PROBLEMS {
            self.hidden += 1;
            return;
        }
        let (ra, rb) = (&self.routes[a as usize], &self.routes[b as usize]);
        let witness = witness(ra, rb, order);
        let (a_name, b_name) = (self.name(a), self.name(b));
        let (ia, ib) = (a as usize, b as usize);
        self.problems.push(if self.implies(a, b) && self.implies(b, a) {
            Problem::Duplicate { a: ia, b: ib, a_name, b_name, witness }
        } else {
            let hint = format!(
                "add a predicate to one of them, or say which precedes: `over: [{b_name}]` on `{a_name}`"
            );
            Problem::Tie { a: ia, b: ib, a_name, b_name, witness, hint }
        });
    }

    fn compare_covering(&mut self, wide: &Leaf, narrow: &Leaf, narrow_leaf: u32) {
        for &under in &narrow.plain {
            for &over in &wide.plain {
                self.comparisons += 1;
                if self.comparisons > MAX_COMPARISONS {
                    return;
                }
                if self.implies_but_path(under, over) {
                    self.shadow(under, over, narrow_leaf);
                }
            }
        }
    }

    fn shadow(&mut self, under: u32, over: u32, leaf: u32) {
        let list = self.shadowed.entry(under).or_default();
        if list.iter().all(|(l, _)| *l != leaf) {
            list.push((leaf, over));
        }
    }

    /// True when no request can match both. They share a leaf.
    fn disjoint(&self, a: u32, b: u32) -> bool {
        let (ra, rb) = (&self.routes[a as usize], &self.routes[b as usize]);
        if ![Order::Plain, Order::Head].into_iter().any(|order| ra.methods.overlaps(&rb.methods, order)) {
            return true;
        }
        if let (Some(PathTest::Regex(pa)), Some(PathTest::Regex(pb))) = (&ra.path, &rb.path)
            && apart(pa.prefix(), pb.prefix())
        {
            return true;
        }
        let (fa, fb) = (&self.flat[a as usize], &self.flat[b as usize]);
        fa.iter().any(|p| fb.iter().any(|q| disjoint_predicates(p, q)))
            || excludes(fa, fb)
            || excludes(fb, fa)
    }

    /// True when every request that matches `a` matches `b`. They share a leaf.
    fn implies(&self, a: u32, b: u32) -> bool {
        let regex = matches!(self.routes[b as usize].path, Some(PathTest::Regex(_)));
        (!regex || self.routes[a as usize].path == self.routes[b as usize].path)
            && self.implies_but_path(a, b)
    }

    fn implies_but_path(&self, a: u32, b: u32) -> bool {
        let (ra, rb) = (&self.routes[a as usize], &self.routes[b as usize]);
        ra.methods.within(&rb.methods)
            && self.flat[b as usize].iter().all(|q| implied(&self.flat[a as usize], q))
    }

    fn useless_over(&mut self) {
        for a in 0..self.routes.len() as u32 {
            for b in self.over[a as usize].clone() {
                let shared = self.leaves[a as usize].iter().any(|l| self.leaves[b as usize].contains(l));
                let equal =
                    [Order::Plain, Order::Head].into_iter().any(|o| self.rank(a, o) == self.rank(b, o));
                if !(shared && equal) {
                    let over = self.name(b);
                    self.push(Problem::UselessOver { route: a as usize, over });
                }
            }
        }
    }

    fn sort(&self, leaf: &mut Leaf) {
        let sorted = |order| {
            let mut routes = leaf.plain.clone();
            routes.sort_by_key(|r| (std::cmp::Reverse(self.rank(*r, order)), self.position[*r as usize]));
            routes
        };
        let (plain, head) = (sorted(Order::Plain), sorted(Order::Head));
        leaf.head = if head == plain { Vec::new() } else { head };
        leaf.plain = plain;
    }

    fn finish(mut self) -> Result<(), Vec<Problem>> {
        let mut unreachable: Vec<(u32, u32, u32)> = Vec::new();
        for (route, list) in &self.shadowed {
            if list.len() == self.leaves[*route as usize].len() {
                unreachable.push((*route, list[0].1, list[0].0));
            }
        }
        unreachable.sort_unstable();
        for (route, by, leaf) in unreachable {
            if let Some(problem) = self.unreachable_by_versions(route, by, leaf) {
                self.push(problem);
                continue;
            }
            let regex = matches!(self.routes[route as usize].path, Some(PathTest::Regex(_)))
                && !matches!(self.routes[by as usize].path, Some(PathTest::Regex(_)));
            let hint = if regex {
                "a template precedes an expression with as many literal segments: narrow the template, or remove the route"
            } else {
                "remove it, or give it a predicate that the other does not have"
            };
            let (name, by_name) = (self.name(route), self.name(by));
            let (route, by, hint) = (route as usize, by as usize, hint.to_owned());
            self.push(Problem::Unreachable { route, by, name, by_name, hint });
        }
        if self.hidden > 0 {
            let (route, count) = (self.problems.last().map_or(0, Problem::route), self.hidden);
            self.problems.push(Problem::More { route, count });
        }
        debug_assert_eq!(self.specs.len(), self.routes.len());
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}
