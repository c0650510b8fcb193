//! Whether an instance is well: what active checks saw, what requests met with, and how long ago. One standing per
//! instance, shared by all workers and kept over reloads. Workers count; the control runtime judges (`keeper`).

mod active;
mod keeper;
mod outlier;
#[cfg(test)]
mod tests;

pub use active::CheckRules;
pub use keeper::{Governed, HealthChange, Rules, Tick};
pub use outlier::{EjectCause, FailureShare, OutlierRules, SuccessRate};

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::Outcome;
use super::balance::Ewma;
use active::Active;
use outlier::Counts;

/// What is known of one instance.
#[derive(Debug, Default)]
pub struct Standing {
    active: Active,
    counts: Counts,
    /// Monotonic nanoseconds; 0: it is not ejected.
    ejected_until: AtomicU64,
    /// How often it was ejected of late: the next time is as many times longer.
    ejections: AtomicU32,
    ejected_for: AtomicU8,
    /// Since when it is used, for its slow start; 0: it is not.
    used_since: AtomicU64,
    pub ewma: Ewma,
}

/// What the operator sees of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    /// No active check has ended yet.
    Unknown,
    /// By the active checks.
    Ill,
    /// By what requests met with.
    Ejected(EjectCause),
}

impl Health {
    /// The word in `status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "healthy",
            Self::Unknown => "unknown",
            Self::Ill => "unhealthy",
            Self::Ejected(_) => "ejected",
        }
    }
}

impl Standing {
    pub fn health(&self) -> Health {
        if self.ejected_until.load(Ordering::Acquire) > 0 {
            return Health::Ejected(EjectCause::of(self.ejected_for.load(Ordering::Relaxed)));
        }
        self.active.health()
    }

    pub(super) fn is_usable(&self) -> bool {
        self.health() == Health::Well
    }

    /// A check has ended; says whether that turned it.
    pub(super) fn check(&self, passed: bool, rules: &CheckRules) -> bool {
        self.active.note(passed, rules)
    }

    /// A try has ended; says whether it is time to judge.
    pub(super) fn count(&self, outcome: &Outcome, rules: &OutlierRules) -> bool {
        self.counts.note(outcome, rules)
    }

    /// Nobody has looked yet: it gets nothing until somebody has.
    pub(super) fn await_first_check(&self) {
        self.active.await_first();
    }
}
