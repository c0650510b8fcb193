//! Consistent hashing by a Maglev table (Eisenbud et al., NSDI 2016, section 3.4) with weights: equal keys go to equal
//! instances, in every gateway of a fleet alike, and few keys move when the instances change.
//!
//! Invariant: the table depends on nothing but addresses and weights, never on health: an instance that falls ill loses its
//! keys to all others, and has exactly them back when it is well.

use narthex_wire::Address;

/// Entries of a table: prime, and a hundred times what a service of 600 instances needs for an even spread.
const SIZE: usize = 65_537;

/// How often a key of somebody who cannot be used is hashed again, before the next who can is taken.
const REHASHES: u64 = 8;

/// Which instance each hash belongs to.
pub struct Maglev(Box<[u16]>);

/// The turns of one instance through the table.
struct Permutation {
    index: u16,
    offset: usize,
    skip: usize,
    next: usize,
    weight: f64,
    /// The turns that it is owed.
    owed: f64,
}

impl Maglev {
    /// `None`: nobody has weight. Duplicates of an address share its place by their weights.
    pub fn new(members: &[(Address, u32)]) -> Option<Self> {
        let heaviest = members.iter().map(|(_, weight)| *weight).max().filter(|weight| *weight > 0)?;
        let mut all: Vec<Permutation> = members
            .iter()
            .enumerate()
            .filter(|(_, (_, weight))| *weight > 0)
            .filter_map(|(index, (address, weight))| {
                let name = hash(address.to_string().as_bytes());
                Some(Permutation {
                    index: u16::try_from(index).ok()?,
                    offset: (name % SIZE as u64) as usize,
                    skip: (mix(name ^ 0x5bd1_e995) % (SIZE as u64 - 1)) as usize + 1,
                    next: 0,
                    weight: f64::from(*weight) / f64::from(heaviest),
                    owed: 0.0,
                })
            })
            .collect();
        // Who comes first must not depend on the order in which somebody found the addresses.
        all.sort_by_key(|one| (members[usize::from(one.index)].0, one.index));
        Some(Self(fill(&mut all)))
    }

    /// The first instance for this hash that `is_usable`.
    pub fn find(&self, hash: u64, is_usable: impl Fn(usize) -> bool) -> Option<usize> {
        let at = |hash: u64| usize::from(self.0[(hash % SIZE as u64) as usize]);
        let rehashed =
            (0..=REHASHES).map(|time| at(if time == 0 { hash } else { mix(hash.wrapping_add(time)) }));
        let start = (hash % SIZE as u64) as usize;
        let around = self.0[start..].iter().chain(&self.0[..start]).map(|index| usize::from(*index));
        rehashed.chain(around).find(|index| is_usable(*index))
    }
}

fn fill(all: &mut [Permutation]) -> Box<[u16]> {
    const FREE: u16 = u16::MAX;
    let mut table = vec![FREE; SIZE].into_boxed_slice();
    let mut filled = 0;
    while filled < SIZE {
        for one in all.iter_mut() {
            one.owed += one.weight;
            if one.owed < 1.0 {
                continue;
            }
            one.owed -= 1.0;
            let mut entry = (one.offset + one.next * one.skip) % SIZE;
            while table[entry] != FREE {
                one.next += 1;
                entry = (one.offset + one.next * one.skip) % SIZE;
            }
            table[entry] = one.index;
            one.next += 1;
            filled += 1;
            if filled == SIZE {
                break;
            }
        }
    }
    table
}

/// A hash that is the same in every process and version: FNV-1a, its bits spread by `mix`.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(weights: &[u32]) -> Vec<(Address, u32)> {
        let address = |port: usize| Address::Ip(([10, 0, 0, 1], 1_000 + port as u16).into());
        weights.iter().enumerate().map(|(index, weight)| (address(index), *weight)).collect()
    }

    fn shares(table: &Maglev, count: usize) -> Vec<f64> {
        let mut shares = vec![0.0; count];
        table.0.iter().for_each(|index| shares[usize::from(*index)] += 1.0 / SIZE as f64);
        shares
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn keys_spread_by_weight(weights in prop::collection::vec(0u32..20, 1..24)) {
            let total: u32 = weights.iter().sum();
            let Some(table) = Maglev::new(&members(&weights)) else {
                prop_assert_eq!(total, 0);
                return Ok(());
            };
            for (share, weight) in shares(&table, weights.len()).iter().zip(&weights) {
                let fair = f64::from(*weight) / f64::from(total);
                prop_assert!((share - fair).abs() < 0.001, "{share} instead of {fair}");
            }
        }

        #[test]
        fn few_keys_move_when_one_leaves(count in 2usize..32, leaves in any::<prop::sample::Index>()) {
            let before = members(&vec![1; count]);
            let leaves = leaves.index(count);
            let mut after = before.clone();
            after.remove(leaves);
            let (old, new) = (Maglev::new(&before).unwrap(), Maglev::new(&after).unwrap());
            let moved = old.0.iter().zip(&new.0).filter(|(old, new)| {
                usize::from(**old) != leaves && before[usize::from(**old)].0 != after[usize::from(**new)].0
            });
            let moved = moved.count() as f64 / SIZE as f64;
            prop_assert!(moved < 0.12, "{moved} of the keys moved without need");
        }

        #[test]
        fn the_order_of_the_addresses_does_not_matter(weights in prop::collection::vec(1u32..9, 2..16), hash in any::<u64>()) {
            let forth = members(&weights);
            let back: Vec<_> = forth.iter().rev().copied().collect();
            let (one, other) = (Maglev::new(&forth).unwrap(), Maglev::new(&back).unwrap());
            let (one, other) = (one.find(hash, |_| true).unwrap(), other.find(hash, |_| true).unwrap());
            prop_assert_eq!(forth[one].0, back[other].0);
        }

        #[test]
        fn illness_moves_the_keys_of_the_ill_alone(count in 2usize..24, ill in any::<prop::sample::Index>(), hash in any::<u64>()) {
            let table = Maglev::new(&members(&vec![1; count])).unwrap();
            let ill = ill.index(count);
            let (well, now) = (table.find(hash, |_| true).unwrap(), table.find(hash, |index| index != ill).unwrap());
            prop_assert_ne!(now, ill);
            prop_assert!(well == ill || well == now);
            prop_assert_eq!(table.find(hash, |_| false), None);
        }
    }

    #[test]
    fn the_hash_is_that_of_every_other_gateway() {
        // Changing it moves every key of every fleet at once.
        assert_eq!(hash(b"narthex"), 0x3d8d_5973_5097_1750);
        assert_ne!(hash(b"alice"), hash(b"alicf"));
    }
}
