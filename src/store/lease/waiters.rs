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
        if let Some(waiting) = self.0.borrow().get(&lease) {
            waiting.send_replace(());
        }
    }

    /// Wakes all waits: an invalidation may have been lost.
    pub(in crate::store) fn forsaken(&self) {
        self.0.borrow().values().for_each(|waiting| waiting.send_replace(()));
    }

    pub(in crate::store) fn wait(&self, lease: u128) -> LeaseWait<'_> {
        let news = self.0.borrow_mut().entry(lease).or_insert_with(|| watch::Sender::new(())).subscribe();
        LeaseWait { leases: self, lease, news }
    }
}

/// A wait for one lease; dropping it removes it from the table.
pub(in crate::store) struct LeaseWait<'a> {
    leases: &'a LeaseWaiters,
    lease: u128,
    pub(in crate::store) news: watch::Receiver<()>,
}

impl Drop for LeaseWait<'_> {
    fn drop(&mut self) {
        let mut leases = self.leases.0.borrow_mut();
        // This receiver is still counted.
        if leases.get(&self.lease).is_some_and(|waiting| waiting.receiver_count() <= 1) {
            leases.remove(&self.lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_and_leaves_nothing_behind() {
        let leases = LeaseWaiters::default();
        leases.changed(1);
        let (mut one, mut other) = (leases.wait(1), leases.wait(1));
        let elsewhere = leases.wait(2);
        leases.changed(1);
        one.news.changed().await.unwrap();
        other.news.changed().await.unwrap();
        assert!(!elsewhere.news.has_changed().unwrap());
        leases.forsaken();
        assert!(one.news.has_changed().unwrap() && elsewhere.news.has_changed().unwrap());
        drop(one);
        assert_eq!(leases.0.borrow().len(), 2);
        drop((other, elsewhere));
        assert!(leases.0.borrow().is_empty());
    }
}
