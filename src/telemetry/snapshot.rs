//! The sums as values, for documents that show a few of them. Metrics with several labels, or with
//! a label whose values are not known in advance, are missing: the modules that count them show
//! them.

use super::family::{MetricFamily, Sample, SeriesLabels};
use super::registry::Registry;
use super::tally::DurationSummary;

/// The values of a registry at one moment.
#[derive(Debug, Default)]
pub struct MetricSnapshot(Vec<SnapshotMetric>);

#[derive(Debug)]
struct SnapshotMetric {
    /// The name without the suffix that the kind adds.
    name: &'static str,
    series: Vec<SnapshotSeries>,
}

/// The value of one label.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotSeries {
    /// The label's value; empty for a metric without labels.
    pub label: &'static str,
    /// The number or the buckets.
    pub value: SnapshotValue,
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum SnapshotValue {
    /// The value of a counter or a gauge.
    Number(f64),
    /// The counts of a histogram's buckets, the one without a bound last.
    Buckets(Vec<u64>),
}

impl Registry {
    /// Returns the current values.
    pub fn snapshot(&self) -> MetricSnapshot {
        let mut metrics = Vec::new();
        let Ok(()) = self.for_each(|family| -> Result<(), std::convert::Infallible> {
            metrics.push(SnapshotMetric { name: family.descriptor.name, series: series(family) });
            Ok(())
        });
        MetricSnapshot(metrics)
    }
}

impl MetricSnapshot {
    /// Returns the series of a metric, by its name without `_total` or `_seconds`; empty for an
    /// unknown metric.
    pub fn series(&self, name: &str) -> &[SnapshotSeries] {
        self.0.iter().find(|metric| metric.name == name).map_or(&[], |metric| &metric.series)
    }

    /// Returns the number of a metric without labels.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.series(name) {
            [SnapshotSeries { value: SnapshotValue::Number(number), .. }] => Some(*number),
            _ => None,
        }
    }

    /// Returns the numbers of a metric with labels.
    pub fn numbers(&self, name: &str) -> impl Iterator<Item = (&'static str, f64)> {
        self.series(name).iter().filter_map(|series| match series.value {
            SnapshotValue::Number(number) => Some((series.label, number)),
            SnapshotValue::Buckets(_) => None,
        })
    }

    /// Returns the counts of a histogram.
    pub fn buckets(&self, name: &str) -> impl Iterator<Item = (&'static str, &[u64])> {
        self.series(name).iter().filter_map(|series| match &series.value {
            SnapshotValue::Buckets(counts) => Some((series.label, counts.as_slice())),
            SnapshotValue::Number(_) => None,
        })
    }
}

fn series(family: &MetricFamily) -> Vec<SnapshotSeries> {
    let labels = match &family.descriptor.labels {
        SeriesLabels::None => vec![""],
        SeriesLabels::Closed(_, words) => words.clone(),
        SeriesLabels::Grid(_) | SeriesLabels::Constant(_) | SeriesLabels::Open(_) => Vec::new(),
    };
    let one = |(index, label)| SnapshotSeries { label, value: family.read(index).into() };
    labels.into_iter().enumerate().map(one).collect()
}

impl From<Sample> for SnapshotValue {
    fn from(reading: Sample) -> Self {
        match reading {
            Sample::Count(count) => Self::Number(number(count)),
            Sample::Level(level) => Self::Number(signed(level)),
            Sample::Sampled(value) => Self::Number(value),
            Sample::Times(DurationSummary { counts, .. }) => Self::Buckets(counts.to_vec()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 loses its last digits")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a gauge beyond 2^53 loses its last digits")]
fn signed(gauge: i64) -> f64 {
    gauge as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::histograms::BUCKETS;

    crate::labels! {
        enum Tier {
            Memory => "memory",
            Redis => "redis",
        }
    }

    #[test]
    fn a_snapshot_has_every_kind_of_metric() {
        let registry = Registry::new();
        let hits = registry.counters::<Tier>("cachewarp_hits_total", "Hits.", "tier");
        hits.inc(Tier::Redis);
        registry.counters::<Tier>("cachewarp_hits_total", "Hits.", "tier").add(Tier::Redis, 2);
        registry.gauge("cachewarp_open", "Open.").set(-3);
        registry.sampled("cachewarp_load", "Load.", || 0.5);
        let took = registry.histograms::<Tier>("cachewarp_lookup_seconds", "Lookups.", "tier");
        took.observe(Tier::Redis, Duration::from_micros(51));
        took.observe(Tier::Redis, Duration::from_secs(11));
        let snapshot = registry.snapshot();
        assert_eq!(snapshot.numbers("cachewarp_hits").collect::<Vec<_>>(), [("memory", 0.0), ("redis", 3.0)]);
        assert_eq!(
            (snapshot.number("cachewarp_open"), snapshot.number("cachewarp_load")),
            (Some(-3.0), Some(0.5))
        );
        let buckets: Vec<_> = snapshot.buckets("cachewarp_lookup").collect();
        assert_eq!((buckets.len(), buckets[1].0, buckets[1].1.len()), (2, "redis", BUCKETS));
        assert_eq!((buckets[0].1.iter().sum::<u64>(), buckets[1].1[1], buckets[1].1[BUCKETS - 1]), (0, 1, 1));
        assert_eq!((snapshot.number("cachewarp_hits"), snapshot.number("cachewarp_none")), (None, None));
        assert_eq!(
            snapshot.buckets("cachewarp_hits").count() + snapshot.numbers("cachewarp_lookup").count(),
            0
        );
    }
}
