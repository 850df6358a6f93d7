//! Percentiles from the counts of a histogram's buckets.
//!
//! Within a bucket the observations are assumed to be evenly distributed, so a percentile is off by
//! at most the width of a bucket. The result for an observation beyond the last bound is that
//! bound.

use std::time::Duration;

use super::histograms::BUCKET_BOUNDS;

/// Returns the duration within which the given part of all observations lies, or `None` if there
/// are none.
///
/// `counts` has one number for each bucket, the one without a bound last; `part` is from 0 to 1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts stay below 2^53; the result lies between two bounds"
)]
pub fn percentile(counts: &[u64], part: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = part.clamp(0.0, 1.0) * total as f64;
    let (mut below, mut lower) = (0.0, 0_u64);
    for (&count, &upper) in counts.iter().zip(&BUCKET_BOUNDS) {
        let upto = below + count as f64;
        if count > 0 && upto >= rank {
            let within = ((rank - below) / count as f64).clamp(0.0, 1.0);
            let micros = lower as f64 + within * (upper - lower) as f64;
            return Some(Duration::from_nanos((micros * 1e3) as u64));
        }
        (below, lower) = (upto, upper);
    }
    BUCKET_BOUNDS.last().map(|&bound| Duration::from_micros(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(filled: &[(usize, u64)]) -> Vec<u64> {
        let mut counts = vec![0; BUCKET_BOUNDS.len() + 1];
        filled.iter().for_each(|&(bucket, count)| counts[bucket] = count);
        counts
    }

    #[test]
    fn observations_are_evenly_distributed_within_a_bucket() {
        let micros =
            |filled: &[(usize, u64)], part| percentile(&counts(filled), part).map(|took| took.as_micros());
        assert_eq!(micros(&[], 0.5), None);
        // Observations from 50 to 100 µs.
        assert_eq!(micros(&[(1, 100)], 0.5), Some(75));
        assert_eq!(micros(&[(1, 100)], 1.0), Some(100));
        // Half of the observations up to 50 µs, half from 500 µs to a millisecond.
        assert_eq!(micros(&[(0, 50), (4, 50)], 0.5), Some(50));
        assert_eq!(micros(&[(0, 50), (4, 50)], 0.99), Some(990));
        assert_eq!(micros(&[(0, 99), (18, 1)], 0.99), Some(50));
        assert_eq!(micros(&[(0, 99), (18, 1)], 0.999), Some(10_000_000));
        assert_eq!(micros(&[(0, 1)], -3.0), Some(0));
    }

    #[test]
    fn percentiles_ascend() {
        let counts = counts(&[(0, 5), (3, 1), (7, 40), (13, 2), (18, 1)]);
        let all: Vec<_> =
            (0..=1000).map(|part| percentile(&counts, f64::from(part) / 1000.0).unwrap()).collect();
        assert!(all.is_sorted());
    }
}
