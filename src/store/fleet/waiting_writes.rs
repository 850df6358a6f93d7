//! The writes of a worker that wait for the next sync.

use std::cell::RefCell;

use tokio::sync::{Notify, watch};

use crate::redis::TopologyEpoch;

/// Whether every node has confirmed the purge of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConfirmation {
    /// No node serves a response that is older than the write.
    Confirmed,
    /// Some node may serve one.
    Unconfirmed,
}

/// The writes of a worker that wait for a sync.
#[derive(Default)]
pub(super) struct WaitingWrites {
    batch: RefCell<Option<WriteBatch>>,
    added: Notify,
}

/// The writes that the next sync confirms.
pub(super) struct WriteBatch {
    /// The topology of Redis before the first of the purges.
    pub(super) epoch: TopologyEpoch,
    /// The names of the keys that the purges have written.
    pub(super) written: Vec<Vec<u8>>,
    pub(super) outcome: watch::Sender<Option<WriteConfirmation>>,
}

impl WaitingWrites {
    /// Adds a write, whose purge Redis has, to the next sync.
    pub(super) fn join(
        &self,
        epoch: TopologyEpoch,
        written: Vec<Vec<u8>>,
    ) -> watch::Receiver<Option<WriteConfirmation>> {
        let mut waiting = self.batch.borrow_mut();
        let batch = waiting.get_or_insert_with(|| {
            self.added.notify_one();
            WriteBatch { epoch, written: Vec::new(), outcome: watch::Sender::new(None) }
        });
        batch.written.extend(written);
        batch.outcome.subscribe()
    }

    /// Waits for the writes of the next sync, and takes them.
    pub(super) async fn next(&self) -> WriteBatch {
        loop {
            if let Some(batch) = self.batch.take() {
                return batch;
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_during_a_sync_share_the_next() {
        let writes = WaitingWrites::default();
        let epoch = TopologyEpoch::default();
        let first = writes.join(epoch, vec![b"a".to_vec()]);
        let batch = writes.next().await;
        let (mut second, mut third) =
            (writes.join(epoch, vec![b"b".to_vec()]), writes.join(epoch, vec![b"c".to_vec()]));
        batch.outcome.send_replace(Some(WriteConfirmation::Confirmed));
        assert_eq!(*first.borrow(), Some(WriteConfirmation::Confirmed));
        assert_eq!((*second.borrow(), *third.borrow()), (None, None), "that sync began too early");
        let batch = writes.next().await;
        assert_eq!(batch.written, [b"b", b"c"]);
        drop(batch);
        assert!(second.changed().await.is_err() && third.changed().await.is_err());
    }
}
