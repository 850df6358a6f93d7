//! Shared reads of the purge log: one read at a time for all requests of a worker.
//!
//! A read serves only the requests that began before it was sent: a later request might get a state
//! older than itself. The requests that come during a read wait for its end, and then share the
//! next read. A failure ends the wait of all requests at once, because it carries no state.
//!
//! **Always:** one read is under way at a time, and a caller dropped during its read leaves the
//! read to the next caller.

use std::cell::RefCell;

use tokio::sync::Notify;

use crate::redis::CommandError;
use crate::store::purge::log::PurgeLog;

/// The purge log, or the error of its read.
pub(in crate::store) type PurgeStateAnswer = Result<PurgeLog, CommandError>;

/// The shared read of the purge log, for one worker.
#[derive(Default)]
pub(in crate::store) struct PurgeStateQuery {
    state: RefCell<QueryState>,
    /// Notified when a read has ended.
    ended: Notify,
}

#[derive(Default)]
struct QueryState {
    /// The number of reads that have started.
    started: u64,
    is_under_way: bool,
    /// The last result, and the number of its read.
    last: Option<(u64, PurgeStateAnswer)>,
}

impl QueryState {
    /// Returns the result that serves a caller waiting for the read `number`.
    fn result_for(&self, number: u64) -> Option<PurgeStateAnswer> {
        let (number_of_last, result) = self.last.as_ref()?;
        // A failed read just before it ended while the caller waited: its failure counts too.
        (*number_of_last >= number || (*number_of_last + 1 == number && result.is_err()))
            .then(|| result.clone())
    }
}

impl PurgeStateQuery {
    /// Returns the state before the first read.
    pub(in crate::store) fn new() -> Self {
        Self::default()
    }

    /// Returns the result of `read`, run by this caller or by another one that waits for it, and
    /// started after this call.
    ///
    /// Cancel safe if `read` is.
    pub(in crate::store) async fn read_shared(
        &self,
        read: impl Future<Output = PurgeStateAnswer>,
    ) -> PurgeStateAnswer {
        let next = self.state.borrow().started + 1;
        while self.state.borrow().is_under_way {
            self.ended.notified().await;
            if let Some(result) = self.state.borrow().result_for(next) {
                return result;
            }
        }
        let number = {
            let mut state = self.state.borrow_mut();
            state.is_under_way = true;
            state.started += 1;
            state.started
        };
        let under_way = QueryGuard(self);
        let result = read.await;
        self.state.borrow_mut().last = Some((number, result.clone()));
        drop(under_way);
        result
    }
}

/// A guard that marks the read as ended, also when the caller is dropped.
struct QueryGuard<'a>(&'a PurgeStateQuery);

impl Drop for QueryGuard<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_under_way = false;
        self.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::sync::oneshot;

    use super::*;

    fn poll(caller: &mut Pin<&mut impl Future<Output = PurgeStateAnswer>>) -> Poll<PurgeStateAnswer> {
        caller.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Answers a read by hand, and counts the reads that start.
    async fn read(sent: &Cell<u32>, result: oneshot::Receiver<PurgeStateAnswer>) -> PurgeStateAnswer {
        sent.set(sent.get() + 1);
        result.await.unwrap()
    }

    #[test]
    fn callers_during_a_read_share_the_next_read() {
        let (query, sent) = (PurgeStateQuery::new(), Cell::new(0));
        let (results, reads): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
        let [first, second, third, fourth] =
            <[_; 4]>::try_from(reads).unwrap().map(|result| query.read_shared(read(&sent, result)));
        let (mut first, mut second, mut third) = (pin!(first), pin!(second), pin!(third));
        assert!(
            poll(&mut first).is_pending() && poll(&mut second).is_pending() && poll(&mut third).is_pending()
        );
        assert_eq!(sent.get(), 1);
        let mut results = results.into_iter();
        let (old, new) = (PurgeLog::new(), PurgeLog::new());
        results.next().unwrap().send(Ok(old.clone())).unwrap();
        assert_eq!(poll(&mut first), Poll::Ready(Ok(old)));
        assert!(poll(&mut second).is_pending(), "that read began before this call");
        assert!(poll(&mut third).is_pending());
        assert_eq!(sent.get(), 2);
        results.next().unwrap().send(Ok(new.clone())).unwrap();
        assert_eq!(poll(&mut second), Poll::Ready(Ok(new.clone())));
        // Another read starts before the third caller is polled again.
        let mut fourth = pin!(fourth);
        assert!(poll(&mut fourth).is_pending());
        assert_eq!(poll(&mut third), Poll::Ready(Ok(new)));
        assert_eq!(sent.get(), 3);
    }

    #[test]
    fn a_failure_ends_all_waits_and_a_dropped_caller_leaves_the_read() {
        let (query, sent) = (PurgeStateQuery::new(), Cell::new(0));
        let (results, reads): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        let [first, second, third] =
            <[_; 3]>::try_from(reads).unwrap().map(|result| query.read_shared(read(&sent, result)));
        let (mut first, mut second, mut third) = (Box::pin(first), pin!(second), pin!(third));
        assert!(poll(&mut first.as_mut()).is_pending() && poll(&mut second).is_pending());
        drop(first);
        assert!(poll(&mut second).is_pending());
        assert_eq!(sent.get(), 2, "the next caller reads");
        assert!(poll(&mut third).is_pending());
        results.into_iter().nth(1).unwrap().send(Err(CommandError::Timeout)).unwrap();
        assert_eq!(poll(&mut second), Poll::Ready(Err(CommandError::Timeout)));
        assert_eq!(poll(&mut third), Poll::Ready(Err(CommandError::Timeout)));
        assert_eq!(sent.get(), 2);
    }
}
