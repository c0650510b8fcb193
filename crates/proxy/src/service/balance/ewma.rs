//! Peak EWMA: how long an instance takes to answer, believed at once when it gets worse and slowly when it gets better
//! (Finagle's `peakEwma`). One cell per instance, shared by all workers, without a lock: of two notes at the same moment
//! one may be lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// After this time a note weighs 1/e of what it did, in nanoseconds.
const DECAY: f64 = 10e9;

/// What a try without an answer is said to have taken: an instance that fails at once must not look like a fast one.
pub const PENALTY: u64 = 5_000_000_000;

/// Nanoseconds that answers take, and when that was noted.
#[derive(Debug, Default)]
pub struct Ewma {
    nanos: AtomicU64,
    noted: AtomicU64,
}

impl Ewma {
    /// An answer took so long. `now`: monotonic nanoseconds.
    pub fn note(&self, took: u64, now: u64) {
        let known = self.nanos.load(Ordering::Relaxed);
        let next = if took >= known {
            took
        } else {
            let kept = self.kept(now);
            (known as f64 * kept + took as f64 * (1.0 - kept)) as u64
        };
        self.nanos.store(next.max(1), Ordering::Relaxed);
        self.noted.store(now, Ordering::Relaxed);
    }

    /// Nanoseconds; 0 where nothing was ever noted. Fades while nobody asks: one that was slow gets another chance.
    pub fn read(&self, now: u64) -> u64 {
        (self.nanos.load(Ordering::Relaxed) as f64 * self.kept(now)) as u64
    }

    /// What the next request would cost there, with so many in flight.
    pub fn cost(&self, in_flight: u32, now: u64) -> u64 {
        let each = match self.read(now) {
            // Nothing is known: one is sent to find out, not a hundred.
            0 if in_flight > 0 => PENALTY,
            known => known,
        };
        each.saturating_mul(u64::from(in_flight) + 1)
    }

    fn kept(&self, now: u64) -> f64 {
        let age = now.saturating_sub(self.noted.load(Ordering::Relaxed));
        (-(age as f64) / DECAY).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let ewma = Ewma::default();
        ewma.note(1_000_000, SECOND);
        ewma.note(900_000_000, 2 * SECOND);
        assert_eq!(ewma.read(2 * SECOND), 900_000_000);
        ewma.note(1_000_000, 3 * SECOND);
        let after_one = ewma.read(3 * SECOND);
        assert!((800_000_000..850_000_000).contains(&after_one), "{after_one}");
        ewma.note(1_000_000, 60 * SECOND);
        assert!(ewma.read(60 * SECOND) < 5_000_000);
    }

    #[test]
    fn silence_is_a_second_chance() {
        let ewma = Ewma::default();
        ewma.note(PENALTY, SECOND);
        assert!(ewma.read(101 * SECOND) < 1_000_000);
    }

    #[test]
    fn the_unknown_is_tried_by_one() {
        let ewma = Ewma::default();
        assert_eq!(ewma.cost(0, SECOND), 0);
        assert_eq!(ewma.cost(1, SECOND), 2 * PENALTY);
        ewma.note(1_000, SECOND);
        assert_eq!(ewma.cost(3, SECOND), 4_000);
    }
}
