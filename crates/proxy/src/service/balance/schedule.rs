//! One round of weighted round robin, made in advance: who is next is then one look-up. Knows weights, never an instance.

/// The longest schedule; weights are scaled down to fit.
const LONGEST: u32 = 4_096;

/// One round of smooth weighted round robin (nginx's algorithm): indexes, spread evenly. Who has weight 0 is not in it.
pub fn schedule(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    if weights.len() <= LONGEST as usize && weights.iter().all(|weight| *weight == 0 || *weight == divisor) {
        let in_turn = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        return in_turn.filter_map(|(index, _)| u16::try_from(index).ok()).collect();
    }
    let total: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
    let scale = total.div_ceil(u64::from(LONGEST)).max(1);
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
        assert_eq!(&*schedule(&[2, 0, 2]), &[0, 2]);
    }

    #[test]
    fn huge_weights_stay_bounded_and_nobody_is_forgotten() {
        let round = schedule(&[1_000_000, 1]);
        assert!(round.len() <= LONGEST as usize + 2);
        assert!(round.contains(&1));
    }
}
