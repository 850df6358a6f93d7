//! Shared reads of the purge log: one read at a time for all requests of a worker.
//!
//! A read serves only the requests that began before it was sent; a later request might get a state
//! older than itself. A later request waits for the end of that read, and then for the next one,
//! which all requests share that came meanwhile. A failure ends the wait of all requests at once,
//! because it carries no state.
//!
//! **Always:** one read is under way at a time, and a caller dropped during its read leaves the
//! read to the next caller.

use tokio::sync::watch;

use crate::redis::CommandError;
use crate::store::purge::log::PurgeLog;

/// The purge log, or the error of its read.
pub(in crate::store) type PurgeStateAnswer = Result<PurgeLog, CommandError>;

/// The shared read of the purge log, for one worker.
pub(in crate::store) struct PurgeStateQuery(watch::Sender<QueryState>);

#[derive(Default)]
struct QueryState {
    /// The number of reads that have started.
    asked: u64,
    is_under_way: bool,
    /// The last result, and the number of its read.
    answered: Option<(u64, PurgeStateAnswer)>,
}

impl QueryState {
    /// Returns the result that serves a caller waiting for the read `number`.
    fn answer_to(&self, number: u64) -> Option<PurgeStateAnswer> {
        let (answered, answer) = self.answered.as_ref()?;
        // A failed read just before it ended while the caller waited: its failure counts too.
        (*answered >= number || (*answered + 1 == number && answer.is_err())).then(|| answer.clone())
    }
}

impl PurgeStateQuery {
    /// Returns the state before the first read.
    pub(in crate::store) fn new() -> Self {
        Self(watch::Sender::new(QueryState::default()))
    }

    /// Returns the result of `read`, run by this caller or by another one that waits for it, and
    /// started after this call.
    ///
    /// Cancel safe if `read` is.
    pub(in crate::store) async fn ask(
        &self,
        question: impl Future<Output = PurgeStateAnswer>,
    ) -> PurgeStateAnswer {
        let next = self.0.borrow().asked + 1;
        if self.0.borrow().is_under_way {
            let mut state = self.0.subscribe();
            let ended = state.wait_for(|state| !state.is_under_way || state.answer_to(next).is_some()).await;
            if let Ok(state) = ended
                && let Some(answer) = state.answer_to(next)
            {
                return answer;
            }
        }
        self.0.send_modify(|state| {
            state.asked += 1;
            state.is_under_way = true;
        });
        let under_way = QueryGuard(self);
        let answer = question.await;
        self.0.send_modify(|state| state.answered = Some((state.asked, answer.clone())));
        drop(under_way);
        answer
    }
}

/// A guard that marks the read as ended, also when the caller is dropped.
struct QueryGuard<'a>(&'a PurgeStateQuery);

impl Drop for QueryGuard<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.is_under_way = false);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::sync::oneshot;

    use super::*;

    fn poll(asker: &mut Pin<&mut impl Future<Output = PurgeStateAnswer>>) -> Poll<PurgeStateAnswer> {
        asker.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Answers a read by hand, and counts the reads that start.
    async fn question(sent: &Cell<u32>, answer: oneshot::Receiver<PurgeStateAnswer>) -> PurgeStateAnswer {
        sent.set(sent.get() + 1);
        answer.await.unwrap()
    }

    #[test]
    fn who_comes_while_it_is_under_way_shares_the_next() {
        let (asking, sent) = (PurgeStateQuery::new(), Cell::new(0));
        let (answers, questions): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
        let [first, second, third, fourth] =
            <[_; 4]>::try_from(questions).unwrap().map(|answer| asking.ask(question(&sent, answer)));
        let (mut first, mut second, mut third) = (pin!(first), pin!(second), pin!(third));
        assert!(
            poll(&mut first).is_pending() && poll(&mut second).is_pending() && poll(&mut third).is_pending()
        );
        assert_eq!(sent.get(), 1);
        let mut answers = answers.into_iter();
        let (old, new) = (PurgeLog::new(), PurgeLog::new());
        answers.next().unwrap().send(Ok(old.clone())).unwrap();
        assert_eq!(poll(&mut first), Poll::Ready(Ok(old)));
        assert!(poll(&mut second).is_pending(), "that was asked before it came");
        assert!(poll(&mut third).is_pending());
        assert_eq!(sent.get(), 2);
        answers.next().unwrap().send(Ok(new.clone())).unwrap();
        assert_eq!(poll(&mut second), Poll::Ready(Ok(new.clone())));
        // Another read starts before the third caller is polled again.
        let mut fourth = pin!(fourth);
        assert!(poll(&mut fourth).is_pending());
        assert_eq!(poll(&mut third), Poll::Ready(Ok(new)));
        assert_eq!(sent.get(), 3);
    }

    #[test]
    fn a_failure_is_everybodys_and_who_leaves_takes_nobody_with_him() {
        let (asking, sent) = (PurgeStateQuery::new(), Cell::new(0));
        let (answers, questions): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        let [first, second, third] =
            <[_; 3]>::try_from(questions).unwrap().map(|answer| asking.ask(question(&sent, answer)));
        let (mut first, mut second, mut third) = (Box::pin(first), pin!(second), pin!(third));
        assert!(poll(&mut first.as_mut()).is_pending() && poll(&mut second).is_pending());
        drop(first);
        assert!(poll(&mut second).is_pending());
        assert_eq!(sent.get(), 2, "the next one asks");
        assert!(poll(&mut third).is_pending());
        answers.into_iter().nth(1).unwrap().send(Err(CommandError::Timeout)).unwrap();
        assert_eq!(poll(&mut second), Poll::Ready(Err(CommandError::Timeout)));
        assert_eq!(poll(&mut third), Poll::Ready(Err(CommandError::Timeout)));
        assert_eq!(sent.get(), 2);
    }
}
