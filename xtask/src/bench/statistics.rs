//! Medians and bootstrap intervals of few numbers from a noisy machine.

/// A median and the interval in which it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

const RESAMPLES: usize = 2000;

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// The percentile bootstrap of the median, from a fixed seed: the same numbers give the same interval.
pub fn estimate(values: &[f64]) -> Estimate {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound
    };
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sample: Vec<f64> = values.iter().map(|_| values[random(values.len())]).collect();
            median(&sample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |part: f64| medians[((RESAMPLES - 1) as f64 * part) as usize];
    Estimate { median: median(values), low: at(0.025), high: at(0.975) }
}

#[cfg(test)]
mod tests {
    use super::{estimate, median};

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_interval_holds_the_median_and_shrinks_with_agreement() {
        let wide = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert!(wide.low < wide.median && wide.median < wide.high);
        let same = estimate(&[2.0; 9]);
        assert_eq!((same.low, same.median, same.high), (2.0, 2.0, 2.0));
    }
}
