//! How many requests may be on their second try or a later one at the same time: retries must not bring a service down
//! that is short of breath already. Pure arithmetic; the counts are the service's.

/// A share of what is in work, and at least a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Hundredths of a percent of the service's requests in flight.
    pub share: u16,
    /// So many are always allowed.
    pub min: usize,
    /// No more than so many, whatever the share.
    pub max: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { share: 2_000, min: 3, max: usize::MAX }
    }
}

impl Budget {
    /// Whether one more may be sent where `retries` of the service's `active` requests are retries.
    pub fn allows(&self, active: usize, retries: usize) -> bool {
        let share = active.saturating_mul(usize::from(self.share)) / 10_000;
        retries < share.max(self.min).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_in_work_and_at_least_three() {
        let budget = Budget::default();
        let most = |active| (0..).find(|retries| !budget.allows(active, *retries)).unwrap();
        assert_eq!((most(0), most(1), most(15), most(20), most(1_000)), (3, 3, 3, 4, 200));
    }

    #[test]
    fn a_maximum_is_a_maximum() {
        let budget = Budget { max: 2, ..Budget::default() };
        assert!(budget.allows(1_000, 1));
        assert!(!budget.allows(1_000, 2));
        assert!(!Budget { max: 0, ..budget }.allows(1_000, 0));
    }
}
