//! Counters, which only grow, and gauges, which go up and down. Each worker has its own part; the
//! scrape shows the sum.

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

/// A count of events for each combination of three labels of closed sets. A scrape shows the
/// combinations that have counted.
#[derive(Clone, Debug)]
pub struct CounterGrid<A, B, C>(CounterShard, PhantomData<fn(A, B, C)>);

impl<A: Label, B: Label, C: Label> CounterGrid<A, B, C> {
    pub(super) fn on(shard: CounterShard) -> Self {
        Self(shard, PhantomData)
    }

    /// Counts one event.
    pub fn inc(&self, first: A, second: B, third: C) {
        self.0.add((first.index() * B::ALL.len() + second.index()) * C::ALL.len() + third.index(), 1);
    }
}

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
