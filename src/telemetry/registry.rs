//! Every metric of the process, by name.
//!
//! Each worker asks for the same names and gets its own shards of them. The lock is taken when a worker starts and
//! when somebody scrapes, never to count.

use std::sync::{Arc, Mutex, PoisonError};

use super::family::{Descriptor, Family, Kind, Part, Reading};
use super::shard::Shard;
use super::tally::Times;
use super::{Counter, Counters, Gauge, Gauges, Histogram, Histograms};
use crate::label::Label;

/// Where metrics are declared and read. Clones are the same registry.
///
/// A counter's name may be given with or without `_total`, and a histogram's with or without `_seconds`: they are
/// written with it.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<Family>>>);

impl Registry {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter for each word of `L`.
    pub fn counters<L: Label>(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Counters<L> {
        Counters::on(self.shard(Descriptor::labelled::<L>(Kind::Counter, name, help, label)))
    }

    /// One counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        Counter::on(self.shard(Descriptor::plain(Kind::Counter, name, help)))
    }

    /// A gauge for each word of `L`.
    pub fn gauges<L: Label>(&self, name: &'static str, help: &'static str, label: &'static str) -> Gauges<L> {
        Gauges::on(self.shard(Descriptor::labelled::<L>(Kind::Gauge, name, help, label)))
    }

    /// One gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        Gauge::on(self.shard(Descriptor::plain(Kind::Gauge, name, help)))
    }

    /// A histogram of durations for each word of `L`.
    pub fn histograms<L: Label>(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Histograms<L> {
        Histograms::on(self.shard(Descriptor::labelled::<L>(Kind::Histogram, name, help, label)))
    }

    /// One histogram of durations.
    pub fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        Histogram::on(self.shard(Descriptor::plain(Kind::Histogram, name, help)))
    }

    /// A gauge that is read when somebody scrapes; `read` must neither wait nor ask this registry for anything.
    pub fn sampled(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.join(Descriptor::plain(Kind::Gauge, name, help), Part::Sampled(Box::new(read)));
    }

    /// A counter for each thing that `list` names when somebody scrapes, each named once; how many there are has a bound of
    /// its own. `list` must neither wait nor ask this registry for anything.
    pub fn listed_counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        list: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static,
    ) {
        let read = move || list().into_iter().map(|(word, count)| (word, Reading::Count(count))).collect();
        self.join(Descriptor::listed(Kind::Counter, name, help, label), Part::Listed(Box::new(read)));
    }

    /// The same for histograms of durations.
    pub fn listed_histograms(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        list: impl Fn() -> Vec<(String, Times)> + Send + Sync + 'static,
    ) {
        let read = move || list().into_iter().map(|(word, times)| (word, Reading::Times(times))).collect();
        self.join(Descriptor::listed(Kind::Histogram, name, help, label), Part::Listed(Box::new(read)));
    }

    /// Lets `look` see each family, in the order of their declaration.
    pub(super) fn for_each<E>(&self, look: impl FnMut(&Family) -> Result<(), E>) -> Result<(), E> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().try_for_each(look)
    }

    fn shard(&self, descriptor: Descriptor) -> Shard {
        let shard = Shard::new(descriptor.cells());
        self.join(descriptor, Part::Counted(shard.clone()));
        shard
    }

    fn join(&self, descriptor: Descriptor, part: Part) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let namesake = families.iter_mut().find(|family| family.descriptor.name == descriptor.name);
        if let Some(family) = namesake {
            debug_assert_eq!(family.descriptor, descriptor, "a name is declared in one way");
            family.parts.push(part);
        } else {
            families.push(Family { descriptor, parts: vec![part] });
        }
    }
}
