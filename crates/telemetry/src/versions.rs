//! Who still asks for which version of an API: counters by caller, of which only so many have a name of their own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::{AHashMap, AHashSet};

/// Callers beyond the bound.
const OTHER: &str = "other";
/// Bytes of a caller's id that are kept.
const ID_BYTES: usize = 128;

/// The counters of one version of a gateway's API.
#[derive(Debug)]
pub struct VersionSeries {
    pub(crate) gateway: Box<str>,
    pub(crate) version: Box<str>,
    /// Callers counted by name, over all workers.
    named: Mutex<AHashSet<Box<str>>>,
    /// One for each worker, so that nobody waits for another; read when somebody asks for the page.
    cells: Box<[Mutex<AHashMap<Box<str>, u64>>]>,
}

impl VersionSeries {
    pub(crate) fn new(gateway: &str, version: &str, workers: usize) -> Self {
        Self {
            gateway: gateway.into(),
            version: version.into(),
            named: Mutex::default(),
            cells: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts a request; an empty `caller` is nobody in particular. `most`: callers with a name.
    pub fn called(&self, worker: usize, caller: &str, most: usize) {
        let Some(cell) = self.cells.get(worker) else { return };
        let caller = &caller[..caller.floor_char_boundary(ID_BYTES)];
        let mut cell = lock(cell);
        if let Some(count) = cell.get_mut(caller) {
            *count += 1;
            return;
        }
        let name = if caller.is_empty() || self.admit(caller, most) { caller } else { OTHER };
        *cell.entry(name.into()).or_default() += 1;
    }

    fn admit(&self, caller: &str, most: usize) -> bool {
        let mut named = lock(&self.named);
        named.contains(caller) || (named.len() < most && named.insert(caller.into()))
    }

    /// By caller.
    pub(crate) fn read(&self) -> Vec<(Box<str>, u64)> {
        let mut sums: AHashMap<Box<str>, u64> = AHashMap::new();
        for cell in &self.cells {
            for (caller, count) in &*lock(cell) {
                *sums.entry(caller.clone()).or_default() += count;
            }
        }
        let mut all: Vec<_> = sums.into_iter().collect();
        all.sort_unstable();
        all
    }
}

/// A poisoned lock guards nothing that could be half written: go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_beyond_the_bound_share_a_name() {
        let series = VersionSeries::new("g", "1", 2);
        for caller in ["a", "b", "c", "a", "d", ""] {
            series.called(0, caller, 2);
            series.called(1, caller, 2);
        }
        let wanted = [("", 2), ("a", 4), ("b", 2), ("other", 4)];
        assert_eq!(series.read(), wanted.map(|(caller, count)| (caller.into(), count)));
    }

    #[test]
    fn a_long_id_is_cut_at_a_character() {
        let series = VersionSeries::new("g", "1", 1);
        series.called(0, &"\u{e9}".repeat(100), 9);
        series.called(0, &format!("{}x", "\u{e9}".repeat(64)), 9);
        assert_eq!(series.read(), [("\u{e9}".repeat(64).into(), 2)]);
    }
}
