//! Who gets which share of a service's requests: health, priorities, zones, slow start and panic, as weights. A pure
//! function of what is known; made anew whenever that changes, and never on the path of a request.

/// One instance, as the plan sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// As configured; 0 never gets a request.
    pub weight: u32,
    /// Neither ill nor ejected.
    pub is_usable: bool,
    /// Its priority, and whether it is in another zone than the gateway: lower comes first.
    pub tier: (u8, bool),
    /// How far its slow start has come, in percent: 100 where it has none.
    pub ramp: u32,
}

/// When others are asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// From 0.0 to 1.0: with a smaller share of usable instances all are used.
    pub panic_below: f64,
    /// From 0.0 to 1.0: with a smaller share of usable instances in a tier, a part of its requests goes to the next.
    pub spill_below: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { panic_below: 0.5, spill_below: 0.7 }
    }
}

/// Weights, in the order of the candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub weights: Vec<u32>,
    /// Too few are usable: all are used.
    pub is_panic: bool,
}

/// Parts into which a share of the requests is cut where several tiers are used.
const PARTS: f64 = 100_000.0;

/// Makes the plan.
pub fn plan(all: &[Candidate], spread: &Spread) -> Plan {
    let mut tiers: Vec<_> = all.iter().filter(|one| one.weight > 0).map(|one| one.tier).collect();
    tiers.sort_unstable();
    tiers.dedup();
    let mut left = 1.0;
    let mut used = Vec::new();
    for tier in tiers {
        let (usable, count) = count(all.iter().filter(|one| one.tier == tier));
        let share = usable as f64 / count as f64;
        let takes =
            if share > 0.0 && share >= spread.spill_below { left } else { left * share / spread.spill_below };
        if takes > 0.0 {
            used.push((tier, takes));
            left -= takes;
        }
        if left <= f64::EPSILON {
            break;
        }
    }
    let (usable, count) = count(all.iter());
    if left > f64::EPSILON && count > 0 && (usable as f64) < spread.panic_below * count as f64 {
        return Plan { weights: all.iter().map(|one| one.weight).collect(), is_panic: true };
    }
    let is_ramping = all.iter().any(|one| one.is_usable && one.ramp < 100);
    let weigh = |one: &Candidate| -> u32 {
        let Some((_, takes)) = used.iter().find(|(tier, _)| *tier == one.tier && one.is_usable) else {
            return 0;
        };
        let own = f64::from(one.weight) * if is_ramping { f64::from(one.ramp) } else { 1.0 };
        if used.len() == 1 || own == 0.0 {
            return own as u32;
        }
        let tier = all.iter().filter(|other| other.tier == one.tier && other.is_usable);
        let whole: f64 = tier.map(|other| f64::from(other.weight)).sum();
        let ramp = f64::from(one.ramp) / 100.0;
        (PARTS * takes * f64::from(one.weight) * ramp / whole).max(1.0) as u32
    };
    Plan { weights: all.iter().map(weigh).collect(), is_panic: false }
}

/// (usable, all), of those that may get a request at all.
fn count<'c>(all: impl Iterator<Item = &'c Candidate>) -> (usize, usize) {
    all.filter(|one| one.weight > 0)
        .fold((0, 0), |(usable, count), one| (usable + usize::from(one.is_usable), count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(weight: u32, is_usable: bool, priority: u8, is_remote: bool) -> Candidate {
        Candidate { weight, is_usable, tier: (priority, is_remote), ramp: 100 }
    }

    fn weights(all: &[Candidate]) -> Vec<u32> {
        plan(all, &Spread::default()).weights
    }

    #[test]
    fn the_well_have_the_weights_that_were_written() {
        assert_eq!(weights(&[one(3, true, 0, false), one(1, true, 0, false)]), [3, 1]);
        let ill = [one(3, true, 0, false), one(1, true, 0, false), one(1, false, 0, false)];
        assert_eq!(weights(&ill), [3, 1, 0]);
    }

    #[test]
    fn below_half_all_are_used() {
        let half = [one(1, true, 0, false), one(1, false, 0, false)];
        assert_eq!(plan(&half, &Spread::default()), Plan { weights: vec![1, 0], is_panic: false });
        let third = [
            one(1, true, 0, false),
            one(1, false, 0, false),
            one(0, true, 0, false),
            one(2, false, 0, false),
        ];
        assert_eq!(plan(&third, &Spread::default()), Plan { weights: vec![1, 1, 0, 2], is_panic: true });
        let never = Spread { panic_below: 0.0, ..Spread::default() };
        assert_eq!(plan(&[one(1, false, 0, false)], &never), Plan { weights: vec![0], is_panic: false });
    }

    #[test]
    fn a_tier_that_is_well_has_all_and_the_next_helps_out() {
        let well = [one(1, true, 0, false), one(1, true, 0, true), one(1, true, 1, false)];
        assert_eq!(weights(&well), [1, 0, 0]);
        let gone = [one(1, false, 0, false), one(1, true, 0, true), one(1, true, 1, false)];
        assert_eq!(weights(&gone), [0, 1, 0]);
        let half = [one(1, true, 0, false), one(1, false, 0, false), one(4, true, 1, false)];
        let helped = weights(&half);
        let share = f64::from(helped[0]) / f64::from(helped.iter().sum::<u32>());
        assert!((share - 0.5 / 0.7).abs() < 0.01, "{helped:?}");
        assert_eq!(helped[1], 0);
    }

    #[test]
    fn who_has_just_come_gets_less() {
        let fresh = Candidate { ramp: 10, ..one(2, true, 0, false) };
        assert_eq!(weights(&[one(1, true, 0, false), fresh]), [100, 20]);
    }

    proptest! {
        #[test]
        fn somebody_is_used_where_somebody_may_be_and_the_ill_only_in_panic(
            all in prop::collection::vec(
                (0u32..5, any::<bool>(), 0u8..3, any::<bool>(), 1u32..=100), 0..12),
            panic_below in 0.0f64..=1.0, spill_below in 0.0f64..=1.0,
        ) {
            let all: Vec<_> = all.into_iter()
                .map(|(weight, is_usable, priority, is_remote, ramp)| Candidate { weight, is_usable, tier: (priority, is_remote), ramp })
                .collect();
            let made = plan(&all, &Spread { panic_below, spill_below });
            prop_assert_eq!(made.weights.len(), all.len());
            let may = |one: &Candidate| one.weight > 0 && (one.is_usable || made.is_panic);
            prop_assert_eq!(made.weights.iter().any(|weight| *weight > 0), all.iter().any(may));
            for (weight, one) in made.weights.iter().zip(&all) {
                prop_assert!(*weight == 0 || may(one));
            }
        }
    }
}
