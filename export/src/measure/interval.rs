//! Bootstrap intervals over several kinds of units at once.

use kith::verification::Estimate;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Draws behind an interval; enough for two digits.
pub(super) const RESAMPLES: usize = 1000;
/// Draws where a draw looks at a million pairs.
pub(super) const RESAMPLES_OF_PAIRS: usize = 200;

/// As [`kith::verification::bootstrap_by_person`], with each group of people drawn by itself, so that a resample has as
/// many known people and as many strangers as the data. A draw without a value (nobody drawn who counts) is left out.
/// `None` when the data have no value.
pub(super) fn bootstrap_by_group<const G: usize>(
    sizes: [usize; G],
    seed: u64,
    mut statistic: impl FnMut(&[Vec<u32>; G]) -> Option<f64>,
) -> Option<Estimate> {
    let value = statistic(&sizes.map(|size| vec![1; size]))?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            statistic(&sizes.map(|size| {
                let mut drawn = vec![0; size];
                for _ in 0..size {
                    if let Some(times) = drawn.get_mut(random.random_range(0..size)) {
                        *times += 1;
                    }
                }
                drawn
            }))
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |per_mille: usize| values.get(values.len() * per_mille / 1000).copied().unwrap_or(value);
    Some(Estimate {
        value,
        low: at(25),
        high: at(975),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_keeps_its_size_and_the_interval_of_a_mean_is_near_the_normal_one() {
        let estimate = bootstrap_by_group([100, 3], 1, |[many, few]| {
            assert_eq!((many.iter().sum::<u32>(), few.iter().sum::<u32>()), (100, 3));
            let ones: u32 = many.iter().take(50).sum();
            Some(f64::from(ones) / 100.0)
        })
        .unwrap();
        // The standard deviation of a share of 0.5 among 100 is 0.05.
        assert!((estimate.value - 0.5).abs() < 1e-9);
        assert!(
            (estimate.low - 0.402).abs() < 0.015 && (estimate.high - 0.598).abs() < 0.015,
            "{estimate:?}"
        );
    }

    #[test]
    fn draws_without_a_value_are_left_out() {
        let estimate = bootstrap_by_group([2], 1, |[drawn]| (drawn[0] > 0).then_some(0.25)).unwrap();
        assert!((estimate.low - 0.25).abs() < 1e-9 && (estimate.high - 0.25).abs() < 1e-9);
        assert!(bootstrap_by_group([2], 1, |_| None).is_none());
    }
}
