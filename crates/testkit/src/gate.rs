//! A gate that a test opens: how a fake service is held at a place without a sleep. Never waits without an end.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Closed until somebody opens it; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        *self.inner.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.1.notify_all();
    }

    /// Waits until the gate is open, at most this long; says whether it is.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> bool {
        let due = Instant::now() + at_most;
        let mut is_open = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            is_open = self.inner.1.wait_timeout(is_open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_until_it_is_opened() {
        let gate = Gate::new();
        assert!(!gate.wait(Duration::ZERO));
        let other = gate.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(10)));
        gate.open();
        assert!(waiter.join().unwrap());
    }
}
