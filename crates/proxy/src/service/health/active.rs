//! What active checks say of an instance: so many results of one kind in a row turn it. Sends nothing itself.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::Health;

const WELL: u8 = 0;
const ILL: u8 = 1;
const UNKNOWN: u8 = 2;

/// How many results in a row turn an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckRules {
    /// Good ones that make an ill instance well; at least 1.
    pub healthy: u32,
    /// Bad ones that make a well instance ill; at least 1.
    pub unhealthy: u32,
}

/// One instance. Only its checker writes.
#[derive(Debug, Default)]
pub struct Active {
    state: AtomicU8,
    /// Results in a row that contradict the state.
    streak: AtomicU32,
}

impl Active {
    pub fn health(&self) -> Health {
        match self.state.load(Ordering::Acquire) {
            WELL => Health::Well,
            ILL => Health::Ill,
            _ => Health::Unknown,
        }
    }

    pub fn await_first(&self) {
        self.state.store(UNKNOWN, Ordering::Release);
        self.streak.store(0, Ordering::Relaxed);
    }

    /// Nobody checks any more.
    pub fn forget(&self) {
        self.state.store(WELL, Ordering::Release);
        self.streak.store(0, Ordering::Relaxed);
    }

    /// A check has ended; says whether that turned the instance. The first one decides at once.
    pub fn note(&self, passed: bool, rules: &CheckRules) -> bool {
        let (contradicts, needed) = match self.state.load(Ordering::Relaxed) {
            WELL => (!passed, rules.unhealthy),
            ILL => (passed, rules.healthy),
            _ => (true, 1),
        };
        if !contradicts {
            self.streak.store(0, Ordering::Relaxed);
            return false;
        }
        if self.streak.fetch_add(1, Ordering::Relaxed) + 1 < needed {
            return false;
        }
        self.streak.store(0, Ordering::Relaxed);
        self.state.store(if passed { WELL } else { ILL }, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_result_decides_and_then_it_takes_a_row() {
        let rules = CheckRules { healthy: 2, unhealthy: 3 };
        let active = Active::default();
        active.await_first();
        assert!(active.note(false, &rules));
        assert_eq!(active.health(), Health::Ill);
        let turned: Vec<_> = [true, false, true, true, false, false, true, false, false, false]
            .into_iter()
            .map(|passed| active.note(passed, &rules))
            .collect();
        assert_eq!(turned, [false, false, false, true, false, false, false, false, false, true]);
    }

    proptest! {
        /// Against the plainest model: look back at the whole history.
        #[test]
        fn it_turns_exactly_when_the_last_results_agree(
            results in prop::collection::vec(any::<bool>(), 1..60), healthy in 1u32..4, unhealthy in 1u32..4,
        ) {
            let rules = CheckRules { healthy, unhealthy };
            let active = Active::default();
            active.await_first();
            let mut is_well = None;
            let mut turned_at = 0;
            for (at, passed) in results.iter().enumerate() {
                let needed = match is_well { None => 1, Some(true) => unhealthy, Some(false) => healthy } as usize;
                let since = &results[turned_at..=at];
                let turns = is_well != Some(*passed) && since.len() >= needed
                    && since.iter().rev().take(needed).all(|one| one == passed);
                prop_assert_eq!(active.note(*passed, &rules), turns);
                if turns {
                    is_well = Some(*passed);
                    turned_at = at + 1;
                }
            }
        }
    }
}
