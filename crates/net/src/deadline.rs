//! One timer per task, re-armed lazily: moving a deadline later costs nothing, because the timer that is already
//! armed fires early, sees the later deadline, and is armed again.

use std::task::{Context, Poll};

use crate::Clock;
use crate::runtime::Timer;

/// A task's timer. Times are monotonic nanoseconds of [`Clock`].
#[derive(Debug, Default)]
pub struct Deadline {
    timer: Timer,
    /// When the timer fires, as monotonic nanoseconds. Means something only while the timer is set.
    armed: u64,
    /// The timer wakes the task that polls it now.
    is_ours: bool,
}

impl Deadline {
    /// Ready once `due` has passed; otherwise this task is woken no later than that.
    ///
    /// Invariant: polled from one task only, until `hand_over`: the waker is registered once.
    pub fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: u64) -> Poll<()> {
        if self.timer.is_set() && self.armed <= due && !self.timer.has_fired() {
            if !self.is_ours {
                self.timer.wake_instead(cx);
                self.is_ours = true;
            }
            return Poll::Pending;
        }
        if clock.monotonic() >= due {
            return Poll::Ready(());
        }
        self.timer.set(cx, clock.system_due(due));
        self.armed = due;
        self.is_ours = true;
        Poll::Pending
    }

    /// The next poll comes from another task.
    pub fn hand_over(&mut self) {
        self.is_ours = false;
    }
}
