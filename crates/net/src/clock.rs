//! The clock: the one place that asks the operating system for the time. A manual one holds time still in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Monotonic nanoseconds and Unix milliseconds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { start: Instant },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now() })
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
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn monotonic(&self) -> u64 {
        match &self.0 {
            Source::System { start } => {
                1 + Instant::now().saturating_duration_since(*start).as_nanos() as u64
            }
            Source::Manual(nanos) => 1 + nanos.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
            }
            Source::Manual(nanos) => nanos.load(Ordering::Relaxed) / 1_000_000,
        }
    }

    /// The instant of a monotonic reading, for timers.
    #[expect(clippy::disallowed_methods, reason = "the clock itself")]
    pub fn instant(&self, monotonic: u64) -> Instant {
        match &self.0 {
            Source::System { start } => *start + Duration::from_nanos(monotonic),
            Source::Manual(_) => {
                Instant::now() + Duration::from_nanos(monotonic.saturating_sub(self.monotonic()))
            }
        }
    }
}
