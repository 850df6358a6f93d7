//! The waits of this worker for the end of other nodes' leases.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::sync::watch;

/// The leases of other nodes for which a request of this worker waits.
#[derive(Default)]
pub(in crate::store) struct LeaseWaiters(RefCell<HashMap<u128, watch::Sender<()>>>);

impl LeaseWaiters {
    /// Wakes the waits for one lease: it has ended or was renewed.
    pub(in crate::store) fn changed(&self, lease: u128) {
        if let Some(sender) = self.0.borrow().get(&lease) {
            sender.send_replace(());
        }
    }

    /// Wakes all waits: an invalidation may have been lost.
    pub(in crate::store) fn tracking_lost(&self) {
        self.0.borrow().values().for_each(|sender| sender.send_replace(()));
    }

    pub(in crate::store) fn wait(&self, lease: u128) -> LeaseWait<'_> {
        let changes = self.0.borrow_mut().entry(lease).or_insert_with(|| watch::Sender::new(())).subscribe();
        LeaseWait { leases: self, lease, changes }
    }
}

/// A wait for one lease; dropping it removes it from the table.
pub(in crate::store) struct LeaseWait<'a> {
    leases: &'a LeaseWaiters,
    lease: u128,
    pub(in crate::store) changes: watch::Receiver<()>,
}

impl Drop for LeaseWait<'_> {
    fn drop(&mut self) {
        let mut leases = self.leases.0.borrow_mut();
        // This receiver is still counted.
        if leases.get(&self.lease).is_some_and(|sender| sender.receiver_count() <= 1) {
            leases.remove(&self.lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_is_woken_and_leaves_no_entry() {
        let leases = LeaseWaiters::default();
        leases.changed(1);
        let (mut one, mut other) = (leases.wait(1), leases.wait(1));
        let elsewhere = leases.wait(2);
        leases.changed(1);
        one.changes.changed().await.unwrap();
        other.changes.changed().await.unwrap();
        assert!(!elsewhere.changes.has_changed().unwrap());
        leases.tracking_lost();
        assert!(one.changes.has_changed().unwrap() && elsewhere.changes.has_changed().unwrap());
        drop(one);
        assert_eq!(leases.0.borrow().len(), 2);
        drop((other, elsewhere));
        assert!(leases.0.borrow().is_empty());
    }
}
