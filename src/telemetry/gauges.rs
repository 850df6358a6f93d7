//! Numbers that go up and down. Each worker has its own part; the scrape shows the sum.

use std::marker::PhantomData;

use super::shard::CounterShard;
use crate::label::Label;

/// A current quantity.
#[derive(Clone, Debug)]
pub struct Gauge(CounterShard);

impl Gauge {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard)
    }

    /// Replaces this worker's part.
    pub fn set(&self, value: i64) {
        self.0.set(0, value.cast_unsigned());
    }

    /// Changes this worker's part.
    pub fn add(&self, change: i64) {
        self.0.add(0, change.cast_unsigned());
    }
}

/// A current quantity for each label of a closed set.
#[derive(Clone, Debug)]
pub struct Gauges<L>(CounterShard, PhantomData<fn(L)>);

impl<L: Label> Gauges<L> {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard, PhantomData)
    }

    /// Replaces this worker's part.
    pub fn set(&self, label: L, value: i64) {
        self.0.set(label.index(), value.cast_unsigned());
    }

    /// Changes this worker's part.
    pub fn add(&self, label: L, change: i64) {
        self.0.add(label.index(), change.cast_unsigned());
    }
}
