//! One metric: its descriptor, and the numbers that the workers have counted.

use super::histograms::{BUCKETS, SERIES_CELLS};
use super::shard::Shard;
use super::tally::Times;
use crate::label::Label;

/// A metric with all of its series.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) descriptor: Descriptor,
    /// One for each worker that declared the metric.
    pub(super) parts: Vec<Part>,
}

/// The name, help and labels of a metric. Equal descriptors are one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) kind: Kind,
    /// The name without the suffix that the kind adds.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: Labels,
}

/// The label that distinguishes the series of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// No label: one series.
    None,
    /// A label with a closed set of values, each of which is a series.
    Closed(&'static str, Vec<&'static str>),
    /// A label whose values are listed at each scrape. The module that lists them bounds their
    /// number.
    Open(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The contribution of one worker.
pub(super) enum Part {
    Counted(Shard),
    /// A gauge whose value another module holds.
    Sampled(Box<dyn Fn() -> f64 + Send + Sync>),
    /// The series of an open label, whose values another module holds.
    Listed(Box<dyn Fn() -> Vec<(String, Reading)> + Send + Sync>),
}

/// The value of one series, summed over all workers.
pub(super) enum Reading {
    Count(u64),
    Level(i64),
    /// The sum of values that other modules hold.
    Sampled(f64),
    Times(Times),
}

impl Family {
    /// Returns the sum of a series' parts.
    pub(super) fn read(&self, series: usize) -> Reading {
        match self.descriptor.kind {
            Kind::Counter => Reading::Count(self.sum(series)),
            // A negative gauge wraps around in each cell, and the sum of the cells wraps back.
            Kind::Gauge => self
                .sampled()
                .map_or_else(|| Reading::Level(self.sum(series).cast_signed()), Reading::Sampled),
            Kind::Histogram => {
                let first = series * SERIES_CELLS;
                let counts = std::array::from_fn(|bucket| self.sum(first + bucket));
                Reading::Times(Times { counts, nanos: self.sum(first + BUCKETS) })
            }
        }
    }

    fn sum(&self, cell: usize) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| match part {
            Part::Counted(shard) => sum.wrapping_add(shard.read(cell)),
            Part::Sampled(_) | Part::Listed(_) => sum,
        })
    }

    /// Returns the sum of the sampled parts, or `None` if there are none.
    fn sampled(&self) -> Option<f64> {
        let read = |part: &Part| match part {
            Part::Sampled(read) => Some(read()),
            Part::Counted(_) | Part::Listed(_) => None,
        };
        self.parts.iter().filter_map(read).reduce(|sum, value| sum + value)
    }

    /// Returns the series of an open label.
    pub(super) fn listed(&self) -> impl Iterator<Item = (String, Reading)> {
        self.parts.iter().flat_map(|part| match part {
            Part::Listed(list) => list(),
            Part::Counted(_) | Part::Sampled(_) => Vec::new(),
        })
    }
}

impl Descriptor {
    pub(super) fn plain(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { kind, name: kind.stem(name), help, labels: Labels::None }
    }

    pub(super) fn labelled<L: Label>(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Self {
        let words = L::ALL.iter().map(|variant| variant.word()).collect();
        Self { labels: Labels::Closed(label, words), ..Self::plain(kind, name, help) }
    }

    pub(super) fn listed(kind: Kind, name: &'static str, help: &'static str, label: &'static str) -> Self {
        Self { labels: Labels::Open(label), ..Self::plain(kind, name, help) }
    }

    pub(super) fn cells(&self) -> usize {
        let series = match &self.labels {
            Labels::None => 1,
            Labels::Closed(_, words) => words.len(),
            Labels::Open(_) => 0,
        };
        match self.kind {
            Kind::Counter | Kind::Gauge => series,
            Kind::Histogram => series * SERIES_CELLS,
        }
    }
}

impl Kind {
    /// Returns a name without the suffix that the text format adds.
    fn stem(self, name: &'static str) -> &'static str {
        let suffix = match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Histogram => "_seconds",
        };
        name.strip_suffix(suffix).unwrap_or(name)
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Counted(shard) => shard.fmt(f),
            Self::Sampled(_) => f.write_str("Sampled"),
            Self::Listed(_) => f.write_str("Listed"),
        }
    }
}
