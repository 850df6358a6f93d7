//! Duration histograms for labels that are not known in advance: one thread records, the owner
//! stores the counters, and the reader adds them. The buckets are those of
//! [`Histogram`](super::Histogram).

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histograms::{BUCKETS, SERIES_CELLS, bucket_of};

/// The counted durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurationSummary {
    /// The count of each bucket, the one without a bound last.
    pub counts: [u64; BUCKETS],
    /// The sum of the durations, in nanoseconds.
    pub nanos: u64,
}

impl DurationSummary {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl AddAssign for DurationSummary {
    fn add_assign(&mut self, other: Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count = count.wrapping_add(more));
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}

/// A histogram that one thread writes, without a locked instruction, and any thread reads. It has
/// its own cache lines, so that two counting threads never contend for a line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct DurationTally([AtomicU64; SERIES_CELLS]);

impl DurationTally {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.add(bucket_of(nanos), 1);
        self.add(BUCKETS, nanos);
    }

    /// Returns the counted durations. A concurrent read may include a count without its duration.
    pub fn read(&self) -> DurationSummary {
        let mut times = DurationSummary::default();
        for (time, cell) in times.counts.iter_mut().chain([&mut times.nanos]).zip(&self.0) {
            *time = cell.load(Ordering::Relaxed);
        }
        times
    }

    fn add(&self, cell: usize, more: u64) {
        if let Some(cell) = self.0.get(cell) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_durations_are_read_and_added() {
        let tally = DurationTally::default();
        for millis in [0, 1, 20_000] {
            tally.observe(Duration::from_millis(millis));
        }
        let mut times = tally.read();
        times += tally.read();
        let bucket = |millis: u64| times.counts[bucket_of(millis * 1_000_000)];
        assert_eq!([bucket(0), bucket(1), bucket(20_000), times.count()], [2, 2, 2, 6]);
        assert_eq!(times.nanos, 2 * 20_001 * 1_000_000);
    }
}
