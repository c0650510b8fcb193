//! Routes that are never reached because several before them together serve every version. Looks at one leaf at a time.

use super::Analysis;
use super::predicates::implied;
use crate::evaluate::{PathTest, Predicate};
use crate::problem::Problem;
use crate::version::VersionSet;

/// What routes take away from one that comes after them.
#[derive(Default)]
pub(super) struct Covered {
    versions: u64,
    by: Vec<u32>,
}

impl<'a> Analysis<'a> {
    /// Notes what `over`, which precedes, takes away from `under`; true when nothing is left.
    pub(super) fn covers(&mut self, over: u32, under: u32) -> bool {
        let mut sets = self.versions(over);
        // Of several sets all must hold: no single one says what is taken.
        let (Some(taken), None) = (sets.next(), sets.next()) else { return false };
        if !self.implies_but_versions(under, over) {
            return false;
        }
        let wanted = self.versions(under).next().map_or(taken.all_bits(), VersionSet::bits);
        let covered = self.covered.entry((self.leaf, under)).or_default();
        covered.versions |= taken.bits();
        covered.by.push(over);
        wanted & !covered.versions == 0
    }

    /// The problem to report where it took several versions to cover a route; `by` covers it alone otherwise.
    pub(super) fn unreachable_by_versions(&self, route: u32, by: u32, leaf: u32) -> Option<Problem> {
        let covered = self.covered.get(&(leaf, route)).filter(|covered| covered.by.contains(&by))?;
        let names: Vec<String> = covered.by.iter().map(|by| format!("`{}`", self.name(*by))).collect();
        Some(Problem::UnreachableVersions {
            route: route as usize,
            by: by as usize,
            name: self.name(route),
            by_names: names.join(" and "),
        })
    }

    fn versions(&self, route: u32) -> impl Iterator<Item = &'a VersionSet> + use<'a> {
        let predicates: Vec<_> = self.flat[route as usize].clone();
        predicates.into_iter().filter_map(|p| match p {
            Predicate::Versions(set) => Some(set),
            _ => None,
        })
    }

    /// True when every request that matches `a` matches `b`, were it not for `b`'s versions. They share a leaf.
    fn implies_but_versions(&self, a: u32, b: u32) -> bool {
        let (ra, rb) = (&self.routes[a as usize], &self.routes[b as usize]);
        let regex = matches!(rb.path, Some(PathTest::Regex(_)));
        let others = self.flat[b as usize].iter().filter(|q| !matches!(q, Predicate::Versions(_)));
        (!regex || ra.path == rb.path)
            && ra.methods.within(&rb.methods)
            && others.into_iter().all(|q| implied(&self.flat[a as usize], q))
    }
}
