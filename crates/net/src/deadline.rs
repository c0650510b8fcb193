//! One timer per task, re-armed lazily: moving a deadline later costs nothing, because the timer that is already
//! armed fires early, sees the later deadline, and is armed again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::Clock;

/// A task's timer. Times are monotonic nanoseconds of [`Clock`].
#[derive(Debug, Default)]
pub struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer fires, as monotonic nanoseconds.
    armed: u64,
    /// The timer wakes the task that polls it now.
    is_ours: bool,
}

impl Deadline {
    /// Ready once `due` has passed; otherwise this task is woken no later than that.
    ///
    /// Invariant: polled from one task only, until `hand_over`: the waker is registered once.
    pub fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, due: u64) -> Poll<()> {
        if let Some(timer) = &mut self.timer
            && self.armed <= due
        {
            let is_waiting =
                if self.is_ours { !timer.is_elapsed() } else { timer.as_mut().poll(cx).is_pending() };
            self.is_ours = true;
            if is_waiting {
                return Poll::Pending;
            }
            if clock.monotonic() >= due {
                return Poll::Ready(());
            }
        }
        let mut at = clock.instant(due);
        loop {
            self.armed = due;
            self.is_ours = true;
            if self.arm(at).as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if clock.monotonic() >= due {
                return Poll::Ready(());
            }
            // Timers have the wheel's granularity of a millisecond: fired early by less than one.
            at += std::time::Duration::from_millis(1);
        }
    }

    /// The next poll comes from another task.
    pub fn hand_over(&mut self) {
        self.is_ours = false;
    }

    fn arm(&mut self, at: Instant) -> &mut Pin<Box<Sleep>> {
        match &mut self.timer {
            Some(timer) => {
                timer.as_mut().reset(at);
            }
            None => self.timer = Some(Box::pin(sleep_until(at))),
        }
        self.timer.as_mut().expect("it was armed above")
    }
}
