//! Whether new requests are shed, because the gateway has too much to do. The control runtime decides; workers ask, which
//! costs one relaxed load.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    Memory,
    Connections,
}

impl Excess {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Connections => "connections",
        }
    }
}

/// Shared by the control runtime and all workers.
#[derive(Debug, Default)]
pub struct Shedding {
    excess: AtomicU8,
    retry_after: AtomicU32,
}

impl Shedding {
    /// `None`: every request is answered again. `retry_after`: seconds that clients are told.
    pub fn set(&self, excess: Option<Excess>, retry_after: u32) {
        self.retry_after.store(retry_after, Ordering::Relaxed);
        let excess = match excess {
            None => 0,
            Some(Excess::Memory) => 1,
            Some(Excess::Connections) => 2,
        };
        self.excess.store(excess, Ordering::Relaxed);
    }

    pub fn excess(&self) -> Option<Excess> {
        match self.excess.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Excess::Memory),
            _ => Some(Excess::Connections),
        }
    }

    /// Seconds.
    pub fn retry_after(&self) -> u32 {
        self.retry_after.load(Ordering::Relaxed)
    }
}
