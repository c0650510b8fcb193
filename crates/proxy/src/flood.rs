//! Floods on an HTTP/2 connection: frames that cost their client nothing, counted against what is in order. Decides only
//! whether it is one; the connection's driver ends it.

use narthex_net::FrameCounts;
use narthex_telemetry::FloodKind;

/// Nanoseconds that frames are counted for.
const WINDOW: u64 = 10_000_000_000;
/// What goes back and forth brings PINGs and SETTINGS with it (clients measure): one more for so many bytes.
const BYTES_PER_FRAME: u64 = 1024;

/// What one connection may send within ten seconds.
#[derive(Debug, Clone, Copy)]
pub struct FloodRules {
    /// Streams that the client opens and resets.
    pub resets: u32,
    /// Of SETTINGS, of PING, of empty and of meaningless frames, each.
    pub control_frames: u32,
}

impl Default for FloodRules {
    fn default() -> Self {
        Self { resets: 1_000, control_frames: 1_000 }
    }
}

/// The window that a connection is in.
#[derive(Debug, Default)]
pub struct Floods {
    began: u64,
    at_begin: FrameCounts,
}

impl Floods {
    /// Looks at what has come until `now`, monotonic nanoseconds.
    pub fn look(&mut self, frames: FrameCounts, rules: FloodRules, now: u64) -> Option<FloodKind> {
        let begin = &self.at_begin;
        let traffic =
            (frames.bytes.wrapping_sub(begin.bytes) / BYTES_PER_FRAME).min(u64::from(u32::MAX)) as u32;
        let control = rules.control_frames.saturating_add(traffic);
        let over = |count: u32, before: u32, most: u32| count.wrapping_sub(before) > most;
        let kind = if over(frames.resets, begin.resets, rules.resets) {
            Some(FloodKind::Reset)
        } else if over(frames.settings, begin.settings, control) {
            Some(FloodKind::Settings)
        } else if over(frames.pings, begin.pings, control) {
            Some(FloodKind::Ping)
        } else if over(frames.empty, begin.empty, control) {
            Some(FloodKind::Empty)
        } else if over(frames.others, begin.others, control) {
            Some(FloodKind::Other)
        } else {
            None
        };
        if now.saturating_sub(self.began) >= WINDOW {
            *self = Self { began: now, at_begin: frames };
        }
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: FloodRules = FloodRules { resets: 10, control_frames: 20 };

    fn pings(pings: u32, bytes: u64) -> FrameCounts {
        FrameCounts { pings, bytes, ..FrameCounts::default() }
    }

    #[test]
    fn what_is_in_order_is_none_and_one_more_is() {
        let mut floods = Floods::default();
        assert_eq!(floods.look(pings(20, 400), RULES, 1), None);
        assert_eq!(floods.look(pings(21, 400), RULES, 2), Some(FloodKind::Ping));
        let resets = FrameCounts { resets: 11, ..FrameCounts::default() };
        assert_eq!(Floods::default().look(resets, RULES, 1), Some(FloodKind::Reset));
    }

    #[test]
    fn who_carries_much_may_ping_more() {
        assert_eq!(Floods::default().look(pings(100, 80 * 1024), RULES, 1), None);
        assert_eq!(Floods::default().look(pings(101, 80 * 1024), RULES, 1), Some(FloodKind::Ping));
        let resets = FrameCounts { resets: 11, bytes: 1 << 40, ..FrameCounts::default() };
        assert_eq!(Floods::default().look(resets, RULES, 1), Some(FloodKind::Reset), "but not reset more");
    }

    #[test]
    fn each_window_begins_anew_and_counters_may_wrap() {
        let mut floods = Floods::default();
        let near_the_end = u32::MAX - 5;
        floods.at_begin.pings = near_the_end;
        assert_eq!(floods.look(pings(near_the_end.wrapping_add(20), 0), RULES, WINDOW), None);
        assert_eq!(floods.look(pings(near_the_end.wrapping_add(40), 0), RULES, WINDOW + 1), None);
        assert_eq!(
            floods.look(pings(near_the_end.wrapping_add(41), 0), RULES, WINDOW + 2),
            Some(FloodKind::Ping)
        );
    }
}
