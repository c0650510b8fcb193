//! Overload: looks at memory and connections, and has new requests shed while there is too much of either. Said once in
//! the log when it begins and once when it ends. The administration interface is not asked and never shed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use narthex_config as config;
use narthex_net::system;
use narthex_proxy::{Excess, Shedding};

/// Where nothing is configured: so many hundredths of the cgroup's limit of memory.
const OF_CGROUP: u64 = 90;
/// It is over below so many hundredths of the watermark, so that it does not begin and end all the time.
const OVER_BELOW: u64 = 95;

/// The watermarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Watermarks {
    memory: Option<u64>,
    connections: Option<u64>,
    retry_after: u32,
}

/// What sheds.
#[derive(Debug, Default)]
pub struct Overload {
    pub shedding: Arc<Shedding>,
    watermarks: Mutex<Watermarks>,
    episodes: AtomicU64,
}

impl Overload {
    /// These are the settings from now on.
    pub fn configure(&self, settings: &config::Overload) {
        let cgroup = || system::memory_limit().map(|limit| limit / 100 * OF_CGROUP);
        *self.watermarks.lock().unwrap_or_else(PoisonError::into_inner) = Watermarks {
            memory: settings.memory.map(|memory| memory.0).or_else(cgroup),
            connections: settings.connections.map(|count| u64::from(count.get())),
            retry_after: settings.retry_after.0.as_secs().clamp(1, 86_400) as u32,
        };
    }

    /// Looks at how it stands. Called ten times a second.
    pub fn look(&self, connections: usize) {
        let watermarks = *self.watermarks.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = if watermarks.memory.is_some() { system::resident_bytes() } else { 0 };
        self.judge(watermarks, memory, connections as u64);
    }

    fn judge(&self, watermarks: Watermarks, memory: u64, connections: u64) {
        let was = self.shedding.excess();
        let is_past = |mark: Option<u64>, value: u64, excess: Excess| {
            let share = if was == Some(excess) { OVER_BELOW } else { 100 };
            mark.is_some_and(|mark| value > mark / 100 * share + mark % 100 * share / 100)
        };
        let excess = if is_past(watermarks.memory, memory, Excess::Memory) {
            Some(Excess::Memory)
        } else if is_past(watermarks.connections, connections, Excess::Connections) {
            Some(Excess::Connections)
        } else {
            None
        };
        self.shedding.set(excess, watermarks.retry_after);
        match (was, excess) {
            (None, Some(excess)) => {
                self.episodes.fetch_add(1, Ordering::Relaxed);
                let of = excess.as_str();
                tracing::warn!(of, memory, connections, "overloaded: new requests are shed with 503");
            }
            (Some(_), None) => tracing::warn!(memory, connections, "no longer overloaded"),
            _ => {}
        }
    }

    /// What there is too much of.
    pub fn excess(&self) -> Option<&'static str> {
        self.shedding.excess().map(Excess::as_str)
    }

    pub fn episodes(&self) -> u64 {
        self.episodes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_begins_past_the_mark_and_ends_well_below_it() {
        let overload = Overload::default();
        let marks = Watermarks { memory: Some(1_000), connections: Some(10), retry_after: 7 };
        for (memory, connections, excess, episodes) in [
            (1_000, 10, None, 0),
            (1_001, 10, Some("memory"), 1),
            (960, 10, Some("memory"), 1),
            (950, 10, None, 1),
            (960, 11, Some("connections"), 2),
            (2_000, 11, Some("memory"), 2),
            (0, 10, None, 2),
        ] {
            overload.judge(marks, memory, connections);
            assert_eq!(
                (overload.excess(), overload.episodes()),
                (excess, episodes),
                "{memory} {connections}"
            );
        }
        assert_eq!(overload.shedding.retry_after(), 7);
    }

    #[test]
    fn without_marks_nothing_is_shed() {
        let overload = Overload::default();
        overload.judge(Watermarks::default(), u64::MAX, u64::MAX);
        assert_eq!(overload.excess(), None);
    }
}
