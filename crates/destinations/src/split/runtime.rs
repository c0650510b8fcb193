//! The choice: one multiplication where it is chance, weighted rendezvous hashing where a caller stays.
//!
//! The hash is fixed (FNV-1a, finished as SplitMix64 does), so that all gateways behind one balancer, and all versions of
//! the gateway, choose alike.

use narthex_contract::{Destination, DestinationCx, Outcome, ServiceId, Variable};

pub struct Split {
    arms: Vec<Arm>,
    total: u64,
    sticky: Option<Variable>,
}

/// A service and its share.
#[derive(Debug)]
pub struct Arm {
    service: ServiceId,
    weight: u32,
    /// From the service's name: the arm's part in every hash.
    seed: u64,
}

impl Arm {
    pub fn new(service: ServiceId, name: &str, weight: u32) -> Self {
        Self { service, weight, seed: hash(FNV_OFFSET, name.as_bytes()) }
    }
}

impl Split {
    /// At least one weight is not 0.
    pub fn new(arms: Vec<Arm>, sticky: Option<Variable>) -> Self {
        let total = arms.iter().map(|arm| u64::from(arm.weight)).sum();
        Self { arms, total, sticky }
    }

    /// The arm in which a point lies when the arms stand in a row, each as wide as its weight.
    fn by_chance(&self, random: u64) -> Option<ServiceId> {
        let mut point = ((u128::from(random) * u128::from(self.total)) >> 64) as u64;
        for arm in &self.arms {
            match point.checked_sub(u64::from(arm.weight)) {
                None => return Some(arm.service),
                Some(rest) => point = rest,
            }
        }
        None
    }

    /// Weighted rendezvous: each arm draws a score from the value, the least score relative to its weight wins. When a
    /// weight changes, only the callers move that the change itself moves.
    fn by_value(&self, value: &[u8]) -> Option<ServiceId> {
        let score = |arm: &Arm| -> f64 {
            // In (0, 1): 53 bits, and never 0.
            let share = ((finish(hash(arm.seed, value)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -share.ln() / f64::from(arm.weight)
        };
        let weighty = self.arms.iter().filter(|arm| arm.weight > 0);
        weighty.map(|arm| (score(arm), arm)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, arm)| arm.service)
    }
}

impl Destination for Split {
    fn answer<'a>(&'a self, cx: &'a mut DestinationCx<'_>) -> Outcome<'a> {
        let value = self.sticky.as_ref().and_then(|variable| variable.read(cx.exchange));
        let chosen = match value {
            Some(value) => self.by_value(&value),
            None => self.by_chance(cx.random),
        };
        Outcome::Forward(chosen.expect("compile refuses a split without any weight"))
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

/// Spreads the bits: FNV alone leaves those of short values close together.
fn finish(hash: u64) -> u64 {
    let mixed = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
