//! Numbers that only grow.

use std::marker::PhantomData;

use super::shard::Shard;
use crate::label::Label;

/// How often something happened.
#[derive(Clone, Debug)]
pub struct Counter(Shard);

impl Counter {
    pub(super) fn on(shard: Shard) -> Self {
        Self(shard)
    }

    /// Once more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` times more.
    pub fn add(&self, n: u64) {
        self.0.add(0, n);
    }
}

/// How often something happened, by a closed set of labels.
#[derive(Clone, Debug)]
pub struct Counters<L>(Shard, PhantomData<fn(L)>);

impl<L: Label> Counters<L> {
    pub(super) fn on(shard: Shard) -> Self {
        Self(shard, PhantomData)
    }

    /// Once more.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// `n` times more.
    pub fn add(&self, label: L, n: u64) {
        self.0.add(label.index(), n);
    }
}
