//! Which instance: weighted round robin, or the less busy of two.

use std::sync::Arc;

use super::{Instance, InstanceSet};

/// The longest schedule; weights are scaled down to fit.
const SCHEDULE: u32 = 4_096;

/// How requests spread over instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    /// Of two picked by weight, the one with fewer requests in flight for its weight.
    LeastRequest,
}

impl InstanceSet {
    /// The next instance that is not among `avoid`, if there is another. `position` is the worker's own.
    pub fn pick(
        &self,
        balance: Balance,
        position: u32,
        random: u64,
        avoid: &[u64],
    ) -> Option<&Arc<Instance>> {
        let picked = match balance {
            Balance::RoundRobin => self.at(position)?,
            Balance::LeastRequest => {
                let first = self.at(random as u32)?;
                let second = self.at((random >> 32) as u32)?;
                if load(second) < load(first) { second } else { first }
            }
        };
        if !avoid.contains(&picked.id) {
            return Some(picked);
        }
        (1..self.schedule.len() as u32)
            .filter_map(|step| self.at(position.wrapping_add(step)))
            .find(|other| !avoid.contains(&other.id))
            .or(Some(picked))
    }

    fn at(&self, position: u32) -> Option<&Arc<Instance>> {
        let length = u32::try_from(self.schedule.len()).ok().filter(|length| *length > 0)?;
        self.all.get(usize::from(self.schedule[(position % length) as usize]))
    }
}

/// Requests in flight for the weight, in thousandths.
fn load(instance: &Instance) -> u64 {
    u64::from(instance.in_flight()) * 1_000 / u64::from(instance.weight.max(1))
}

/// One round of smooth weighted round robin (nginx's algorithm): indexes, spread evenly.
pub(super) fn schedule(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let scale = total.div_ceil(u64::from(SCHEDULE)).max(1);
    let weights: Vec<i64> = weights
        .iter()
        .map(|weight| {
            let scaled = (u64::from(weight / divisor) / scale) as i64;
            if *weight > 0 { scaled.max(1) } else { 0 }
        })
        .collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            current.iter_mut().zip(&weights).for_each(|(current, weight)| *current += weight);
            let (best, _) = current.iter().enumerate().rev().max_by_key(|(_, current)| **current)?;
            current[best] -= total;
            u16::try_from(best).ok()
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_by_weight_and_evenly() {
        assert_eq!(&*schedule(&[5, 1, 1]), &[0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(&*schedule(&[10, 10]), &[0, 1]);
        assert_eq!(&*schedule(&[]), &[] as &[u16]);
        assert_eq!(&*schedule(&[0, 3]), &[1]);
    }

    #[test]
    fn huge_weights_stay_bounded_and_nobody_is_forgotten() {
        let round = schedule(&[1_000_000, 1]);
        assert!(round.len() <= SCHEDULE as usize + 2);
        assert!(round.contains(&1));
    }

    #[test]
    fn avoids_the_instance_that_failed_where_there_is_another() {
        let instance = |port| Arc::new(Instance::new(([127, 0, 0, 1], port).into(), 1));
        let set = InstanceSet::new(vec![instance(1), instance(2)]);
        let first = set.pick(Balance::RoundRobin, 0, 0, &[]).unwrap();
        let other = set.pick(Balance::RoundRobin, 0, 0, &[first.id]).unwrap();
        assert_ne!(first.id, other.id);
        let alone = InstanceSet::new(vec![instance(1)]);
        assert!(alone.pick(Balance::LeastRequest, 0, 7, &[alone.all[0].id]).is_some());
        assert!(InstanceSet::default().pick(Balance::RoundRobin, 0, 0, &[]).is_none());
    }
}
