//! How many requests a service may have in work at once, found out by its answers' times: when they grow, fewer. Shared by
//! all workers, without a lock; told times, no clock of its own.
//!
//! The limit follows the gradient between the time of an unhurried service (a slow average) and the present one, and tries
//! a few more than it needs (Netflix's `gradient2`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptiveRules {
    pub min: u32,
    pub max: u32,
    /// Before anything is known.
    pub initial: u32,
    /// So many hundredths of a percent may answers become slower before fewer are let through: 15,000 is half as slow again.
    pub tolerance: u32,
    /// How long times are gathered before the limit moves.
    pub window: Duration,
}

impl Default for AdaptiveRules {
    fn default() -> Self {
        Self { min: 4, max: 1_000, initial: 20, tolerance: 15_000, window: Duration::from_millis(100) }
    }
}

/// Answers in a window that say something.
const SAMPLES: u64 = 10;
/// Of the new time, so much goes into the slow average.
const SLOWNESS: f64 = 0.02;
/// Of the new limit, so much counts.
const SMOOTHING: f64 = 0.2;

/// The shared state. Times are nanoseconds.
#[derive(Debug, Default)]
pub struct Adaptive {
    /// `f64` bits; 0: nothing is known.
    limit: AtomicU64,
    slow_average: AtomicU64,
    window_ends: AtomicU64,
    sum: AtomicU64,
    count: AtomicU64,
    /// The most requests in work that an answer of this window found.
    most: AtomicU64,
}

fn read(cell: &AtomicU64) -> f64 {
    f64::from_bits(cell.load(Ordering::Acquire))
}

impl Adaptive {
    /// As many may be in work now.
    pub fn limit(&self, rules: &AdaptiveRules) -> usize {
        let limit = read(&self.limit);
        let limit = if limit == 0.0 { f64::from(rules.initial) } else { limit };
        limit.clamp(f64::from(rules.min), f64::from(rules.max)) as usize
    }

    /// An answer took so long while `in_work` requests were in work. Failures and what nobody waited for are not told.
    pub fn observe(&self, rules: &AdaptiveRules, took: u64, in_work: usize, now: u64) {
        self.sum.fetch_add(took, Ordering::AcqRel);
        self.most.fetch_max(in_work as u64, Ordering::AcqRel);
        let count = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        let ends = self.window_ends.load(Ordering::Acquire);
        if now < ends || count < SAMPLES {
            return;
        }
        let next = now.saturating_add(rules.window.as_nanos() as u64);
        let is_ours = self.window_ends.compare_exchange(ends, next, Ordering::AcqRel, Ordering::Relaxed);
        if is_ours.is_ok() {
            self.update(rules);
        }
    }

    fn update(&self, rules: &AdaptiveRules) {
        let (sum, count) = (self.sum.swap(0, Ordering::AcqRel), self.count.swap(0, Ordering::AcqRel));
        let most = self.most.swap(0, Ordering::AcqRel) as f64;
        let now = (sum as f64 / count.max(1) as f64).max(1.0);
        let before = read(&self.slow_average);
        let mut slow = if before == 0.0 { now } else { before + (now - before) * SLOWNESS };
        // A service that has become much faster is believed sooner.
        if slow > 2.0 * now {
            slow *= 0.95;
        }
        self.slow_average.store(slow.to_bits(), Ordering::Release);
        let limit = self.limit(rules) as f64;
        let tolerance = f64::from(rules.tolerance) / 10_000.0;
        let gradient = (tolerance * slow / now).clamp(0.5, 1.0);
        // Nobody knows what a higher limit does while this one is not reached.
        if gradient >= 1.0 && most * 2.0 < limit {
            return;
        }
        let wanted = limit * gradient + limit.sqrt();
        let current = if read(&self.limit) == 0.0 { limit } else { read(&self.limit) };
        let smoothed = current + (wanted - current) * SMOOTHING;
        let bounded = smoothed.clamp(f64::from(rules.min), f64::from(rules.max));
        self.limit.store(bounded.to_bits(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A service that answers in 10 ms as long as no more than `capacity` are in work, and in proportion beyond; asked by
    /// `wanted` clients at once, for `seconds`.
    fn run(
        adaptive: &Adaptive,
        rules: &AdaptiveRules,
        now: &mut u64,
        capacity: usize,
        wanted: usize,
        seconds: u64,
    ) {
        let end = *now + seconds * 1_000 * MS;
        while *now < end {
            let in_work = wanted.min(adaptive.limit(rules));
            let took = 10 * MS * in_work.max(capacity) as u64 / capacity as u64;
            for _ in 0..in_work {
                adaptive.observe(rules, took, in_work, *now);
            }
            *now += took;
        }
    }

    #[test]
    fn grows_while_nothing_slows_down_up_to_its_maximum() {
        let (adaptive, rules, mut now) = (Adaptive::default(), AdaptiveRules::default(), 0);
        assert_eq!(adaptive.limit(&rules), 20);
        run(&adaptive, &rules, &mut now, 10_000, 10_000, 120);
        assert_eq!(adaptive.limit(&rules), 1_000);
    }

    #[test]
    fn comes_down_when_answers_become_slow_and_goes_up_again() {
        let (adaptive, rules, mut now) = (Adaptive::default(), AdaptiveRules::default(), 0);
        run(&adaptive, &rules, &mut now, 200, 150, 60);
        let before = adaptive.limit(&rules);
        assert!((100..=310).contains(&before), "{before}");
        run(&adaptive, &rules, &mut now, 20, 150, 5);
        let slow = adaptive.limit(&rules);
        assert!(slow < before / 2, "{before} -> {slow}");
        run(&adaptive, &rules, &mut now, 200, 150, 60);
        assert!(adaptive.limit(&rules) > slow);
    }

    #[test]
    fn stays_within_its_bounds_and_moves_only_when_it_is_reached() {
        let (adaptive, rules, mut now) = (Adaptive::default(), AdaptiveRules::default(), 0);
        run(&adaptive, &rules, &mut now, 1_000, 5, 30);
        assert_eq!(adaptive.limit(&rules), 20, "five clients say nothing of twenty");
        for _ in 0..10_000 {
            now += 200 * MS;
            (0..SAMPLES).for_each(|at| adaptive.observe(&rules, (now / MS) * at * MS, 1_000, now));
        }
        assert!(adaptive.limit(&rules) >= 4);
    }
}
