//! Background tasks of a worker: owned here, each with a timeout of its own, and ended with the
//! worker.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;

/// Tasks that outlive the request that started them.
#[derive(Default)]
pub(in crate::proxy) struct BackgroundTasks(RefCell<JoinSet<()>>);

impl BackgroundTasks {
    /// Runs `task` on this worker until it completes or the worker ends.
    pub(in crate::proxy) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        // The future is boxed, because spawning moves it several times, and the future of a fetch
        // takes kilobytes.
        tasks.spawn_local(Box::pin(task));
    }

    /// Waits at most `timeout` for all tasks, then aborts the remaining ones.
    pub(in crate::proxy) async fn finish(&self, timeout: Duration) {
        // The set is borrowed only during a poll, because a task may spawn another.
        let all = poll_fn(|cx| {
            loop {
                match self.0.borrow_mut().poll_join_next(cx) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        if tokio::time::timeout(timeout, all).await.is_err() {
            self.0.borrow_mut().abort_all();
        }
    }
}
