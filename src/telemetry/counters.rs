//! Numbers that only grow.

use std::marker::PhantomData;

use super::shard::CounterShard;
use crate::label::Label;

/// A count of events.
#[derive(Clone, Debug)]
pub struct Counter(CounterShard);

impl Counter {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard)
    }

    /// Counts one event.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` events.
    pub fn add(&self, n: u64) {
        self.0.add(0, n);
    }
}

/// A count of events for each label of a closed set.
#[derive(Clone, Debug)]
pub struct Counters<L>(CounterShard, PhantomData<fn(L)>);

impl<L: Label> Counters<L> {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard, PhantomData)
    }

    /// Counts one event.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// Counts `n` events.
    pub fn add(&self, label: L, n: u64) {
        self.0.add(label.index(), n);
    }
}
