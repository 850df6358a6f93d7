//! One metric: its descriptor, and the numbers that the workers have counted.

use super::histograms::{BUCKETS, SERIES_CELLS};
use super::shard::CounterShard;
use super::tally::DurationSummary;
use crate::label::Label;

/// A metric with all of its series.
#[derive(Debug)]
pub(super) struct MetricFamily {
    pub(super) descriptor: MetricDescriptor,
    /// One for each worker that declared the metric.
    pub(super) parts: Vec<WorkerPart>,
}

/// The name, help and labels of a metric. Equal descriptors are one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MetricDescriptor {
    pub(super) kind: MetricKind,
    /// The name without the suffix that the kind adds.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: SeriesLabels,
}

/// The label that distinguishes the series of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SeriesLabels {
    /// No label: one series.
    None,
    /// A label with a closed set of values, each of which is a series.
    Closed(&'static str, Vec<&'static str>),
    /// Several labels with closed sets of values. Their combinations are many, so a series is shown
    /// once it has counted.
    Grid(Vec<(&'static str, Vec<&'static str>)>),
    /// Labels whose values are constant in a process: one series.
    Constant(Vec<(&'static str, String)>),
    /// Labels whose values are listed at each scrape. The module that lists them bounds their
    /// number.
    Open(Vec<&'static str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    /// Facts of the process as labels; the value is always 1.
    Info,
}

/// The contribution of one worker.
pub(super) enum WorkerPart {
    Counted(CounterShard),
    /// A gauge or a counter whose value another module holds.
    Sampled(Box<dyn Fn() -> f64 + Send + Sync>),
    /// The series of open labels, whose values another module holds.
    Listed(Box<dyn Fn() -> Vec<ListedSeries> + Send + Sync>),
}

/// A series of open labels: the value of each label, and the sample.
pub(super) type ListedSeries = (Vec<String>, Sample);

/// The value of one series, summed over all workers.
pub(super) enum Sample {
    Count(u64),
    Level(i64),
    /// The sum of values that other modules hold.
    Sampled(f64),
    Times(DurationSummary),
}

impl MetricFamily {
    /// Returns the sum of a series' parts.
    pub(super) fn read(&self, series: usize) -> Sample {
        match self.descriptor.kind {
            MetricKind::Info => Sample::Level(1),
            MetricKind::Counter => {
                self.sampled().map_or_else(|| Sample::Count(self.sum(series)), Sample::Sampled)
            }
            // A negative gauge wraps around in each cell, and the sum of the cells wraps back.
            MetricKind::Gauge => {
                self.sampled().map_or_else(|| Sample::Level(self.sum(series).cast_signed()), Sample::Sampled)
            }
            MetricKind::Histogram => {
                let first = series * SERIES_CELLS;
                let counts = std::array::from_fn(|bucket| self.sum(first + bucket));
                Sample::Times(DurationSummary { counts, nanos: self.sum(first + BUCKETS) })
            }
        }
    }

    fn sum(&self, cell: usize) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| match part {
            WorkerPart::Counted(shard) => sum.wrapping_add(shard.read(cell)),
            WorkerPart::Sampled(_) | WorkerPart::Listed(_) => sum,
        })
    }

    /// Returns the sum of the sampled parts, or `None` if there are none.
    fn sampled(&self) -> Option<f64> {
        let read = |part: &WorkerPart| match part {
            WorkerPart::Sampled(read) => Some(read()),
            WorkerPart::Counted(_) | WorkerPart::Listed(_) => None,
        };
        self.parts.iter().filter_map(read).reduce(|sum, value| sum + value)
    }

    /// Returns the series of open labels.
    pub(super) fn listed(&self) -> impl Iterator<Item = ListedSeries> {
        self.parts.iter().flat_map(|part| match part {
            WorkerPart::Listed(list) => list(),
            WorkerPart::Counted(_) | WorkerPart::Sampled(_) => Vec::new(),
        })
    }
}

impl MetricDescriptor {
    pub(super) fn plain(kind: MetricKind, name: &'static str, help: &'static str) -> Self {
        Self { kind, name: kind.stem(name), help, labels: SeriesLabels::None }
    }

    pub(super) fn labelled<L: Label>(
        kind: MetricKind,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Self {
        Self { labels: SeriesLabels::Closed(label, words::<L>()), ..Self::plain(kind, name, help) }
    }

    /// Returns the descriptor of a counter with several labels.
    pub(super) fn grid(
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, Vec<&'static str>)>,
    ) -> Self {
        Self { labels: SeriesLabels::Grid(labels), ..Self::plain(MetricKind::Counter, name, help) }
    }

    pub(super) fn constant(
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> Self {
        Self { labels: SeriesLabels::Constant(labels), ..Self::plain(MetricKind::Info, name, help) }
    }

    pub(super) fn listed(
        kind: MetricKind,
        name: &'static str,
        help: &'static str,
        labels: Vec<&'static str>,
    ) -> Self {
        Self { labels: SeriesLabels::Open(labels), ..Self::plain(kind, name, help) }
    }

    pub(super) fn cells(&self) -> usize {
        let series = match &self.labels {
            SeriesLabels::None => 1,
            SeriesLabels::Closed(_, words) => words.len(),
            SeriesLabels::Grid(labels) => labels.iter().map(|(_, words)| words.len()).product(),
            SeriesLabels::Open(_) | SeriesLabels::Constant(_) => 0,
        };
        match self.kind {
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Info => series,
            MetricKind::Histogram => series * SERIES_CELLS,
        }
    }
}

/// Returns the words of a label, in the order of their indices.
pub(super) fn words<L: Label>() -> Vec<&'static str> {
    L::ALL.iter().map(|variant| variant.word()).collect()
}

impl MetricKind {
    /// Returns a name without the suffix that the text format adds.
    fn stem(self, name: &'static str) -> &'static str {
        let suffix = match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Histogram => "_seconds",
            Self::Info => "_info",
        };
        name.strip_suffix(suffix).unwrap_or(name)
    }
}

impl std::fmt::Debug for WorkerPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Counted(shard) => shard.fmt(f),
            Self::Sampled(_) => f.write_str("Sampled"),
            Self::Listed(_) => f.write_str("Listed"),
        }
    }
}
