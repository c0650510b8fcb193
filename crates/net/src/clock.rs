//! The clock: the one place that asks the operating system for the time. A manual one holds time still in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Monotonic nanoseconds and Unix milliseconds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Stands at `unix` until `advance`.
    pub fn manual(unix: Duration) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(unix.as_nanos() as u64))))
    }

    /// Moves a manual clock; the system's is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Nanoseconds since an arbitrary start; never goes back, never 0.
    pub fn monotonic(&self) -> u64 {
        match &self.0 {
            Source::System => monotonic(),
            Source::Manual(nanos) => 1 + nanos.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System => {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
            }
            Source::Manual(nanos) => nanos.load(Ordering::Relaxed) / 1_000_000,
        }
    }

    /// When a monotonic reading comes, by the system's own clock: for timers.
    pub fn system_due(&self, monotonic_due: u64) -> u64 {
        match &self.0 {
            Source::System => monotonic_due,
            Source::Manual(_) => monotonic().saturating_add(monotonic_due.saturating_sub(self.monotonic())),
        }
    }
}

/// The system's monotonic clock, in nanoseconds. Without `std`'s arithmetic of durations: it is read several times per
/// request.
#[expect(unsafe_code, reason = "std's Instant hides its number")]
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes only the struct that is passed; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    1 + now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
