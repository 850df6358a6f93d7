//! The tasks of this worker's fetches: owned here, bounded by their own deadlines, ended with the
//! worker.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;

/// Tasks that outlive the request that began them.
#[derive(Default)]
pub(in crate::proxy) struct BackgroundTasks(RefCell<JoinSet<()>>);

impl BackgroundTasks {
    /// Runs `task` on this worker, to its end or the worker's.
    pub(in crate::proxy) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        // Boxed here: on its way into a task a future is moved several times, and a fetch's is
        // kilobytes.
        tasks.spawn_local(Box::pin(task));
    }

    /// Waits for all of them, for at most `patience`; what still runs then is stopped.
    pub(in crate::proxy) async fn finish(&self, patience: Duration) {
        // Borrowed for each poll only: a task that ends may begin another.
        let all = poll_fn(|cx| {
            loop {
                match self.0.borrow_mut().poll_join_next(cx) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        if tokio::time::timeout(patience, all).await.is_err() {
            self.0.borrow_mut().abort_all();
        }
    }
}
