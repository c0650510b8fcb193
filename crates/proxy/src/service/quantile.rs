//! A quantile of times that moves with them: when a request is slow compared with its like. Shared by all workers, without a
//! lock; reads no clock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// So many times are needed to say anything.
const LEAST: u32 = 100;
/// After so many it is said anew, however soon.
const MOST: u32 = 10_000;
/// How long times are gathered before it is said anew, in nanoseconds.
const WINDOW: u64 = 10_000_000_000;
/// Four for each power of two: an estimate is at most a quarter too high.
const BUCKETS: usize = 256;

/// The quantile, and the times of which its next value is made.
#[derive(Debug)]
pub struct Quantile {
    /// In percent.
    percent: u8,
    /// Nanoseconds; 0: not known yet.
    value: AtomicU64,
    seen: AtomicU32,
    /// When gathering began.
    since: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl PartialEq for Quantile {
    fn eq(&self, other: &Self) -> bool {
        self.percent == other.percent
    }
}

impl Eq for Quantile {}

fn bucket_of(time: u64) -> usize {
    let time = time.max(4);
    let power = time.ilog2() as usize;
    power * 4 + (time >> (power - 2) & 3) as usize
}

/// The first time that is beyond the bucket.
fn end_of(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4);
    (5 + quarter).checked_shl(power.saturating_sub(2) as u32).unwrap_or(u64::MAX)
}

impl Quantile {
    /// `percent`: 95 for the time that 95 of 100 stay below.
    pub fn new(percent: u8) -> Self {
        Self {
            percent,
            value: AtomicU64::new(0),
            seen: AtomicU32::new(0),
            since: AtomicU64::new(0),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }

    /// `None`: too few times are known.
    pub fn value(&self) -> Option<Duration> {
        let value = self.value.load(Ordering::Relaxed);
        (value > 0).then(|| Duration::from_nanos(value))
    }

    /// Something took so many nanoseconds. `now`: monotonic nanoseconds.
    pub fn note(&self, took: u64, now: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let since = self.since.load(Ordering::Relaxed);
        let is_first = self.value.load(Ordering::Relaxed) == 0;
        let is_time = is_first || seen >= MOST || now.saturating_sub(since) >= WINDOW;
        if seen < LEAST || !is_time {
            return;
        }
        // One of those who see it does it.
        if self.since.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.turn();
        }
    }

    fn turn(&self) {
        self.seen.store(0, Ordering::Relaxed);
        let counts = self.buckets.each_ref().map(|bucket| u64::from(bucket.swap(0, Ordering::Relaxed)));
        let rank = (counts.iter().sum::<u64>() * u64::from(self.percent)).div_ceil(100);
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        if let Some(bucket) = found {
            self.value.store(end_of(bucket), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn every_time_is_in_a_bucket_that_ends_after_it() {
        for time in (0..63).flat_map(|power| [1 << power, (1 << power) + 1, (3 << power) / 2]) {
            let end = end_of(bucket_of(time));
            assert!(end > time && (time < 16 || end as f64 <= time as f64 * 1.26), "{time}: {end}");
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn it_is_said_after_a_hundred_and_follows() {
        let quantile = Quantile::new(95);
        for at in 0..99 {
            quantile.note(if at < 92 { MS } else { 100 * MS }, 1);
        }
        assert_eq!(quantile.value(), None);
        quantile.note(100 * MS, 1);
        let value = quantile.value().unwrap();
        assert!(value >= Duration::from_millis(100) && value < Duration::from_millis(126), "{value:?}");
        // Most are fast now: it is known when the window is over.
        for at in 0..200 {
            quantile.note(if at < 195 { MS } else { 100 * MS }, 2);
        }
        assert_eq!(quantile.value(), Some(value));
        quantile.note(MS, 2 + WINDOW);
        let value = quantile.value().unwrap();
        assert!(value >= Duration::from_millis(1) && value < Duration::from_millis(2), "{value:?}");
    }
}
