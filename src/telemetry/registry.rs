//! All metrics of the process, by name.
//!
//! Each worker declares the same names and gets its own shards. Only a worker's start and a scrape
//! take the lock; counting does not.

use std::sync::{Arc, Mutex, PoisonError};

use super::family::{MetricDescriptor, MetricFamily, MetricKind, Sample, WorkerPart, words};
use super::shard::CounterShard;
use super::tally::DurationSummary;
use crate::label::Label;
use crate::telemetry::counters::{Counter, CounterGrid, Counters, Gauge, Gauges};
use crate::telemetry::histograms::{Histogram, Histograms};

/// The declarations and values of all metrics. Clones share one registry.
///
/// A counter's name may be given with or without `_total`, and a histogram's with or without
/// `_seconds`: the text format always writes the suffix.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<MetricFamily>>>);

impl Registry {
    /// Returns an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a counter for each value of `L`.
    pub fn counters<L: Label>(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Counters<L> {
        Counters::on(self.shard(MetricDescriptor::labelled::<L>(MetricKind::Counter, name, help, label)))
    }

    /// Declares one counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        Counter::on(self.shard(MetricDescriptor::plain(MetricKind::Counter, name, help)))
    }

    /// Declares a counter for each combination of values of three labels.
    pub fn counter_grid<A: Label, B: Label, C: Label>(
        &self,
        name: &'static str,
        help: &'static str,
        [first, second, third]: [&'static str; 3],
    ) -> CounterGrid<A, B, C> {
        let labels = vec![(first, words::<A>()), (second, words::<B>()), (third, words::<C>())];
        CounterGrid::on(self.shard(MetricDescriptor::grid(name, help, labels)))
    }

    /// Declares a gauge for each value of `L`.
    pub fn gauges<L: Label>(&self, name: &'static str, help: &'static str, label: &'static str) -> Gauges<L> {
        Gauges::on(self.shard(MetricDescriptor::labelled::<L>(MetricKind::Gauge, name, help, label)))
    }

    /// Declares one gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        Gauge::on(self.shard(MetricDescriptor::plain(MetricKind::Gauge, name, help)))
    }

    /// Declares a histogram of durations for each value of `L`.
    pub fn histograms<L: Label>(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Histograms<L> {
        Histograms::on(self.shard(MetricDescriptor::labelled::<L>(MetricKind::Histogram, name, help, label)))
    }

    /// Declares one histogram of durations.
    pub fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        Histogram::on(self.shard(MetricDescriptor::plain(MetricKind::Histogram, name, help)))
    }

    /// Declares a gauge that each scrape reads. `read` must neither wait nor call this registry.
    pub fn sampled(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.join(
            MetricDescriptor::plain(MetricKind::Gauge, name, help),
            WorkerPart::Sampled(Box::new(read)),
        );
    }

    /// Declares a counter that each scrape reads, under the conditions of [`Registry::sampled`].
    pub fn sampled_counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.join(
            MetricDescriptor::plain(MetricKind::Counter, name, help),
            WorkerPart::Sampled(Box::new(read)),
        );
    }

    /// Declares facts of the process, which are the labels of one series with the value 1.
    pub fn info(&self, name: &'static str, help: &'static str, labels: Vec<(&'static str, String)>) {
        self.shard(MetricDescriptor::constant(name, help, labels));
    }

    /// Declares a counter for each item that `list` returns at a scrape. `list` returns each name
    /// once and a bounded number of them; it must neither wait nor call this registry.
    pub fn listed_counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        list: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static,
    ) {
        let count = |(word, count)| (vec![word], Sample::Count(count));
        let read = move || list().into_iter().map(count).collect();
        self.join(
            MetricDescriptor::listed(MetricKind::Counter, name, help, vec![label]),
            WorkerPart::Listed(Box::new(read)),
        );
    }

    /// Declares a counter for each pair of labels that `list` returns at a scrape, under the
    /// conditions of [`Registry::listed_counters`].
    pub fn listed_counter_pairs(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; 2],
        list: impl Fn() -> Vec<([String; 2], u64)> + Send + Sync + 'static,
    ) {
        let count = |(words, count): ([String; 2], u64)| (words.into(), Sample::Count(count));
        let read = move || list().into_iter().map(count).collect();
        self.join(
            MetricDescriptor::listed(MetricKind::Counter, name, help, labels.into()),
            WorkerPart::Listed(Box::new(read)),
        );
    }

    /// Declares a histogram of durations for each item that `list` returns at a scrape, under the
    /// conditions of [`Registry::listed_counters`].
    pub fn listed_histograms(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        list: impl Fn() -> Vec<(String, DurationSummary)> + Send + Sync + 'static,
    ) {
        let times = |(word, times)| (vec![word], Sample::Times(times));
        let read = move || list().into_iter().map(times).collect();
        self.join(
            MetricDescriptor::listed(MetricKind::Histogram, name, help, vec![label]),
            WorkerPart::Listed(Box::new(read)),
        );
    }

    /// Passes each family to `look`, in the order of declaration.
    pub(super) fn for_each<E>(&self, look: impl FnMut(&MetricFamily) -> Result<(), E>) -> Result<(), E> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().try_for_each(look)
    }

    fn shard(&self, descriptor: MetricDescriptor) -> CounterShard {
        let shard = CounterShard::new(descriptor.cells());
        self.join(descriptor, WorkerPart::Counted(shard.clone()));
        shard
    }

    fn join(&self, descriptor: MetricDescriptor, part: WorkerPart) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let namesake = families.iter_mut().find(|family| family.descriptor.name == descriptor.name);
        if let Some(family) = namesake {
            debug_assert_eq!(family.descriptor, descriptor, "a name has one declaration");
            family.parts.push(part);
        } else {
            families.push(MetricFamily { descriptor, parts: vec![part] });
        }
    }
}
