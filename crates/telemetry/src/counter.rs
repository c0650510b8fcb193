//! Counters and histograms that one worker writes and any thread reads: no locked instruction on the request path.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Invariant: called from the owning worker only; a second writer could lose counts.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// For a counter that several threads write.
    pub fn add_shared(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// For gauges: the owner's current value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn sub(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of every duration histogram, in microseconds.
pub const SHARED_BUCKETS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    15_000_000,
];

/// A histogram of durations with one writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; SHARED_BUCKETS.len()],
    count: Counter,
    nanos: Counter,
}

impl Histogram {
    pub fn record(&self, nanos: u64) {
        let micros = nanos / 1_000;
        if let Some(bucket) = SHARED_BUCKETS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].add(1);
        }
        self.count.add(1);
        self.nanos.add(nanos);
    }

    /// (count in each bucket, not cumulative; all; sum in nanoseconds)
    pub fn read(&self) -> ([u64; SHARED_BUCKETS.len()], u64, u64) {
        (std::array::from_fn(|at| self.buckets[at].read()), self.count.read(), self.nanos.read())
    }
}
