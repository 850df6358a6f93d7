//! One worker's part of one metric.
//!
//! Each shard has its own cache lines, so that two counting workers never contend for a line. Every
//! operation is relaxed: a scrape may see one of two adds and not the other, and the next scrape
//! sees both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cells in two lines of 64 bytes: x86 fetches lines in pairs, and some ARM cores have lines of
/// 128.
const LINE_CELLS: usize = 16;

#[derive(Debug, Default)]
#[repr(align(128))]
struct CacheLine([AtomicU64; LINE_CELLS]);

/// A row of cells. Clones share it. An index beyond the row adds nothing and reads zero.
#[derive(Clone, Debug)]
pub(super) struct CounterShard(Arc<[CacheLine]>);

impl CounterShard {
    /// Returns at least `cells` cells, all zero.
    pub(super) fn new(cells: usize) -> Self {
        Self((0..cells.div_ceil(LINE_CELLS)).map(|_| CacheLine::default()).collect())
    }

    /// Adds to a cell, wrapping around.
    pub(super) fn add(&self, index: usize, n: u64) {
        if let Some(cell) = self.cell(index) {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Replaces the value of a cell.
    pub(super) fn set(&self, index: usize, value: u64) {
        if let Some(cell) = self.cell(index) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Returns the value of a cell.
    pub(super) fn read(&self, index: usize) -> u64 {
        self.cell(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, index: usize) -> Option<&AtomicU64> {
        self.0.get(index / LINE_CELLS)?.0.get(index % LINE_CELLS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_independent() {
        let shard = CounterShard::new(LINE_CELLS + 1);
        for index in 0..=LINE_CELLS {
            shard.add(index, index as u64);
            shard.add(index, 1);
        }
        assert!((0..=LINE_CELLS).all(|index| shard.read(index) == index as u64 + 1));
    }

    #[test]
    fn a_cell_beyond_the_row_stays_zero() {
        let shard = CounterShard::new(1);
        shard.add(LINE_CELLS, 1);
        shard.set(usize::MAX, 1);
        assert_eq!((shard.read(LINE_CELLS), shard.read(usize::MAX)), (0, 0));
    }

    #[test]
    fn two_shards_share_no_line() {
        assert_eq!((align_of::<CacheLine>(), size_of::<CacheLine>()), (128, 128));
    }
}
