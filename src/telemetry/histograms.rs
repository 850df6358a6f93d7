//! Distributions of durations.
//!
//! ```text
//! cells of one series   count in bucket 0 … count in bucket n-1   count beyond   sum in nanoseconds
//! ```
//!
//! An observation counts in one bucket; the scrape makes the buckets cumulative, as Prometheus
//! requires. The number of observations is the sum of the buckets, so the two never disagree.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::shard::CounterShard;
use crate::label::Label;
use crate::time;

/// The upper bounds of the buckets, in microseconds: from a hit in memory to the longest acceptable
/// wait. 90 ms is the objective of the slowest answer.
pub const BUCKET_BOUNDS: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 90_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// The number of buckets: one more than bounds, since the last bucket has none.
pub(super) const BUCKETS: usize = BUCKET_BOUNDS.len() + 1;
/// The number of cells of a series: the buckets and the sum.
pub(super) const SERIES_CELLS: usize = BUCKETS + 1;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Histogram(CounterShard);

impl Histogram {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard)
    }

    /// Counts one observation.
    pub fn observe(&self, took: Duration) {
        observe(&self.0, 0, took);
    }
}

/// A distribution of durations for each label of a closed set.
#[derive(Clone, Debug)]
pub struct Histograms<L>(CounterShard, PhantomData<fn(L)>);

impl<L: Label> Histograms<L> {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard, PhantomData)
    }

    /// Counts one observation.
    pub fn observe(&self, label: L, took: Duration) {
        observe(&self.0, label.index(), took);
    }

    /// Returns a measurement that began at `begun` and ends when it is dropped.
    pub fn timer(&self, label: L, begun: Instant) -> DurationTimer {
        DurationTimer { shard: self.0.clone(), series: label.index(), begun }
    }
}

/// A running measurement. Dropping it counts the duration.
#[derive(Debug)]
pub struct DurationTimer {
    shard: CounterShard,
    series: usize,
    begun: Instant,
}

impl Drop for DurationTimer {
    fn drop(&mut self) {
        observe(&self.shard, self.series, time::instant().saturating_duration_since(self.begun));
    }
}

fn observe(shard: &CounterShard, series: usize, took: Duration) {
    observe_at(shard, series * SERIES_CELLS, took);
}

/// Counts one observation in the series that begins at this cell.
pub(super) fn observe_at(shard: &CounterShard, first: usize, took: Duration) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    shard.add(first + bucket_of(nanos), 1);
    shard.add(first + BUCKETS, nanos);
}

/// Returns the first bucket whose bound is not below `nanos`: bounds are inclusive, as the label
/// `le` requires.
pub(super) fn bucket_of(nanos: u64) -> usize {
    BUCKET_BOUNDS.partition_point(|&micros| micros * 1_000 < nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (index, &bound) in BUCKET_BOUNDS.iter().enumerate() {
            let bound = bound * 1_000;
            assert_eq!(bucket_of(bound), index);
            assert_eq!(bucket_of(bound + 1), index + 1);
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_ascend() {
        assert!(BUCKET_BOUNDS.is_sorted());
    }
}
